package actors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"scoremesh/decision"
	"scoremesh/feature"
)

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t testing.TB, err error, want decision.Code) {
	t.Helper()
	if !errors.Is(err, &decision.Error{Code: want}) {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestFiftyAtOnceSeeEachOther(t *testing.T) {
	h := newHost(t, nil)
	h.ready()
	at := time.Now().UnixMilli()
	var seen [50]float64
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() {
			values := make([]float64, len(h.schema.Names()))
			if _, err := h.score(within(t, 5*time.Second), transaction(fmt.Sprint("t", i), "c1", at), values); err != nil {
				t.Error(err)
			}
			low, _ := h.schema.Range(feature.Card)
			seen[i] = values[low]
		})
	}
	all.Wait()
	slices.Sort(seen[:])
	for i, got := range seen {
		if got != float64(i) {
			t.Fatalf("got counts %v, want 0 to 49, each once", seen)
		}
	}
}

// TestNodeComesToRestAtTheFoldOfItsLog runs traffic with retries through the real actors while shards are restarted and their Redis is
// wiped, and compares what was flushed with a plain fold of the log.
func TestNodeComesToRestAtTheFoldOfItsLog(t *testing.T) {
	h := newHost(t, nil)
	h.ready()
	base := time.Now().UnixMilli()
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 1))
			values := make([]float64, len(h.schema.Names()))
			for i := range 150 {
				n := rng.IntN(400)
				tx := transaction(fmt.Sprint("t", n), fmt.Sprint("c", n%40), base+int64(n))
				tx.Device, tx.Merchant = fmt.Sprint("d", n%7), fmt.Sprint("m", n%11)
				if _, err := h.score(within(t, 5*time.Second), tx, values); err != nil && !errors.Is(err, &decision.Error{Code: decision.CodeOverloaded}) {
					t.Error(err)
				}
				switch id := h.system.boxes[rng.IntN(len(h.system.boxes))].id; {
				case i%25 == 10:
					h.restart(id)
				case i%25 == 20:
					h.wipe(id)
				case i%10 == 0:
					h.append(feature.Record{Beacon: &feature.Beacon{At: time.Now().UnixMilli()}})
				}
			}
		})
	}
	clients.Wait()
	// Beacons go on, so that a shard whose Redis was wiped last notices.
	h.until("everything is flushed", func() bool {
		h.append(feature.Record{Beacon: &feature.Beacon{At: time.Now().UnixMilli()}})
		return h.flushedWhole()
	})
	h.ready()
	if err := h.system.Drain(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// flushedWhole says that Redis holds what a plain fold of the log gives, and that no card owes anything.
func (h *host) flushedWhole() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, kind := range feature.Kinds {
		all := map[string]*feature.Entity{}
		for i, batch := range h.mu.log {
			for j := range batch {
				id := batch[j].Touches(kind)
				if id == "" {
					continue
				}
				if all[id] == nil {
					all[id] = h.schema.New(kind)
				}
				all[id].Apply(feature.Position{Origin: own, Mark: feature.MarkOf(uint64(i+1), j)}, &batch[j])
			}
		}
		for id, want := range all {
			shard := ShardID{kind, feature.PartitionOf(kind, id, h.system.config.Partitions)}
			if !bytes.Equal(h.mu.redis[shard].states[id], want.Append(nil)) || want.Owes(own) {
				return false
			}
		}
	}
	return true
}

