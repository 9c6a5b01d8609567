package region

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"scoremesh/actors"
	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/transport"
)

const (
	// replayGather lets the requests of many shards share one replay.
	replayGather = 10 * time.Millisecond
	// replayPause is the pause after a replay that failed, and unrecoverablePause after one that only an operator can help.
	replayPause        = 500 * time.Millisecond
	unrecoverablePause = 5 * time.Second
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

// replayer brings the past to the shards that ask for it. Those that only an operator can help are tried again from time to time, and
// keep nobody waiting.
func (r *Region) replayer(ctx context.Context) {
	var lost []actors.ReplayRequest
	var retryLost time.Time
	for {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if len(lost) > 0 {
			waiting, cancel = context.WithDeadline(ctx, retryLost)
		}
		requests := r.replays.take(waiting)
		cancel()
		if !pause(ctx, replayGather) {
			return
		}
		if len(lost) > 0 && !time.Now().Before(retryLost) {
			requests, lost = merged(requests, lost), nil
		}
		requests = merged(r.replays.rest(), requests)
		again, lostNow, err := r.replay(ctx, requests)
		if ctx.Err() != nil {
			return
		}
		if len(lostNow) > 0 {
			lost, retryLost = merged(lostNow, lost), time.Now().Add(unrecoverablePause)
		}
		lost = without(lost, again)
		r.tellLost(lost)
		if err == nil {
			continue
		}
		r.logger.Warn().Err(err).Int("shards", len(again)).Msg("replay failed; it is tried again")
		for _, q := range again {
			r.replays.pushOlder(q)
		}
		if !pause(ctx, replayPause) {
			return
		}
	}
}

// merged adds to newer the requests of older that are of other shards.
func merged(newer, older []actors.ReplayRequest) []actors.ReplayRequest {
	return append(newer, without(older, newer)...)
}

// without returns the requests that are of no shard of others.
func without(requests, others []actors.ReplayRequest) []actors.ReplayRequest {
	var rest []actors.ReplayRequest
	for _, q := range requests {
		if !slices.ContainsFunc(others, func(o actors.ReplayRequest) bool { return o.Shard == q.Shard }) {
			rest = append(rest, q)
		}
	}
	return rest
}

func (r *Region) tellLost(lost []actors.ReplayRequest) {
	if len(lost) == 0 {
		r.unrecoverable.Store(nil)
		return
	}
	why := fmt.Sprintf("the log was trimmed and no snapshot reaches back far enough for %d shards: restore one by hand", len(lost))
	r.unrecoverable.Store(&why)
}

// replay helps every shard that asks: from the log where it reaches back far enough, and otherwise from what is stored. It returns the requests
// that failed for a while, with the error, and those that nothing helps.
func (r *Region) replay(ctx context.Context, requests []actors.ReplayRequest) (again, lost []actors.ReplayRequest, err error) {
	first, last, _, err := r.log.Bounds(ctx)
	if err != nil {
		return requests, nil, err
	}
	var reached, trimmed []actors.ReplayRequest
	for _, q := range requests {
		if behind(q.From.Get(r.log.Origin())) >= first {
			reached = append(reached, q)
		} else {
			trimmed = append(trimmed, q)
		}
	}
	if len(trimmed) > 0 {
		if lost, err = r.fromStored(ctx, trimmed, first); err != nil {
			return requests, nil, err
		}
	}
	if len(reached) > 0 {
		if err := r.replayLog(ctx, reached, last); err != nil {
			return reached, lost, err
		}
	}
	return nil, lost, nil
}

// replayLog reads the log for the shards from where the furthest behind of them stands, until it has met the live reader.
func (r *Region) replayLog(ctx context.Context, requests []actors.ReplayRequest, last uint64) error {
	origin := r.log.Origin()
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
	if err := group.Wait(); err != nil {
		return err
	}
	r.logger.Info().Int("shards", len(requests)).Int("records", records).Dur("took_ms", time.Since(began)).Msg("replayed the log")
	return nil
}

// behind is the first sequence that a mark does not cover whole.
func behind(m feature.Mark) uint64 {
	if m == feature.EndOf(m.Seq()) {
		return m.Seq() + 1
	}
	return max(m.Seq(), 1)
}

// fromStored helps shards whose past the log, which begins at first, no longer has: it begins them anew from what Redis holds, if that reaches
// the log (somebody restored it), and otherwise writes the newest snapshot into it before. It returns those that nothing helps.
func (r *Region) fromStored(ctx context.Context, requests []actors.ReplayRequest, first uint64) (lost []actors.ReplayRequest, err error) {
	var rest []actors.ReplayRequest
	for _, q := range requests {
		stored, err := r.reader.Watermark(ctx, q.Shard.Kind, q.Shard.Partition)
		if err != nil && !errors.Is(err, speedlayer.ErrMalformed) {
			return nil, err
		}
		if behind(stored.Vector.Get(r.log.Origin())) < first {
			rest = append(rest, q)
			continue
		}
		// A shard that comes back at once did so for a state in Redis that it cannot use: not round and round.
		if time.Since(r.retaken[q.Shard]) < unrecoverablePause {
			lost = append(lost, q)
			continue
		}
		r.retaken[q.Shard] = time.Now()
		shardEvent(r.logger.Warn(), q.Shard).Msg("the log no longer has the shard's past; it begins anew from what redis holds")
		r.restarts.push(q.Shard)
	}
	if len(rest) == 0 {
		return lost, nil
	}
	path, err := r.newestSnapshot(first)
	if err != nil {
		r.logger.Error().Err(err).Int("shards", len(rest)).Msg("shards cannot be rebuilt")
		return append(lost, rest...), nil
	}
	if _, err = restoreSnapshot(ctx, r.store, r.rules.Load().schema, path, r.logger); err != nil {
		return nil, err
	}
	r.logger.Warn().Str("snapshot", path).Int("shards", len(rest)).Msg("restored shards whose past the log no longer has")
	for _, q := range rest {
		r.restarts.push(q.Shard)
	}
	return lost, nil
}
