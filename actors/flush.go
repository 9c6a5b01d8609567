package actors

// MaxFlush is the largest number of entities in one FlushRequest: a flush is never split, and the speed layer serves nobody else during
// the call. Folding pauses before more than that are dirty.
const MaxFlush = 10_000

// maxKept is how many entities a rebuild keeps in memory: all of them are dirty at once, and what the replay brings needs room beside them.
const maxKept = MaxFlush / 2

// stateRoom is what a flush sets aside for each entity's state, in bytes: most need less.
const stateRoom = 512

// maybeFlush orders a flush when one is due and none is in flight: every dirty entity, from w0 to applied, in one call.
func (s *shard) maybeFlush(now int64) {
	s.lastFlush = min(s.lastFlush, now) // a clock that was set back must not keep flushes waiting until it is there again
	if s.inFlight != nil || s.status == statusStarting || !s.flushes.due(now) || !s.flushDue(now) {
		return
	}
	r := &FlushRequest{Shard: s.id, Base: s.w0.Clone(), Target: s.applied.Clone(), FoldedAt: s.foldedAt,
		Entities: make([]EntityState, len(s.dirty))}
	r.OpenAdd, r.OpenRemove = s.open.changes()
	// All states share one buffer. Should it grow on the way, those before keep the old one.
	states := make([]byte, 0, len(s.dirty)*stateRoom)
	for i, h := range s.dirty {
		from := len(states)
		states = h.entity.Append(states)
		r.Entities[i] = EntityState{ID: h.id, State: states[from:len(states):len(states)]}
	}
	s.inFlight = r
	s.lastFlush = now
	s.unpassed = len(s.dirty)
	s.out.flush = &flushOrder{generation: s.generation, request: *r}
}

// flushDue says whether it is time. In a rebuild only size counts: most of what was in memory before is not passed until its end.
func (s *shard) flushDue(now int64) bool {
	since := now - s.lastFlush
	switch {
	case len(s.dirty)-s.unpassed >= s.config.FlushMax, len(s.queue) > 0 && s.full(s.queue[0]):
		return true
	case s.closing:
		return len(s.dirty) > 0 || !s.w0.Dominates(s.applied) || s.open.changed()
	case s.failing:
		return true
	case s.status == statusRebuilding:
		return false
	case len(s.dirty) > 0 || s.open.changed():
		return since >= millis(s.config.FlushEvery)
	}
	return since >= millis(s.config.WatermarkEvery) && !s.w0.Dominates(s.applied)
}

// flushed takes the result in. A flush that failed may have been written: its successor says the same or more, from the same base.
func (s *shard) flushed(now int64, m *flushed) {
	if m.generation != s.generation || s.inFlight == nil {
		return
	}
	r := s.inFlight
	s.inFlight = nil
	s.failing = m.err != nil
	switch {
	case m.err != nil:
		s.counts.flushFailures++
		s.flushes.fail(now)
	case m.result.Refused:
		s.flushes.fail(now)
		s.rebuild(now, "a flush was refused: "+m.result.Reason)
	case len(m.result.Incomparable) > 0:
		s.counts.incomparable++
		s.flushes.succeed()
	default:
		s.flushes.succeed()
		s.w0.Merge(r.Target)
		s.pass(len(r.Entities))
		s.open.flushed(r.OpenAdd, r.OpenRemove, r.Target.Dominates(m.result.Watermark))
	}
}

// pass cleans the entities that lie below w0. One that was touched during the flush lies above it, and so does one that was written but
// not passed: an older dump of Redis could lack that, unnoticed. sent is how many, at the front, were in the flush.
func (s *shard) pass(sent int) {
	kept := s.dirty[:0]
	s.unpassed = 0
	for i, h := range s.dirty {
		if s.w0.Dominates(*h.entity.Vector()) {
			h.dirty = false
			continue
		}
		if i < sent {
			s.unpassed++
		}
		kept = append(kept, h)
	}
	clear(s.dirty[len(kept):])
	s.dirty = kept
}
