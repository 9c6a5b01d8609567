package main

import (
	"context"
	"fmt"
	"os"

	"scoremesh/region"
)

// snapshotCommand takes a snapshot of what Redis holds; the node may be running.
type snapshotCommand struct {
	Config string `required:"" placeholder:"FILE" help:"The node's configuration file."`
	Dir    string `placeholder:"DIR" help:"Where to write; the default is the configuration's snapshot folder."`
	Epoch  string `placeholder:"HEX" help:"The epoch of the log, when Redis holds several."`
}

// Run prints the file's path.
func (c *snapshotCommand) Run(ctx context.Context, t *terminal) error {
	config, err := LoadConfig(c.Config, os.LookupEnv)
	if err != nil {
		return err
	}
	path, count, err := region.TakeSnapshot(ctx, config.Config, c.Dir, c.Epoch, config.Logging.logger(t.stderr))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.stdout, "%s: %d entities\n", path, count)
	return err
}

// restoreCommand flushes a snapshot into Redis.
type restoreCommand struct {
	Config string `required:"" placeholder:"FILE" help:"The node's configuration file."`
	From   string `required:"" placeholder:"FILE" help:"The snapshot."`
}

// Run prints how many entities were restored.
func (c *restoreCommand) Run(ctx context.Context, t *terminal) error {
	config, err := LoadConfig(c.Config, os.LookupEnv)
	if err != nil {
		return err
	}
	count, err := region.RestoreSnapshot(ctx, config.Config, c.From, config.Logging.logger(t.stderr))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.stdout, "%s: %d entities restored; what redis had as new or newer stayed\n", c.From, count)
	return err
}
