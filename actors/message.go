package actors

import (
	"scoremesh/decision"
	"scoremesh/feature"
)

// message is what a shard can be told. The set is closed.
type message interface{ isMessage() }

// Start gives a shard what the speed layer holds of it. It may come at any time: the shard forgets what it folded, keeps attempts and
// waiting requests, and goes on from the watermark.
type Start struct {
	// Watermark is the stored one; the zero vector when there is none.
	Watermark feature.Vector
	// FoldedAt is the time of the newest beacon folded into it, Unix milliseconds.
	FoldedAt int64
	// Open are the cards with obligations.
	Open []string
}

// Restore gives a rebuilding shard a snapshot, when the logs no longer reach back to the beginning. It may come in parts: only the last
// one carries the watermark. Then the replay goes on from there.
type Restore struct {
	Entities  []EntityState
	Watermark feature.Vector
	// FoldedAt is the time of the newest beacon folded into it, Unix milliseconds.
	FoldedAt int64
}

// placed is a record and its place in its origin's log.
type placed struct {
	mark   feature.Mark
	record *feature.Record
}

// fold brings the records of a shard within the range (from, to] of one origin's log: all of them, so that ranges that meet leave
// nothing out.
type fold struct {
	origin   feature.Origin
	from, to feature.Mark
	records  []placed
	// beaconAt is the time of the newest beacon of the origin up to to.
	beaconAt int64

	// hots are the entities of records[first:], pinned while the fold waits. Set by the shard.
	hots  []*hot
	first int
	// finished: the shard is through with it, and its place in the queue is free.
	finished bool
}

// caughtUp says that a replay has brought everything up to a vector.
type caughtUp struct {
	generation uint64
	upTo       feature.Vector
}

// attempt asks for the card's features for a transaction and registers it.
type attempt struct {
	transaction *decision.Transaction
	key, digest uint64
	// deadline is in Unix milliseconds.
	deadline int64
	// values is the whole feature vector; the shard fills the card's slots. It belongs to the attempt, so that a late answer writes
	// into nobody else's memory.
	values []float64
	// answer has capacity 1 and gets exactly one reply.
	answer chan reply

	// pending and gone belong to the shard: what was registered; whether the requester went away.
	pending *pending
	gone    bool
}

// reply answers an attempt: err, or recorded, or pending.
type reply struct {
	err      error
	recorded *decision.Answer
	pending  *pending
	degraded degraded
	defaults int
	foldedAt int64
}

// noticeKind is what became of an attempt.
type noticeKind uint8

const (
	noticeDecided   noticeKind = iota // the outcome is known; the append comes next
	noticeCommitted                   // the record is in the log
	noticePended                      // the log did not confirm in time; the record waits
	noticeAbandoned                   // there will be no decision
	noticeGaveUp                      // the requester no longer waits for the reply
)

// notice tells a shard what became of an attempt.
type notice struct {
	kind     noticeKind
	pending  *pending
	attempt  *attempt // of noticeGaveUp
	decision *decision.Decision
	position feature.Position
	err      error
}

// loaded answers a load order.
type loaded struct {
	order  loadOrder
	result LoadResult
	err    error
}

// flushed answers the flush in flight.
type flushed struct {
	generation uint64
	result     FlushResult
	err        error
}

// lastIs answers AskLast.
type lastIs struct {
	generation uint64
	seq        uint64
	err        error
}

// emitted answers Emit.
type emitted struct {
	generation uint64
	seq        uint64
	err        error
}

// tick lets time pass.
type tick struct{}

// viewing asks for the features of an entity now.
type viewing struct {
	id     string
	answer chan viewReply // capacity 1
}

type viewReply struct {
	view View
	err  error
}

// draining asks to take no more attempts, and to say when everything is flushed.
type draining struct {
	done chan struct{}
}

func (*Start) isMessage()    {}
func (*Restore) isMessage()  {}
func (*fold) isMessage()     {}
func (*caughtUp) isMessage() {}
func (*attempt) isMessage()  {}
func (*notice) isMessage()   {}
func (*loaded) isMessage()   {}
func (*flushed) isMessage()  {}
func (*lastIs) isMessage()   {}
func (*emitted) isMessage()  {}
func (*tick) isMessage()     {}
func (*viewing) isMessage()  {}
func (*draining) isMessage() {}
