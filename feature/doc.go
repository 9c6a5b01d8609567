// Package feature owns the meaning of features: the schema that declares them, the state of an entity from which
// they are read, and the fold that makes this state from log records.
//
// # The fold
//
// State changes in one way only: Entity.Apply(position, record). Its laws, held by property tests:
//
//   - Order: records of one origin apply in their order; how several origins interleave does not matter. Equal sets of
//     records give equal bytes (Entity.Append).
//   - Once: a record that the entity's vector covers is skipped. Replaying any part of a log changes nothing.
//   - Split: encoding, decoding and going on gives the same bytes as never having stopped.
//   - Duplicates: of several decisions with one (card, transaction id) the canonical one counts, once; it is the smallest by
//     (decided_at, origin, epoch, sequence, index). A retracted one never counts.
//   - Trim: what lies further back than the horizon, behind the entity's newest timestamp, is as if it had never been.
//
// Reading (Schema.Read) computes every feature of a kind at a transaction's own time from the folded state and
// from the pending overlay: the owner's decisions that have not come back through the log.
//
// The package never looks at a clock, starts no goroutine, does no I/O and logs nothing.
package feature
