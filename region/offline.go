package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/speedlayer"
)

// TakeSnapshot writes a snapshot of what the configured Redis holds, without a running region; beside one it does no harm. An empty dir is the
// configured one; an empty epoch is the only one that Redis holds.
func TakeSnapshot(ctx context.Context, config Config, dir, epoch string, log zerolog.Logger) (path string, entities int64, err error) {
	schema, store, err := openOffline(config, log)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if dir == "" {
		dir = config.snapshotDir()
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", 0, fmt.Errorf("make folder: %w", err)
	}
	number, err := chooseEpoch(ctx, store, schema, epoch)
	if err != nil {
		return "", 0, err
	}
	return takeSnapshot(ctx, store, schema, config.Region, number, config.Shards.Partitions, dir, time.Now().UnixMilli())
}

// chooseEpoch returns the named epoch, or the only one in Redis.
func chooseEpoch(ctx context.Context, store *speedlayer.Store, schema *feature.Schema, named string) (uint64, error) {
	if named != "" {
		n, err := strconv.ParseUint(named, 16, 64)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("epoch %q: want up to 16 hexadecimal digits", named)
		}
		return n, nil
	}
	epochs, err := store.Epochs(ctx, schema.Version())
	if err != nil {
		return 0, fmt.Errorf("look for epochs in redis: %w", err)
	}
	if len(epochs) != 1 {
		return 0, fmt.Errorf("redis holds %d epochs of schema %s (%x): name one with --epoch", len(epochs), schema.Version(), epochs)
	}
	return epochs[0], nil
}

// RestoreSnapshot flushes a snapshot into the configured Redis. Newer states that it has stay. A running node is not disturbed: it finds that the
// watermark went back, if it did, and replays from there.
func RestoreSnapshot(ctx context.Context, config Config, path string, log zerolog.Logger) (entities int64, err error) {
	schema, store, err := openOffline(config, log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return restoreSnapshot(ctx, store, schema, path, log)
}

func openOffline(config Config, log zerolog.Logger) (*feature.Schema, *speedlayer.Store, error) {
	rules, err := LoadRuleset(config.Rules)
	if err != nil {
		return nil, nil, err
	}
	store, err := speedlayer.Open(config.Redis, log, prometheus.NewRegistry())
	if err != nil {
		return nil, nil, fmt.Errorf("open the speed layer: %w", err)
	}
	return rules.schema, store, nil
}
