package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"scoremesh/cmd/node/traffic"
)

// exportTraffic writes the first n transactions of the generator's default world into dir, and what becomes known of them:
// transactions.csv, labels.csv and patterns.csv, for `node backtest` and training/train.py.
func exportTraffic(dir string, seed uint64, n int, stdout io.Writer) (err error) {
	config := traffic.DefaultConfig()
	config.Seed = seed
	generator, err := traffic.New(config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	var open []*os.File
	defer func() {
		for _, f := range open {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, name := range []string{"transactions.csv", "labels.csv", "patterns.csv"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("create export: %w", err)
		}
		open = append(open, f)
	}
	if err := traffic.Export(generator, n, traffic.Files{Transactions: open[0], Labels: open[1], Patterns: open[2]}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d transactions and what becomes known of them are in %s\n", n, dir)
	return err
}
