package transport

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the pause between attempts: it doubles from min to max, with up to a quarter of jitter less.
type backoff struct {
	min, max time.Duration
	next     time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// wait pauses and says whether to go on: false when ctx has ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(b.min, 2*b.next), b.max)
	timer := time.NewTimer(b.next - rand.N(b.next/4+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
