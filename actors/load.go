package actors

import (
	"errors"
	"fmt"
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
)

// errCold says that an entity's state cannot be had now.
var errCold = &decision.Error{Code: decision.CodeNotReady, Detail: "the entity's state cannot be read now", RetryAfter: time.Second}

// presence is what can be said of an entity's state.
type presence uint8

const (
	present presence = iota
	awaited          // a load is under way
	absent           // cannot be loaded now: the shard does not know yet what is stored
)

// fetch makes the entity present, or orders its load.
func (s *shard) fetch(h *hot) presence {
	switch {
	case h.entity != nil:
		return present
	case s.status == statusStarting:
		return absent
	case h.loading:
		return awaited
	case s.w0.Len() == 0:
		// Nothing was confirmed to this owner: every applied record is in memory, so what is not there has none.
		h.entity = s.schema.New(s.id.Kind)
		h.partial = s.status == statusRebuilding
		return present
	}
	h.loading = true
	s.wanted = append(s.wanted, h)
	return awaited
}

// hurry orders a load for the requests that wait for h, beside one that a fold may have ordered: that one has time, they have not.
func (s *shard) hurry(h *hot) {
	if !h.hurried {
		h.hurried = true
		s.urgent = append(s.urgent, h)
	}
}

// orderLoads turns what was wanted in this step into loads.
func (s *shard) orderLoads() {
	for len(s.urgent) > 0 {
		s.urgent = s.urgent[s.orderLoad(s.urgent, true):]
	}
	for len(s.wanted) > 0 {
		s.wanted = s.wanted[s.orderLoad(s.wanted, false):]
	}
	s.urgent, s.wanted = s.urgent[:0], s.wanted[:0]
}

// orderLoad orders the first of hots, as many as one load may have, and returns how many these are. A load that has time leaves out what
// an urgent one brings.
func (s *shard) orderLoad(hots []*hot, urgent bool) int {
	n := min(len(hots), s.config.MaxLoad)
	o := loadOrder{generation: s.generation, base: s.w0.Clone(), urgent: urgent}
	for _, h := range hots[:n] {
		if urgent || !h.hurried {
			o.hots, o.ids = append(o.hots, h), append(o.ids, h.id)
		}
	}
	if len(o.hots) > 0 {
		s.loading += len(o.hots)
		s.out.loads = append(s.out.loads, o)
	}
	return n
}

// loaded takes the result of a load in. The watermark that was read with it must dominate w0 as of the order: what was not in memory
// then was in Redis, at or after that watermark.
func (s *shard) loaded(now int64, m *loaded) {
	if m.order.generation != s.generation {
		return
	}
	s.loading -= len(m.order.hots)
	if m.err != nil {
		s.counts.loadFailures++
		s.loads.fail(now)
		s.notLoaded(now, m.order.hots, m.err)
		return
	}
	s.loads.succeed()
	if !m.result.Watermark.Dominates(m.order.base) {
		s.rebuild(now, "the stored watermark lags behind what was confirmed: Redis was wiped or restored")
		return
	}
	entities := make([]*feature.Entity, len(m.order.hots))
	for i, state := range m.result.States {
		e, err := s.decode(state)
		if err != nil {
			s.counts.decodeErrors++
			s.rebuild(now, "a stored entity cannot be read")
			return
		}
		entities[i] = e
	}
	for i, h := range m.order.hots {
		h.loading, h.hurried = false, false
		if h.entity == nil { // else another load was faster, and it may have been folded into meanwhile
			h.entity, h.partial = entities[i], false
		}
		s.arrived(now, h)
	}
}

// decode reads a stored value; nil is a new entity.
func (s *shard) decode(state []byte) (*feature.Entity, error) {
	if state == nil {
		return s.schema.New(s.id.Kind), nil
	}
	return s.schema.Decode(s.id.Kind, state)
}

// arrived lets what waited for the entity go on.
func (s *shard) arrived(now int64, h *hot) {
	s.settle(h)
	waiting := h.waiting
	h.waiting = nil
	s.waiting -= len(waiting)
	for _, a := range waiting {
		s.answer(now, h, a, h.entity == nil)
	}
	for _, v := range h.views {
		s.show(now, h, v)
	}
	h.views = nil
}

// notLoaded answers what waited without the state: a marked answer in time is worth more than a full one too late. Folds keep waiting, and the
// loads that they need are ordered again by retryLoads.
func (s *shard) notLoaded(now int64, hots []*hot, err error) {
	for _, h := range hots {
		h.loading, h.hurried = false, false
		for _, v := range h.views {
			s.out.views = append(s.out.views, viewAnswer{v, viewReply{err: fmt.Errorf("load %s: %w", s.id.Kind, errors.Join(errCold, err))}})
		}
		h.views = nil
		s.arrived(now, h)
	}
}

// retryLoads orders again the loads that folds and open cards need.
func (s *shard) retryLoads(now int64) {
	if !s.loads.due(now) {
		return
	}
	for _, f := range s.queue {
		for _, h := range f.hots {
			s.fetch(h)
		}
	}
	for _, h := range s.open.cards {
		s.fetch(h)
	}
}
