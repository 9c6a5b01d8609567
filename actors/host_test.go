package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/decision"
	"scoremesh/feature"
)

// host is a node in small: a log in memory, a Redis for each shard that keeps the law, readers, catch-ups, and a System over them.
type host struct {
	t      testing.TB
	schema *feature.Schema
	system *System
	router *Router
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup
	orders chan func()

	mu struct {
		sync.Mutex
		more  *sync.Cond
		log   [][]feature.Record
		last  map[int]uint64 // of the conditional subjects
		redis map[ShardID]*lawRedis
		// loads is called before each load, when set.
		loads func(LoadRequest)
		ended bool
	}
}

func hostConfig() Config {
	c := DefaultConfig()
	c.Partitions = 4
	c.TickEvery = 5 * time.Millisecond
	c.FlushEvery = 10 * time.Millisecond
	c.WatermarkEvery = 20 * time.Millisecond
	c.RetryMin = 5 * time.Millisecond
	c.RetryMax = 20 * time.Millisecond
	c.MaxHot = 8
	c.FlushMax = 16
	return c
}

func newHost(t testing.TB, change func(*Config, *Edge)) *host {
	t.Helper()
	h := &host{t: t, schema: parseSchema(t), orders: make(chan func(), 1<<16)}
	h.mu.more = sync.NewCond(&h.mu)
	h.mu.redis = map[ShardID]*lawRedis{}
	h.mu.last = map[int]uint64{}
	h.ctx, h.stop = context.WithCancel(context.Background())
	c := hostConfig()
	edge := Edge{Restart: h.restart, Load: h.load, Flush: h.flush, Replay: h.replay, AskLast: h.askLast, Emit: h.emit}
	if change != nil {
		change(&c, &edge)
	}
	for _, kind := range feature.Kinds {
		for p := range c.Partitions {
			h.mu.redis[ShardID{kind, p}] = newLawRedis()
		}
	}
	var err error
	h.system, err = New(Options{Config: c, Schema: h.schema, Origin: own, Edge: edge, Now: func() int64 { return time.Now().UnixMilli() },
		Log: zerolog.Nop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	h.router = NewRouter(h.system)
	h.work.Go(func() { // one worker carries the orders out, in order
		for {
			select {
			case f := <-h.orders:
				f()
			case <-h.ctx.Done():
				return
			}
		}
	})
	h.work.Go(h.read)
	for id := range h.mu.redis {
		h.restart(id)
	}
	t.Cleanup(h.close)
	return h
}

func (h *host) close() {
	h.stop()
	h.mu.Lock()
	h.mu.ended = true
	h.mu.more.Broadcast()
	h.mu.Unlock()
	h.work.Wait()
	h.system.Close()
}

func (h *host) append(records ...feature.Record) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.log = append(h.mu.log, records)
	h.mu.more.Broadcast()
	return uint64(len(h.mu.log))
}

// batch waits for the batch at seq; nil at the end.
func (h *host) batch(seq uint64) []feature.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	for uint64(len(h.mu.log)) < seq && !h.mu.ended {
		h.mu.more.Wait()
	}
	if h.mu.ended {
		return nil
	}
	return slices.Clone(h.mu.log[seq-1])
}

// read is the live reader.
func (h *host) read() {
	for seq := uint64(1); ; seq++ {
		records := h.batch(seq)
		if records == nil || h.system.Dispatcher().Dispatch(h.ctx, own, seq, records) != nil {
			return
		}
	}
}

func (h *host) replay(q ReplayRequest) {
	h.work.Go(func() {
		h.mu.Lock()
		var head feature.Vector
		if n := len(h.mu.log); n > 0 {
			head = feature.VectorOf(own, feature.EndOf(uint64(n)))
		}
		h.mu.Unlock()
		c := h.system.Dispatcher().Catchup([]ReplayRequest{q}, head)
		from := c.From()
		for seq := from.Get(own).Seq() + 1; ; seq++ {
			if done, err := c.Finish(h.ctx); done || err != nil {
				return
			}
			records := h.batch(seq)
			if records == nil || c.Dispatch(h.ctx, own, seq, records) != nil {
				return
			}
		}
	})
}

func (h *host) restart(id ShardID) {
	h.mu.Lock()
	start := *h.mu.redis[id].start()
	h.mu.Unlock()
	h.system.Start(id, start)
}

func (h *host) order(f func()) { h.orders <- f }

func (h *host) load(q LoadRequest, done func(LoadResult, error)) {
	h.order(func() {
		h.mu.Lock()
		loads := h.mu.loads
		h.mu.Unlock()
		if loads != nil {
			loads(q)
		}
		h.mu.Lock()
		res := h.mu.redis[q.Shard].load(q)
		h.mu.Unlock()
		done(res, nil)
	})
}

func (h *host) flush(q FlushRequest, done func(FlushResult, error)) {
	h.order(func() {
		h.mu.Lock()
		res := h.mu.redis[q.Shard].flush(q)
		h.mu.Unlock()
		done(res, nil)
	})
}

func (h *host) askLast(partition int, done func(uint64, error)) {
	h.order(func() {
		h.mu.Lock()
		last := h.mu.last[partition]
		h.mu.Unlock()
		done(last, nil)
	})
}

func (h *host) emit(q EmitRequest, done func(uint64, error)) {
	h.order(func() {
		h.mu.Lock()
		if h.mu.last[q.Partition] != q.ExpectLast {
			h.mu.Unlock()
			done(0, errors.New("moved"))
			return
		}
		h.mu.log = append(h.mu.log, q.Records)
		h.mu.last[q.Partition] = uint64(len(h.mu.log))
		seq := h.mu.last[q.Partition]
		h.mu.more.Broadcast()
		h.mu.Unlock()
		done(seq, nil)
	})
}

func (h *host) wipe(id ShardID) {
	h.mu.Lock()
	h.mu.redis[id] = newLawRedis()
	h.mu.Unlock()
}

// ready waits until every shard serves.
func (h *host) ready() {
	h.t.Helper()
	h.until("all shards serve", func() bool { return h.system.Summary().Serving == len(h.system.boxes) })
}

func (h *host) until(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within 20 s; %+v", what, h.system.Summary())
		}
	}
}

// score does what a request does, with one outcome for all.
func (h *host) score(ctx context.Context, t *decision.Transaction, values []float64) (Attempted, error) {
	at, err := h.router.Attempt(ctx, t, values)
	if err != nil || at.Recorded != nil {
		return at, err
	}
	d := decided(t, decision.Approve)
	at.Handle.Decided(d)
	seq := h.append(feature.Record{Decision: d})
	at.Handle.Committed(feature.Position{Origin: own, Mark: feature.MarkOf(seq, 0)})
	return at, nil
}
