package actors

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
)

func TestAttemptSeesTheOnesBeforeIt(t *testing.T) {
	r := serving(t, nil)
	a, p := r.registered(transaction("t1", "c1", t0))
	if got := r.value(a, "card_count"); got != 0 {
		t.Errorf("got %v transactions before the first, want 0", got)
	}
	b, _ := r.registered(transaction("t2", "c1", t0))
	if count, declines := r.value(b, "card_count"), r.value(b, "card_declines"); count != 1 || declines != 0 {
		t.Errorf("an undecided attempt: got count %v, declines %v, want 1, 0", count, declines)
	}
	r.notice(noticeDecided, p, decided(p.transaction, decision.Decline), feature.Position{})
	c, _ := r.registered(transaction("t3", "c1", t0))
	if count, declines := r.value(c, "card_count"), r.value(c, "card_declines"); count != 2 || declines != 1 {
		t.Errorf("a decided attempt: got count %v, declines %v, want 2, 1", count, declines)
	}
}

func TestAttemptLeavesTheOverlayWhenItsRecordIsFolded(t *testing.T) {
	for _, order := range []string{"notice first", "record first"} {
		t.Run(order, func(t *testing.T) {
			r := serving(t, nil)
			_, p := r.registered(transaction("t1", "c1", t0))
			d := decided(p.transaction, decision.Approve)
			r.notice(noticeDecided, p, d, feature.Position{})
			at := feature.Position{Origin: own, Mark: feature.MarkOf(1, 0)}
			if order == "notice first" {
				r.notice(noticeCommitted, p, nil, at)
				if r.machine.pendings != 1 {
					t.Fatalf("got %d pending before the record is folded, want 1", r.machine.pendings)
				}
				r.commit(feature.Record{Decision: d})
			} else {
				r.commit(feature.Record{Decision: d})
				r.notice(noticeCommitted, p, nil, at)
			}
			if r.machine.pendings != 0 {
				t.Errorf("got %d pending, want 0", r.machine.pendings)
			}
			b, _ := r.registered(transaction("t2", "c1", t0))
			if got := r.value(b, "card_count"); got != 1 {
				t.Errorf("got count %v, want 1", got)
			}
		})
	}
}

func TestRetryGetsTheDecisionOnce(t *testing.T) {
	r := serving(t, nil)
	tx := transaction("t1", "c1", t0)
	_, p := r.registered(tx)
	d := decided(tx, decision.StepUp)
	want := func(a *attempt, durability decision.Durability) {
		t.Helper()
		x := r.got(a)
		if x.recorded == nil || x.recorded.Durability != durability || !x.recorded.Replayed || x.recorded.Decision.Outcome != decision.StepUp {
			t.Fatalf("got %+v (%+v), want the recorded step_up, %s", x, x.recorded, durability)
		}
	}
	early := r.ask(tx)
	r.waits(early)
	r.notice(noticeDecided, p, d, feature.Position{})
	r.waits(early)
	r.notice(noticePended, p, nil, feature.Position{})
	want(early, decision.Pending)
	want(r.ask(tx), decision.Pending)
	at := feature.Position{Origin: own, Mark: feature.MarkOf(1, 0)}
	r.notice(noticeCommitted, p, nil, at)
	want(r.ask(tx), decision.Committed)
	r.commit(feature.Record{Decision: d})
	want(r.ask(tx), decision.Committed)
	if r.machine.pendings != 0 || r.machine.waiting != 0 {
		t.Errorf("got %d pending, %d waiting, want none", r.machine.pendings, r.machine.waiting)
	}
}

