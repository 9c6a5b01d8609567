package speedlayer

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// maxLanes bounds the lanes of a store: masters beyond it share.
const maxLanes = 64

// routes says which lane a slot's reads take.
type routes struct {
	lanes []*lane
	// of is the lane of each slot; nil when there is one lane.
	of []uint8
}

// everyItem is the indices of a request that goes to one lane as a whole.
var everyItem = func() (a [64]int) {
	for i := range a {
		a[i] = i
	}
	return a
}()

// dispatch gives each lane its part of the request.
func (s *Store) dispatch(q *request) {
	r := s.routes.Load()
	if r.of == nil {
		r.lanes[0].submit(&part{request: q, items: indices(len(q.items))})
		return
	}
	first := r.of[q.items[0].shard.slot]
	together := true
	for i := range q.items {
		together = together && r.of[q.items[i].shard.slot] == first
	}
	if together {
		r.lanes[first].submit(&part{request: q, items: indices(len(q.items))})
		return
	}
	parts := make([]*part, len(r.lanes))
	for i := range q.items {
		n := r.of[q.items[i].shard.slot]
		if parts[n] == nil {
			parts[n] = &part{request: q}
		}
		parts[n].items = append(parts[n].items, i)
	}
	for n, p := range parts {
		if p != nil {
			r.lanes[n].submit(p)
		}
	}
}

func indices(n int) []int {
	if n <= len(everyItem) {
		return everyItem[:n]
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// reroute learns which master serves which slot, and opens lanes for masters that are new. The lane of a master that left stays, for
// it may come back, and costs its idle goroutines only.
func (s *Store) reroute(ctx context.Context) error {
	cluster, ok := s.bulk.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	ranges, err := cluster.ClusterSlots(ctx).Result() //nolint:staticcheck // CLUSTER SHARDS needs Redis 7; slots are the same
	if err != nil {
		return fmt.Errorf("cluster slots: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil
	}
	old := s.routes.Load()
	r := &routes{lanes: append([]*lane(nil), old.lanes...), of: make([]uint8, slots)}
	position := make(map[*lane]uint8, len(r.lanes))
	for i, l := range r.lanes {
		position[l] = uint8(i)
	}
	for _, part := range ranges {
		if len(part.Nodes) == 0 {
			continue
		}
		master := part.Nodes[0].Addr
		l, ok := s.mu.lanes[master]
		switch {
		case ok:
		case len(s.mu.lanes) <= maxLanes:
			l = newLane(s)
			s.mu.lanes[master] = l
			position[l] = uint8(len(r.lanes))
			r.lanes = append(r.lanes, l)
		default:
			l = r.lanes[0]
		}
		for slot := max(part.Start, 0); slot <= min(part.End, slots-1); slot++ {
			r.of[slot] = position[l]
		}
	}
	s.routes.Store(r)
	return nil
}
