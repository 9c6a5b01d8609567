// Package actors owns the shards of a node: one actor for every (kind, partition) of a schema version, the router that takes a
// score request to its card's shard, and the dispatcher that takes log batches to all of them.
//
// # A shard
//
// A shard is a plain state machine, step(now, message) -> effects, and a thin shell around it that knows Hollywood. The machine does no
// I/O, starts no goroutine and asks no clock; the shell performs its effects through Edge, the functions that the host gives, and their
// results come back as messages.
//
//	          Start                    CaughtUp
//	starting -------> replaying -----------------> serving
//	   ^                  |                          |
//	   | panic            | watermark gone           | watermark gone, flush refused
//	   |                  v                          v
//	   +------------- rebuilding <-------------------+      CaughtUp -> serving
//
// What holds for a shard, whatever happens:
//
//   - Every record of the partition up to applied is in the state of its entity, and the entity is hot (in memory) and dirty, or it is
//     in Redis, whose watermark dominates w0 <= applied.
//   - So an entity that is not hot can be loaded from Redis (or is new, when w0 is empty: nothing was ever confirmed), and a
//     watermark that does not dominate w0 means that Redis was wiped or restored: rebuild.
//   - Entities stay dirty, and hot, until a flush has moved w0 past them.
//   - A registered attempt is in the overlay of its card from the answer to it until the log brings its decision back.
//
// # The host
//
// The host makes a System, gives each shard what is stored of it (watermark and open set), answers Edge.Replay with a Catchup of the
// Dispatcher, and feeds the Dispatcher from its log readers:
//
//	sys, err := actors.New(options)       // spawns the shards and the ticker
//	for each shard: sys.Start(id, stored) // also whenever Edge.Restart asks
//	sys.Dispatcher().Live(heads)          // the live readers start behind heads
//	for each origin: go reader(func(b) { sys.Dispatcher().Dispatch(ctx, origin, b.Seq, b.Records) })
//	Edge.Replay = collect requests -> c := sys.Dispatcher().Catchup(requests, heads); read every log from c.From(), c.Dispatch each
//	              batch, until c.Finish() says that all live readers have been met
//	sys.Drain(ctx); sys.Close()
//
// A score request:
//
//	at, err := router.Attempt(ctx, transaction, features)
//	if at.Recorded != nil { answer with it }
//	... model, policy ...
//	at.Handle.Decided(d)                  // before the record is appended
//	... append ... at.Handle.Committed(position)  or Pended(), then Committed later; or Abandon(err)
//
// Hollywood logs its own events through slog's default logger; the program bridges that with zerolog.NewSlogHandler.
//
// The package never decides, scores, appends to a log or talks to Redis itself, never asks for the time inside a shard's machine, and
// never puts an entity's id into a log line or a metric.
package actors
