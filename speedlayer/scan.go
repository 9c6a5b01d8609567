package speedlayer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"scoremesh/feature"
)

// scanCount is how many keys one round trip of a slow read covers.
const scanCount = 512

// Scan calls f for every entity of the keyspace, one at a time, in no order; an error of f ends it. What is written meanwhile may be
// seen before or after, and an entity may be seen twice. So take Watermarks before the scan: every state seen reflects at least
// its shard's, and says by its own vector what it reflects beyond. While a Cluster moves slots, entities can be missed.
func (r *Reader) Scan(ctx context.Context, f func(kind feature.Kind, partition int, id string, state []byte) error) error {
	masters, err := r.store.masters(ctx)
	if err != nil {
		return err
	}
	for _, c := range masters {
		if err := r.scanServer(ctx, c, f); err != nil {
			return err
		}
	}
	return nil
}

// masters returns every server that has keys of its own.
func (s *Store) masters(ctx context.Context) ([]redis.Cmdable, error) {
	cluster, ok := s.bulk.(*redis.ClusterClient)
	if !ok {
		return []redis.Cmdable{s.bulk}, nil
	}
	var masters struct {
		sync.Mutex
		all []redis.Cmdable
	}
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		masters.Lock()
		defer masters.Unlock()
		masters.all = append(masters.all, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan: %w", readError(err))
	}
	return masters.all, nil
}

// Epochs returns the epochs of a schema of which Redis holds watermarks, ascending. It looks at every key.
func (s *Store) Epochs(ctx context.Context, schema string) ([]uint64, error) {
	masters, err := s.masters(ctx)
	if err != nil {
		return nil, err
	}
	prefix := watermarkPrefix + schema + ":"
	var epochs []uint64
	for _, c := range masters {
		for cursor := uint64(0); ; {
			found, next, err := c.Scan(ctx, cursor, prefix+"*", scanCount).Result()
			if err != nil {
				return nil, fmt.Errorf("scan: %w", readError(err))
			}
			for _, key := range found {
				text, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), ":")
				if epoch, err := strconv.ParseUint(text, 16, 64); err == nil {
					epochs = append(epochs, epoch)
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	slices.Sort(epochs)
	return slices.Compact(epochs), nil
}

func (r *Reader) scanServer(ctx context.Context, c redis.Cmdable,
	f func(kind feature.Kind, partition int, id string, state []byte) error) error {
	for cursor := uint64(0); ; {
		found, next, err := c.Scan(ctx, cursor, r.keys.scan+"*", scanCount).Result()
		if err != nil {
			return fmt.Errorf("scan: %w", readError(err))
		}
		if err := r.fetch(ctx, c, found, f); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// fetch reads the keys of one round of the scan, per shard one MGET, in one round trip.
func (r *Reader) fetch(ctx context.Context, c redis.Cmdable, found []string,
	f func(kind feature.Kind, partition int, id string, state []byte) error) error {
	type chunk struct {
		ids, keys []string
		cmd       *redis.SliceCmd
	}
	chunks := map[*shard]*chunk{}
	for _, key := range found {
		s, id, err := r.keys.split(key)
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		if chunks[s] == nil {
			chunks[s] = &chunk{}
		}
		chunks[s].ids, chunks[s].keys = append(chunks[s].ids, id), append(chunks[s].keys, key)
	}
	if len(chunks) == 0 {
		return nil
	}
	pipe := c.Pipeline()
	for _, ch := range chunks {
		ch.cmd = pipe.MGet(ctx, ch.keys...)
	}
	execute(ctx, pipe)
	for s, ch := range chunks {
		values, err := ch.cmd.Result()
		if err == nil && len(values) != len(ch.keys) {
			err = fmt.Errorf("mget of %d keys: %d replies", len(ch.keys), len(values))
		}
		if err != nil {
			return fmt.Errorf("scan %s.%d: %w", s.kind, s.partition, readError(err))
		}
		for i, v := range values {
			state, ok := v.(string)
			if !ok {
				continue // expired between SCAN and MGET
			}
			if err := f(s.kind, s.partition, ch.ids[i], []byte(state)); err != nil {
				return err
			}
		}
	}
	return nil
}
