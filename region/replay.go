package region

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"scoremesh/actors"
	"scoremesh/feature"
	"scoremesh/transport"
)

const (
	// replayGather lets the requests of many shards share one replay.
	replayGather = 10 * time.Millisecond
	// replayPause is the pause after a replay that failed, and unrecoverablePause after one that only an operator can help.
	replayPause        = 500 * time.Millisecond
	unrecoverablePause = 10 * time.Second
	// finishEvery is how often a replay that waits at the head of the log looks whether it is done.
	finishEvery = 10 * time.Millisecond
)

// live takes every batch behind from to the shards, for ever.
func (r *Region) live(ctx context.Context, from uint64) {
	next := from
	for {
		err := r.log.Read(ctx, next, func(b *transport.Batch) error {
			if err := r.shards.Dispatcher().Dispatch(ctx, b.Origin, b.Seq, b.Records); err != nil {
				return err
			}
			next = b.Seq + 1
			r.metrics.batch(b, r.now())
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		var trimmed *transport.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			// The shards see the gap in the ranges, and ask for a replay.
			r.logger.Error().Err(err).Msg("the log was trimmed past its reader")
			next = trimmed.First
		case errors.Is(err, transport.ErrLogReplaced):
			r.logger.Error().Err(err).Msg("the log was replaced; the node must be restarted")
			return
		default:
			r.logger.Warn().Err(err).Msg("reading the log failed; it is tried again")
		}
		if !pause(ctx, replayPause) {
			return
		}
	}
}

// replayer brings the past to the shards that ask for it.
func (r *Region) replayer(ctx context.Context) {
	for {
		requests := r.replays.take(ctx)
		if !pause(ctx, replayGather) {
			return
		}
		requests = append(requests, r.replays.rest()...)
		err := r.replay(ctx, requests)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		r.logger.Warn().Err(err).Int("shards", len(requests)).Msg("replay failed; it is tried again")
		for _, q := range requests {
			r.replays.pushOlder(q)
		}
		wait := replayPause
		if r.unrecoverable.Load() != nil {
			wait = unrecoverablePause
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// replay reads the log for the shards from where the furthest behind of them stands, until it has met the live reader.
func (r *Region) replay(ctx context.Context, requests []actors.ReplayRequest) error {
	origin := r.log.Origin()
	_, last, _, err := r.log.Bounds(ctx)
	if err != nil {
		return err
	}
	var heads feature.Vector
	if last > 0 {
		heads = feature.VectorOf(origin, feature.EndOf(last))
	}
	began, records := time.Now(), 0
	catchup := r.shards.Dispatcher().Catchup(requests, heads)
	from := catchup.From()
	group, within := errgroup.WithContext(ctx)
	reading, stop := context.WithCancel(within)
	defer stop()
	group.Go(func() error {
		err := r.log.Read(reading, behind(from.Get(origin)), func(b *transport.Batch) error {
			records += len(b.Records)
			return catchup.Dispatch(reading, b.Origin, b.Seq, b.Records)
		})
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			return nil // it was stopped because it is done
		}
		return err
	})
	group.Go(func() error {
		defer stop()
		for {
			done, err := catchup.Finish(within)
			if done || err != nil {
				return err
			}
			if !pause(within, finishEvery) {
				return within.Err()
			}
		}
	})
	err = group.Wait()
	var trimmed *transport.TrimmedError
	if errors.As(err, &trimmed) {
		return r.fromSnapshot(ctx, requests, trimmed)
	}
	if err == nil {
		r.unrecoverable.Store(nil)
		r.logger.Info().Int("shards", len(requests)).Int("records", records).Dur("took", time.Since(began)).Msg("replayed the log")
	}
	return err
}

// behind is the first sequence that a mark does not cover whole.
func behind(m feature.Mark) uint64 {
	if m == feature.EndOf(m.Seq()) {
		return m.Seq() + 1
	}
	return max(m.Seq(), 1)
}

// fromSnapshot helps shards whose past the log no longer has: it writes the newest snapshot into Redis, and the shards begin anew from there.
func (r *Region) fromSnapshot(ctx context.Context, requests []actors.ReplayRequest, trimmed *transport.TrimmedError) error {
	path, err := r.newestSnapshot(trimmed.First)
	if err == nil {
		_, err = restoreSnapshot(ctx, r.store, r.rules.Load().schema, path, r.logger)
	}
	if err != nil {
		why := "the log was trimmed and no snapshot reaches back far enough: restore one by hand"
		r.unrecoverable.Store(&why)
		return err
	}
	r.logger.Warn().Str("snapshot", path).Int("shards", len(requests)).Msg("restored shards whose past the log no longer has")
	for _, q := range requests {
		r.restarts.push(q.Shard)
	}
	return nil
}
