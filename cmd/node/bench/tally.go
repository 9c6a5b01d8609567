//go:build linux

package main

import "fmt"

// tally counts what came back.
type tally struct {
	requests int64
	// committed are decisions that count, pending those that were not in the log by their deadline, refused those that were none;
	// degraded are those of both former kinds that were made from less than everything.
	committed, pending, refused, degraded int64
}

func (t *tally) add(o tally) {
	t.requests += o.requests
	t.committed += o.committed
	t.pending += o.pending
	t.refused += o.refused
	t.degraded += o.degraded
}

func (t tally) minus(o tally) tally {
	return tally{t.requests - o.requests, t.committed - o.committed, t.pending - o.pending, t.refused - o.refused, t.degraded - o.degraded}
}

func (t tally) String() string {
	return fmt.Sprintf("%d requests: %d committed, %d pending, %d refused, %d degraded", t.requests, t.committed, t.pending, t.refused, t.degraded)
}
