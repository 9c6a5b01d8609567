// Command node runs one node of a scoremesh region, and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		stop()
		os.Exit(1)
	}
}

// commands is the command line.
type commands struct {
	Run      runCommand      `cmd:"" help:"Run a node of a region."`
	Demo     demoCommand     `cmd:"" help:"Run a whole region in this process under synthetic traffic, and watch it decide."`
	Backtest backtestCommand `cmd:"" help:"Stream history through the fold, the model and the policy that decide live."`
	Config   struct {
		Check checkCommand `cmd:"" help:"Check a configuration and every file that it names."`
	} `cmd:"" help:"Work with a node's configuration."`
	Snapshot snapshotCommand `cmd:"" help:"Write the states of all shards, as Redis holds them, to a file."`
	Restore  restoreCommand  `cmd:"" help:"Flush a snapshot into Redis. What Redis has of newer states stays."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// terminal is what a command writes to.
type terminal struct {
	stdout, stderr io.Writer
}

// exited is how the parser of the command line ends the program, after it has printed help.
type exited int

// run executes one command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	defer func() {
		switch code := recover().(type) {
		case nil:
		case exited:
			if code != 0 {
				err = errors.New("bad command line")
			}
		default:
			panic(code)
		}
	}()
	var c commands
	parser, err := kong.New(&c, kong.Name("node"), kong.Description("scoremesh decides card payments: approve, decline, step up."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(exited(code)) }), kong.UsageOnError())
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w (node --help says more)", err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(&terminal{stdout, stderr})
}
