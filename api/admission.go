package api

import "sync/atomic"

// admission is a bound on what is in flight. It never waits: who does not fit is refused at once.
type admission struct {
	limit int64
	// used is the sum of the admitted weights. Invariant: 0 <= used <= limit, but for the instant of a refusal.
	used atomic.Int64
}

// admit takes n slots, or none.
func (a *admission) admit(n int) bool {
	if a.used.Add(int64(n)) > a.limit {
		a.used.Add(int64(-n))
		return false
	}
	return true
}

func (a *admission) release(n int) { a.used.Add(int64(-n)) }
