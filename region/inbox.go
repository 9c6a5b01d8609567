package region

import (
	"context"
	"sync"
)

// inbox collects requests of shards for one goroutine. It is bounded by what it collects: a key is in it once, and there are as many keys
// as shards.
type inbox[K comparable, V any] struct {
	key  func(V) K
	more chan struct{}
	mu   struct {
		sync.Mutex
		waiting map[K]V
	}
}

func newInbox[K comparable, V any](key func(V) K) *inbox[K, V] {
	b := &inbox[K, V]{key: key, more: make(chan struct{}, 1)}
	b.mu.waiting = map[K]V{}
	return b
}

// push adds a request; a later one of the same key takes the place of an earlier one.
func (b *inbox[K, V]) push(v V) {
	b.mu.Lock()
	b.mu.waiting[b.key(v)] = v
	b.mu.Unlock()
	b.signal()
}

// pushOlder adds a request that was taken before, unless there is one of its key meanwhile.
func (b *inbox[K, V]) pushOlder(v V) {
	b.mu.Lock()
	if _, newer := b.mu.waiting[b.key(v)]; !newer {
		b.mu.waiting[b.key(v)] = v
	}
	b.mu.Unlock()
	b.signal()
}

func (b *inbox[K, V]) signal() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// take waits for requests and returns all of them; nothing when ctx ended.
func (b *inbox[K, V]) take(ctx context.Context) []V {
	select {
	case <-ctx.Done():
		return nil
	case <-b.more:
		return b.rest()
	}
}

// rest returns all requests that are there, without waiting.
func (b *inbox[K, V]) rest() []V {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]V, 0, len(b.mu.waiting))
	for _, v := range b.mu.waiting {
		out = append(out, v)
	}
	clear(b.mu.waiting)
	return out
}
