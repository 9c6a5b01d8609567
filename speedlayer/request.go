package speedlayer

import (
	"sync"
	"sync/atomic"
)

// item is one key that a request asks for, and its answer.
type item struct {
	shard *shard
	key   string
	// value and arrived are guarded by the request's mutex; once the request is finished they do not change any more.
	value   Value
	arrived bool
}

// request is one caller's read. It is finished once: when every item has an answer or an error, or when its caller left.
type request struct {
	items []item
	// then is called once, without a lock, when the request finished through a lane; nil: done gets a token instead.
	then func([]item, error)
	done chan struct{}

	finished atomic.Bool // set under mu; read without it to skip work that nobody waits for
	mu       struct {
		sync.Mutex
		missing int
		err     error
	}
}

// part is the items of a request that wait in one lane.
type part struct {
	request *request
	// items are indices into request.items.
	items []int
	// deadline is a time since the store's start.
	deadline int64

	// The lane's mutex guards these. batch is nil until a worker took the part; settled: the lane is through with it.
	batch   *batch
	settled bool
}

// settle gives the items at indices their answers: answer(n) is that of indices[n]. Who comes late changes nothing.
func (r *request) settle(indices []int, answer func(i int) Value) {
	r.mu.Lock()
	if r.finished.Load() {
		r.mu.Unlock()
		return
	}
	for n, i := range indices {
		it := &r.items[i]
		if it.arrived {
			continue
		}
		it.value, it.arrived = answer(n), true
		if it.value.Err != nil && r.mu.err == nil {
			r.mu.err = it.value.Err
		}
		r.mu.missing--
	}
	over := r.mu.missing == 0
	r.finished.Store(over)
	err := r.mu.err
	r.mu.Unlock()
	if !over {
		return
	}
	if r.then != nil {
		r.then(r.items, err)
		return
	}
	r.done <- struct{}{}
}

// fail gives every item of the part the error.
func (p *part) fail(err error) {
	p.request.settle(p.items, func(int) Value { return Value{Err: err} })
}

// abandon is the caller's leave: what has not arrived by now never will. It says whether the caller was in time: if not, a token is
// in done.
func (r *request) abandon(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished.Load() {
		return false
	}
	for i := range r.items {
		if !r.items[i].arrived {
			r.items[i].value = Value{Err: err}
		}
	}
	r.mu.err = err
	r.finished.Store(true)
	return true
}
