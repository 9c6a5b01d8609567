package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/transport/wire"
)

// AppenderConfig bounds an Appender.
type AppenderConfig struct {
	// Node is the node's name: 1 to 64 letters, digits, '-' and '_'.
	Node string
	// QueueRecords and QueueBytes bound what waits, the batch in flight included. Beyond them Append refuses.
	QueueRecords, QueueBytes int
	// BatchRecords and BatchBytes bound one batch. BatchBytes has to stay 4 KiB under the server's max_payload.
	BatchRecords, BatchBytes int
	// AckTimeout is how long to wait for an acknowledgement before looking whether the batch is in the log.
	AckTimeout time.Duration
}

// DefaultAppenderConfig keeps half a minute of 2,000 records/s while the log is away; Node has to be set.
func DefaultAppenderConfig() AppenderConfig {
	return AppenderConfig{QueueRecords: 1 << 16, QueueBytes: 64 << 20, BatchRecords: 512, BatchBytes: 512 << 10, AckTimeout: time.Second}
}

// payloadSlack is what a message needs beside its batch.
const payloadSlack = 4 << 10

// Validate names the first field that is out of bounds.
func (c *AppenderConfig) Validate() error {
	switch {
	case !tokenPattern.MatchString(c.Node):
		return badConfig("appender.node", "want 1 to 64 letters, digits, '-' and '_'")
	case c.QueueRecords < 1:
		return badConfig("appender.queue_records", "want at least 1")
	case c.BatchRecords < 1 || c.BatchRecords > feature.MaxBatch:
		return badConfig("appender.batch_records", fmt.Sprintf("want 1 to %d", feature.MaxBatch))
	case c.BatchBytes < 2*wire.MaxRecordBytes || c.BatchBytes > wire.MaxBatchBytes:
		return badConfig("appender.batch_bytes", fmt.Sprintf("want %d to %d", 2*wire.MaxRecordBytes, wire.MaxBatchBytes))
	case c.QueueBytes < c.BatchBytes:
		return badConfig("appender.queue_bytes", "want at least batch_bytes")
	case c.AckTimeout <= 0:
		return badConfig("appender.ack_timeout", "want more than 0")
	}
	return nil
}

// AppenderState is what an Appender knows of itself.
type AppenderState struct {
	// Healthy: the last attempt to append succeeded, or there was none yet.
	Healthy bool
	// UnreachableSince is when the first of the failed attempts began, in Unix milliseconds; 0 when healthy.
	UnreachableSince int64
	// LastError is why the last attempt failed.
	LastError string
	// QueueRecords and QueueBytes wait, the batch in flight included.
	QueueRecords, QueueBytes int
	// OldestWaiting is since when the oldest of them waits, in Unix milliseconds; 0 when none does.
	OldestWaiting int64
	// Replaced: the log was replaced; this Appender refuses everything with ErrLogReplaced.
	Replaced bool
}

// Appender appends one node's records to the log, in group-committed batches: one is in flight, and the next one collects
// meanwhile.
type Appender struct {
	log     *Log
	cfg     AppenderConfig
	logger  zerolog.Logger
	subject string
	queue   *queue
	pub     *publisher
	metrics *appendMetrics

	// expect is the sequence of the last message on the subject, as far as is known, 0 for none. Used by run only.
	expect uint64
	// regress watches for a log that lost what it had. Used by run only.
	regress regress
	// floor is a sequence that the log had reached before the batch in flight was first sent. Used by run only.
	floor uint64

	mu struct {
		sync.Mutex
		// unreachable is when the first of the failed attempts began; zero when the log is healthy.
		unreachable time.Time
		lastError   string
	}
	// abort ends the attempts: what is not committed then fails.
	abort context.CancelFunc
	ended chan struct{}
}

// NewAppender starts an appender. Its owner closes it.
func (l *Log) NewAppender(ctx context.Context, cfg AppenderConfig, reg prometheus.Registerer) (*Appender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	_, last, _, err := l.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	if limit := l.nc.MaxPayload(); limit > 0 && int64(cfg.BatchBytes+payloadSlack) > limit {
		return nil, badConfig("appender.batch_bytes", fmt.Sprintf("want at most %d, the server's max_payload less %d", limit-payloadSlack, payloadSlack))
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("draw life: %w", err)
	}
	life := binary.BigEndian.Uint64(random[:])
	a := &Appender{log: l, cfg: cfg, logger: l.log.With().Str("node", cfg.Node).Logger(), queue: newQueue(life, &cfg), floor: last, regress: regress{patience: l.cfg.RegressPatience},
		subject: fmt.Sprintf("%sn.%s.%016x", subjectPrefix(l.cfg.Region, l.epoch), cfg.Node, life), ended: make(chan struct{})}
	if a.metrics, err = newAppendMetrics(reg, l.cfg.Region, a.queue); err != nil {
		return nil, err
	}
	if a.pub, err = newPublisher(l.nc, 64); err != nil {
		a.metrics.unregister()
		return nil, err
	}
	var running context.Context
	running, a.abort = context.WithCancel(context.Background())
	go a.run(running)
	return a, nil
}

