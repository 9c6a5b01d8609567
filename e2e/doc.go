// Package e2e proves from outside what a node promises under fault: real processes, real Redis, real NATS, signals and the wire.
//
// A load generator keeps a ledger of every request and every answer. Afterwards the ledger is held against the log, the log against Redis,
// Redis against a fold of the log from zero, and what a subscriber saw against the log.
//
// Nothing of the project is imported but the wire types. By default the package takes a minute or two; these variables change it:
//
//	SCOREMESH_E2E_ROUNDS  kill rounds of TestKilledInMidLoad, 3 unless set
//	SCOREMESH_E2E_RACE    anything: the node is built with the race detector
//	SCOREMESH_E2E_NODE    a node's binary that is tested instead of one built from the sources
package e2e
