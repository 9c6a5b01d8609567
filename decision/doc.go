// Package decision holds the words that every other package speaks: the transaction, the decision, its outcome,
// reasons, labels and degradations; the money rules (minor units, one base currency); and the policy that turns
// features and a score into an outcome.
//
// It is pure: no clock, no I/O, no goroutine, no logging. Times are arguments.
package decision