func TestAttemptIsRefused(t *testing.T) {
	other := transaction("t1", "c1", t0)
	other.Amount++
	for _, c := range []struct {
		name string
		want decision.Code
		ask  func(*rig) *attempt
	}{
		{"with another body, in flight", decision.CodeConflict, func(r *rig) *attempt {
			r.registered(transaction("t1", "c1", t0))
			return r.ask(other)
		}},
		{"with another body, committed", decision.CodeConflict, func(r *rig) *attempt {
			r.commit(feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)})
			return r.ask(other)
		}},
		{"past the idempotency period", decision.CodeExpired, func(r *rig) *attempt {
			tx := transaction("t1", "c1", t0)
			r.commit(feature.Record{Decision: decided(tx, decision.Approve)},
				feature.Record{Decision: decided(transaction("t2", "c1", t0+25*time.Hour.Milliseconds()), decision.Approve)})
			return r.ask(tx)
		}},
		{"when only the retraction of a duplicate has come", decision.CodeNotReady, func(r *rig) *attempt {
			tx := transaction("t1", "c1", t0)
			r.commit(feature.Record{Retraction: &feature.Retraction{Loser: feature.Position{Origin: own, Mark: 99}, Facts: feature.FactsOf(decided(tx, decision.Approve))}})
			return r.ask(tx)
		}},
		{"when folded and pending ones fill the card", decision.CodeSaturated, func(r *rig) *attempt {
			for i := range 60 {
				r.commit(feature.Record{Decision: decided(transaction(fmt.Sprint("a", i), "c1", t0), decision.Approve)})
			}
			for i := range 40 {
				r.registered(transaction(fmt.Sprint("b", i), "c1", t0))
			}
			return r.ask(transaction("t1", "c1", t0))
		}},
		{"past its deadline", decision.CodeDeadline, func(r *rig) *attempt {
			a := &attempt{transaction: other, key: other.Key(), deadline: r.now, answer: make(chan reply, 1)}
			r.step(a)
			return a
		}},
		{"when draining", decision.CodeNotReady, func(r *rig) *attempt {
			r.step(&draining{done: make(chan struct{})})
			return r.ask(other)
		}},
		{"when too many retries wait", decision.CodeOverloaded, func(r *rig) *attempt {
			tx := transaction("t1", "c1", t0)
			r.registered(tx)
			for range r.machine.config.MaxWaiters {
				r.waits(r.ask(tx))
			}
			return r.ask(tx)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := serving(t, nil)
			a := c.ask(r)
			r.wantCode(r.got(a), c.want)
		})
	}
}

func TestFullCardStillAnswersRetries(t *testing.T) {
	r := serving(t, nil)
	for i := range 100 {
		r.registered(transaction(fmt.Sprint("t", i), "c1", t0))
	}
	r.waits(r.ask(transaction("t7", "c1", t0)))
}

func TestUnfinishedAttempts(t *testing.T) {
	t.Run("an undecided one is forgotten a grace after its deadline", func(t *testing.T) {
		r := serving(t, nil)
		tx := transaction("t1", "c1", t0)
		_, p := r.registered(tx)
		r.tick(1900)
		if r.machine.pendings != 1 {
			t.Fatal("forgotten before deadline and grace were over")
		}
		w := r.ask(tx)
		r.tick(150)
		if r.machine.pendings != 0 {
			t.Fatalf("got %d pending, want 0", r.machine.pendings)
		}
		r.wantCode(r.got(w), decision.CodeDeadline)
		// Decided after all: it counts again.
		r.notice(noticeDecided, p, decided(tx, decision.Approve), feature.Position{})
		b, _ := r.registered(transaction("t2", "c1", t0))
		if got := r.value(b, "card_count"); got != 1 {
			t.Errorf("got count %v, want 1", got)
		}
	})
	t.Run("a decided one stays", func(t *testing.T) {
		r := serving(t, nil)
		_, p := r.registered(transaction("t1", "c1", t0))
		r.notice(noticeDecided, p, decided(p.transaction, decision.Approve), feature.Position{})
		r.tick(3_600_000)
		if r.machine.pendings != 1 {
			t.Errorf("got %d pending, want 1", r.machine.pendings)
		}
	})
	t.Run("an abandoned one leaves at once, and its retries hear why", func(t *testing.T) {
		r := serving(t, nil)
		tx := transaction("t1", "c1", t0)
		_, p := r.registered(tx)
		w := r.ask(tx)
		r.notice(noticeAbandoned, p, nil, feature.Position{})
		if x := r.got(w); x.err != error(errUndecided) {
			t.Errorf("got %+v, want the error it was abandoned with", x)
		}
		b, _ := r.registered(tx)
		if got := r.value(b, "card_count"); got != 0 {
			t.Errorf("got count %v, want 0", got)
		}
	})
	t.Run("a requester that gave up leaves nothing", func(t *testing.T) {
		r := serving(t, nil)
		a := r.ask(transaction("t1", "c1", t0))
		r.step(&notice{kind: noticeGaveUp, attempt: a})
		if r.machine.pendings != 0 {
			t.Errorf("got %d pending, want 0", r.machine.pendings)
		}
	})
	t.Run("a decision that was forgotten by its requester is no answer", func(t *testing.T) {
		r := serving(t, nil)
		tx := transaction("t1", "c1", t0)
		_, p := r.registered(tx)
		w := r.ask(tx)
		r.notice(noticeCommitted, p, nil, feature.Position{Origin: own, Mark: feature.MarkOf(1, 0)})
		if x := r.got(w); x.err != error(errUndecided) {
			t.Errorf("got %+v, want an error", x)
		}
	})
}

