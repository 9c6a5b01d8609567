package actors

import (
	"scoremesh/feature"
)

// ShardID names a shard of a System.
type ShardID struct {
	Kind      feature.Kind
	Partition int
}

// Edge is what a System asks of its host. No function may block. Each done func is called exactly once, from any goroutine, also from
// inside the call. A function that cannot take the request (its queue is full) calls done with an error.
type Edge struct {
	// Restart asks, after a panic in a shard, for what the speed layer holds of it; the host answers with System.Start, and tries until
	// it can.
	Restart func(ShardID)
	// Load reads entities and the watermark of their shard in one atomic step.
	Load func(LoadRequest, func(LoadResult, error))
	// Flush writes to the speed layer; see FlushRequest.
	Flush func(FlushRequest, func(FlushResult, error))
	// Replay asks for the logs from a vector on, for one shard; the host answers with a Catchup, and tries until it can.
	Replay func(ReplayRequest)
	// AskLast asks for the last sequence of the conditional subject of a card partition in the own log; 0 when it is empty.
	AskLast func(partition int, done func(seq uint64, err error))
	// Emit appends records on that subject, only if its last sequence is as expected, and gives the sequence of the new batch.
	Emit func(EmitRequest, func(seq uint64, err error))
}

// LoadRequest asks for entities of one shard.
type LoadRequest struct {
	Shard ShardID
	IDs   []string
	// Urgent: requests wait for it, within the read budget. Other loads are a replay's, and rather late than failed.
	Urgent bool
}

// LoadResult answers a LoadRequest.
type LoadResult struct {
	// States are the whole stored values in the order of the ids; nil where there is none. The shard owns them.
	States [][]byte
	// Watermark is the shard's, read in the same atomic step; the zero vector when there is none.
	Watermark feature.Vector
}

// FlushRequest is one write of a shard, of MaxFlush entities at most, applied in one atomic step, never split. It is refused when the stored watermark does not
// dominate Base. An entity is written when its vector dominates the stored one's. When none is incomparable, the watermark becomes the
// pointwise maximum of the stored one and Target, and FoldedAt the later one.
//
// OpenAdd is added in any case that is not refused; an id of OpenRemove is removed only if this owner's view of its card is what Redis
// holds after the call (for a card that is not among the entities: only if Target dominates the stored watermark): an owner that
// lags must not take away what another one put in.
type FlushRequest struct {
	Shard        ShardID
	Base, Target feature.Vector
	// FoldedAt is the time of the newest beacon folded, Unix milliseconds.
	FoldedAt            int64
	Entities            []EntityState
	OpenAdd, OpenRemove []string
}

// EntityState is the whole stored value of an entity.
type EntityState struct {
	ID    string
	State []byte
}

// FlushResult answers a FlushRequest.
type FlushResult struct {
	// Refused says that nothing was written, and Reason why.
	Refused bool
	Reason  string
	// Incomparable are the ids that were not written; while there are any, the watermark was not moved.
	Incomparable []string
	// Watermark is the stored one after the call.
	Watermark feature.Vector
}

// ReplayRequest asks for every record behind From, of all local logs, for one shard.
type ReplayRequest struct {
	Shard ShardID
	From  feature.Vector
	// Generation comes back with the end of the replay, so that a shard knows which one ended.
	Generation uint64
}

// EmitRequest is a batch for the conditional subject of a card partition.
type EmitRequest struct {
	Partition  int
	ExpectLast uint64
	Records    []feature.Record
}
