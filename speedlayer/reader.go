package speedlayer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"scoremesh/feature"
)

// Ref names an entity. Partition is feature.PartitionOf its kind and id.
type Ref struct {
	Kind      feature.Kind
	Partition int
	ID        string
}

// Value is what Redis holds of an entity. Its bytes may be shared with other callers: they are read only.
type Value struct {
	// State is the stored value (SplitEntity takes it apart); nil: nothing stored.
	State []byte
	// Watermark is the shard's as it was when State was read (ParseWatermark); nil: nothing stored.
	Watermark []byte
	// Err says why this value is unknown: ErrTimeout, ErrUnavailable, ErrOverloaded or ErrClosed. State and Watermark are nil then.
	Err error
}

// Reader reads one keyspace. All readers of a store share its lanes. It is safe for concurrent use and needs no closing.
type Reader struct {
	store *Store
	keys  *keys
}

// Reader returns a reader of the keyspace.
func (s *Store) Reader(k Keyspace) (*Reader, error) {
	ks, err := newKeys(k)
	if err != nil {
		return nil, err
	}
	return &Reader{store: s, keys: ks}, nil
}

var tokens = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// Read fills out[i] with the value of refs[i]; out is at least as long as refs. It returns within the read budget, or at the end of
// ctx when that is earlier. The error is the first of the values' errors; the values without one are good (in a Cluster, a
// master that hangs fails only its own shards). Nothing is written to out after Read has returned.
func (r *Reader) Read(ctx context.Context, refs []Ref, out []Value) error {
	if len(refs) == 0 {
		return nil
	}
	if len(out) < len(refs) {
		return fmt.Errorf("read: out has %d places for %d refs", len(out), len(refs))
	}
	began := time.Now()
	q, err := r.request(refs)
	if err != nil {
		return err
	}
	q.done = tokens.Get().(chan struct{})
	r.store.dispatch(q)
	select {
	case <-q.done:
	case <-ctx.Done():
		err := ctx.Err()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		if !q.abandon(err) {
			<-q.done
		}
	}
	tokens.Put(q.done)
	for i := range q.items {
		out[i] = q.items[i].value
	}
	r.store.metrics.observeRead(time.Since(began), q.mu.err)
	return q.mu.err
}

// Submit is Read without waiting: done is called once, within the read budget, with the values and the first of their errors. It
// runs on a goroutine of the store or on the caller's, and must not block. An error of Submit means that done is never called.
func (r *Reader) Submit(refs []Ref, done func([]Value, error)) error {
	if len(refs) == 0 {
		done(nil, nil)
		return nil
	}
	began := time.Now()
	q, err := r.request(refs)
	if err != nil {
		return err
	}
	q.then = func(items []item, err error) {
		values := make([]Value, len(items))
		for i := range items {
			values[i] = items[i].value
		}
		r.store.metrics.observeRead(time.Since(began), err)
		done(values, err)
	}
	r.store.dispatch(q)
	return nil
}

func (r *Reader) request(refs []Ref) (*request, error) {
	q := &request{items: make([]item, len(refs))}
	for i := range refs {
		s, err := r.keys.shard(refs[i].Kind, refs[i].Partition)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		q.items[i].shard = s
		q.items[i].key = s.entity + refs[i].ID
	}
	q.mu.missing = len(refs)
	return q, nil
}
