//go:build linux

// Command bench measures what a decision costs: a whole node beside the handler that everybody writes first, on one machine, in one run.
//
//	generator (this process) --HTTP/1.1--> naive ----MGET----> redis-server
//	                         --HTTP/1.1--> node run ---------> redis-server
//	                                          \--> embedded NATS, synced to disk
//
// Both contestants get the same bodies over the same number of connections, and are measured in alternation, several rounds, each in two
// phases:
//
//   - closed: every connection sends its next request when it has its answer. This gives decisions a second, and the CPU time of one:
//     user and system time of the server's and of its Redis' process, from /proc, without the generator's.
//   - open: requests are due at random (Poisson) times at half of the rate that the round's closed phase reached, whether or not answers
//     have come. Latency counts from when a request was due, so that a stall shows in every request that it delayed.
//
// A decision counts when its answer says 200 and, from a node, that it is committed. What else came is counted and shown beside it.
// The generator is one thread on epoll, to take as little as it can from the contestants, who share the machine with it.
//
// The command never touches a Redis or a port that it has not started or asked the system for, and removes what it wrote to disk but for
// the results.
package main