// Append enqueues a record. Once it is committed, or never will be, done is called exactly once, on the appender's goroutine: it must
// not block. When Append returns an error (ErrQueueFull, ErrClosed, ErrLogReplaced, or wire.ErrBounds) done is not called.
// The record is encoded before Append returns and not kept.
//
// done's error is ErrClosed or ErrLogReplaced; the position counts when it is nil.
func (a *Appender) Append(rec *feature.Record, done func(feature.Position, error)) error {
	err := a.queue.append(rec, waiter{done: done, since: time.Now()})
	if errors.Is(err, ErrQueueFull) {
		a.metrics.refused.Inc()
	}
	return err
}

// State says whether the log takes appends, and what waits.
func (a *Appender) State() AppenderState {
	records, bytes, oldest := a.queue.depth()
	s := AppenderState{QueueRecords: records, QueueBytes: bytes, Replaced: errors.Is(a.queue.closed(), ErrLogReplaced)}
	if !oldest.IsZero() {
		s.OldestWaiting = oldest.UnixMilli()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Healthy, s.LastError = a.mu.unreachable.IsZero() && !s.Replaced, a.mu.lastError
	if !a.mu.unreachable.IsZero() {
		s.UnreachableSince = a.mu.unreachable.UnixMilli()
	}
	return s
}

// Close refuses new records, appends what waits until ctx ends, and fails the rest with ErrClosed. It returns after the last done
// was called; its error says that records failed.
func (a *Appender) Close(ctx context.Context) error {
	a.queue.close(ErrClosed)
	select {
	case <-a.ended:
	case <-ctx.Done():
	}
	records, _, _ := a.queue.depth()
	a.abort()
	<-a.ended
	a.metrics.unregister()
	if records > 0 {
		return fmt.Errorf("close appender of log %s: up to %d records were not committed: %w", a.log.stream, records, ctx.Err())
	}
	return nil
}

// run commits lot after lot. The callbacks of a lot run while the next one is in flight.
func (a *Appender) run(ctx context.Context) {
	defer close(a.ended)
	defer a.pub.close()
	var previous *result
	for {
		next, ended := a.queue.take()
		if next == nil {
			a.finish(previous)
			previous = nil
			if ended {
				return
			}
			<-a.queue.more // a token comes with every record, and when the queue is closed
			continue
		}
		previous = a.commit(ctx, next, previous)
	}
}

// commit appends a lot, and finishes the one before it meanwhile.
func (a *Appender) commit(ctx context.Context, l *lot, previous *result) *result {
	r := &result{lot: l, err: a.over(ctx)}
	if r.err != nil {
		a.finish(previous)
		a.queue.settled(l)
		return r
	}
	began := time.Now()
	sent, err := a.send(l)
	a.finish(previous)
	r.seq, r.err = a.settle(ctx, l, sent, err)
	r.took = time.Since(began)
	a.queue.settled(l)
	if errors.Is(r.err, ErrLogReplaced) {
		a.queue.close(r.err)
		a.logger.Error().Err(r.err).Msg("log was replaced, appender refuses from now on")
	}
	return r
}

// over says why nothing may be sent any more, or nil.
func (a *Appender) over(ctx context.Context) error {
	if err := a.queue.closed(); errors.Is(err, ErrLogReplaced) {
		return err
	}
	if ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// result is what became of a lot.
type result struct {
	*lot
	seq  uint64
	err  error
	took time.Duration
}

// finish tells those who wait. A nil result is none.
func (a *Appender) finish(o *result) {
	if o == nil {
		return
	}
	now := time.Now()
	if o.err == nil {
		a.metrics.batch.Observe(float64(len(o.waiting)))
		a.metrics.commit.Observe(o.took.Seconds())
	}
	origin := a.log.Origin()
	for i, w := range o.waiting {
		if o.err == nil {
			a.metrics.latency.Observe(now.Sub(w.since).Seconds())
		}
		w.done(feature.Position{Origin: origin, Mark: feature.MarkOf(o.seq, i)}, o.err)
	}
	a.queue.recycle(o.lot)
}

// send publishes the lot behind what the subject is known to end with.
func (a *Appender) send(l *lot) (uint64, error) {
	return a.pub.send(&nats.Msg{Subject: a.subject, Data: l.data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: []string{strconv.FormatUint(a.expect, 10)},
		jetstream.ExpectedStreamHeader:      []string{a.log.stream},
	}})
}

// settle waits until the lot, which was sent as number sent unless failure is set, is in the log, and returns its sequence.
// It tries until ctx ends.
func (a *Appender) settle(ctx context.Context, l *lot, sent uint64, failure error) (uint64, error) {
	retry := backoff{min: a.log.cfg.RetryMin, max: a.log.cfg.RetryMax}
	began := time.Now()
	unknown := false // whether the fate of any attempt is
	for moved := 0; ; {
		var seq uint64
		if failure == nil {
			seq, failure = a.await(ctx, sent)
			unknown = unknown || errors.Is(failure, errNoAck)
		}
		if failure == nil {
			a.committed(seq)
			return seq, nil
		}
		if ctx.Err() != nil {
			return 0, ErrClosed
		}
		a.metrics.retries.Inc()
		if isMoved(failure) {
			moved++ // once, nothing is wrong with the log, only with what was known of it
		}
		if !isMoved(failure) || moved > 1 {
			a.failed(began, failure)
			if !errors.Is(failure, errNoAck) && !retry.wait(ctx) {
				return 0, ErrClosed
			}
		}
		found, err := a.lookUntil(ctx, l, unknown, began, &retry)
		if err != nil {
			return 0, err
		}
		if found != 0 {
			a.metrics.recovered.Inc()
			a.committed(found)
			return found, nil
		}
		sent, failure = a.send(l)
	}
}

// lookUntil looks until the log answers. It gives up when ctx ends or the log was replaced.
func (a *Appender) lookUntil(ctx context.Context, l *lot, unknown bool, began time.Time, retry *backoff) (uint64, error) {
	for {
		found, err := a.look(ctx, l, unknown)
		if err == nil || errors.Is(err, ErrLogReplaced) {
			return found, err
		}
		a.failed(began, err)
		if !retry.wait(ctx) {
			return 0, ErrClosed
		}
	}
}

// errNoAck: it is not known whether the log has the batch.
var errNoAck = errors.New("no acknowledgement in time")

// await waits for the acknowledgement of number sent; acknowledgements of attempts that were given up are passed over.
func (a *Appender) await(ctx context.Context, sent uint64) (uint64, error) {
	timer := time.NewTimer(a.cfg.AckTimeout)
	defer timer.Stop()
	for {
		select {
		case m := <-a.pub.replies:
			if got := a.pub.parse(m); got.n == sent {
				return got.seq, got.err
			}
		case <-timer.C:
			return 0, errNoAck
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// look asks the log how the subject ends. If it ends with the lot, look returns its sequence; otherwise 0, and expect is what to
// publish behind. unknown says that an earlier attempt may have been accepted.
func (a *Appender) look(ctx context.Context, l *lot, unknown bool) (uint64, error) {
	last, err := a.log.lastOn(ctx, a.subject)
	if err != nil {
		return 0, err
	}
	if last != nil {
		id, err := wire.BatchID(last.Data)
		if err == nil && bytes.Equal(id, l.id[:]) {
			return last.Sequence, nil
		}
		if err := a.regress.check(last.Sequence, a.expect); err != nil {
			return 0, err
		}
		a.expect = last.Sequence
		return 0, nil
	}
	// The subject is empty: nothing was appended yet, all of it was trimmed, or this is another log.
	info, err := a.log.current(ctx)
	if err != nil {
		return 0, err
	}
	if err := a.regress.check(info.State.LastSeq, a.floor); err != nil {
		return 0, err
	}
	if unknown && info.State.FirstSeq > a.floor+1 {
		a.metrics.uncertain.Inc()
		a.logger.Error().Uint64("sent_behind", a.floor).Uint64("first", info.State.FirstSeq).
			Msg("log was trimmed past an unacknowledged batch, which is appended again")
		a.floor = info.State.LastSeq
	}
	a.expect = 0
	return 0, nil
}

func (a *Appender) committed(seq uint64) {
	a.expect, a.floor = seq, seq
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.mu.unreachable.IsZero() {
		a.logger.Info().Dur("after_ms", time.Since(a.mu.unreachable)).Msg("log takes appends again")
	}
	a.mu.unreachable, a.mu.lastError = time.Time{}, ""
}

func (a *Appender) failed(began time.Time, err error) {
	err = plain(err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.unreachable.IsZero() {
		a.mu.unreachable = began
		a.logger.Warn().Err(err).Msg("log does not take appends")
	}
	a.mu.lastError = err.Error()
}
