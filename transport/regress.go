package transport

import (
	"fmt"
	"time"
)

// regress watches for a log that ends before a place where it had been: its store was restored from an old copy, or lost its tail. In
// a cluster a server that was cut off may say so for a moment, until it notices that it leads no longer; so only what
// lasts counts.
type regress struct {
	patience time.Duration
	since    time.Time
}

// check compares where the log ends with where it had been. Its error wraps ErrLogReplaced once that has lasted.
func (r *regress) check(last, had uint64) error {
	switch {
	case last >= had:
		r.since = time.Time{}
		return nil
	case r.since.IsZero():
		r.since = time.Now()
	case time.Since(r.since) >= r.patience:
		return fmt.Errorf("log ends at %d, and had been at %d: %w", last, had, ErrLogReplaced)
	}
	return fmt.Errorf("log ends at %d, and had been at %d", last, had)
}
