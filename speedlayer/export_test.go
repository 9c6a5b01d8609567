package speedlayer

import (
	"time"

	"github.com/redis/go-redis/v9"

	"scoremesh/feature"
)

// Connect opens a plain client of the configured Redis.
func Connect(c Config) (redis.UniversalClient, error) { return c.connect(c.FlushTimeout, 4) }

// SlotOf is the Cluster slot of a hash tag.
func SlotOf(tag string) uint16 { return slotOf(tag) }

// Jitter is the time to live of one entity.
func Jitter(retention time.Duration) time.Duration { return jitter(retention) }

// KeysOf returns the keys of a shard.
func (r *Reader) KeysOf(kind feature.Kind, partition int) (entity, watermark, open string) {
	s, err := r.keys.shard(kind, partition)
	if err != nil {
		panic(err)
	}
	return s.entity, s.watermark, s.open
}

// Lanes is the number of lanes that reads are spread over.
func (s *Store) Lanes() int { return len(s.routes.Load().lanes) }

// InFlight is the number of parts that workers of the first lane have taken and not settled.
func (s *Store) InFlight() int {
	l := s.routes.Load().lanes[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.mu.next - l.mu.head)
}
