// Package region is one region's runtime on one node: it wires log, speed layer, shards and rules together, and owns their lifecycle.
//
//	         api (edge)
//	            |  Score, Label, Publish, Entity, Health
//	            v
//	         Region ------------------------------------------+
//	attempt |   | read device, merchant      append | labels, rows, decisions
//	        v   v                                   v
//	 actors.Router  speedlayer.Reader        transport.Appender --> LOG_<region>
//	        |                                                          |
//	  card, device, merchant shards  <---- actors.Dispatcher <---------+ (live reader, catch-ups)
//	        |   ^                                                      |
//	 flush  v   | cold loads                                           +--> transport.Feed --> DECISIONS_<region>
//	      speedlayer (Redis)  --> snapshots on disk --> retention trims the log
//
// # What it promises
//
//   - An answer with durability "committed" is in the log. One with "pending" waits in a bounded queue; when the queue is full the region is
//     not ready (R1, R6).
//   - Whatever an answer lacked stands in its degraded list (R7).
//   - A card's next decision sees the ones before it, at once (read your writes).
//   - The log is never trimmed past what a kept snapshot would be completed from, nor past what the decision feed has published; and a
//     snapshot that the log cannot complete is not kept.
//   - Open starts every goroutine, and Close ends and awaits every one of them.
//
// # What is bounded, and what refuses (R6)
//
//	scores, labels and rows at once     api.max_in_flight, max_bulk_in_flight       overloaded (429)
//	attempts in a shard's mailbox       shards.max_mailbox                          overloaded (429)
//	attempts that wait in a shard       shards.max_waiting, max_waiters             overloaded (429)
//	transactions of a card              the schema's timeline_max                   card_saturated (429)
//	reads that wait for Redis           redis.max_waiting_reads                     defaults, speed_layer_unavailable
//	flushes that wait for Redis         redis.max_waiting_flushes                   the shard tries again
//	entities in a flush                 actors.MaxFlush                             folding pauses
//	batches of the log in a shard       shards.max_folds                            reading the log pauses
//	records before the log              log.queue_records, queue_bytes              not_ready (503), and /readyz
//	work on conditional subjects        maxConditional                              the shard tries again
//	requests for replays and restarts   one of each kind for each shard             the later one counts
//	events before the stream            transport.FeedConfig.Window                 reading the log pauses
//
// The package holds no feature state and no decision of its own; it never folds, and never writes to Redis but by a flush.
package region
