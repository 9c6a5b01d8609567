package actors

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
)

// BenchmarkAttempt is a whole registration through router, mailbox and actor, decided and given up again.
func BenchmarkAttempt(b *testing.B) {
	h := newHost(b, func(c *Config, e *Edge) {
		*c = DefaultConfig()
		c.Partitions = 16
		e.Flush = func(q FlushRequest, done func(FlushResult, error)) { done(FlushResult{Watermark: q.Target}, nil) }
	})
	h.ready()
	now := time.Now().UnixMilli()
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		values := make([]float64, len(h.schema.Names()))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		tx := transaction("", "", now)
		for pb.Next() {
			i := n.Add(1)
			t := *tx
			t.ID, t.Card = "t", cards[i%int64(len(cards))]
			at, err := h.router.Attempt(ctx, &t, values)
			if err != nil {
				continue // a retry that waits too long behind its twin
			}
			if at.Recorded == nil {
				at.Handle.Abandon(nil)
			}
		}
	})
}

var cards = func() (all [4096]string) {
	for i := range all {
		all[i] = fmt.Sprint("card-", i)
	}
	return all
}()

// BenchmarkFold is one record through the card machine, in ranges of 256 over 1000 cards in memory; flushes are not part of it.
func BenchmarkFold(b *testing.B) {
	c := DefaultConfig()
	c.Partitions = 1
	c.FlushMax = 1 << 16
	s := parseSchema(b)
	m := newShard(ShardID{feature.Card, 0}, c, s, own)
	m.step(t0, &Start{})
	const size = 256
	at := int64(t0)
	var seq uint64
	next := func() *fold {
		f := &fold{origin: own, to: feature.EndOf(seq + 1)}
		if seq > 0 {
			f.from = feature.EndOf(seq)
		}
		seq++
		for i := range size {
			at += 5000
			t := transaction(fmt.Sprint(at), cards[(int(seq)*size+i)%1000], at)
			f.records = append(f.records, placed{feature.MarkOf(seq, i), &feature.Record{Decision: decided(t, decision.Approve)}})
		}
		return f
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for done := 0; done < b.N; done += size {
		f := next()
		b.StartTimer()
		m.step(t0, f)
		b.StopTimer()
		if m.counts.records != seq*size {
			b.Fatalf("folded %d records, want %d", m.counts.records, seq*size)
		}
	}
}
