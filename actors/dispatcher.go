package actors

import (
	"context"
	"fmt"
	"sync"

	"scoremesh/feature"
)

// Dispatcher takes the batches of the logs to the shards, in ranges that meet: a shard sees of each origin (0, a], (a, b], (b, c] ...,
// every record of its partition in them, and so knows when something is missing.
//
// The live readers call Dispatch, one goroutine for each origin, in the order of the log. A Catchup brings the past to some shards, beside
// them.
type Dispatcher struct {
	system *System
	live   lane
}

func newDispatcher(s *System) *Dispatcher {
	d := &Dispatcher{system: s}
	d.live.init(s.boxes)
	return d
}

// Live says behind which vector the live readers start. It must be called before Dispatch, at most once.
func (d *Dispatcher) Live(from feature.Vector) { d.live.begin(from) }

// Dispatch takes the batch at sequence seq of an origin's log to the shards that its records touch. It owns the records from then on. It blocks
// while a shard has too many folds waiting, and fails only when ctx ends; then the batch must be dispatched again before any other
// of this origin.
func (d *Dispatcher) Dispatch(ctx context.Context, origin feature.Origin, seq uint64, records []feature.Record) error {
	return d.live.dispatch(ctx, origin, seq, records)
}

// Position is up to where every shard has been sent the logs by the live readers.
func (d *Dispatcher) Position() feature.Vector { return d.live.position() }

// advance moves the shards that the last batches did not touch.
func (d *Dispatcher) advance() { d.live.advance() }

// lane is one sequence of ranges to a set of shards.
type lane struct {
	boxes  []*mailbox
	within []bool // of boxes: the lane's own

	mu struct {
		sync.Mutex
		from    feature.Vector
		origins []*originLane
	}
}

// originLane is what a lane knows of one origin. Guarded by lane.mu.
type originLane struct {
	origin feature.Origin
	// sent is up to where each shard was sent the log.
	sent []feature.Mark
	// done is up to where all batches were dispatched whole: untouched shards may be moved there.
	done     feature.Mark
	beaconAt int64
}

func (l *lane) init(boxes []*mailbox) {
	l.boxes = boxes
	l.within = make([]bool, len(boxes))
	for i := range l.within {
		l.within[i] = true
	}
}

func (l *lane) begin(from feature.Vector) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.from = from.Clone()
	for origin := range l.mu.from.All() {
		l.of(origin)
	}
}

// of returns the origin's lane; mu is held.
func (l *lane) of(origin feature.Origin) *originLane {
	for _, o := range l.mu.origins {
		if o.origin == origin {
			return o
		}
	}
	from := l.mu.from.Get(origin)
	o := &originLane{origin: origin, done: from, sent: make([]feature.Mark, len(l.boxes))}
	for i := range o.sent {
		o.sent[i] = from
	}
	l.mu.origins = append(l.mu.origins, o)
	return o
}

// scatter is the working memory of one dispatch: the fold of each shard that is touched.
type scatter struct {
	folds   []*fold
	touched []int
}

var (
	scatters = sync.Pool{New: func() any { return new(scatter) }}
	folds    = sync.Pool{New: func() any { return new(fold) }}
)

// recycle takes a finished fold back. Nobody else may know it.
func recycle(f *fold) {
	clear(f.records)
	clear(f.hots)
	*f = fold{records: f.records[:0], hots: f.hots[:0]}
	folds.Put(f)
}

func (l *lane) dispatch(ctx context.Context, origin feature.Origin, seq uint64, records []feature.Record) error {
	sc := scatters.Get().(*scatter)
	defer scatters.Put(sc)
	beaconAt := l.split(sc, seq, records)
	defer func() {
		clear(sc.folds)
		sc.touched = sc.touched[:0]
	}()
	to := feature.EndOf(seq)
	l.mu.Lock()
	o := l.of(origin)
	o.beaconAt = max(o.beaconAt, beaconAt)
	l.mu.Unlock()
	for _, i := range sc.touched {
		if err := l.boxes[i].reserve(ctx); err != nil {
			return fmt.Errorf("dispatch %s/%d: %w", origin.Region, seq, err)
		}
		l.send(o, i, to, sc.folds[i])
	}
	l.mu.Lock()
	o.done = max(o.done, to)
	l.mu.Unlock()
	return nil
}

// split sorts the records by shard, and returns the time of the newest beacon among them.
func (l *lane) split(sc *scatter, seq uint64, records []feature.Record) (beaconAt int64) {
	if len(sc.folds) < len(l.boxes) {
		sc.folds = make([]*fold, len(l.boxes))
	}
	partitions := len(l.boxes) / len(feature.Kinds)
	for index := range records {
		r := &records[index]
		if r.Beacon != nil {
			beaconAt = max(beaconAt, r.Beacon.At)
			continue
		}
		for _, kind := range feature.Kinds {
			id := r.Touches(kind)
			if id == "" {
				continue
			}
			i := int(kind)*partitions + feature.PartitionOf(kind, id, partitions)
			if !l.within[i] {
				continue
			}
			if sc.folds[i] == nil {
				sc.folds[i] = folds.Get().(*fold)
				sc.touched = append(sc.touched, i)
			}
			sc.folds[i].records = append(sc.folds[i].records, placed{feature.MarkOf(seq, index), r})
		}
	}
	return beaconAt
}

// send sends shard i the fold up to to; a slot is reserved. Ranges are cut and sent under the lock, so that they arrive in order.
func (l *lane) send(o *originLane, i int, to feature.Mark, f *fold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.origin, f.from, f.to, f.beaconAt = o.origin, o.sent[i], to, o.beaconAt
	o.sent[i] = max(o.sent[i], to)
	l.boxes[i].send(f)
}

// advance sends an empty range to each shard that lags behind the whole batches. A shard whose slots are taken is left for the next time.
func (l *lane) advance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.mu.origins {
		for i, b := range l.boxes {
			if !l.within[i] || o.sent[i] >= o.done || !b.tryReserve() {
				continue
			}
			f := folds.Get().(*fold)
			f.origin, f.from, f.to, f.beaconAt = o.origin, o.sent[i], o.done, o.beaconAt
			o.sent[i] = o.done
			b.send(f)
		}
	}
}

func (l *lane) position() feature.Vector {
	l.mu.Lock()
	defer l.mu.Unlock()
	var v feature.Vector
	for _, o := range l.mu.origins {
		v.Advance(o.origin, o.done)
	}
	return v
}
