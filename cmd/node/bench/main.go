//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// options is the command line.
type options struct {
	Rounds      int           `default:"3" help:"Rounds; each measures every contestant once."`
	Closed      time.Duration `default:"5s" help:"Length of a closed phase."`
	Open        time.Duration `default:"5s" help:"Length of an open phase."`
	Settle      time.Duration `default:"1s" help:"Load before each closed phase that is not counted."`
	Connections int           `default:"256" help:"Keep-alive connections."`
	Batch       int           `default:"32" help:"Transactions in a request of node_batch."`
	Cards       int           `default:"100000" help:"Cards, each with one transaction before the first round."`
	Merchants   int           `default:"5000" help:"Merchants, of Zipf popularity."`
	Only        []string      `help:"Contestants; all when none is named." placeholder:"NAME"`
	Dir         string        `help:"Where the log and other files of the run are made, on a disk worth measuring." placeholder:"DIR"`
	Handbook    string        `env:"HANDBOOK_DIR" help:"The folder of the handbook's model; the demo's model is used when it is not there." placeholder:"DIR"`
	Out         string        `default:"bench/results.json" help:"Where the results go." placeholder:"FILE"`
}

func (o *options) validate() error {
	switch {
	case o.Rounds < 1:
		return fmt.Errorf("--rounds: is %d; must be at least 1", o.Rounds)
	case o.Closed < 100*time.Millisecond || o.Open < 100*time.Millisecond:
		return fmt.Errorf("--closed and --open: are %s and %s; must be at least 100ms", o.Closed, o.Open)
	case o.Settle < 0:
		return fmt.Errorf("--settle: is %s; must not be negative", o.Settle)
	case o.Connections < 1 || o.Connections > 1000:
		return fmt.Errorf("--connections: is %d; must be 1 to 1000", o.Connections)
	case o.Batch < 1 || o.Batch > 64:
		return fmt.Errorf("--batch: is %d; must be 1 to 64", o.Batch)
	case o.Cards < 1 || o.Merchants < 2:
		return fmt.Errorf("--cards and --merchants: are %d and %d; must be at least 1 and 2", o.Cards, o.Merchants)
	}
	return nil
}

// run measures, prints a table, and writes the results.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	parser, err := kong.New(&o, kong.Name("bench"), kong.Description("Measures a node beside the naive handler."), kong.Writers(stdout, stderr))
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	results, err := measure(ctx, &o, stderr)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return errors.Join(results.write(o.Out), results.print(stdout))
}
