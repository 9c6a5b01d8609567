package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"scoremesh/feature"
	"scoremesh/transport/wire"
)

func (l *Log) partitionSubject(partition int) string {
	return subjectPrefix(l.cfg.Region, l.epoch) + "p." + strconv.Itoa(partition)
}

// LastConditional returns the sequence of the partition's last conditional append, 0 when there is none in the log (any more).
func (l *Log) LastConditional(ctx context.Context, partition int) (uint64, error) {
	last, err := l.lastOn(ctx, l.partitionSubject(partition))
	switch {
	case err != nil:
		return 0, fmt.Errorf("last conditional append of partition %d in %s: %w", partition, l.stream, err)
	case last == nil:
		// Also a replaced log has no message on this subject.
		if _, err := l.current(ctx); err != nil {
			return 0, fmt.Errorf("last conditional append of partition %d in %s: %w", partition, l.stream, err)
		}
		return 0, nil
	}
	return last.Sequence, nil
}

// AppendConditional appends the records as one batch, if the partition's last conditional append is still at expectLast (see
// LastConditional), and returns its sequence. Otherwise it is ErrMoved. After any other error the batch may or may not be in the
// log: the caller looks at the state again, so there is no retry in here.
func (l *Log) AppendConditional(ctx context.Context, partition int, expectLast uint64, recs []feature.Record) (uint64, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return 0, fmt.Errorf("draw batch id: %w", err)
	}
	data, err := wire.AppendBatch(nil, id[:], recs)
	if err != nil {
		return 0, fmt.Errorf("encode conditional batch of partition %d: %w", partition, err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: l.partitionSubject(partition), Data: data},
		jetstream.WithExpectStream(l.stream), jetstream.WithExpectLastSequencePerSubject(expectLast), jetstream.WithRetryAttempts(0))
	if isMoved(err) {
		return 0, fmt.Errorf("append to partition %d of %s behind %d: %w", partition, l.stream, expectLast, ErrMoved)
	}
	if err != nil {
		return 0, fmt.Errorf("append to partition %d of %s: %w", partition, l.stream, err)
	}
	return ack.Sequence, nil
}

// isMoved recognises the refusal of a condition on a last sequence.
func isMoved(err error) bool {
	var refusal *jetstream.APIError
	return errors.As(err, &refusal) && (refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
