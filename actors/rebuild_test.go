package actors

import (
	"errors"
	"fmt"
	"testing"

	"scoremesh/decision"
	"scoremesh/feature"
)

// crowd is one decision for each of n cards, from the first-th on.
func crowd(first, n int) []feature.Record {
	records := make([]feature.Record, n)
	for i := range records {
		records[i].Decision = decided(transaction(fmt.Sprint("t", first+i), fmt.Sprint("c", first+i), t0), decision.Approve)
	}
	return records
}

// loadAll answers every load order.
func (r *rig) loadAll() {
	r.Helper()
	for len(r.loads) > 0 {
		r.load()
	}
}

// settleFlush confirms the flush in flight, and holds it to the bound.
func (r *rig) settleFlush() {
	r.Helper()
	f := r.flush
	r.flush = nil
	if n := len(f.request.Entities); n > MaxFlush {
		r.Fatalf("a flush has %d entities, want %d at most: it can never be written", n, MaxFlush)
	}
	r.step(&flushed{generation: f.generation, result: r.redis.flush(f.request)})
}

func TestMoreThanAFlushHoldsIsRebuilt(t *testing.T) {
	const chunk, chunks = 1000, 12
	r := serving(t, func(c *Config) { c.MaxHot = 20_000 })
	for i := range chunks {
		r.commit(crowd(i*chunk, chunk)...)
		r.loadAll()
		r.flushNow()
	}
	r.redis = newLawRedis()
	r.commit()
	r.flushNow()
	if r.machine.status != statusRebuilding {
		t.Fatalf("got %v, want rebuilding", r.machine.status)
	}
	for i := range chunks {
		records := crowd(i*chunk, chunk)
		f := &fold{origin: own, from: feature.Mark(0), to: feature.EndOf(uint64(i + 1))}
		if i > 0 {
			f.from = feature.EndOf(uint64(i))
		}
		for n := range records {
			f.records = append(f.records, placed{feature.MarkOf(uint64(i+1), n), &records[n]})
		}
		r.step(f)
		r.loadAll()
		if r.flush != nil {
			r.settleFlush()
		}
	}
	r.step(&fold{origin: own, from: feature.EndOf(chunks), to: feature.EndOf(chunks + 1)})
	for r.tick(5000); r.flush != nil || len(r.loads) > 0; r.tick(5000) {
		r.loadAll()
		if r.flush != nil {
			r.settleFlush()
		}
	}
	r.catchUp()
	r.tick(5000)
	if r.flush != nil {
		r.settleFlush()
	}
	if got := len(r.redis.states); got != chunk*chunks {
		t.Errorf("redis has %d cards after the rebuild, want %d", got, chunk*chunks)
	}
	if want := feature.VectorOf(own, feature.EndOf(chunks+1)); !r.redis.watermark.Equal(want) {
		t.Errorf("got watermark %v, want %v", &r.redis.watermark, &want)
	}
}

func TestAnOutageCollectsNoMoreThanAFlushHolds(t *testing.T) {
	const chunk, chunks = 900, 14
	r := serving(t, func(c *Config) { c.MaxHot = 20_000 })
	for i := range chunks {
		r.commit(crowd(i*chunk, chunk)...)
		if r.tick(5000); r.flush != nil {
			f := r.flush
			r.flush = nil
			r.step(&flushed{generation: f.generation, err: errors.New("redis is away")})
		}
	}
	for range 50 {
		r.loadAll()
		if r.tick(10_000); r.flush != nil {
			r.settleFlush()
		}
	}
	if got := len(r.redis.states); got != chunk*chunks || len(r.machine.queue) > 0 {
		t.Errorf("redis has %d cards after the outage, want %d; %d folds wait", got, chunk*chunks, len(r.machine.queue))
	}
}

// A flush in the middle of a rebuild must not say that what it holds is as fresh as what was lost.
func TestAFlushWithinARebuildIsAsOldAsTheReplay(t *testing.T) {
	r := serving(t, func(c *Config) { c.FlushMax = 2 })
	f := &fold{origin: own, to: feature.EndOf(1), beaconAt: t0 + 60_000}
	r.seq = 1
	r.step(f)
	r.flushNow()
	r.redis = newLawRedis()
	r.commit()
	r.flushNow()
	records := crowd(0, 3)
	old := &fold{origin: own, to: feature.EndOf(1), beaconAt: t0 + 1000}
	for i := range records {
		old.records = append(old.records, placed{feature.MarkOf(1, i), &records[i]})
	}
	r.step(old)
	r.tick(1000)
	if r.machine.status != statusRebuilding || r.flush == nil {
		t.Fatalf("got %v, flush %v; want a flush within the rebuild", r.machine.status, r.flush != nil)
	}
	if got := r.flush.request.FoldedAt; got != t0+1000 {
		t.Errorf("the flush says that it is folded up to %d, want %d", got, t0+1000)
	}
}

func TestAClockThatWasSetBackStopsNoFlush(t *testing.T) {
	const hour = 3_600_000
	t.Run("after one", func(t *testing.T) {
		r := serving(t, nil)
		r.commit(crowd(0, 1)...)
		r.flushNow()
		r.now -= hour
		r.commit(crowd(0, 2)...)
		r.loadAll()
		r.flushNow()
	})
	t.Run("after a failed one", func(t *testing.T) {
		r := dirtied(t)
		f := r.flush
		r.flush = nil
		r.step(&flushed{generation: f.generation, err: errors.New("timeout")})
		r.now -= hour
		r.flushNow()
	})
}
