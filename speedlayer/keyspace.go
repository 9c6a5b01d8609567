package speedlayer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"scoremesh/feature"
)

// Keyspace is one schema version's states, folded by one incarnation of the region's log. Nothing is shared between keyspaces.
type Keyspace struct {
	// Schema is the feature schema's version: 1 to 64 of letters, digits, '.', '_' and '-'.
	Schema string
	// Epoch is the epoch of the region's own log. Never 0.
	Epoch uint64
	// Partitions is the mesh's number of partitions per kind.
	Partitions int
	// Retention is the least time that an entity is kept after it was last written: at least the horizon.
	Retention time.Duration
}

// Validate names the field that is out of bounds.
func (k Keyspace) Validate() error {
	var errs []error
	if len(k.Schema) < 1 || len(k.Schema) > 64 || strings.Trim(strings.ToLower(k.Schema), "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		errs = append(errs, fmt.Errorf("schema %q: want 1 to 64 of letters, digits, '.', '_', '-'", k.Schema))
	}
	if k.Epoch == 0 {
		errs = append(errs, errors.New("epoch 0: want the epoch of the region's log"))
	}
	if k.Partitions < 1 || k.Partitions > 1<<14 {
		errs = append(errs, fmt.Errorf("partitions %d: want 1 to %d", k.Partitions, 1<<14))
	}
	if k.Retention < time.Second || k.Retention > 10*365*24*time.Hour {
		errs = append(errs, fmt.Errorf("retention %v: want 1s to 10 years", k.Retention))
	}
	return errors.Join(errs...)
}

// The prefixes of the three sorts of keys.
const (
	entityPrefix    = "fs:"
	watermarkPrefix = "fw:"
	openPrefix      = "fo:"
)

// shard holds the keys of one (kind, partition).
type shard struct {
	kind      feature.Kind
	partition int
	slot      uint16
	entity    string // what an id is appended to
	watermark string
	open      string
}

// keys holds every shard of a keyspace.
type keys struct {
	space  Keyspace
	shards []shard
	// scan is what every entity key starts with. It has no character that a pattern of SCAN would interpret.
	scan string
}

func newKeys(k Keyspace) (*keys, error) {
	if err := k.Validate(); err != nil {
		return nil, fmt.Errorf("keyspace: %w", err)
	}
	base := fmt.Sprintf("%s:%x:", k.Schema, k.Epoch)
	ks := &keys{space: k, scan: entityPrefix + base, shards: make([]shard, 0, len(feature.Kinds)*k.Partitions)}
	for _, kind := range feature.Kinds {
		for p := range k.Partitions {
			tag := fmt.Sprintf("%s.%d", kind, p)
			ks.shards = append(ks.shards, shard{kind: kind, partition: p, slot: slotOf(tag),
				entity:    entityPrefix + base + "{" + tag + "}:",
				watermark: watermarkPrefix + base + "{" + tag + "}",
				open:      openPrefix + base + "{" + tag + "}"})
		}
	}
	return ks, nil
}

func (k *keys) shard(kind feature.Kind, partition int) (*shard, error) {
	if int(kind) >= len(feature.Kinds) || partition < 0 || partition >= k.space.Partitions {
		return nil, fmt.Errorf("%w: %s.%d of %d partitions", ErrShard, kind, partition, k.space.Partitions)
	}
	return &k.shards[int(kind)*k.space.Partitions+partition], nil
}

// split takes an entity key apart.
func (k *keys) split(key string) (s *shard, id string, err error) {
	rest, ok := strings.CutPrefix(key, k.scan+"{")
	tag, id, found := strings.Cut(rest, "}:")
	name, number, dotted := strings.Cut(tag, ".")
	if !ok || !found || !dotted {
		return nil, "", fmt.Errorf("%w: a key of the keyspace names no shard", ErrMalformed)
	}
	kind, err := feature.ParseKind(name)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	partition, err := strconv.Atoi(number)
	if err != nil {
		return nil, "", fmt.Errorf("%w: a key's partition is no number", ErrMalformed)
	}
	s, err = k.shard(kind, partition)
	return s, id, err
}
