package speedlayer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Writer flushes into one keyspace. All writers of a store share its queue. It is safe for concurrent use and needs no closing.
type Writer struct {
	store *Store
	keys  *keys
}

// Writer returns a writer of the keyspace.
func (s *Store) Writer(k Keyspace) (*Writer, error) {
	ks, err := newKeys(k)
	if err != nil {
		return nil, err
	}
	return &Writer{store: s, keys: ks}, nil
}

// Submit queues the flush. done is called once, when Redis has answered or the flush has failed; it runs on a goroutine of the
// store, which all flushes share, and must not block. An error in done leaves open whether the flush took place: submit it again,
// flushing twice is as flushing once. An error of Submit (ErrFlush, ErrShard, ErrOverloaded, ErrClosed) means that done is never
// called.
func (w *Writer) Submit(f Flush, done func(FlushResult, error)) error {
	s, err := w.keys.shard(f.Kind, f.Partition)
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	keys, argv, err := f.arguments(s, w.keys.space.Retention)
	if err != nil {
		return fmt.Errorf("flush %s.%d: %w", f.Kind, f.Partition, err)
	}
	return w.store.flushes.submit(&flushJob{flush: f, keys: keys, argv: argv, done: done})
}

// Flush is Submit that waits. An end of ctx leaves open whether the flush took place.
func (w *Writer) Flush(ctx context.Context, f Flush) (FlushResult, error) {
	type answer struct {
		result FlushResult
		err    error
	}
	answered := make(chan answer, 1)
	if err := w.Submit(f, func(r FlushResult, err error) { answered <- answer{r, err} }); err != nil {
		return FlushResult{}, err
	}
	select {
	case a := <-answered:
		return a.result, a.err
	case <-ctx.Done():
		return FlushResult{}, fmt.Errorf("flush %s.%d: %w", f.Kind, f.Partition, ctx.Err())
	}
}

type flushJob struct {
	flush Flush
	keys  []string
	argv  []any
	done  func(FlushResult, error)
	cmd   *redis.Cmd
}

// flushQueue sends what waits as one pipeline, in the order of submission, one pipeline at a time.
type flushQueue struct {
	store *Store
	mu    struct {
		sync.Mutex
		work    sync.Cond
		waiting []*flushJob
		closed  bool
	}
}

func newFlushQueue(s *Store) *flushQueue {
	q := &flushQueue{store: s}
	q.mu.work.L = &q.mu
	s.owned.Go(q.loop)
	return q
}

func (q *flushQueue) submit(j *flushJob) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.mu.closed:
		return ErrClosed
	case len(q.mu.waiting) >= q.store.cfg.MaxWaitingFlushes:
		q.store.metrics.flushes.WithLabelValues(flushOverloaded).Inc()
		return ErrOverloaded
	}
	q.mu.waiting = append(q.mu.waiting, j)
	q.mu.work.Signal()
	return nil
}

func (q *flushQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.closed = true
	q.mu.work.Signal()
}

// take waits for flushes; after close it returns, once, all that wait, and then nil.
func (q *flushQueue) take() (jobs []*flushJob, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.mu.waiting) == 0 && !q.mu.closed {
		q.mu.work.Wait()
	}
	n := len(q.mu.waiting)
	if !q.mu.closed {
		n = min(n, q.store.cfg.MaxBatchFlushes)
	}
	jobs = append(jobs, q.mu.waiting[:n]...)
	rest := copy(q.mu.waiting, q.mu.waiting[n:])
	clear(q.mu.waiting[rest:])
	q.mu.waiting = q.mu.waiting[:rest]
	return jobs, q.mu.closed
}

func (q *flushQueue) loop() {
	for {
		jobs, closed := q.take()
		if closed {
			for _, j := range jobs {
				j.done(FlushResult{}, ErrClosed)
			}
			return
		}
		q.send(jobs)
	}
}

func (q *flushQueue) send(jobs []*flushJob) {
	s := q.store
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.FlushTimeout)
	defer cancel()
	pipe := s.bulk.Pipeline()
	for _, j := range jobs {
		j.cmd = pipe.EvalSha(ctx, flushScript.Hash(), j.keys, j.argv...)
	}
	execute(ctx, pipe)

	// A server that does not know the script has run nothing: send the source, in the same order.
	for _, j := range jobs {
		if isMissingScript(j.cmd.Err()) {
			j.cmd = pipe.Eval(ctx, flushSource, j.keys, j.argv...)
		}
	}
	if pipe.Len() > 0 {
		execute(ctx, pipe)
	}
	s.metrics.flushSeconds.Observe(time.Since(began).Seconds())
	for _, j := range jobs {
		result, err := q.outcome(j)
		j.done(result, err)
	}
}

func (q *flushQueue) outcome(j *flushJob) (FlushResult, error) {
	s := q.store
	reply, err := j.cmd.Result()
	if err != nil {
		err = readError(err)
	}
	var result FlushResult
	if err == nil {
		result, err = j.flush.result(reply)
	}
	switch {
	case err != nil && s.ctx.Err() != nil:
		err = fmt.Errorf("flush %s.%d: %w: %w", j.flush.Kind, j.flush.Partition, ErrClosed, err)
	case err != nil:
		s.metrics.flushes.WithLabelValues(flushFailed).Inc()
		err = fmt.Errorf("flush %s.%d: %w", j.flush.Kind, j.flush.Partition, err)
	case result.Refused:
		s.metrics.flushes.WithLabelValues(flushRefused).Inc()
		s.log.Warn().Stringer("kind", j.flush.Kind).Int("partition", j.flush.Partition).Err(result.Reason).Msg("flush refused")
	case len(result.Incomparable) > 0:
		s.metrics.flushes.WithLabelValues(flushIncomparable).Inc()
	default:
		s.metrics.flushes.WithLabelValues(flushStored).Inc()
	}
	s.metrics.entities.WithLabelValues(entityWritten).Add(float64(result.Written))
	s.metrics.entities.WithLabelValues(entityStale).Add(float64(result.Stale))
	s.metrics.entities.WithLabelValues(entityIncomparable).Add(float64(len(result.Incomparable)))
	return result, err
}
