package speedlayer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/redis/go-redis/v9"

	"scoremesh/feature"
)

// lane is a queue of parts, the workers that turn what waits into one pipeline, and the breaker that stands before them.
//
// Every part has the same budget, so deadlines come in the order of submission, and one ring with one timer serves both as the queue and
// as the list of deadlines:
//
//	    head            next           tail
//	     | in flight or  | waiting      |
//	-----+-- settled ----+--------------+-----
//
// A worker takes from next. A part leaves at head, when it is settled or its deadline has passed.
//
// Invariant: head <= next <= tail <= head + len(ring). A part before next has a batch, or was expired.
type lane struct {
	store   *Store
	breaker circuitbreaker.CircuitBreaker[any]
	// refuseUntil is the time since the store's start until which the open breaker refuses; 0: it does not.
	refuseUntil atomic.Int64
	timer       *time.Timer
	stop        chan struct{}

	mu struct {
		sync.Mutex
		work             sync.Cond
		ring             []*part
		head, next, tail uint64
		armed            bool
		closed           bool
	}
}

// Made once: they are the answers when there is no time.
var (
	errOpen       = fmt.Errorf("%w: circuit breaker open", ErrUnavailable)
	errUnanswered = fmt.Errorf("%w: no answer within the read budget", ErrTimeout)
	errUnsent     = fmt.Errorf("%w: earlier batches took the whole read budget", ErrTimeout)
)

// batch is what one pipeline asks for. Its outcome is reported to the breaker exactly once: as soon as it is late, or at its end.
type batch struct {
	reported bool // guarded by the lane's mutex
}

func newLane(s *Store) *lane {
	l := &lane{store: s, timer: time.NewTimer(time.Hour), stop: make(chan struct{})}
	l.timer.Stop()
	l.mu.work.L = &l.mu
	l.mu.ring = make([]*part, s.cfg.MaxWaitingReads)
	s.metrics.breakers.WithLabelValues(circuitbreaker.ClosedState.String()).Inc()
	l.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureThresholdRatio(uint(s.cfg.BreakerFailures), uint(s.cfg.BreakerWindow)).
		WithSuccessThreshold(2).
		WithDelay(s.cfg.BreakerDelay).
		OnStateChanged(l.breakerChanged).
		Build()
	s.owned.Go(l.expireLoop)
	for range s.cfg.ReadsInFlight {
		s.owned.Go(l.work)
	}
	return l
}

// breakerChanged runs under the breaker's own lock.
func (l *lane) breakerChanged(e circuitbreaker.StateChangedEvent) {
	until := int64(0)
	if e.NewState == circuitbreaker.OpenState {
		until = l.store.now() + int64(l.store.cfg.BreakerDelay)
	}
	l.refuseUntil.Store(until)
	l.store.metrics.breakers.WithLabelValues(e.OldState.String()).Dec()
	l.store.metrics.breakers.WithLabelValues(e.NewState.String()).Inc()
	level := l.store.log.Info()
	if e.NewState == circuitbreaker.OpenState {
		level = l.store.log.Warn()
	}
	level.Stringer("from", e.OldState).Stringer("to", e.NewState).Msg("redis read breaker changed")
}

// submit queues the part, or settles it at once with the reason why not.
func (l *lane) submit(p *part) {
	now := l.store.now()
	if until := l.refuseUntil.Load(); until > now {
		p.fail(errOpen)
		return
	}
	p.deadline = now + int64(l.store.cfg.ReadBudget)
	m := &l.mu
	m.Lock()
	if m.closed {
		m.Unlock()
		p.fail(ErrClosed)
		return
	}
	if m.tail > m.head {
		// now was taken outside the lock; keep the deadlines in order.
		p.deadline = max(p.deadline, m.ring[(m.tail-1)%uint64(len(m.ring))].deadline)
	}
	if m.tail-m.head == uint64(len(m.ring)) {
		m.Unlock()
		p.fail(ErrOverloaded)
		return
	}
	m.ring[m.tail%uint64(len(m.ring))] = p
	m.tail++
	if !m.armed {
		m.armed = true
		l.timer.Reset(time.Duration(p.deadline - now))
	}
	m.Unlock()
	m.work.Signal()
}

// expireLoop ends the wait of whoever waited for the whole budget.
func (l *lane) expireLoop() {
	for {
		select {
		case <-l.stop:
			return
		case <-l.timer.C:
			l.expire()
		}
	}
}

func (l *lane) expire() {
	m := &l.mu
	m.Lock()
	now := l.store.now()
	var unsent, unanswered []*part
	for m.head < m.tail {
		p := m.ring[m.head%uint64(len(m.ring))]
		if !p.settled {
			if p.deadline > now {
				break
			}
			if p.batch == nil {
				unsent = append(unsent, p)
			} else {
				unanswered = append(unanswered, p)
				l.report(p.batch, false)
			}
		}
		l.pop()
	}
	m.armed = m.head < m.tail && !m.closed
	if m.armed {
		l.timer.Reset(time.Duration(m.ring[m.head%uint64(len(m.ring))].deadline - now))
	}
	m.Unlock()
	for _, p := range unsent {
		p.fail(errUnsent)
	}
	for _, p := range unanswered {
		p.fail(errUnanswered)
	}
}

// pop removes the oldest part. The mutex is held.
func (l *lane) pop() {
	m := &l.mu
	m.ring[m.head%uint64(len(m.ring))] = nil
	m.head++
	m.next = max(m.next, m.head)
}

// report tells the breaker how the batch ended. The mutex is held.
func (l *lane) report(b *batch, ok bool) {
	switch {
	case b.reported:
		return
	case ok:
		l.breaker.RecordSuccess()
	default:
		l.breaker.RecordFailure()
	}
	b.reported = true
}

