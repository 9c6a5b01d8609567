package actors

import (
	"context"
	"sync"
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
)

// Router takes requests to the shards that own their entities.
type Router struct {
	system *System
	// attempts holds attempts whose reply was received: only those have no one else who may still write to them.
	attempts sync.Pool
	low      int
	high     int
}

// NewRouter returns a router to the shards of a System.
func NewRouter(s *System) *Router {
	r := &Router{system: s}
	r.low, r.high = s.schema.Range(feature.Card)
	width := len(s.schema.Names())
	r.attempts.New = func() any {
		return &attempt{values: make([]float64, width), answer: make(chan reply, 1)}
	}
	return r
}

// Attempted is what an attempt came to.
type Attempted struct {
	// Recorded is the decision that was made for an earlier request with the same id and body; then nothing else is set but FoldedAt.
	Recorded *decision.Answer
	// Handle is the registration; the requester owes it the outcome.
	Handle Handle
	// Degraded names what the features lack, sorted; see decision.Degraded*. It is shared: do not write to it.
	Degraded []string
	// Defaults is how many of the card's features are defaults.
	Defaults int
	// FoldedAt is the time of the newest beacon that the shard has folded, Unix milliseconds.
	FoldedAt int64
}

// Attempt registers a transaction with its card's shard and fills the card's slots of features, a whole vector in the schema's order.
// It waits until ctx ends at most. Refusals are *decision.Error: conflict, idempotency_expired, card_saturated, overloaded, not_ready,
// deadline_exceeded.
func (r *Router) Attempt(ctx context.Context, t *decision.Transaction, features []float64) (Attempted, error) {
	box := r.system.box(feature.Card, t.Card)
	if err := box.admit(r.system.config.RetryAfter); err != nil {
		return Attempted{}, err
	}
	a := r.attempts.Get().(*attempt)
	a.transaction, a.key, a.digest = t, t.Key(), t.Digest()
	a.deadline = r.system.deadline(ctx)
	box.send(a)
	select {
	case got := <-a.answer:
		return r.take(box, a, got, features)
	case <-ctx.Done():
	case <-r.system.closed:
	}
	// The reply may have come in the same moment: then it counts. Else the shard still knows the attempt, so it is not used again.
	select {
	case got := <-a.answer:
		return r.take(box, a, got, features)
	default:
		box.send(&notice{kind: noticeGaveUp, attempt: a})
		if ctx.Err() == nil {
			return Attempted{}, errClosing
		}
		return Attempted{}, errLate
	}
}

// take copies the reply out and gives the attempt back. The shard sends one reply and then lets go.
func (r *Router) take(box *mailbox, a *attempt, got reply, features []float64) (Attempted, error) {
	if got.pending != nil {
		copy(features[r.low:r.high], a.values[r.low:r.high])
	}
	a.transaction, a.pending, a.gone = nil, nil, false
	r.attempts.Put(a)
	switch {
	case got.err != nil:
		return Attempted{}, got.err
	case got.recorded != nil:
		return Attempted{Recorded: got.recorded, FoldedAt: got.foldedAt}, nil
	}
	return Attempted{Handle: Handle{box, got.pending}, Degraded: degradedNames[got.degraded], Defaults: got.defaults,
		FoldedAt: got.foldedAt}, nil
}

// View returns what the entity's shard knows of it now.
func (r *Router) View(ctx context.Context, kind feature.Kind, id string) (View, error) {
	box := r.system.box(kind, id)
	if err := box.admit(r.system.config.RetryAfter); err != nil {
		return View{}, err
	}
	v := &viewing{id: id, answer: make(chan viewReply, 1)}
	box.send(v)
	select {
	case got := <-v.answer:
		return got.view, got.err
	case <-ctx.Done():
		return View{}, errLate
	case <-r.system.closed:
		return View{}, errClosing
	}
}

// deadline is ctx's, or, without one, far enough for anything that is worth waiting for.
func (s *System) deadline(ctx context.Context) int64 {
	if d, ok := ctx.Deadline(); ok {
		return d.UnixMilli()
	}
	return s.now() + time.Minute.Milliseconds()
}
