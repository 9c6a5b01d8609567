package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// demoCommand runs a whole region in this process, under traffic that it makes itself.
//
//	demoWorld --> demoClient == HTTP ==> edge --> region (embedded NATS, embedded Redis)
//	                  |                              |
//	                  v                              v
//	              demoStats -----> demoView <----- metrics
type demoCommand struct {
	Listen   string        `default:"127.0.0.1:8080" help:"Where the edge listens. When that is taken, on a free port; the demo says so."`
	Redis    string        `placeholder:"URL" help:"A real Redis, such as redis://127.0.0.1:6379/0. The default is an embedded server that speaks its protocol."`
	NATS     string        `name:"nats" placeholder:"URL" help:"A real NATS with JetStream, such as nats://127.0.0.1:4222. The default is an embedded server."`
	Rate     float64       `default:"200" help:"Transactions per second."`
	Seed     uint64        `default:"1" help:"Names the world: cards, merchants, frauds."`
	History  int           `default:"5000" help:"Transactions that are sent as fast as they are answered before the measuring begins, so that features are not empty."`
	Deadline time.Duration `default:"50ms" help:"Deadline of each request."`
	For      time.Duration `placeholder:"DURATION" help:"End by itself after this time of measuring; the default is to run until Ctrl-C."`
	Summary  string        `placeholder:"FILE" help:"Write the figures to this file, as JSON, at the end."`
	Keep     string        `placeholder:"DIR" help:"Keep log and snapshots in this folder. The default is a temporary one."`

	Export       string `placeholder:"DIR" help:"Instead of all this write transactions.csv, labels.csv and patterns.csv into this folder, and exit."`
	Transactions int    `default:"100000" help:"How many transactions to export."`
}

// Validate names the first flag that is out of bounds.
func (c *demoCommand) Validate() error {
	switch {
	case !(c.Rate >= 1 && c.Rate <= 20_000):
		return fmt.Errorf("--rate is %v; must be 1 to 20000", c.Rate)
	case c.History < 0 || c.History > 1_000_000:
		return fmt.Errorf("--history is %d; must be 0 to 1000000", c.History)
	case c.Deadline < time.Millisecond || c.Deadline > 10*time.Second:
		return fmt.Errorf("--deadline is %s; must be 1ms to 10s", c.Deadline)
	case c.For < 0:
		return fmt.Errorf("--for is %s; must not be negative", c.For)
	case c.Transactions < 1 || c.Transactions > 100_000_000:
		return fmt.Errorf("--transactions is %d; must be 1 to 100000000", c.Transactions)
	}
	return nil
}

// Run decides until ctx or the time given ends.
func (c *demoCommand) Run(ctx context.Context, t *terminal) (err error) {
	if c.Export != "" {
		return exportTraffic(c.Export, c.Seed, c.Transactions, t.stdout)
	}
	if c.Summary != "" {
		// Better now than after an hour.
		if info, err := os.Stat(filepath.Dir(c.Summary)); err != nil || !info.IsDir() {
			return fmt.Errorf("--summary: %s is not a folder", filepath.Dir(c.Summary))
		}
	}
	world, err := newDemoWorld(c.Seed, c.Rate, time.Now().UnixMilli())
	if err != nil {
		return err
	}
	view := newDemoView(t)
	place, err := openDemoPlace(c, view.notices)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	view.announce(place)
	if err := place.ready(ctx, t.stderr); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return c.decide(ctx, place, world, view)
}

// decide sends the traffic and shows what becomes of it; at the end it sums up.
func (c *demoCommand) decide(ctx context.Context, place *demoPlace, world *demoWorld, view *demoView) error {
	client := newDemoClient(place.url, place.key, c.Deadline, world)
	defer client.close()
	sending, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		err := client.replay(sending, c.History)
		if err == nil {
			err = client.settle(sending, c.Rate)
		}
		if err == nil {
			place.signals.mark()
			if c.For > 0 {
				timer := time.AfterFunc(c.For, stop)
				defer timer.Stop()
			}
			err = client.send(sending, c.Rate)
		}
		if errors.Is(err, context.Canceled) {
			err = nil // Ctrl-C is how the demo ends
		}
		done <- err
	}()

	err := view.watch(func() demoFigures { return c.figures(place, client) }, done, place, stop)
	figures := c.figures(place, client)
	view.farewell(&figures)
	if c.Summary != "" {
		err = errors.Join(err, writeDemoSummary(c.Summary, &figures))
	}
	return err
}

// figures is everything that is known now.
func (c *demoCommand) figures(place *demoPlace, client *demoClient) demoFigures {
	return demoFigures{
		demoCounts: client.stats.counts(time.Now()), Signals: place.signals.read(), World: client.worldNow(), Asked: c.Rate, Seed: c.Seed,
		Notice: place.notices.last(),
	}
}
