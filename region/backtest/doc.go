// Package backtest replays history: it streams transactions and labels from files through the very fold, model and policy that decide
// live, and writes what they would have seen and said.
//
// Transactions come in time order; each is read (features), decided, and then folded, as the next one may depend on it. A label is
// applied when its time has come: before a transaction of the same second. The files are read once and kept nowhere; memory holds the
// entities' states, and for the transactions within the horizon the card that a label will need.
package backtest
