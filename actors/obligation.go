package actors

import (
	"maps"
	"slices"

	"scoremesh/feature"
)

// openCards are the cards that owe retractions or postings, and what Redis holds of that set.
type openCards struct {
	cards map[string]*hot
	// stored is the set as confirmed by Redis.
	stored map[string]struct{}
}

func (o *openCards) init() { o.cards, o.stored = map[string]*hot{}, map[string]struct{}{} }

func (o *openCards) set(h *hot, open bool) {
	if h.open == open {
		return
	}
	h.open = open
	if open {
		o.cards[h.id] = h
	} else {
		delete(o.cards, h.id)
	}
}

// changed says that Redis holds another set.
func (o *openCards) changed() bool {
	if len(o.cards) != len(o.stored) {
		return true
	}
	for id := range o.cards {
		if _, ok := o.stored[id]; !ok {
			return true
		}
	}
	return false
}

// changes returns what Redis must add and remove, sorted. A dirty open card is added also when it is there already: another owner, to whom it was
// closed, may have removed it since, and the state that owes must not get into Redis without it.
func (o *openCards) changes() (add, remove []string) {
	for id, h := range o.cards {
		if _, ok := o.stored[id]; !ok || h.dirty {
			add = append(add, id)
		}
	}
	for id := range o.stored {
		if _, ok := o.cards[id]; !ok {
			remove = append(remove, id)
		}
	}
	slices.Sort(add)
	slices.Sort(remove)
	return add, remove
}

// flushed notes what Redis took. It removes nothing for an owner that lags behind the stored watermark.
func (o *openCards) flushed(add, remove []string, ahead bool) {
	for _, id := range add {
		o.stored[id] = struct{}{}
	}
	if !ahead {
		return
	}
	for _, id := range remove {
		delete(o.stored, id)
	}
}

// emitPhase is where the emitter is. Each answer, and each batch that was folded, leads back to idle: what to emit is always taken from the state.
type emitPhase uint8

const (
	emitIdle     emitPhase = iota
	emitAsking             // for the last sequence of the conditional subject
	emitEmitting           // a batch, behind that sequence
	emitAwaiting           // until the batch has been folded
)

// emitter appends what the open cards owe, once: only behind a conditional subject that was folded up to its end, and only if its end is still there.
type emitter struct {
	phase   emitPhase
	seq     uint64
	backoff backoff
}

func (e *emitter) forget() { e.phase, e.seq = emitIdle, 0 }

// applied ends the wait for the own batch.
func (e *emitter) applied(v *feature.Vector, own feature.Origin) {
	if e.phase == emitAwaiting && v.Get(own) >= feature.EndOf(e.seq) {
		e.phase = emitIdle
	}
}

// emit begins a round when cards are open.
func (s *shard) emit(now int64) {
	if s.emitter.phase != emitIdle || s.status != statusServing || len(s.open.cards) == 0 || !s.emitter.backoff.due(now) {
		return
	}
	s.emitter.phase = emitAsking
	s.out.askLast = &askOrder{generation: s.generation}
}

// lastIs emits, if everything on the subject was folded: else the state may not know yet what was emitted.
func (s *shard) lastIs(now int64, m *lastIs) {
	if m.generation != s.generation || s.emitter.phase != emitAsking {
		return
	}
	s.emitter.phase = emitIdle
	if m.err != nil {
		s.emitter.backoff.fail(now)
		return
	}
	if m.seq > 0 && s.applied.Get(s.origin) < feature.EndOf(m.seq) {
		return
	}
	records := s.obligations()
	if len(records) == 0 {
		return
	}
	s.emitter.phase = emitEmitting
	s.out.emit = &emitOrder{generation: s.generation, request: EmitRequest{Partition: s.id.Partition, ExpectLast: m.seq, Records: records}}
}

// obligations collects what the open cards owe, by id, up to about EmitMax records.
func (s *shard) obligations() []feature.Record {
	var records []feature.Record
	for _, id := range slices.Sorted(maps.Keys(s.open.cards)) {
		h := s.open.cards[id]
		if h.entity == nil {
			continue
		}
		records = h.entity.Obligations(s.origin, records)
		if len(records) >= s.config.EmitMax {
			break
		}
	}
	if len(records) > feature.MaxBatch {
		records = records[:feature.MaxBatch]
	}
	return records
}

// emitted waits for the batch to be folded; after a failure the state decides again.
func (s *shard) emitted(now int64, m *emitted) {
	if m.generation != s.generation || s.emitter.phase != emitEmitting {
		return
	}
	if m.err != nil {
		s.emitter.phase = emitIdle
		s.emitter.backoff.fail(now)
		return
	}
	s.emitter.backoff.succeed()
	s.emitter.phase, s.emitter.seq = emitAwaiting, m.seq
	s.emitter.applied(&s.applied, s.origin)
}
