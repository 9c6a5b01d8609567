//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// measure sets everything up, measures in rounds, and takes everything down again.
func measure(ctx context.Context, o *options, progress io.Writer) (_ *results, err error) {
	dir, err := os.MkdirTemp(o.Dir, "scoremesh-bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	root, err := build(ctx, dir, progress)
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, root: root, progress: progress, workload: newWorkload(o.Cards, o.Merchants)}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	return b.rounds(ctx)
}

// build compiles the contestants into dir, and returns the module's folder.
func build(ctx context.Context, dir string, progress io.Writer) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's folder: %w", err)
	}
	root := strings.TrimSpace(string(out))
	fmt.Fprintln(progress, "building the contestants")
	c := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "./cmd/node", "./cmd/node/bench/naive")
	c.Dir, c.Stderr = root, progress
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("build the contestants: %w", err)
	}
	return root, nil
}

// bench is a run: its contestants and what they share.
type bench struct {
	options  *options
	dir      string
	root     string
	progress io.Writer
	workload *workload

	model       string
	children    []*child
	contestants []*contestant
}

// start starts every process and brings the contestants to the same state: every card has been seen once.
func (b *bench) start(ctx context.Context) error {
	if b.wants("naive") {
		if err := b.startNaive(ctx); err != nil {
			return fmt.Errorf("naive: %w", err)
		}
	}
	if b.wants("node_http") || b.wants("node_batch") {
		if err := b.startNode(ctx); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	if len(b.contestants) == 0 {
		return fmt.Errorf("--only: %s: no such contestant", strings.Join(b.options.Only, ", "))
	}
	return nil
}

func (b *bench) wants(name string) bool {
	return len(b.options.Only) == 0 || slices.Contains(b.options.Only, name)
}

// stop ends every process, the last first.
func (b *bench) stop() {
	for _, c := range slices.Backward(b.children) {
		c.stop()
	}
}

// rounds measures every contestant once a round, in turn.
func (b *bench) rounds(ctx context.Context) (*results, error) {
	all := make(map[string][]sample)
	for round := range b.options.Rounds {
		for _, c := range b.contestants {
			s, err := b.sample(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(b.progress, "round %d: %-10s %8.0f decisions/s, %6.1f us CPU each; at half of it p50 %.2f ms, p99 %.2f ms\n", round+1, c.name,
				s.perSecond, s.cpuMicros(), s.p50, s.p99)
			all[c.name] = append(all[c.name], s)
		}
	}
	r := &results{Machine: describeMachine(), Model: b.model, Cards: b.options.Cards, Merchants: b.options.Merchants, Rounds: b.options.Rounds}
	for _, c := range b.contestants {
		r.add(c.name, all[c.name])
		if c.stored == nil {
			continue
		}
		var err error
		if r.BytesPerEntity, err = c.stored(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r, nil
}

// sample measures one contestant in both phases.
func (b *bench) sample(ctx context.Context, c *contestant) (sample, error) {
	var s sample
	if err := b.closed(ctx, c, &s); err != nil {
		return s, fmt.Errorf("closed phase: %w", err)
	}
	rate := s.perSecond / float64(c.perRequest) / 2
	if rate == 0 {
		return s, fmt.Errorf("closed phase: no decision in %s: %s", b.options.Closed, s.other)
	}
	l, err := newLoad(c.target, b.options.Connections)
	if err != nil {
		return s, err
	}
	defer l.close()
	if err := l.open(ctx, b.options.Open, rate); err != nil {
		return s, fmt.Errorf("open phase: %w", err)
	}
	s.other.add(l.tally())
	s.p50, s.p99, s.p999 = percentile(l.latencies, .5), percentile(l.latencies, .99), percentile(l.latencies, .999)
	return s, nil
}

// closed measures rate, CPU and allocations at saturation.
func (b *bench) closed(ctx context.Context, c *contestant, s *sample) error {
	l, err := newLoad(c.target, min(b.options.Connections, c.connections))
	if err != nil {
		return err
	}
	defer l.close()
	loading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.closed(loading) }()
	err = b.watch(ctx, c, l, s)
	stop()
	return errorsOf(err, <-ended)
}

// watch lets the load settle, and then looks at its counters, at the processes' and at the server's, before and after the phase.
func (b *bench) watch(ctx context.Context, c *contestant, l *load, s *sample) error {
	if err := wait(ctx, b.options.Settle); err != nil {
		return err
	}
	mallocsBefore, decidedBefore, err := c.mallocs(ctx, l)
	if err != nil {
		return err
	}
	before, err := c.look(l)
	if err != nil {
		return err
	}
	if err := wait(ctx, b.options.Closed); err != nil {
		return err
	}
	after, err := c.look(l)
	if err != nil {
		return err
	}
	mallocsAfter, decidedAfter, err := c.mallocs(ctx, l)
	if err != nil {
		return err
	}
	s.other = after.tally.minus(before.tally)
	if decided := float64(s.other.committed); decided > 0 {
		s.perSecond = decided / after.at.Sub(before.at).Seconds()
		s.serverMicros = float64((after.server - before.server).Microseconds()) / decided
		s.redisMicros = float64((after.redis - before.redis).Microseconds()) / decided
	}
	if decided := float64(decidedAfter - decidedBefore); decided > 0 {
		s.allocations = (mallocsAfter - mallocsBefore) / decided
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