func TestHostPanicCostsNoLaterMessage(t *testing.T) {
	var bad atomic.Bool
	var restarts atomic.Int32
	h := newHost(t, func(c *Config, e *Edge) {
		flush, restart := e.Flush, e.Restart
		e.Flush = func(q FlushRequest, done func(FlushResult, error)) {
			if bad.CompareAndSwap(true, false) {
				panic("broken edge")
			}
			flush(q, done)
		}
		e.Restart = func(id ShardID) { restarts.Add(1); restart(id) }
	})
	h.ready()
	tx := transaction("t1", "c1", time.Now().UnixMilli())
	values := make([]float64, len(h.schema.Names()))
	for round := range 5 { // Hollywood would end the process at the fourth
		bad.Store(true)
		h.append(feature.Record{Beacon: &feature.Beacon{At: 1}})
		h.until("a restart was asked for", func() bool { return restarts.Load() == int32(round+1) })
	}
	h.ready()
	if _, err := h.score(within(t, 5*time.Second), tx, values); err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, kind := range feature.Kinds {
		total += testutil.ToFloat64(h.system.metrics.kinds[kind].panics)
	}
	if total != 5 {
		t.Errorf("got %v panics counted, want 5", total)
	}
}

func TestLateReplyReachesNobodyElse(t *testing.T) {
	h := newHost(t, func(c *Config, e *Edge) { c.MaxHot = 1 })
	h.ready()
	base := time.Now().UnixMilli()
	var all sync.WaitGroup
	var late atomic.Int32
	for c := range 16 {
		all.Go(func() {
			values := make([]float64, len(h.schema.Names()))
			for i := range 300 {
				tx := transaction(fmt.Sprint("t", c, "-", i), fmt.Sprint("c", i%5), base)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%4)*50*time.Microsecond)
				at, err := h.router.Attempt(ctx, tx, values)
				cancel()
				switch {
				case err != nil:
					late.Add(1)
				case at.Handle.pending.transaction != tx:
					t.Errorf("got the registration of %s for %s", at.Handle.pending.transaction.ID, tx.ID)
				default:
					at.Handle.Abandon(nil)
				}
			}
		})
	}
	all.Wait()
	if late.Load() == 0 {
		t.Error("no attempt was late: the test shows nothing")
	}
}

func TestFullMailboxRefuses(t *testing.T) {
	gate := make(chan struct{})
	var gated atomic.Bool
	h := newHost(t, func(c *Config, e *Edge) {
		c.MaxMailbox = 4
		flush := e.Flush
		e.Flush = func(q FlushRequest, done func(FlushResult, error)) {
			if gated.Load() && q.Shard.Kind == feature.Card {
				<-gate // the edge must not block; here it holds the actor
			}
			flush(q, done)
		}
	})
	h.ready()
	gated.Store(true)
	tx := transaction("t1", "c1", time.Now().UnixMilli())
	box := h.system.box(feature.Card, "c1")
	h.append(feature.Record{Decision: decided(tx, decision.Approve)})
	h.until("the shard is held", func() bool {
		return box.ticked.Load() && box.requests.Load() == 0 && gated.Load() && len(gate) == 0 && h.held(box)
	})
	var waiting sync.WaitGroup
	for i := range 4 {
		waiting.Go(func() {
			values := make([]float64, len(h.schema.Names()))
			_, err := h.router.Attempt(within(t, 10*time.Second), transaction(fmt.Sprint("x", i), "c1", tx.At), values)
			if err != nil {
				t.Error(err)
			}
		})
	}
	h.until("the mailbox is full", func() bool { return box.requests.Load() == 4 })
	_, err := h.router.Attempt(within(t, time.Second), transaction("x", "c1", tx.At), nil)
	wantCode(t, err, decision.CodeOverloaded)
	gated.Store(false)
	close(gate)
	waiting.Wait()
}

