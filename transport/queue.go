package transport

import (
	"encoding/binary"
	"sync"
	"time"

	"scoremesh/feature"
	"scoremesh/transport/wire"
)

// lot is a batch in the making: its records, encoded, and who waits for each of them.
type lot struct {
	id      [16]byte
	data    []byte
	waiting []waiter
}

type waiter struct {
	done  func(feature.Position, error)
	since time.Time
}

// queue collects records in lots. Records are encoded into the last lot by whoever appends; the appender takes the first one.
type queue struct {
	// life and the number of a lot make its id.
	life                    uint64
	maxRecords, maxBytes    int
	batchRecords, batchSize int

	mu struct {
		sync.Mutex
		// refuse is why nothing may be appended any more, or nil.
		refuse error
		lots   []*lot
		spare  []*lot
		number uint64
		// records and bytes count the lots and the one that was taken, until it is released.
		records, bytes int
		// taken is since when the first record of the lot that was taken waits; zero when none is.
		taken time.Time
	}
	// more holds a token when lots may have come.
	more chan struct{}
}

func newQueue(life uint64, cfg *AppenderConfig) *queue {
	return &queue{life: life, maxRecords: cfg.QueueRecords, maxBytes: cfg.QueueBytes, batchRecords: cfg.BatchRecords,
		batchSize: cfg.BatchBytes, more: make(chan struct{}, 1)}
}

func (q *queue) append(r *feature.Record, w waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.refuse != nil {
		return q.mu.refuse
	}
	if q.mu.records >= q.maxRecords {
		return ErrQueueFull
	}
	var last *lot
	if n := len(q.mu.lots); n > 0 && len(q.mu.lots[n-1].waiting) < q.batchRecords {
		last = q.mu.lots[n-1]
	} else {
		last = q.begin()
	}
	before := len(last.data)
	data, err := wire.AppendRecord(last.data, r)
	size := len(data) - before
	if err == nil && q.mu.bytes+size > q.maxBytes {
		err = ErrQueueFull
	}
	last.data = data[:before]
	if err != nil {
		q.dropIfEmpty(last)
		return err
	}
	if before+size > q.batchSize && len(last.waiting) > 0 {
		last = q.begin()
		last.data = append(last.data, data[before:]...)
	} else {
		last.data = data
	}
	last.waiting = append(last.waiting, w)
	q.mu.records++
	q.mu.bytes += size
	select {
	case q.more <- struct{}{}:
	default:
	}
	return nil
}

// begin starts a new last lot.
func (q *queue) begin() *lot {
	var l *lot
	if n := len(q.mu.spare); n > 0 {
		l, q.mu.spare = q.mu.spare[n-1], q.mu.spare[:n-1]
	} else {
		l = &lot{}
	}
	q.mu.number++
	binary.BigEndian.PutUint64(l.id[:8], q.life)
	binary.BigEndian.PutUint64(l.id[8:], q.mu.number)
	l.data = wire.AppendBatchID(l.data[:0], l.id[:])
	q.mu.lots = append(q.mu.lots, l)
	return l
}

// dropIfEmpty takes a lot back that was begun for a record that was refused.
func (q *queue) dropIfEmpty(l *lot) {
	if len(l.waiting) == 0 {
		q.mu.lots = q.mu.lots[:len(q.mu.lots)-1]
		q.mu.spare = append(q.mu.spare, l)
	}
}

// take removes the first lot; its records go on counting until settled. With no lot, ended says that none will come.
func (q *queue) take() (l *lot, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.lots) == 0 {
		return nil, q.mu.refuse != nil
	}
	l = q.mu.lots[0]
	q.mu.lots[0] = nil
	q.mu.lots = q.mu.lots[1:]
	q.mu.taken = l.waiting[0].since
	return l, false
}

// settled stops counting a lot that was taken: it is committed or failed.
func (q *queue) settled(l *lot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.records -= len(l.waiting)
	q.mu.bytes -= len(l.data) - lotHeader
	q.mu.taken = time.Time{}
}

// lotHeader is the size of an encoded batch id.
const lotHeader = 2 + 16

// recycle keeps a lot's memory for the next ones.
func (q *queue) recycle(l *lot) {
	clear(l.waiting)
	l.waiting = l.waiting[:0]
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.spare) < 4 {
		q.mu.spare = append(q.mu.spare, l)
	}
}

// close refuses what comes from now on, with err. The first reason stays.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.refuse == nil {
		q.mu.refuse = err
	}
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// closed returns why the queue refuses, or nil.
func (q *queue) closed() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.refuse
}

// depth returns how many records and bytes are not yet settled, and since when the oldest of them waits.
func (q *queue) depth() (records, bytes int, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	oldest = q.mu.taken
	if oldest.IsZero() && len(q.mu.lots) > 0 {
		oldest = q.mu.lots[0].waiting[0].since
	}
	return q.mu.records, q.mu.bytes, oldest
}
