// Package transport owns what a region says over NATS: its log (stream LOG_<region>), who appends to it and who reads it, and
// the feed of decisions that subscribers consume (stream DECISIONS_<region>). It also owns the connection, and the server that a
// demo or a one-node region embeds.
//
// # The log
//
// A message of the log is one batch of records (package wire), and the log's stream sequence and the index in the batch are the record's
// position. What is promised, whatever fails:
//
//  1. A batch of an Appender is in the log exactly once, and the batches of one Appender are in the order of Append. Each Appender
//     has a subject of its own, log.<region>.<epoch>.n.<node>.<life>, and publishes each batch on the condition that the subject's last
//     sequence is the one of the batch before. All attempts to publish a batch carry the same condition or a later one that was read
//     from the log, so at most one is accepted; after a lost acknowledgement the subject's last message tells whether one was.
//  2. AppendConditional appends only if nobody else appended on the partition's subject, log.<region>.<epoch>.p.<partition>, since the caller looked.
//  3. Reader functions get every batch from a sequence on, in order and without gaps, or an error that says what is missing.
//  4. Nothing that was meant for one incarnation of a log ends in another one: the epoch is a part of every subject, and a new
//     incarnation does not listen on the subjects of an old one. Whoever is left over gets ErrLogReplaced.
//
// One case is outside of 1: an Appender that cannot reach the log for so long that the batch it was waiting for was trimmed meanwhile
// cannot know, and appends again. It is counted (scoremesh_log_append_uncertain_total); what is in the log twice is retracted like any other duplicate.
//
// # The feed
//
// The feed is a function of the log: its n-th message is always the same event. Each is published on the condition that it becomes
// the n-th, and carries the position that it was made from, so that whoever runs the feed next goes on exactly behind it.
//
// The package never interprets features, never decides, and never buffers what it cannot bound: a full queue is ErrQueueFull.
package transport
