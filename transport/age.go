package transport

import (
	"context"
	"sort"
)

// FirstSince returns the sequence of the first batch that was stored at or after a time (Unix milliseconds, the server's clock); behind the
// last one when there is none.
func (l *Log) FirstSince(ctx context.Context, at int64) (uint64, error) {
	first, last, _, err := l.Bounds(ctx)
	if err != nil || last < first {
		return first, err
	}
	var failed error
	n := sort.Search(int(last-first+1), func(i int) bool {
		if failed != nil {
			return true
		}
		m, err := l.at(ctx, first+uint64(i))
		if err != nil {
			failed = err
			return true
		}
		return m != nil && m.Time.UnixMilli() >= at
	})
	return first + uint64(n), failed
}
