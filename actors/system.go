package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anthdm/hollywood/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/feature"
)

// Options is what a System is made of. Every field is required.
type Options struct {
	Config Config
	Schema *feature.Schema
	// Origin is the own log.
	Origin feature.Origin
	Edge   Edge
	// Now is the clock, in Unix milliseconds.
	Now     func() int64
	Log     zerolog.Logger
	Metrics prometheus.Registerer
}

func (o *Options) validate() error {
	if err := o.Config.Validate(); err != nil {
		return err
	}
	switch {
	case o.Schema == nil:
		return errors.New("actors: no schema")
	case o.Origin.Region == "" || o.Origin.Epoch == 0:
		return errors.New("actors: the own origin needs region and epoch")
	case o.Now == nil:
		return errors.New("actors: no clock")
	case o.Metrics == nil:
		return errors.New("actors: no metrics registerer")
	case o.Edge.Restart == nil || o.Edge.Load == nil || o.Edge.Flush == nil || o.Edge.Replay == nil || o.Edge.AskLast == nil || o.Edge.Emit == nil:
		return errors.New("actors: the edge lacks a function")
	}
	return nil
}

// System owns the shards of one schema version on this node, and the goroutine that ticks them.
type System struct {
	config     Config
	schema     *feature.Schema
	now        func() int64
	engine     *actor.Engine
	boxes      []*mailbox // by kind, then partition
	dispatcher *Dispatcher
	metrics    *metrics

	closing atomic.Bool
	closed  chan struct{}
	ticker  sync.WaitGroup
}

// New spawns the shards and begins to tick them. Each waits for its first System.Start.
func New(o Options) (*System, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	engine, err := actor.NewEngine(actor.NewEngineConfig())
	if err != nil {
		return nil, fmt.Errorf("make the actor engine: %w", err)
	}
	s := &System{config: o.Config, schema: o.Schema, now: o.Now, engine: engine, closed: make(chan struct{})}
	s.metrics = newMetrics(o.Metrics, s)
	for _, kind := range feature.Kinds {
		for partition := range o.Config.Partitions {
			s.boxes = append(s.boxes, s.spawn(ShardID{kind, partition}, &o))
		}
	}
	s.dispatcher = newDispatcher(s)
	s.ticker.Go(s.tick)
	if err := s.metrics.register(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// spawn is the only place that spawns: Hollywood answers a second spawn of a name with the first actor.
func (s *System) spawn(id ShardID, o *Options) *mailbox {
	box := &mailbox{id: id, engine: s.engine, limit: int64(o.Config.MaxMailbox), slots: make(chan struct{}, o.Config.MaxFolds)}
	sh := &shell{box: box, machine: newShard(id, o.Config, o.Schema, o.Origin), edge: o.Edge, now: o.Now, log: o.Log,
		metrics: s.metrics.of(id.Kind)}
	// The actor may not receive before its mailbox knows the way to it: nothing is sent before spawn returns.
	box.pid = s.engine.Spawn(func() actor.Receiver { return sh }, id.Kind.String(), actor.WithID(fmt.Sprint(id.Partition)),
		actor.WithMaxRestarts(-1), actor.WithInboxSize(256))
	return box
}

// tick ticks all shards until the System closes.
func (s *System) tick() {
	t := time.NewTicker(s.config.TickEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.dispatcher.advance()
			for _, b := range s.boxes {
				b.tick()
			}
		case <-s.closed:
			return
		}
	}
}

func (s *System) shard(id ShardID) *mailbox {
	return s.boxes[int(id.Kind)*s.config.Partitions+id.Partition]
}

func (s *System) box(kind feature.Kind, id string) *mailbox {
	return s.shard(ShardID{kind, feature.PartitionOf(kind, id, s.config.Partitions)})
}

// Dispatcher takes log batches to the shards.
func (s *System) Dispatcher() *Dispatcher { return s.dispatcher }

// Start gives a shard what the speed layer holds of it; see Start.
func (s *System) Start(id ShardID, m Start) { s.shard(id).send(&m) }

// Restore gives a replaying shard a snapshot; see Restore.
func (s *System) Restore(id ShardID, m Restore) { s.shard(id).send(&m) }

// Summary is the state of the shards in figures.
type Summary struct {
	Starting, Replaying, Rebuilding, Serving int
	// FoldedAt is that of the shard that is furthest behind, as of its last tick: the time of the newest beacon it has folded, Unix milliseconds.
	FoldedAt int64
}

// Summary counts the shards by status.
func (s *System) Summary() Summary {
	var sum Summary
	for i, b := range s.boxes {
		switch status(b.status.Load()) {
		case statusStarting:
			sum.Starting++
		case statusReplaying:
			sum.Replaying++
		case statusRebuilding:
			sum.Rebuilding++
		case statusServing:
			sum.Serving++
		}
		if at := b.foldedAt.Load(); i == 0 || at < sum.FoldedAt {
			sum.FoldedAt = at
		}
	}
	return sum
}

// Drain makes the shards refuse attempts, and waits until the registered ones have come back through the log and everything is flushed, or
// until ctx ends.
func (s *System) Drain(ctx context.Context) error {
	waits := make([]chan struct{}, len(s.boxes))
	for i, b := range s.boxes {
		waits[i] = make(chan struct{})
		b.send(&draining{done: waits[i]})
	}
	for i, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return fmt.Errorf("drain shard %s/%d: %w", s.boxes[i].id.Kind, s.boxes[i].id.Partition, ctx.Err())
		}
	}
	return nil
}

// Close stops the ticker and the shards, and waits for them. Requests that wait get not_ready. The host must have stopped its log
// readers; results that come later are dropped.
func (s *System) Close() {
	if !s.closing.CompareAndSwap(false, true) {
		<-s.closed
		return
	}
	close(s.closed)
	s.ticker.Wait()
	stops := make([]context.Context, len(s.boxes))
	for i, b := range s.boxes {
		stops[i] = s.engine.Poison(b.pid)
	}
	for _, stop := range stops {
		<-stop.Done()
	}
	s.metrics.unregister()
}
