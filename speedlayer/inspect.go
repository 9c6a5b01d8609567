package speedlayer

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"scoremesh/feature"
)

// The slow reads: for takeover, snapshots and operators. They have no budget but ctx and, per round trip, the flush timeout.

// ShardWatermark is a shard and its stored watermark.
type ShardWatermark struct {
	Kind      feature.Kind
	Partition int
	Watermark Watermark
}

// Watermark returns the stored watermark of a shard; the zero Watermark when nothing is stored. Error: ErrMalformed, ErrTimeout,
// ErrUnavailable, ErrShard.
func (r *Reader) Watermark(ctx context.Context, kind feature.Kind, partition int) (Watermark, error) {
	s, err := r.keys.shard(kind, partition)
	if err != nil {
		return Watermark{}, fmt.Errorf("watermark: %w", err)
	}
	b, err := r.store.bulk.Get(ctx, s.watermark).Bytes()
	return watermarkOf(s, b, err)
}

// Watermarks returns the stored watermarks of all shards, by kind and partition, with the zero Watermark where nothing is stored.
func (r *Reader) Watermarks(ctx context.Context) ([]ShardWatermark, error) {
	all := make([]ShardWatermark, 0, len(r.keys.shards))
	for first := 0; first < len(r.keys.shards); first += scanCount {
		chunk := r.keys.shards[first:min(first+scanCount, len(r.keys.shards))]
		pipe := r.store.bulk.Pipeline()
		cmds := make([]*redis.StringCmd, len(chunk))
		for i := range chunk {
			cmds[i] = pipe.Get(ctx, chunk[i].watermark)
		}
		execute(ctx, pipe)
		for i := range chunk {
			b, err := cmds[i].Bytes()
			w, err := watermarkOf(&chunk[i], b, err)
			if err != nil {
				return nil, err
			}
			all = append(all, ShardWatermark{chunk[i].kind, chunk[i].partition, w})
		}
	}
	return all, nil
}

func watermarkOf(s *shard, b []byte, err error) (Watermark, error) {
	var w Watermark
	switch {
	case errors.Is(err, redis.Nil):
		return w, nil
	case err != nil:
		err = readError(err)
	default:
		w, err = ParseWatermark(b)
	}
	if err != nil {
		return Watermark{}, fmt.Errorf("watermark of %s.%d: %w", s.kind, s.partition, err)
	}
	return w, nil
}

// OpenIDs returns the ids of the shard that have open obligations, in no order.
func (r *Reader) OpenIDs(ctx context.Context, kind feature.Kind, partition int) ([]string, error) {
	s, err := r.keys.shard(kind, partition)
	if err != nil {
		return nil, fmt.Errorf("open ids: %w", err)
	}
	ids, err := r.store.bulk.SMembers(ctx, s.open).Result()
	if err != nil {
		return nil, fmt.Errorf("open ids of %s.%d: %w", kind, partition, readError(err))
	}
	return ids, nil
}
