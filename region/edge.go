package region

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/actors"
	"scoremesh/speedlayer"
)

// Bounds of the work that shards ask for.
const (
	// maxConditional bounds the looks and appends on conditional subjects that wait.
	maxConditional = 1024
	// conditionalTimeout bounds one of them.
	conditionalTimeout = 5 * time.Second
	// restartPause is the pause after a failed load of a shard's watermark.
	restartPause = 200 * time.Millisecond
)

// What a shard puts into one flush, the speed layer takes.
var _ [speedlayer.MaxFlushEntities - actors.MaxFlush]struct{}

var errEdgeFull = errors.New("too many requests of shards wait")

// edge is what the shards ask of the region.
func (r *Region) edge() actors.Edge {
	return actors.Edge{
		Restart: func(id actors.ShardID) { r.restarts.push(id) },
		Load:    r.load,
		Flush:   r.flush,
		Replay: func(q actors.ReplayRequest) {
			if q.From.Len() == 0 {
				r.rebuilds.Add(1)
			}
			r.replays.push(q)
		},
		AskLast: func(partition int, done func(uint64, error)) {
			r.enqueue(func(ctx context.Context) {
				seq, err := r.log.LastConditional(ctx, partition)
				done(seq, err)
			}, func(err error) { done(0, err) })
		},
		Emit: func(q actors.EmitRequest, done func(uint64, error)) {
			r.enqueue(func(ctx context.Context) {
				seq, err := r.log.AppendConditional(ctx, q.Partition, q.ExpectLast, q.Records)
				done(seq, err)
			}, func(err error) { done(0, err) })
		},
	}
}

// load reads entities and their shard's watermark in one atomic step.
func (r *Region) load(q actors.LoadRequest, done func(actors.LoadResult, error)) {
	refs := make([]speedlayer.Ref, len(q.IDs))
	for i, id := range q.IDs {
		refs[i] = speedlayer.Ref{Kind: q.Shard.Kind, Partition: q.Shard.Partition, ID: id}
	}
	reader := r.bulkReader
	if q.Urgent {
		reader = r.reader
	}
	err := reader.Submit(refs, func(values []speedlayer.Value, err error) {
		if err != nil {
			done(actors.LoadResult{}, err)
			return
		}
		out := actors.LoadResult{States: make([][]byte, len(values))}
		for i := range values {
			out.States[i] = values[i].State
		}
		watermark, err := speedlayer.ParseWatermark(values[0].Watermark)
		out.Watermark = watermark.Vector
		done(out, err)
	})
	if err != nil {
		done(actors.LoadResult{}, err)
	}
}

// flush hands a shard's flush to the speed layer.
func (r *Region) flush(q actors.FlushRequest, done func(actors.FlushResult, error)) {
	entities := make([]speedlayer.EntityState, len(q.Entities))
	for i, e := range q.Entities {
		entities[i] = speedlayer.EntityState(e)
	}
	err := r.writer.Submit(speedlayer.Flush{Kind: q.Shard.Kind, Partition: q.Shard.Partition, Base: q.Base, Target: q.Target, FoldedAt: q.FoldedAt,
		Entities: entities, OpenAdd: q.OpenAdd, OpenRemove: q.OpenRemove}, func(got speedlayer.FlushResult, err error) {
		out := actors.FlushResult{Refused: got.Refused, Incomparable: got.Incomparable, Watermark: got.Watermark.Vector}
		if got.Refused {
			out.Reason = got.Reason.Error()
		}
		done(out, err)
	})
	if err != nil {
		done(actors.FlushResult{}, err)
	}
}

// enqueue hands work on conditional subjects to its goroutine, or refuses it.
func (r *Region) enqueue(work func(context.Context), refuse func(error)) {
	select {
	case r.conditional <- work:
	default:
		refuse(errEdgeFull)
	}
}

// conditionals does the work on conditional subjects, one at a time.
func (r *Region) conditionals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case work := <-r.conditional:
			bounded, cancel := context.WithTimeout(ctx, conditionalTimeout)
			work(bounded)
			cancel()
		}
	}
}

// restarter loads the watermarks and open sets that shards start from, until it can.
func (r *Region) restarter(ctx context.Context) {
	for {
		for _, id := range r.restarts.take(ctx) {
			if !r.restart(ctx, id) {
				r.restarts.push(id)
				if !pause(ctx, restartPause) {
					return
				}
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// restart tells a shard what Redis holds of it; false when Redis did not answer.
func (r *Region) restart(ctx context.Context, id actors.ShardID) bool {
	watermark, err := r.reader.Watermark(ctx, id.Kind, id.Partition)
	if errors.Is(err, speedlayer.ErrMalformed) {
		// Nobody can tell what such a Redis holds. A rebuild replaces it once the flush finds it, so begin from nothing.
		shardEvent(r.logger.Error(), id).Err(err).Msg("stored watermark is malformed; the shard starts from nothing")
		watermark, err = speedlayer.Watermark{}, nil
	}
	var open []string
	if err == nil {
		open, err = r.reader.OpenIDs(ctx, id.Kind, id.Partition)
	}
	if err != nil {
		shardEvent(r.logger.Debug(), id).Err(err).Msg("watermark cannot be read yet")
		return false
	}
	r.shards.Start(id, actors.Start{Watermark: watermark.Vector, FoldedAt: watermark.FoldedAt, Open: open})
	return true
}

func shardEvent(e *zerolog.Event, id actors.ShardID) *zerolog.Event {
	return e.Str("kind", id.Kind.String()).Int("partition", id.Partition)
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
