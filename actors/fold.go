package actors

import "scoremesh/feature"

// fold takes a range of an origin's log in. It counts only if it begins at or before what was received of that origin, and ends
// behind it: then nothing is left out. What was received already is dropped; a gap asks for a replay.
func (s *shard) fold(now int64, f *fold) {
	at := s.received.Get(f.origin)
	switch {
	case s.status == statusStarting || f.to <= at:
		s.finish(f)
		return
	case f.from > at:
		s.counts.gaps++
		s.wantReplay = true
		s.finish(f)
		return
	}
	f.first = len(f.records)
	for i := range f.records {
		if f.records[i].mark > at {
			f.first = i
			break
		}
	}
	f.hots = f.hots[:0]
	for _, p := range f.records[f.first:] {
		h := s.use(now, p.record.Touches(s.id.Kind))
		h.pins++
		f.hots = append(f.hots, h)
		s.fetch(h)
	}
	s.received.Advance(f.origin, f.to)
	s.queue = append(s.queue, f)
}

// finish gives a fold's place in the queue back, once.
func (s *shard) finish(f *fold) {
	if f.finished {
		return
	}
	f.finished = true
	s.out.finished = append(s.out.finished, f)
}

// drainQueue applies the folds whose entities are all present, in order, until one is not or folding is paused.
func (s *shard) drainQueue(now int64) {
	n := 0
	for _, f := range s.queue {
		if s.paused(f) || !ready(f) {
			break
		}
		n++
		s.apply(now, f)
		// A flush that has become due is ordered here, so that a long queue neither grows the next flush nor runs past the pause.
		s.maybeFlush(now)
	}
	if n > 0 {
		rest := copy(s.queue, s.queue[n:])
		clear(s.queue[rest:])
		s.queue = s.queue[:rest]
	}
}

// paused says that folding f would make the next flush too large: it cannot be split.
func (s *shard) paused(f *fold) bool {
	if s.failing && (len(s.dirty) >= s.config.MaxHot || len(s.dirty)+len(f.hots) > MaxFlush) {
		return true
	}
	return s.full(f) || s.inFlight != nil && len(s.dirty)-s.unpassed >= s.config.FlushMax
}

// full says that a flush must make room for f first, and can: where all that is dirty was written and only waits for the watermark, only
// folding on helps.
func (s *shard) full(f *fold) bool {
	return len(s.dirty)+len(f.hots) > MaxFlush && len(s.dirty) > s.unpassed
}

// ready says that every entity of the fold is present.
func ready(f *fold) bool {
	for _, h := range f.hots {
		if h.entity == nil {
			return false
		}
	}
	return true
}

// apply folds the records into their entities and moves the vector.
func (s *shard) apply(now int64, f *fold) {
	records := f.records[f.first:]
	for i := 0; i < len(records); {
		i = s.applyFrom(f, records, i)
	}
	s.counts.folds++
	s.counts.records += uint64(len(records))
	s.applied.Advance(f.origin, f.to)
	s.foldedAt = max(s.foldedAt, f.beaconAt)
	for _, h := range f.hots {
		h.pins--
		s.settle(h)
	}
	f.hots = f.hots[:0]
	s.emitter.applied(&s.applied, s.origin)
	s.finish(f)
}

// applyFrom applies the records from i on and returns where to go on. A record whose fold panics is skipped: the fold is pure, so every
// region skips it, and no record can stop a shard.
func (s *shard) applyFrom(f *fold, records []placed, i int) (next int) {
	defer func() {
		if next < len(records) {
			s.out.panics = append(s.out.panics, panicOf(recover()))
			s.counts.applyErrors++
			next++
		}
	}()
	for next = i; next < len(records); next++ {
		h := f.hots[next]
		p := &records[next]
		h.entity.Apply(feature.Position{Origin: f.origin, Mark: p.mark}, p.record)
		// Also when another owner's flush had it already: the next one moves the watermark past it, and an older dump may lack it.
		s.markDirty(h)
	}
	return next
}

// settle looks at what an entity's new state, or a moved vector, changes for its attempts and obligations.
func (s *shard) settle(h *hot) {
	if len(h.pending) > 0 {
		s.dropApplied(h)
	}
	if s.id.Kind == feature.Card && h.entity != nil {
		s.open.set(h, h.entity.Owes(s.origin))
	}
}
