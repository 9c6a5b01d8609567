package region

import (
	"context"
)

// trim drops what the log keeps beyond its age and size, but nothing that a kept snapshot would be replayed from, and nothing that the
// decision feed has not published.
func (r *Region) trim(ctx context.Context) error {
	paths, err := listSnapshots(r.config.snapshotDir(), r.rules.Load().schema.Version(), r.log.Origin().Epoch)
	if err != nil || len(paths) == 0 {
		return err
	}
	oldest, err := verifySnapshot(paths[0])
	if err != nil {
		return err
	}
	limit, err := oldest.reach()
	if err != nil {
		return err
	}
	limit = min(limit, r.feed.Next())
	want, err := r.surplus(ctx)
	if err != nil {
		return err
	}
	before := min(want, limit)
	first, _, _, err := r.log.Bounds(ctx)
	if err != nil || before <= first {
		return err
	}
	if err := r.log.Trim(ctx, before); err != nil {
		return err
	}
	r.logger.Info().Uint64("from", first).Uint64("before", before).Msg("log trimmed")
	return nil
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
