package actors

import (
	"errors"
	"testing"

	"scoremesh/decision"
	"scoremesh/feature"
)

// A fold's load has time, and may be slow. A request that comes for the same card meanwhile gets a load of its own, and the slow one, when it
// comes at last, must not put the older state in the place of the newer.
func TestARequestDoesNotWaitForAFoldsLoad(t *testing.T) {
	r := serving(t, nil)
	r.commit(feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)})
	r.flushNow()
	// A new owner of the same Redis: the card is cold.
	fresh := newRig(t, nil)
	fresh.redis, fresh.seq, fresh.now = r.redis, r.seq, r.now
	fresh.step(fresh.redis.start())
	fresh.catchUp()
	fresh.commit(feature.Record{Decision: decided(transaction("t2", "c1", t0+1), decision.Approve)})
	if len(fresh.loads) != 1 || fresh.loads[0].urgent {
		t.Fatalf("got %d loads for a fold, urgent %v; want one that has time", len(fresh.loads), len(fresh.loads) > 0 && fresh.loads[0].urgent)
	}
	slow := fresh.loads[0]
	old := fresh.redis.load(LoadRequest{IDs: slow.ids})
	a := fresh.ask(transaction("t3", "c1", t0+2))
	fresh.waits(a)
	if len(fresh.loads) != 2 || !fresh.loads[1].urgent {
		t.Fatalf("got %d loads after a request came, want a second one that is urgent", len(fresh.loads))
	}
	fresh.loads = fresh.loads[1:]
	fresh.load()
	if x := fresh.got(a); x.err != nil || x.pending == nil {
		t.Fatalf("got %+v, want a registration", x)
	}
	before := fresh.machine.hot["c1"].entity.Append(nil)
	fresh.step(&loaded{order: slow, result: old})
	if after := fresh.machine.hot["c1"].entity.Append(nil); string(after) != string(before) {
		t.Error("the slow load took back what was folded meanwhile")
	}
	if got := fresh.machine.hot["c1"].entity.Len(); got != 2 {
		t.Errorf("the card has %d transactions, want 2", got)
	}
}

// While the log does not come back, because Redis is away or the log is, the overlay must not grow for ever.
func TestTooManyPendingAttemptsAreRefused(t *testing.T) {
	r := serving(t, func(c *Config) { c.MaxPending = 2 })
	_, first := r.registered(transaction("t1", "c1", t0))
	r.registered(transaction("t2", "c2", t0))
	refused := r.got(r.ask(transaction("t3", "c3", t0)))
	var refusal *decision.Error
	if !errors.As(refused.err, &refusal) || refusal.Code != decision.CodeOverloaded || refusal.RetryAfter == 0 {
		t.Fatalf("got %v, want overloaded with a time to try again", refused.err)
	}
	r.notice(noticeAbandoned, first, nil, feature.Position{})
	r.registered(transaction("t3", "c3", t0))
}