// held says that a tick stays in the mailbox.
func (h *host) held(b *mailbox) bool {
	for range 20 {
		if !b.ticked.Load() {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

func TestSlowShardHoldsItsReaderUntilItGoesOn(t *testing.T) {
	h := newHost(t, func(c *Config, e *Edge) { c.MaxFolds = 2; c.IdleAfter = time.Second; c.MaxHot = 1 })
	h.ready()
	h.stop() // no live reader and no worker: loads stay open
	h.mu.Lock()
	h.mu.ended = true
	h.mu.more.Broadcast()
	h.mu.Unlock()
	h.work.Wait()
	id := ShardID{feature.Card, feature.PartitionOf(feature.Card, "c1", 4)}
	h.system.Start(id, Start{Watermark: feature.VectorOf(own, feature.EndOf(1))}) // so that c1 is cold
	d := h.system.Dispatcher()
	batch := func() []feature.Record {
		return []feature.Record{{Decision: decided(transaction("t1", "c1", t0), decision.Approve)}}
	}
	if err := d.Dispatch(context.Background(), own, 1, batch()); err != nil {
		t.Fatal(err)
	}
	var seq uint64 = 2
	var err error
	for ; seq < 20 && err == nil; seq++ {
		err = d.Dispatch(within(t, 100*time.Millisecond), own, seq, batch())
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v after %d batches, want the reader to be held", err, seq)
	}
	if got := len(h.system.shard(id).slots); got != 2 {
		t.Errorf("got %d folds waiting, want 2", got)
	}
}

func TestDeadlinesInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := func(LoadRequest, func(LoadResult, error)) {}
		s, err := New(Options{Config: DefaultConfig(), Schema: parseSchema(t), Origin: own, Now: func() int64 { return time.Now().UnixMilli() },
			Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(), Edge: Edge{Load: never, Restart: func(ShardID) {}, Replay: func(ReplayRequest) {},
				Flush:   func(q FlushRequest, done func(FlushResult, error)) { done(FlushResult{Watermark: q.Target}, nil) },
				AskLast: func(int, func(uint64, error)) {}, Emit: func(EmitRequest, func(uint64, error)) {}}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r := NewRouter(s)
		values := make([]float64, len(s.schema.Names()))
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err = r.Attempt(ctx, transaction("t1", "c1", began.UnixMilli()), values)
		wantCode(t, err, decision.CodeDeadline)
		if waited := time.Since(began); waited != 50*time.Millisecond {
			t.Errorf("got an answer after %v, want 50ms", waited)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		box := s.box(feature.Card, "c1")
		if n := box.requests.Load(); n != 0 {
			t.Errorf("got %d requests in the mailbox, want none", n)
		}
		// A requester that waits when the system closes hears so.
		refused := make(chan error, 1)
		go func() {
			_, err := r.Attempt(context.Background(), transaction("t2", "c1", time.Now().UnixMilli()), values)
			refused <- err
		}()
		synctest.Wait()
		s.Close()
		wantCode(t, <-refused, decision.CodeNotReady)
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		key    string
		change func(*Config)
	}{
		{"partitions", func(c *Config) { c.Partitions = 0 }},
		{"max_hot", func(c *Config) { c.MaxHot = -1 }},
		{"watermark_every", func(c *Config) { c.WatermarkEvery = c.FlushEvery / 2 }},
		{"retry_max", func(c *Config) { c.RetryMax = c.RetryMin - 1 }},
	} {
		config := DefaultConfig()
		c.change(&config)
		if err := config.Validate(); err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.key+":")) {
			t.Errorf("got %v, want an error that names %s", err, c.key)
		}
	}
	if _, err := New(Options{Config: DefaultConfig()}); err == nil {
		t.Error("got no error for missing options")
	}
	config := DefaultConfig()
	if err := config.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestViewThroughTheRouter(t *testing.T) {
	h := newHost(t, nil)
	h.ready()
	tx := transaction("t1", "c1", time.Now().UnixMilli())
	h.append(feature.Record{Decision: decided(tx, decision.Approve)})
	for _, c := range []struct {
		kind feature.Kind
		id   string
	}{{feature.Card, "c1"}, {feature.Merchant, "m1"}} {
		h.until("the record is seen", func() bool {
			v, err := h.router.View(within(t, time.Second), c.kind, c.id)
			if err != nil {
				t.Fatal(err)
			}
			return v.Features[0].Value == 1 && v.Newest == tx.At
		})
	}
}
