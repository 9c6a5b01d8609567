package speedlayer

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"scoremesh/feature"
)

//go:embed flush.lua
var flushSource string

var flushScript = redis.NewScript(flushSource)

// MaxFlushEntities bounds the entities of one flush, because Redis serves nobody else during the call. An owner with more dirty
// entities writes some of them with flushes whose Target is their Base, and the rest with the flush that moves the watermark.
const MaxFlushEntities = 10_000

// EntityState is an entity's whole value as AppendEntity makes it.
type EntityState struct {
	ID    string
	State []byte
}

// Flush is what one owner wants Redis to hold of one shard. Its slices may not be changed until it is done.
type Flush struct {
	Kind      feature.Kind
	Partition int
	// Base is the last watermark that was confirmed to this owner; empty for none.
	Base feature.Vector
	// Target is the position applied: with Entities stored, Redis reflects every record of the shard up to it. It dominates Base.
	Target feature.Vector
	// FoldedAt is the time of the newest beacon folded, Unix milliseconds.
	FoldedAt int64
	// Entities are all those touched since Base, each once.
	Entities []EntityState
	// OpenAdd and OpenRemove are the ids that begin and cease to have open obligations. An id is in one of them at most. Removing an
	// id takes effect only if Redis then holds this owner's state of it (or, for an id that is not in Entities, if Target dominates
	// the stored watermark), so that an owner that is behind cannot strike what another one knows to be open.
	OpenAdd, OpenRemove []string
}

// FlushResult says what became of a flush that Redis answered.
type FlushResult struct {
	// Refused: nothing was written, for Reason (ErrBaseMissing, ErrCorruptWatermark or ErrCorruptEntity).
	Refused bool
	Reason  error
	// Corrupt is the entity that could not be read, with ErrCorruptEntity.
	Corrupt string
	// Written counts the entities written, Stale those of which Redis had the same or a newer state. Both are stored.
	Written, Stale int
	// Incomparable are the entities that are neither, because two owners folded the logs in different orders: they were not written,
	// and the watermark did not move. Everything stays dirty; folding on makes this owner's states dominate.
	Incomparable []string
	// Watermark is the stored one after the call; the zero Watermark with ErrCorruptWatermark.
	Watermark Watermark
}

// Confirmed says whether everything of the flush is stored, so that its entities are no longer dirty.
func (r *FlushResult) Confirmed() bool { return !r.Refused && len(r.Incomparable) == 0 }

// The statuses that the script answers with.
const (
	statusDone = iota
	statusBaseMissing
	statusCorruptWatermark
	statusCorruptEntity
)

// arguments validates the flush and lays it out for the script.
func (f *Flush) arguments(s *shard, retention time.Duration) (keys []string, argv []any, err error) {
	switch {
	case !f.Target.Dominates(f.Base):
		return nil, nil, fmt.Errorf("%w: target %s does not dominate base %s", ErrFlush, f.Target.String(), f.Base.String())
	case f.FoldedAt < 0:
		return nil, nil, fmt.Errorf("%w: folded at %d", ErrFlush, f.FoldedAt)
	case len(f.Entities) > MaxFlushEntities || len(f.OpenAdd)+len(f.OpenRemove) > MaxFlushEntities:
		return nil, nil, fmt.Errorf("%w: %d entities, %d open changes: want at most %d", ErrFlush, len(f.Entities),
			len(f.OpenAdd)+len(f.OpenRemove), MaxFlushEntities)
	}
	keys = make([]string, 2, 2+len(f.Entities))
	keys[0], keys[1] = s.watermark, s.open
	argv = make([]any, 0, 4+2*len(f.Entities)+len(f.OpenAdd)+2*len(f.OpenRemove))
	argv = append(argv, f.Base.Append(nil), f.Target.Append(nil), binary.BigEndian.AppendUint64(nil, uint64(f.FoldedAt)))
	index := make(map[string]int, len(f.Entities))
	for i, e := range f.Entities {
		if len(e.State) < 2 || e.State[0] != Version {
			return nil, nil, fmt.Errorf("%w: entity %d: %w", ErrFlush, i, ErrMalformed)
		}
		if index[e.ID] != 0 {
			return nil, nil, fmt.Errorf("%w: entity %d is there twice", ErrFlush, i)
		}
		index[e.ID] = i + 1
		keys = append(keys, s.entity+e.ID)
		argv = append(argv, e.State, jitter(retention).Milliseconds())
	}
	argv = append(argv, len(f.OpenAdd))
	added := make(map[string]bool, len(f.OpenAdd))
	for _, id := range f.OpenAdd {
		added[id] = true
		argv = append(argv, id)
	}
	for _, id := range f.OpenRemove {
		if added[id] {
			return nil, nil, fmt.Errorf("%w: an id is in both OpenAdd and OpenRemove", ErrFlush)
		}
		argv = append(argv, index[id], id)
	}
	return keys, argv, nil
}

// jitter spreads expiries over +-10 % of a mean that is chosen so that none is shorter than the retention.
func jitter(retention time.Duration) time.Duration {
	mean := float64(retention) / 0.9
	return max(retention, time.Duration(mean*(0.9+0.2*rand.Float64()))) + time.Millisecond
}

// result reads the script's reply.
func (f *Flush) result(reply any) (FlushResult, error) {
	malformed := func(what string) (FlushResult, error) {
		return FlushResult{}, fmt.Errorf("flush reply: %w: %s", ErrMalformed, what)
	}
	list, ok := reply.([]any)
	if !ok || len(list) < 4 {
		return malformed("not a list of four")
	}
	status, ok0 := list[0].(int64)
	raw, ok1 := list[1].(string)
	written, ok2 := list[2].(int64)
	stale, ok3 := list[3].(int64)
	if !ok0 || !ok1 || !ok2 || !ok3 {
		return malformed("types")
	}
	var ids []string
	for _, v := range list[4:] {
		i, ok := v.(int64)
		if !ok || i < 1 || i > int64(len(f.Entities)) {
			return malformed("entity index")
		}
		ids = append(ids, f.Entities[i-1].ID)
	}
	if status == statusCorruptWatermark {
		return FlushResult{Refused: true, Reason: ErrCorruptWatermark}, nil
	}
	w, err := ParseWatermark([]byte(raw))
	if err != nil {
		return FlushResult{}, fmt.Errorf("flush reply: %w", err)
	}
	switch status {
	case statusDone:
		return FlushResult{Written: int(written), Stale: int(stale), Incomparable: ids, Watermark: w}, nil
	case statusBaseMissing:
		return FlushResult{Refused: true, Reason: ErrBaseMissing, Watermark: w}, nil
	case statusCorruptEntity:
		if len(ids) != 1 {
			return malformed("entity index")
		}
		return FlushResult{Refused: true, Reason: ErrCorruptEntity, Corrupt: ids[0], Watermark: w}, nil
	}
	return malformed("status")
}

// isMissingScript says that the server has forgotten the script (SCRIPT FLUSH, restart, failover), or never had it.
func isMissingScript(err error) bool {
	return errors.Is(err, redis.ErrNoScript) || redis.HasErrorPrefix(err, "NOSCRIPT")
}