// cold is a serving rig whose card c1, with one transaction, is in Redis and not in memory.
func cold(t *testing.T, change func(*Config)) *rig {
	r := serving(t, change)
	r.commit(feature.Record{Decision: decided(transaction("t0", "c1", t0), decision.Approve)})
	r.flushNow()
	r.tick(millis(r.machine.config.IdleAfter) + 1)
	if len(r.machine.hot) != 0 {
		t.Fatalf("got %d entities in memory, want all evicted", len(r.machine.hot))
	}
	r.loads = nil
	return r
}

func TestColdCard(t *testing.T) {
	tx := transaction("t1", "c1", t0)
	t.Run("is loaded before it is answered", func(t *testing.T) {
		r := cold(t, nil)
		a := r.ask(tx)
		b := r.ask(transaction("t2", "c1", t0))
		r.waits(a)
		if len(r.loads) != 1 || !slices.Equal(r.loads[0].ids, []string{"c1"}) {
			t.Fatalf("got loads %v, want one of c1", r.loads)
		}
		r.load()
		if x := r.got(a); x.pending == nil || x.degraded != 0 {
			t.Fatalf("got %+v, want an unmarked registration", x)
		}
		r.got(b)
		if x, y := r.value(a, "card_count"), r.value(b, "card_count"); x != 1 || y != 2 {
			t.Errorf("got counts %v, %v, want 1, 2", x, y)
		}
	})
	t.Run("is answered without its state, marked, when Redis does not answer", func(t *testing.T) {
		r := cold(t, nil)
		a := r.ask(tx)
		r.step(&loaded{order: r.loads[0], err: fmt.Errorf("timeout")})
		x := r.got(a)
		want := []string{decision.DegradedIdempotency, decision.DegradedSpeedLayer}
		if x.pending == nil || !slices.Equal(degradedNames[x.degraded], want) {
			t.Errorf("got %+v %v, want a registration marked %v", x, degradedNames[x.degraded], want)
		}
	})
	t.Run("is not waited for past the deadline", func(t *testing.T) {
		r := cold(t, nil)
		a := r.ask(tx)
		r.tick(1001)
		r.wantCode(r.got(a), decision.CodeDeadline)
		r.load()
		if r.machine.pendings != 0 || r.machine.waiting != 0 {
			t.Errorf("got %d pending, %d waiting, want none", r.machine.pendings, r.machine.waiting)
		}
	})
	t.Run("is waited for by a bounded number", func(t *testing.T) {
		r := cold(t, func(c *Config) { c.MaxWaiting = 2 })
		r.ask(tx)
		r.ask(transaction("t2", "c1", t0))
		x := r.got(r.ask(transaction("t3", "c9", t0)))
		r.wantCode(x, decision.CodeOverloaded)
		if x.err.(*decision.Error).RetryAfter == 0 {
			t.Error("got no advice when to try again")
		}
	})
	t.Run("of a wiped Redis starts a rebuild, and is answered as new, marked", func(t *testing.T) {
		r := cold(t, nil)
		a := r.ask(tx)
		r.redis = newLawRedis()
		r.load()
		if r.machine.status != statusRebuilding {
			t.Fatalf("got status %v, want rebuilding", r.machine.status)
		}
		want := []string{decision.DegradedIdempotency, decision.DegradedRebuilding}
		if x := r.got(a); !slices.Equal(degradedNames[x.degraded], want) {
			t.Errorf("got %v, want %v", degradedNames[x.degraded], want)
		}
		if q := r.replays[len(r.replays)-1]; q.From.Len() != 0 {
			t.Errorf("got a replay from %v, want from the beginning", &q.From)
		}
	})
}

