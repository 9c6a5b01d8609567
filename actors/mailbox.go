package actors

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/anthdm/hollywood/actor"

	"scoremesh/decision"
)

// mailbox is the way into a shard. Hollywood's inbox has no bound, so everything that others may send without limit is admitted first:
// attempts and views by count, folds by slots, ticks one at a time. Notices and results are bounded by what they answer.
type mailbox struct {
	id     ShardID
	engine *actor.Engine
	pid    *actor.PID
	limit  int64
	// requests counts attempts and views that were sent and not yet received.
	requests atomic.Int64
	// slots holds one token for each fold that was sent and is not finished.
	slots chan struct{}
	// ticked says that a tick lies in the mailbox.
	ticked atomic.Bool
	shed   atomic.Uint64

	// What the shard last said of itself, for the host and for metrics.
	status   atomic.Uint32
	foldedAt atomic.Int64
}

func (b *mailbox) send(m message) { b.engine.Send(b.pid, m) }

// admit takes a place for an attempt or a view, or refuses.
func (b *mailbox) admit(retryAfter time.Duration) error {
	if b.requests.Add(1) > b.limit {
		b.requests.Add(-1)
		b.shed.Add(1)
		return &decision.Error{Code: decision.CodeOverloaded, Detail: "the mailbox of this entity's shard is full", RetryAfter: retryAfter}
	}
	return nil
}

// received gives the places of what left the mailbox back.
func (b *mailbox) received(m message) {
	switch m.(type) {
	case *attempt, *viewing:
		b.requests.Add(-1)
	case *tick:
		b.ticked.Store(false)
	}
}

// tick sends a tick unless one waits already.
func (b *mailbox) tick() {
	if b.ticked.CompareAndSwap(false, true) {
		b.send(theTick)
	}
}

var theTick = new(tick)

// reserve takes a slot for a fold; it blocks until there is one.
func (b *mailbox) reserve(ctx context.Context) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryReserve takes a slot if there is one.
func (b *mailbox) tryReserve() bool {
	select {
	case b.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// release gives the slot of a finished fold back.
func (b *mailbox) release() { <-b.slots }
