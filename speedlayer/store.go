package speedlayer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// Store owns the connections to the region's Redis, the lanes, the queue of flushes, and the goroutines of all of them. Readers
// and Writers are handles on it.
type Store struct {
	cfg     Config
	log     zerolog.Logger
	metrics *metrics
	start   time.Time
	// reads serves the lanes only; bulk serves flushes and the slow reads, so that neither waits for the other's connections.
	reads, bulk redis.UniversalClient

	// ctx ends with Close. owned counts every goroutine.
	ctx    context.Context
	cancel context.CancelFunc
	owned  sync.WaitGroup

	routes  atomic.Pointer[routes]
	flushes *flushQueue

	mu struct {
		sync.Mutex
		lanes  map[string]*lane // by address of the master; "" is the first, where everything goes until the topology is known
		closed bool
	}
}

// Open makes a store. It does not wait for Redis and does not need it to be up: until it is, reads end with an error within
// their budget. reg gets the store's metrics; they leave it with Close.
func Open(cfg Config, log zerolog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("redis config: %w", err)
	}
	reads, err := cfg.connect(cfg.ReadTimeout, cfg.ReadsInFlight)
	if err != nil {
		return nil, fmt.Errorf("redis config: %w", err)
	}
	bulk, err := cfg.connect(cfg.FlushTimeout, 4)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("redis config: %w", err), reads.Close())
	}
	s := &Store{cfg: cfg, log: log, start: time.Now(), reads: reads, bulk: bulk}
	if s.metrics, err = newMetrics(reg); err != nil {
		return nil, errors.Join(err, reads.Close(), bulk.Close())
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.lanes = map[string]*lane{"": newLane(s)}
	s.routes.Store(&routes{lanes: []*lane{s.mu.lanes[""]}})
	s.flushes = newFlushQueue(s)
	s.owned.Go(s.poll)
	return s, nil
}

// Close refuses what waits with ErrClosed, cuts off what is in flight, and returns when every goroutine has ended and every
// callback was called. It is safe to call twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		s.owned.Wait()
		return nil
	}
	s.mu.closed = true
	lanes := s.mu.lanes
	s.mu.Unlock()
	s.cancel()
	for _, l := range lanes {
		l.close()
	}
	s.flushes.close()
	// Closing the connections ends a round trip that waits for a server that hangs.
	err := errors.Join(s.reads.Close(), s.bulk.Close())
	s.owned.Wait()
	s.metrics.unregister()
	return err
}

// now is the time since the store's start, in nanoseconds.
func (s *Store) now() int64 { return int64(time.Since(s.start)) }
