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
//   - The log is never trimmed past the oldest snapshot that is kept, nor past what the decision feed has published.
//   - Open starts every goroutine, and Close ends and awaits every one of them.
//
// The package holds no feature state and no decision of its own; it never folds, and never writes to Redis but by a flush.
package region