func TestRebuildKeepsWhatIsInMemory(t *testing.T) {
	r := serving(t, nil)
	tx := transaction("t0", "c1", t0)
	first := feature.Record{Decision: decided(tx, decision.Approve)}
	r.commit(first)
	r.flushNow()
	r.redis = newLawRedis()
	r.commit()
	r.flushNow()
	if r.machine.status != statusRebuilding || r.machine.counts.rebuilds != 1 {
		t.Fatalf("got %v, %d rebuilds, want one", r.machine.status, r.machine.counts.rebuilds)
	}
	if len(r.machine.dirty) != 1 {
		t.Errorf("got %d dirty, want the card: it must stay in memory until it is stored again", len(r.machine.dirty))
	}
	if x := r.got(r.ask(tx)); x.recorded == nil {
		t.Errorf("got %+v, want the recorded decision: the card is in memory", x)
	}
	a := r.ask(transaction("t1", "c1", t0))
	if x := r.got(a); x.degraded != degradedRebuilding || r.value(a, "card_count") != 1 {
		t.Errorf("got %v, count %v, want rebuilding and 1", degradedNames[x.degraded], r.value(a, "card_count"))
	}
	r.step(&fold{origin: own, from: 0, to: feature.EndOf(2), records: []placed{{feature.MarkOf(1, 0), &first}}})
	r.catchUp()
	r.flushNow()
	if !r.redis.watermark.Equal(feature.VectorOf(own, feature.EndOf(2))) || r.redis.states["c1"] == nil || len(r.machine.dirty) != 0 {
		t.Errorf("after the rebuild: watermark %v, card stored %v, %d dirty", &r.redis.watermark, r.redis.states["c1"] != nil, len(r.machine.dirty))
	}
}

func TestAttemptBeforeTheFirstReplay(t *testing.T) {
	t.Run("waits for it", func(t *testing.T) {
		r := newRig(t, nil)
		a := r.ask(transaction("t1", "c1", t0))
		r.step(r.redis.start())
		b := r.ask(transaction("t2", "c1", t0))
		r.waits(a)
		r.waits(b)
		r.catchUp()
		r.got(a)
		if r.got(b); r.value(b, "card_count") != 1 {
			t.Errorf("got count %v, want 1", r.value(b, "card_count"))
		}
	})
	t.Run("until its deadline", func(t *testing.T) {
		r := newRig(t, nil)
		a := r.ask(transaction("t1", "c1", t0))
		r.tick(1001)
		r.wantCode(r.got(a), decision.CodeDeadline)
	})
	t.Run("is answered, marked, if configured so", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.ServeWhileReplaying = true })
		for range 2 {
			x := r.got(r.ask(transaction(fmt.Sprint(r.now), "c1", t0)))
			want := []string{decision.DegradedIdempotency, decision.DegradedRebuilding}
			if x.pending == nil || !slices.Equal(degradedNames[x.degraded], want) {
				t.Errorf("got %+v %v, want a registration marked %v", x, degradedNames[x.degraded], want)
			}
			r.now++
			r.step(r.redis.start())
		}
	})
}

func TestPanicWhileAnsweringCostsThatAnswerOnly(t *testing.T) {
	r := serving(t, nil)
	r.registered(transaction("t1", "c1", t0))
	tx := transaction("t2", "c1", t0)
	a := &attempt{transaction: tx, key: tx.Key(), deadline: r.now + 1000, answer: make(chan reply, 1)} // no room for the features
	r.step(a)
	if x := r.got(a); x.err != error(errUnreadable) || r.panics != 1 {
		t.Fatalf("got %+v, %d panics, want the error and one", x, r.panics)
	}
	b, _ := r.registered(transaction("t3", "c1", t0))
	if got := r.value(b, "card_count"); got != 1 {
		t.Errorf("got count %v, want 1", got)
	}
}

