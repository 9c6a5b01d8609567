// Package speedlayer owns the region-local Redis: folded entity states, the watermark of every shard, and the set of cards with
// open obligations. Redis is a cache of the log with a known position, never the truth.
//
// # What it promises
//
//   - Reads: Reader.Read answers within the read budget, whatever Redis does. All waiting requests share one pipeline, each
//     key is fetched once in it, and a state comes with the watermark of its shard, both taken in one atomic step.
//   - Flushes: Writer.Submit makes one Lua call (flush.lua) of one shard's flush. No flush replaces a state by one that does not
//     descend from it, and the watermark moves only when every entity of the flush is stored.
//   - Bounds: every queue refuses by name (ErrOverloaded) when it is full; every callback is called exactly once; Store.Close
//     stops and waits for every goroutine.
//
// # Keys
//
//	fs:<schema>:<epoch hex>:{<kind>.<partition>}:<id>   entity: version byte 1, feature.Vector, payload; expires
//	fw:<schema>:<epoch hex>:{<kind>.<partition>}        watermark: version byte 1, feature.Vector, FoldedAt; never expires
//	fo:<schema>:<epoch hex>:{<kind>.<partition>}        set of ids with open obligations; never expires
//
// The braces are a Redis Cluster hash tag: a shard is one slot, so that one call reads or writes all of it.
//
// # Lanes
//
// A lane is a queue of reads, its workers and its circuit breaker. A standalone Redis or a Sentinel set has one, a Cluster has one
// for each master, so that a hanging master costs only those who ask for its shards. Which lane a read takes is a matter of
// isolation, never of correctness: the commands themselves are routed by the client.
//
// # What it never does
//
// It never computes a state, never decides who owns a shard, never recomputes on a miss, never logs an id, and never makes a
// request wait for a connection, a retry or a slow server beyond the budget.
package speedlayer
