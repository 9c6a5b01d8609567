package speedlayer

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats is what Redis says of its memory, summed over the masters. A field that a server does not report is left at zero.
type Stats struct {
	// UsedBytes is used_memory, MaxBytes maxmemory (0: unlimited).
	UsedBytes, MaxBytes int64
	// EvictedKeys counts since the servers' starts.
	EvictedKeys int64
	// Policy is maxmemory_policy; where the masters differ, one that is not noeviction. Empty: not reported.
	Policy string
}

// noEviction is the only policy that the speed layer is made for: an evicted entity is one that is missing behind a watermark.
const noEviction = "noeviction"

// Stats asks every master.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var sum struct {
		sync.Mutex
		Stats
	}
	one := func(ctx context.Context, c *redis.Client) error {
		// The whole INFO: a server that lacks a section refuses to be asked for it.
		info, err := c.Info(ctx).Result()
		if err != nil {
			return fmt.Errorf("info: %w", readError(err))
		}
		one := parseInfo(info)
		sum.Lock()
		defer sum.Unlock()
		sum.UsedBytes += one.UsedBytes
		sum.MaxBytes += one.MaxBytes
		sum.EvictedKeys += one.EvictedKeys
		if sum.Policy == "" || sum.Policy == noEviction {
			sum.Policy = one.Policy
		}
		return nil
	}
	var err error
	switch c := s.bulk.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, one)
	case *redis.Client:
		err = one(ctx, c)
	}
	return sum.Stats, err
}

func parseInfo(info string) (s Stats) {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "used_memory":
			s.UsedBytes = n
		case "maxmemory":
			s.MaxBytes = n
		case "evicted_keys":
			s.EvictedKeys = n
		case "maxmemory_policy":
			s.Policy = value
		}
	}
	return s
}

// poll looks at the servers at once and then on schedule, until Close.
func (s *Store) poll() {
	every := time.NewTicker(s.cfg.PollInterval)
	defer every.Stop()
	var last *Stats
	for {
		last = s.look(last)
		select {
		case <-every.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// look refreshes the routes and the metrics. It returns what the next look compares with.
func (s *Store) look(last *Stats) *Stats {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.FlushTimeout)
	defer cancel()
	if err := s.reroute(ctx); err != nil && s.ctx.Err() == nil {
		s.log.Warn().Err(err).Msg("redis topology unknown")
	}
	now, err := s.Stats(ctx)
	if err != nil {
		s.metrics.up.Set(0)
		if s.ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("redis does not report")
		}
		return last
	}
	s.metrics.up.Set(1)
	s.metrics.usedBytes.Set(float64(now.UsedBytes))
	s.metrics.maxBytes.Set(float64(now.MaxBytes))
	if last == nil {
		last = &Stats{EvictedKeys: now.EvictedKeys}
	}
	if grown := now.EvictedKeys - last.EvictedKeys; grown > 0 {
		s.metrics.evicted.Add(float64(grown))
		s.log.Error().Int64("keys", grown).Msg("redis evicts: states are lost behind their watermarks")
	}
	switch {
	case now.Policy == noEviction:
		s.metrics.noEviction.Set(1)
	case now.Policy != "":
		s.metrics.noEviction.Set(0)
		if now.Policy != last.Policy {
			s.log.Warn().Str("policy", now.Policy).Msg("redis maxmemory-policy is not noeviction: memory pressure would lose states")
		}
	}
	return &now
}
