// Package traffic invents card payments for the demo, the load generator and the training of the demo model: cardholders with a
// home, habits and devices, merchants of uneven popularity, a day's rhythm, several currencies, and frauds whose truth is known.
//
// # Promises
//
//   - Deterministic: equal configurations give equal events, whatever the clock says.
//   - Ordered: events come in the order of their time; only a client's retry repeats an earlier transaction.
//   - Small: cardholders are computed from their number when they are needed, so memory grows with merchants and with the frauds
//     under way, not with cards.
//
// The patterns of fraud (see the Pattern constants) have honest twins: shopping sprees, series of micropayments, newly opened
// shops, shared devices and journeys, so that no single feature tells them apart.
//
// The package never looks at a clock, starts no goroutine and does no I/O but to the writers that Export is given.
package traffic