func TestPoisonRecordIsSkipped(t *testing.T) {
	r := serving(t, nil)
	good := feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)}
	entity := r.schema.New(feature.Card)
	f := &fold{origin: own, hots: []*hot{{id: "broken"}, {id: "c1", entity: entity}}, records: []placed{{1, &good}, {2, &good}}}
	next := r.machine.applyFrom(f, f.records, 0)
	next = r.machine.applyFrom(f, f.records, next)
	if next != 2 || entity.Len() != 1 || r.machine.counts.applyErrors != 1 {
		t.Errorf("got next %d, %d applied, %d errors, want 2, 1, 1", next, entity.Len(), r.machine.counts.applyErrors)
	}
}

func TestObligationsAreEmittedBehindWhatWasFolded(t *testing.T) {
	duplicates := func(r *rig) {
		d := decided(transaction("t1", "c1", t0), decision.Approve)
		r.commit(feature.Record{Decision: d}, feature.Record{Decision: d})
		r.tick(0)
	}
	t.Run("once, and then waits for the batch", func(t *testing.T) {
		r := serving(t, nil)
		duplicates(r)
		r.step(&lastIs{generation: r.asks[0].generation, seq: 0})
		if len(r.emits) != 1 || len(r.emits[0].request.Records) != 1 || r.emits[0].request.Records[0].Retraction == nil {
			t.Fatalf("got %+v, want one retraction", r.emits)
		}
		r.step(&emitted{generation: r.emits[0].generation, seq: 2})
		r.tick(10_000)
		if len(r.asks) != 1 {
			t.Fatal("asked again before the batch was folded")
		}
		r.commit(r.emits[0].request.Records...)
		r.tick(10_000)
		if len(r.asks) != 1 || len(r.machine.open.cards) != 0 {
			t.Errorf("got %d asks, %d open, want 1, 0", len(r.asks), len(r.machine.open.cards))
		}
	})
	t.Run("not before everything on the subject was folded", func(t *testing.T) {
		r := serving(t, nil)
		duplicates(r)
		r.step(&lastIs{generation: r.asks[0].generation, seq: 2})
		if len(r.emits) != 0 {
			t.Fatalf("got %+v, want nothing: sequence 2 has not been folded", r.emits)
		}
	})
	t.Run("again from the state after a failure", func(t *testing.T) {
		r := serving(t, nil)
		duplicates(r)
		r.step(&lastIs{generation: r.asks[0].generation})
		r.step(&emitted{generation: r.emits[0].generation, err: fmt.Errorf("lost")})
		r.tick(0)
		if len(r.asks) != 1 {
			t.Fatal("asked again without backoff")
		}
		r.tick(1000)
		if len(r.asks) != 2 {
			t.Fatalf("got %d asks, want 2", len(r.asks))
		}
	})
	t.Run("by a new owner, also when the card was closed, removed by another owner, and opened again", func(t *testing.T) {
		r := serving(t, nil)
		duplicates(r)
		r.flushNow() // c1 is stored as open
		r.step(&lastIs{generation: r.asks[0].generation})
		r.commit(r.emits[0].request.Records...)
		delete(r.redis.open, "c1")
		d := decided(transaction("t1", "c1", t0), decision.Approve)
		r.commit(feature.Record{Decision: d})
		r.flushNow()
		if !r.redis.open["c1"] {
			t.Error("Redis holds a card that owes, and not that it does")
		}
	})
	t.Run("by a new owner, from the stored set", func(t *testing.T) {
		r := serving(t, nil)
		duplicates(r)
		r.flushNow()
		if !r.redis.open["c1"] {
			t.Fatal("the flush did not store the open card")
		}
		n := newRig(t, nil)
		n.redis = r.redis
		n.step(n.redis.start())
		n.load()
		n.catchUp()
		n.tick(0)
		if len(n.asks) != 1 {
			t.Errorf("got %d asks, want 1", len(n.asks))
		}
	})
}

