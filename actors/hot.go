package actors

import "scoremesh/feature"

// hot is an entity in memory, or one that is awaited.
type hot struct {
	id string
	// entity is nil while it is cold: being loaded, not loadable, or forgotten at a restart.
	entity  *feature.Entity
	loading bool
	// hurried: a request waits for the load, and it was ordered as one that is urgent.
	hurried bool
	// partial says that the entity began empty in a rebuild: it may lack what the replay has not brought yet.
	partial bool

	// dirty: in shard.dirty. Invariant: every entity with an applied record that w0 does not cover is dirty.
	dirty bool
	// open: the card owes records, or may; it stays in memory until it does not.
	open bool
	// pins counts the waiting folds that touch it.
	pins int

	// pending and overlay are parallel: the registered attempts, and how Schema.Read sees them.
	pending []*pending
	overlay []*feature.Pending
	waiting []*attempt
	views   []*viewing
	busy    bool

	lastUsed   int64
	prev, next *hot
}

// evictable says that nothing needs the entity in memory: what it holds is in Redis, below w0.
func (h *hot) evictable() bool {
	return !h.dirty && !h.open && !h.loading && h.pins == 0 && len(h.pending) == 0 && len(h.waiting) == 0 && len(h.views) == 0
}

// recency is a ring of entities, the most recently used first.
type recency struct{ root hot }

func (r *recency) init() { r.root.prev, r.root.next = &r.root, &r.root }

func (r *recency) front(h *hot) {
	h.prev, h.next = &r.root, r.root.next
	h.prev.next, h.next.prev = h, h
}

func (r *recency) remove(h *hot) {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
}

// oldest returns the least recently used entity, or nil.
func (r *recency) oldest() *hot {
	if r.root.prev == &r.root {
		return nil
	}
	return r.root.prev
}

// use returns the entity's place in memory, makes it if there is none, and notes the use.
func (s *shard) use(now int64, id string) *hot {
	h := s.hot[id]
	if h == nil {
		h = &hot{id: id}
		s.hot[id] = h
	} else {
		s.recency.remove(h)
	}
	h.lastUsed = now
	s.recency.front(h)
	return h
}

// markDirty notes that the entity was touched.
func (s *shard) markDirty(h *hot) {
	if !h.dirty {
		h.dirty = true
		s.dirty = append(s.dirty, h)
	}
}

// evict lets go of evictable entities: those over MaxHot, and idle ones. One that is still needed counts as used, so that the walk gets past it.
func (s *shard) evict(now int64) {
	idle := now - millis(s.config.IdleAfter)
	for range len(s.hot) {
		h := s.recency.oldest()
		if len(s.hot) <= s.config.MaxHot && h.lastUsed > idle {
			return
		}
		s.recency.remove(h)
		if !h.evictable() {
			h.lastUsed = now
			s.recency.front(h)
			continue
		}
		delete(s.hot, h.id)
		s.counts.evictions++
	}
}
