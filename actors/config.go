package actors

import (
	"fmt"
	"time"
)

// Config bounds and paces the shards of a System. It is data: never changed after New.
type Config struct {
	// Partitions is the number of partitions of every kind. It is fixed for a mesh.
	Partitions int `yaml:"partitions"`
	// TickEvery paces deadlines, flushes, retries and empty advances of untouched shards.
	TickEvery time.Duration `yaml:"tick_every"`
	// FlushEvery is how long a dirty entity waits at most, while flushes succeed.
	FlushEvery time.Duration `yaml:"flush_every"`
	// WatermarkEvery is how long the watermark of a shard without dirty entities may lag.
	WatermarkEvery time.Duration `yaml:"watermark_every"`
	// FlushMax is the number of dirty entities that makes a flush due at once. Folding stops at it while a flush is in flight.
	FlushMax int `yaml:"flush_max"`
	// MaxHot is how many entities a shard keeps in memory. Soft: dirty, open, pending and awaited ones are never evicted.
	MaxHot int `yaml:"max_hot"`
	// IdleAfter evicts an evictable entity that was not used for so long.
	IdleAfter time.Duration `yaml:"idle_after"`
	// MaxMailbox is how many attempts may be in a shard's mailbox; more are refused as overloaded.
	MaxMailbox int `yaml:"max_mailbox"`
	// MaxWaiting is how many attempts may wait in a shard for a cold load or for its first replay; more are refused as overloaded.
	MaxWaiting int `yaml:"max_waiting"`
	// MaxPending is how many registered attempts of a shard may not have come back through the log; more are refused as overloaded. It
	// bounds memory while the fold cannot go on, because Redis or the log is away.
	MaxPending int `yaml:"max_pending"`
	// MaxWaiters is how many retries may wait for the answer to one attempt; more are refused as overloaded.
	MaxWaiters int `yaml:"max_waiters"`
	// MaxFolds is how many batches may wait in a shard; then the dispatcher blocks its reader.
	MaxFolds int `yaml:"max_folds"`
	// MaxLoad is the largest number of entities in one load.
	MaxLoad int `yaml:"max_load"`
	// EmitMax is about how many retractions and postings go into one batch.
	EmitMax int `yaml:"emit_max"`
	// Grace is how long after its deadline an undecided attempt is forgotten.
	Grace time.Duration `yaml:"grace"`
	// RetryMin and RetryMax bound the backoff after a failed flush, load, emission or a crash.
	RetryMin time.Duration `yaml:"retry_min"`
	RetryMax time.Duration `yaml:"retry_max"`
	// RetryAfter is what an overloaded answer advises.
	RetryAfter time.Duration `yaml:"retry_after"`
	// ServeWhileReplaying answers attempts (marked) before a shard's first replay is done, instead of letting them wait for it.
	ServeWhileReplaying bool `yaml:"serve_while_replaying"`
}

// DefaultConfig returns the complete defaults.
func DefaultConfig() Config {
	return Config{
		Partitions:     64,
		TickEvery:      100 * time.Millisecond,
		FlushEvery:     200 * time.Millisecond,
		WatermarkEvery: time.Second,
		FlushMax:       1024,
		MaxHot:         20_000,
		IdleAfter:      10 * time.Minute,
		MaxMailbox:     1024,
		MaxWaiting:     1024,
		MaxPending:     4096,
		MaxWaiters:     16,
		MaxFolds:       64,
		MaxLoad:        256,
		EmitMax:        256,
		Grace:          time.Second,
		RetryMin:       100 * time.Millisecond,
		RetryMax:       5 * time.Second,
		RetryAfter:     100 * time.Millisecond,
	}
}

// Validate names the first key that is out of bounds, and the bound.
func (c *Config) Validate() error {
	for _, f := range []struct {
		key       string
		got       int
		low, high int
	}{
		{"partitions", c.Partitions, 1, 4096},
		{"flush_max", c.FlushMax, 1, maxKept},
		{"max_hot", c.MaxHot, 1, 1 << 24},
		{"max_mailbox", c.MaxMailbox, 1, 1 << 20},
		{"max_waiting", c.MaxWaiting, 1, 1 << 20},
		{"max_pending", c.MaxPending, 1, 1 << 24},
		{"max_waiters", c.MaxWaiters, 1, 1 << 16},
		{"max_folds", c.MaxFolds, 1, 1 << 16},
		{"max_load", c.MaxLoad, 1, 1 << 14},
		{"emit_max", c.EmitMax, 1, 1 << 14},
	} {
		if f.got < f.low || f.got > f.high {
			return fmt.Errorf("%s: got %d, want %d to %d", f.key, f.got, f.low, f.high)
		}
	}
	for _, f := range []struct {
		key       string
		got       time.Duration
		low, high time.Duration
	}{
		{"tick_every", c.TickEvery, time.Millisecond, time.Minute},
		{"flush_every", c.FlushEvery, time.Millisecond, time.Minute},
		{"watermark_every", c.WatermarkEvery, c.FlushEvery, time.Hour},
		{"idle_after", c.IdleAfter, time.Second, 24 * time.Hour},
		{"grace", c.Grace, time.Millisecond, time.Minute},
		{"retry_min", c.RetryMin, time.Millisecond, time.Minute},
		{"retry_max", c.RetryMax, c.RetryMin, time.Hour},
		{"retry_after", c.RetryAfter, time.Millisecond, time.Minute},
	} {
		if f.got < f.low || f.got > f.high {
			return fmt.Errorf("%s: got %v, want %v to %v", f.key, f.got, f.low, f.high)
		}
	}
	return nil
}
