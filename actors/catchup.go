package actors

import (
	"context"
	"sync"

	"scoremesh/feature"
)

// Catchup brings the past to the shards that asked for a replay, beside the live readers. The host reads every local log from From, each by
// its own goroutine or one after the other, and dispatches every batch; after each batch and whenever a reader is at the head of its log it
// calls Finish.
//
// The hand-over is safe because ranges say what they hold: a live range that a shard got too early was refused as a gap, and Finish ends
// only when the replay has reached what the live readers have sent, so that the next live range meets it.
type Catchup struct {
	dispatcher *Dispatcher
	lane       lane
	requests   []ReplayRequest
	from       feature.Vector
	heads      feature.Vector

	mu       sync.Mutex
	finished bool // guarded by mu
}

// Catchup begins a replay for the shards that asked. Heads is up to where every local log, replicas included, had been written when the
// shards asked: the replay goes at least there.
func (d *Dispatcher) Catchup(requests []ReplayRequest, heads feature.Vector) *Catchup {
	c := &Catchup{dispatcher: d, requests: requests, heads: heads.Clone()}
	c.lane.init(d.system.boxes)
	clear(c.lane.within)
	for _, r := range requests {
		c.lane.within[c.index(r.Shard)] = true
	}
	c.from = commonFrom(requests)
	c.lane.begin(c.from)
	for _, r := range requests {
		for origin, mark := range r.From.All() {
			c.lane.of(origin).sent[c.index(r.Shard)] = mark
		}
	}
	return c
}

func (c *Catchup) index(id ShardID) int {
	return int(id.Kind)*c.dispatcher.system.config.Partitions + id.Partition
}

// commonFrom is the pointwise minimum: where the shard that is furthest behind goes on. An origin that one of them lacks is absent.
func commonFrom(requests []ReplayRequest) feature.Vector {
	var v feature.Vector
	if len(requests) == 0 {
		return v
	}
	for origin, mark := range requests[0].From.All() {
		for i := range requests[1:] {
			mark = min(mark, requests[1+i].From.Get(origin))
		}
		v.Advance(origin, mark)
	}
	return v
}

// From is where reading starts: of each origin the first batch that is not covered, of an origin that it lacks the log's first.
func (c *Catchup) From() feature.Vector { return c.from.Clone() }

// Dispatch takes the batch at sequence seq to the shards that asked. It owns the records from then on. One goroutine for each origin, in
// the log's order; it blocks while a shard has too many folds waiting.
func (c *Catchup) Dispatch(ctx context.Context, origin feature.Origin, seq uint64, records []feature.Record) error {
	return c.lane.dispatch(ctx, origin, seq, records)
}

// Finish ends the replay if it has reached the heads and what the live readers have sent to its shards: then it tells the shards and
// returns true. Else the readers go on. It is safe to call from several readers.
func (c *Catchup) Finish(ctx context.Context) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return true, nil
	}
	at := c.lane.position()
	if !at.Dominates(c.heads) || !c.dispatcher.live.behind(&c.lane, at) {
		return false, nil
	}
	// First everything up to at is sent, then it is compared again: from then on the live ranges begin at or before it.
	if err := c.lane.flush(ctx); err != nil {
		return false, err
	}
	if !c.dispatcher.live.behind(&c.lane, at) {
		return false, nil
	}
	for _, r := range c.requests {
		upTo := at.Clone()
		upTo.Merge(r.From)
		c.lane.boxes[c.index(r.Shard)].send(&caughtUp{generation: r.Generation, upTo: upTo})
	}
	c.finished = true
	return true, nil
}

// behind says that nothing was sent on the lane to the other one's shards that at does not cover.
func (l *lane) behind(other *lane, at feature.Vector) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.mu.origins {
		reached := at.Get(o.origin)
		for i := range l.boxes {
			if other.within[i] && o.sent[i] > reached {
				return false
			}
		}
	}
	return true
}

// flush moves every shard of the lane to where the whole batches end; it blocks while a shard has no slot.
func (l *lane) flush(ctx context.Context) error {
	l.mu.Lock()
	origins := append([]*originLane(nil), l.mu.origins...)
	l.mu.Unlock()
	for _, o := range origins {
		for i, b := range l.boxes {
			if !l.within[i] || !l.lags(o, i) {
				continue
			}
			if err := b.reserve(ctx); err != nil {
				return err
			}
			l.send(o, i, l.whole(o), folds.Get().(*fold))
		}
	}
	return nil
}

func (l *lane) lags(o *originLane, i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return o.sent[i] < o.done
}

func (l *lane) whole(o *originLane) feature.Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return o.done
}
