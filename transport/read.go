package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"scoremesh/transport/wire"
)

// How a reader consumes.
const (
	readAhead      = 256              // batches that the client may hold
	readAheadBytes = 16 << 20         // and their bytes
	readExpiry     = 10 * time.Second // of one request for more
	readHeartbeat  = time.Second      // twice of it without a sign starts over
	readForgotten  = 30 * time.Second // when the server drops a consumer that nobody reads
)

// handlerError marks an error of the reader's function.
type handlerError struct{ error }

func (e handlerError) Unwrap() error { return e.error }

// Read calls fn for every batch from sequence from on, in order and without gaps, on the caller's goroutine, until ctx ends or fn returns an
// error, and returns that error. It waits at the head for what comes, and goes on by itself when the connection or the server
// was away. A batch that cannot be decoded is delivered without records, counted and logged: it is the same for every reader.
//
// Other errors: a *TrimmedError when from, or the reader's place, was trimmed; a *GapError; ErrLogReplaced when this is not the log that
// was opened, or it ends before the reader's place.
//
// Whoever has to know that it has caught up compares Batch.Seq with the last sequence that Bounds gave before.
func (l *Log) Read(ctx context.Context, from uint64, fn func(*Batch) error) error {
	r := &reader{log: l, next: max(from, 1), fn: fn, regress: regress{patience: l.cfg.RegressPatience}}
	retry := backoff{min: l.cfg.RetryMin, max: l.cfg.RetryMax}
	for {
		before := r.next
		err := r.subscribe(ctx)
		var handler handlerError
		var trimmed *TrimmedError
		var gap *GapError
		switch {
		case errors.As(err, &handler):
			return handler.error
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &trimmed), errors.As(err, &gap), errors.Is(err, ErrLogReplaced):
			return fmt.Errorf("read log %s: %w", l.stream, err)
		}
		l.metrics.resubscribes.Inc()
		l.log.Warn().Err(err).Uint64("next", r.next).Msg("reader subscribes again")
		if r.next > before {
			retry.reset()
		}
		if !retry.wait(ctx) {
			return ctx.Err()
		}
	}
}

// reader is one Read.
type reader struct {
	log *Log
	fn  func(*Batch) error
	// next is the sequence to be delivered next. Invariant: everything from the reader's start up to next was.
	next uint64
	// gap is the next at which a gap was seen last.
	gap     uint64
	regress regress
}

// subscribe delivers from one consumer until something is wrong with it. It always returns an error.
func (r *reader) subscribe(ctx context.Context) error {
	if err := r.inspect(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := r.log.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer r.log.nc.RemoveStatusListener(lost)

	consumer, messages, err := r.consume(ctx)
	if err != nil {
		return err
	}
	defer r.drop(consumer)
	defer messages.Stop()
	// A reader whose connection was lost starts over: its consumer lived in the server's memory.
	watching := make(chan struct{})
	defer func() { cancel(); <-watching }()
	go func() {
		defer close(watching)
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("wait for batch %d: %w", r.next, err)
		}
		if err := r.deliver(m); err != nil {
			return err
		}
	}
}

// inspect holds the log against the reader's place.
func (r *reader) inspect(ctx context.Context) error {
	first, last, _, err := r.log.Bounds(ctx)
	switch {
	case err != nil:
		return err
	case first > r.next:
		return &TrimmedError{Wanted: r.next, First: first}
	}
	return r.regress.check(last, r.next-1)
}

func (r *reader) consume(ctx context.Context) (jetstream.Consumer, jetstream.MessagesContext, error) {
	create, cancel := context.WithTimeout(ctx, r.log.cfg.RequestTimeout)
	defer cancel()
	consumer, err := r.log.js.CreateConsumer(create, r.log.stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.next,
		AckPolicy:         jetstream.AckNonePolicy,
		Replicas:          1,
		MemoryStorage:     true,
		InactiveThreshold: readForgotten,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("create consumer: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes), jetstream.PullExpiry(readExpiry),
		jetstream.PullHeartbeat(readHeartbeat))
	if err != nil {
		r.drop(consumer)
		return nil, nil, fmt.Errorf("consume: %w", err)
	}
	return consumer, messages, nil
}

// drop deletes the consumer; the server does so itself when it cannot be told.
func (r *reader) drop(consumer jetstream.Consumer) {
	if !r.log.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.log.cfg.RequestTimeout)
	defer cancel()
	if err := r.log.js.DeleteConsumer(ctx, r.log.stream, consumer.CachedInfo().Name); err != nil {
		r.log.log.Debug().Err(err).Msg("consumer is left to expire")
	}
}

func (r *reader) deliver(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("metadata of a batch: %w", err)
	}
	seq := meta.Sequence.Stream
	switch {
	case seq < r.next:
		return nil
	case seq > r.next && r.gap != r.next:
		r.gap = r.next // look again: it may have been trimmed
		return fmt.Errorf("batch %d came instead of %d", seq, r.next)
	case seq > r.next:
		return &GapError{Wanted: r.next, Got: seq}
	}
	batch := &Batch{Origin: r.log.Origin(), Seq: seq, StoredAt: meta.Timestamp.UnixMilli(), Pending: meta.NumPending}
	decoded, err := wire.DecodeBatch(m.Data())
	if err != nil {
		r.log.metrics.malformed.Inc()
		r.log.log.Error().Err(err).Uint64("sequence", seq).Msg("batch cannot be decoded and is skipped")
	} else {
		batch.Records = decoded.Records
	}
	if err := r.fn(batch); err != nil {
		return handlerError{err}
	}
	r.next++
	r.log.metrics.batches.Inc()
	r.log.metrics.records.Add(float64(len(batch.Records)))
	return nil
}