func TestFolding(t *testing.T) {
	t.Run("pauses when the next flush would be too large, and goes on after it", func(t *testing.T) {
		r := serving(t, func(c *Config) { c.FlushMax = 2 })
		for i := range 6 {
			r.commit(feature.Record{Decision: decided(transaction("t", fmt.Sprint("c", i), t0), decision.Approve)})
		}
		if r.flush == nil || len(r.flush.request.Entities) != 2 || len(r.machine.queue) == 0 {
			t.Fatalf("got flush %+v, %d waiting, want one of 2 entities and some waiting", r.flush, len(r.machine.queue))
		}
		for i := 0; r.flush != nil; i++ {
			f := r.flush
			r.flush = nil
			r.step(&flushed{generation: f.generation, result: r.redis.flush(f.request)})
		}
		if len(r.machine.queue) != 0 || r.machine.applied.Get(own) != feature.EndOf(6) {
			t.Errorf("got %d waiting, applied %v, want none and 6", len(r.machine.queue), &r.machine.applied)
		}
	})
	t.Run("refuses a gap and asks for a replay, once", func(t *testing.T) {
		r := serving(t, nil)
		for range 2 {
			r.step(&fold{origin: own, from: feature.EndOf(1), to: feature.EndOf(2)})
			r.tick(100)
		}
		if len(r.replays) != 2 || r.machine.applied.Get(own) != 0 {
			t.Errorf("got %d replays, applied %v, want the first one and one more, and nothing", len(r.replays), &r.machine.applied)
		}
	})
	t.Run("waits for cold entities, in order", func(t *testing.T) {
		r := cold(t, nil)
		r.commit(feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)})
		r.commit(feature.Record{Decision: decided(transaction("t2", "c2", t0), decision.Approve)})
		if r.machine.applied.Get(own) != feature.EndOf(1) {
			t.Fatalf("applied %v before the load", &r.machine.applied)
		}
		r.step(&loaded{order: r.loads[0], err: fmt.Errorf("timeout")})
		r.loads = r.loads[1:]
		r.load()
		r.tick(1000)
		r.load()
		if r.machine.applied.Get(own) != feature.EndOf(3) {
			t.Errorf("got applied %v, want 3", &r.machine.applied)
		}
	})
}

func TestRestoreGoesOnFromTheSnapshot(t *testing.T) {
	r := newRig(t, nil)
	r.step(r.redis.start())
	e := r.schema.New(feature.Card)
	rec := feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)}
	e.Apply(feature.Position{Origin: own, Mark: feature.MarkOf(3, 0)}, &rec)
	r.step(&Restore{Entities: []EntityState{{"c1", e.Append(nil)}}})
	r.step(&Restore{Watermark: feature.VectorOf(own, feature.EndOf(5))})
	r.seq = 5
	r.commit(feature.Record{Decision: decided(transaction("t2", "c1", t0), decision.Approve)})
	r.catchUp()
	a, _ := r.registered(transaction("t3", "c1", t0))
	if got := r.value(a, "card_count"); got != 2 {
		t.Errorf("got count %v, want 2", got)
	}
	r.flushNow()
	if !r.redis.watermark.Equal(feature.VectorOf(own, feature.EndOf(6))) || r.redis.states["c1"] == nil {
		t.Errorf("got watermark %v, want 6, and the card stored", &r.redis.watermark)
	}
}

func TestDrainEndsWhenEverythingIsFlushed(t *testing.T) {
	r := serving(t, nil)
	_, p := r.registered(transaction("t1", "c1", t0))
	d := decided(p.transaction, decision.Approve)
	r.notice(noticeDecided, p, d, feature.Position{})
	r.step(&draining{done: make(chan struct{})})
	r.notice(noticeCommitted, p, nil, feature.Position{Origin: own, Mark: feature.MarkOf(1, 0)})
	if r.drained {
		t.Fatal("drained with an attempt that has not come back")
	}
	r.commit(feature.Record{Decision: d})
	if r.drained || r.flush == nil {
		t.Fatalf("drained %v, flush %v, want a flush first", r.drained, r.flush)
	}
	r.step(&flushed{generation: r.flush.generation, result: r.redis.flush(r.flush.request)})
	if !r.drained {
		t.Error("not drained after the flush")
	}
}

func TestViewShowsTheEntityNow(t *testing.T) {
	r := cold(t, nil)
	v := &viewing{id: "c1", answer: make(chan viewReply, 1)}
	r.now = t0 + 1000
	r.step(v)
	r.load()
	x := <-v.answer
	if x.err != nil || x.view.Contributions != 1 || x.view.Newest != t0 || x.view.Features[0].Value != 1 || x.view.Status != "serving" {
		t.Errorf("got %+v, want one contribution at t0", x)
	}
}
