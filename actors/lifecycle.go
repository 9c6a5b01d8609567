package actors

import "scoremesh/feature"

// start takes over from what is stored: everything folded so far is forgotten, everything behind the watermark is asked for.
func (s *shard) start(now int64, m *Start) {
	s.forget()
	s.crashed = false
	s.status = statusReplaying
	s.w0 = m.Watermark.Clone()
	s.applied = m.Watermark.Clone()
	s.received = m.Watermark.Clone()
	s.foldedAt = m.FoldedAt
	s.lastFlush = now - millis(s.config.FlushEvery)*int64(s.id.Partition)/int64(s.config.Partitions)
	for _, id := range m.Open {
		s.open.stored[id] = struct{}{}
		h := s.use(now, id)
		s.open.set(h, true)
		if s.fetch(h) == present {
			s.settle(h)
		}
	}
	s.askReplay()
	if !s.mustWait() {
		s.openLobby(now)
	}
}

// forget drops all folded state. Attempts stay: registered ones in their overlays, waiting ones until their entity is there again.
func (s *shard) forget() {
	s.generation++
	s.clearQueue()
	s.wanted, s.urgent, s.loading = s.wanted[:0], s.urgent[:0], 0
	clear(s.dirty)
	s.dirty, s.unpassed, s.inFlight, s.failing = s.dirty[:0], 0, nil, false
	s.goal, s.catching, s.wantReplay, s.drainTo = nil, false, false, nil
	s.w0, s.applied, s.received = feature.Vector{}, feature.Vector{}, feature.Vector{}
	s.open.init()
	s.emitter.forget()
	for id, h := range s.hot {
		h.entity, h.loading, h.hurried, h.partial, h.dirty, h.open, h.pins = nil, false, false, false, false, false, 0
		if h.evictable() {
			s.recency.remove(h)
			delete(s.hot, id)
		}
	}
	s.waitAgain()
}

// waitAgain sends attempts and views that waited for a load back to where they wait for the shard: the load will not come.
func (s *shard) waitAgain() {
	for _, h := range s.busy {
		s.lobby = append(s.lobby, h.waiting...)
		h.waiting = nil
	}
	for _, h := range s.hot {
		for _, v := range h.views {
			s.out.views = append(s.out.views, viewAnswer{v, viewReply{err: errCold}})
		}
		h.views = nil
	}
}

func (s *shard) clearQueue() {
	for _, f := range s.queue {
		for _, h := range f.hots {
			h.pins = 0
		}
		s.finish(f)
	}
	clear(s.queue)
	s.queue = s.queue[:0]
}

// rebuild begins again with an empty Redis in mind. What is in memory stays, up to maxKept: it is folded state, and its own vectors skip
// what it has. All of it is to be written. What is not in memory is new until the replay brings it.
func (s *shard) rebuild(now int64, why string) {
	s.counts.rebuilds++
	s.out.rebuild = why
	s.generation++
	s.status = statusRebuilding
	s.clearQueue()
	s.wanted, s.urgent, s.loading = s.wanted[:0], s.urgent[:0], 0
	s.goal, s.wantReplay, s.drainTo = nil, false, nil
	s.w0, s.applied, s.received = feature.Vector{}, feature.Vector{}, feature.Vector{}
	s.inFlight, s.failing = nil, false
	// What Redis will hold is as old as the replay; a flush on the way must not say that it is fresh.
	s.foldedAt = 0
	clear(s.open.stored)
	s.emitter.forget()
	for _, h := range s.keepHot() {
		s.fetch(h)
		s.arrived(now, h)
	}
	s.askReplay()
}

// keepHot makes the most recently used entities dirty, as many as a rebuild keeps, and forgets the others. It returns those that
// are needed and have no state.
func (s *shard) keepHot() (cold []*hot) {
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	for h := s.recency.root.next; h != &s.recency.root; {
		next := h.next
		h.loading, h.hurried, h.dirty = false, false, false
		switch {
		case h.entity != nil && len(s.dirty) < maxKept:
			s.markDirty(h)
		case h.evictable():
			s.recency.remove(h)
			delete(s.hot, h.id)
		default:
			h.entity = nil
			cold = append(cold, h)
		}
		h = next
	}
	s.unpassed = len(s.dirty)
	return cold
}

// askReplay asks for everything behind what was received.
func (s *shard) askReplay() {
	s.wantReplay = false
	s.catching = true
	s.out.replay = &ReplayRequest{Shard: s.id, From: s.received.Clone(), Generation: s.generation}
}

// caughtUp notes where the replay ended. The folds that it brought may still wait in the queue.
func (s *shard) caughtUp(m *caughtUp) {
	if m.generation == s.generation && s.catching {
		s.goal = &m.upTo
	}
}

// reachGoal ends a replay when all that it brought is folded. If something of it was lost, another one follows at the next tick.
func (s *shard) reachGoal(now int64) {
	if s.applied.Dominates(*s.goal) {
		s.goal, s.catching, s.wantReplay = nil, false, false
		s.serve(now)
		return
	}
	if len(s.queue) == 0 {
		s.goal, s.catching, s.wantReplay = nil, false, true
	}
}

// serve answers what waited for the first replay.
func (s *shard) serve(now int64) {
	s.status = statusServing
	s.served = true
	s.openLobby(now)
}

// restore takes a snapshot in, while the shard replays. Per entity the state that has more wins: both are folds of the same log.
func (s *shard) restore(now int64, m *Restore) {
	if s.status != statusRebuilding && s.status != statusReplaying {
		return
	}
	s.clearQueue()
	s.received = s.applied.Clone()
	for _, stored := range m.Entities {
		e, err := s.schema.Decode(s.id.Kind, stored.State)
		if err != nil {
			s.counts.decodeErrors++
			continue
		}
		h := s.use(now, stored.ID)
		if h.entity != nil && h.entity.Vector().Dominates(*e.Vector()) {
			continue
		}
		h.entity, h.loading, h.hurried, h.partial = e, false, false, false
		s.markDirty(h)
		s.arrived(now, h)
	}
	if m.Watermark.Len() > 0 {
		s.applied, s.received = m.Watermark.Clone(), m.Watermark.Clone()
		s.foldedAt = max(s.foldedAt, m.FoldedAt)
		for _, h := range s.busy {
			s.settle(h)
		}
	}
}