// work is the life of a worker: one batch after the other.
func (l *lane) work() {
	g := newGather()
	for {
		parts, b := l.take()
		if parts == nil {
			return
		}
		if l.breaker.TryAcquirePermit() {
			l.settle(parts, b, l.run(g, parts))
			continue
		}
		for _, p := range parts {
			p.fail(errOpen)
		}
		l.refuse(parts, b)
	}
}

// take waits for parts and takes as many as one batch may hold; nil when the lane is closed.
func (l *lane) take() ([]*part, *batch) {
	m := &l.mu
	m.Lock()
	defer m.Unlock()
	for {
		for m.next == m.tail && !m.closed {
			m.work.Wait()
		}
		if m.closed {
			return nil, nil
		}
		b := &batch{}
		var parts []*part
		for size := 0; m.next < m.tail; m.next++ {
			p := m.ring[m.next%uint64(len(m.ring))]
			if p.request.finished.Load() {
				p.settled = true // its caller has left
				continue
			}
			if len(parts) > 0 && size+len(p.items) > l.store.cfg.MaxBatchKeys {
				m.work.Signal()
				break
			}
			size += len(p.items)
			p.batch = b
			parts = append(parts, p)
		}
		if parts != nil {
			return parts, b
		}
	}
}

// refuse takes the parts of a batch that the breaker did not let through out of the ring.
func (l *lane) refuse(parts []*part, b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.reported = true // without a permit there is no outcome
	l.remove(parts)
}

// settle takes the parts of an ended batch out of the ring.
func (l *lane) settle(parts []*part, b *batch, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report(b, ok)
	l.remove(parts)
}

// remove pops what is settled. The mutex is held.
func (l *lane) remove(parts []*part) {
	m := &l.mu
	for _, p := range parts {
		p.settled = true
	}
	for m.head < m.next && m.ring[m.head%uint64(len(m.ring))].settled {
		l.pop()
	}
}

// close refuses what waits and lets the workers end. The store waits for them.
func (l *lane) close() {
	m := &l.mu
	m.Lock()
	m.closed = true
	var waiting []*part
	for m.head < m.tail {
		if p := m.ring[m.head%uint64(len(m.ring))]; !p.settled {
			waiting = append(waiting, p)
		}
		l.pop()
	}
	m.Unlock()
	close(l.stop)
	m.work.Broadcast()
	for _, p := range waiting {
		p.fail(ErrClosed)
	}
}

// gather lays a batch out: for each shard one MGET of its watermark and of every key once. A worker keeps one.
type gather struct {
	groups []group
	of     map[*shard]int
	places map[string]place
	// where has the place of each item, in the order of the parts and of their items.
	where []place
}

type group struct {
	args []any
	cmd  *redis.SliceCmd
	// State of each key, converted once however many ask for it; the first is the watermark.
	values [][]byte
	err    error
}

type place struct{ group, index int }

func newGather() *gather { return &gather{of: map[*shard]int{}, places: map[string]place{}} }

func (g *gather) lay(parts []*part) {
	clear(g.of)
	clear(g.places)
	clear(g.groups)
	g.groups, g.where = g.groups[:0], g.where[:0]
	for _, p := range parts {
		for _, i := range p.items {
			it := &p.request.items[i]
			at, ok := g.places[it.key]
			if !ok {
				n, ok := g.of[it.shard]
				if !ok {
					n = len(g.groups)
					g.of[it.shard] = n
					g.groups = append(g.groups, group{args: append(make([]any, 0, 6), "mget", it.shard.watermark)})
				}
				args := append(g.groups[n].args, it.key)
				g.groups[n].args = args
				at = place{n, len(args) - 2}
				g.places[it.key] = at
			}
			g.where = append(g.where, at)
		}
	}
}

// collect reads the replies.
func (g *gather) collect() (ok bool) {
	ok = true
	for n := range g.groups {
		gr := &g.groups[n]
		replies, err := gr.cmd.Result()
		if err == nil && len(replies) != len(gr.args)-1 {
			err = fmt.Errorf("mget of %d keys: %d replies", len(gr.args)-1, len(replies))
		}
		if err != nil {
			gr.err, ok = readError(err), false
			continue
		}
		gr.values = make([][]byte, len(replies))
		for i, reply := range replies {
			if s, ok := reply.(string); ok {
				gr.values[i] = []byte(s)
			}
		}
	}
	return ok
}

// run asks Redis and answers the parts. It says whether every shard answered.
func (l *lane) run(g *gather, parts []*part) bool {
	s := l.store
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.ReadTimeout)
	defer cancel()
	g.lay(parts)
	pipe := s.reads.Pipeline()
	for n := range g.groups {
		g.groups[n].cmd = redis.NewSliceCmd(ctx, g.groups[n].args...)
		_ = pipe.Process(ctx, g.groups[n].cmd) // queues only
	}
	execute(ctx, pipe)
	ok := g.collect()
	s.metrics.batchSeconds.Observe(time.Since(began).Seconds())
	s.metrics.batchKeys.Observe(float64(len(g.places)))

	var hits, misses [len(feature.Kinds)]int
	where := g.where
	for _, p := range parts {
		mine := where[:len(p.items)]
		where = where[len(p.items):]
		p.request.settle(p.items, func(n int) Value {
			gr := &g.groups[mine[n].group]
			if gr.err != nil {
				return Value{Err: gr.err}
			}
			v := Value{State: gr.values[mine[n].index], Watermark: gr.values[0]}
			if kind := p.request.items[p.items[n]].shard.kind; v.State == nil {
				misses[kind]++
			} else {
				hits[kind]++
			}
			return v
		})
	}
	s.metrics.countHits(&hits, &misses)
	return ok
}

// readError names the cause of a failed command.
func readError(err error) error {
	var slow net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout() {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
