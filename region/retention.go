package region

import (
	"context"
	"math"
)

// trim drops what the log keeps beyond its age and size, but nothing that a kept snapshot would be replayed from, and nothing that the
// decision feed has not published.
func (r *Region) trim(ctx context.Context) error {
	paths, err := listSnapshots(r.config.snapshotDir(), r.rules.Load().schema.Version(), r.log.Origin().Epoch)
	if err != nil || len(paths) == 0 {
		return err
	}
	if _, err := verifySnapshot(paths[0]); err != nil {
		return err
	}
	first, _, _, err := r.log.Bounds(ctx)
	if err != nil {
		return err
	}
	limit, err := needed(paths, first)
	if err != nil {
		return err
	}
	want, err := r.surplus(ctx)
	if err != nil {
		return err
	}
	before := min(want, limit, r.feed.Next())
	if before <= first {
		return nil
	}
	if err := r.log.Trim(ctx, before); err != nil {
		return err
	}
	r.logger.Info().Uint64("from", first).Uint64("before", before).Msg("log trimmed")
	return nil
}

// needed returns the first sequence that one of the snapshots would be replayed from: that is not always the oldest, for a snapshot that was
// taken during a rebuild reaches back further. One that the log, which begins at first, cannot complete does not count; without any other,
// nothing may be trimmed.
func needed(paths []string, first uint64) (uint64, error) {
	least := uint64(math.MaxUint64)
	for _, path := range paths {
		s, err := openSnapshot(path)
		if err != nil {
			return 0, err
		}
		s.close()
		reach, err := s.header.reach()
		if err != nil {
			return 0, s.bad(err)
		}
		if reach >= first {
			least = min(least, reach)
		}
	}
	if least == math.MaxUint64 {
		return first, nil
	}
	return least, nil
}

// surplus returns the first sequence that age and size allow to keep.
func (r *Region) surplus(ctx context.Context) (uint64, error) {
	first, last, bytes, err := r.log.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	before := first
	if age := r.config.Log.MaxAge; age > 0 {
		if before, err = r.log.FirstSince(ctx, r.now()-age.Milliseconds()); err != nil {
			return 0, err
		}
	}
	if limit := uint64(r.config.Log.MaxBytes); limit > 0 && bytes > limit && last >= first {
		// Batches are alike enough: what is over the limit is this share of them.
		surplus := float64(bytes-limit) / float64(bytes) * float64(last-first+1)
		before = max(before, first+uint64(surplus))
	}
	return before, nil
}
