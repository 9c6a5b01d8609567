package actors

import (
	"scoremesh/decision"
	"scoremesh/feature"
)

// pending is a registered attempt. It belongs to its shard; a Handle carries it back and forth without looking inside.
type pending struct {
	card        *hot
	overlay     *feature.Pending
	transaction *decision.Transaction
	digest      uint64
	deadline    int64
	// decision is nil until the outcome is known.
	decision *decision.Decision
	// durability is empty until the append was confirmed or given time enough.
	durability decision.Durability
	position   feature.Position
	// waiters are retries of the same transaction.
	waiters []*attempt
	// gone: no longer in its card's overlay.
	gone bool
}

// find returns the card's registered attempt of the transaction, or nil.
func (h *hot) find(key uint64) *pending {
	for i, o := range h.overlay {
		if o.Key == key {
			return h.pending[i]
		}
	}
	return nil
}

// register puts the attempt into its card's overlay.
func (s *shard) register(h *hot, t *decision.Transaction, digest uint64, deadline int64) *pending {
	p := &pending{card: h, overlay: s.schema.PendingOf(t), transaction: t, digest: digest, deadline: deadline}
	s.enter(p)
	return p
}

func (s *shard) enter(p *pending) {
	p.gone = false
	p.card.pending = append(p.card.pending, p)
	p.card.overlay = append(p.card.overlay, p.overlay)
	s.pendings++
	s.markBusy(p.card)
}

// remove takes the attempt out of its card's overlay.
func (s *shard) remove(p *pending) {
	h := p.card
	for i, q := range h.pending {
		if q == p {
			last := len(h.pending) - 1
			h.pending[i], h.overlay[i] = h.pending[last], h.overlay[last]
			h.pending[last], h.overlay[last] = nil, nil
			h.pending, h.overlay = h.pending[:last], h.overlay[:last]
			p.gone = true
			s.pendings--
			return
		}
	}
}

func (s *shard) markBusy(h *hot) {
	if !h.busy {
		h.busy = true
		s.busy = append(s.busy, h)
	}
}

// dropApplied removes the attempts whose record has come back through the log.
func (s *shard) dropApplied(h *hot) {
	for i := len(h.pending) - 1; i >= 0; i-- {
		p := h.pending[i]
		if p.durability == decision.Committed && s.holds(h, p.position) {
			s.remove(p)
		}
	}
}

// holds says that the record at p is in the card's state: applied covers it, or (in a rebuild) the state itself does.
func (s *shard) holds(h *hot, p feature.Position) bool {
	return s.applied.Covers(p) || h.entity != nil && h.entity.Vector().Covers(p)
}

// notice takes in what became of an attempt.
func (s *shard) notice(now int64, m *notice) {
	if m.kind == noticeGaveUp {
		s.gaveUp(m.attempt)
		return
	}
	p := m.pending
	if p.gone && !s.reenter(now, p, m.kind) {
		return
	}
	switch m.kind {
	case noticeDecided:
		p.decision = m.decision
		p.overlay.Outcome = m.decision.Outcome
	case noticePended:
		if p.durability == "" {
			p.durability = decision.Pending
		}
		s.answerWaiters(p, p.undecided())
	case noticeCommitted:
		p.durability, p.position = decision.Committed, m.position
		s.answerWaiters(p, p.undecided())
		if s.holds(p.card, p.position) {
			s.remove(p)
		}
	case noticeAbandoned:
		s.remove(p)
		s.answerWaiters(p, m.err)
	}
}

// reenter registers an attempt again that was forgotten at its deadline and is decided after all: its velocity counts, unless the
// transaction was registered anew.
func (s *shard) reenter(now int64, p *pending, kind noticeKind) bool {
	if kind != noticeDecided || p.decision != nil {
		return false
	}
	h := s.use(now, p.transaction.Card)
	if h.find(p.overlay.Key) != nil {
		return false
	}
	p.card = h
	s.enter(p)
	return true
}

// gaveUp forgets what was done for a requester that no longer waits for the reply.
func (s *shard) gaveUp(a *attempt) {
	a.gone = true
	if p := a.pending; p != nil && !p.gone && p.decision == nil {
		s.remove(p)
		s.answerWaiters(p, errGaveUp)
	}
}

// answerWaiters gives the retries the decision, or err when there will be none.
func (s *shard) answerWaiters(p *pending, err error) {
	for _, w := range p.waiters {
		if err != nil {
			s.reply(w, reply{err: err})
		} else {
			s.reply(w, reply{recorded: p.recorded(), foldedAt: s.foldedAt})
		}
	}
	s.waiting -= len(p.waiters)
	p.waiters = nil
}

// undecided is the error that retries get when the host forgot to say what was decided.
func (p *pending) undecided() error {
	if p.decision == nil {
		return errUndecided
	}
	return nil
}

// recorded is the answer to a retry.
func (p *pending) recorded() *decision.Answer {
	return &decision.Answer{Decision: p.decision, Durability: p.durability, Replayed: true}
}

// sweepAttempts lets go of what is past its deadline: waiting attempts at it, undecided registered ones a grace later. A decided one
// stays until its record's fate is known.
func (s *shard) sweepAttempts(now int64) {
	s.lobby = s.dropLate(now, s.lobby)
	busy := s.busy[:0]
	for _, h := range s.busy {
		h.waiting = s.dropLate(now, h.waiting)
		for i := len(h.pending) - 1; i >= 0; i-- {
			p := h.pending[i]
			p.waiters = s.dropLate(now, p.waiters)
			if p.decision == nil && now > p.deadline+millis(s.config.Grace) {
				s.remove(p)
				s.answerWaiters(p, errGaveUp)
			}
		}
		s.dropApplied(h)
		if len(h.pending) > 0 || len(h.waiting) > 0 {
			busy = append(busy, h)
		} else {
			h.busy = false
		}
	}
	clear(s.busy[len(busy):])
	s.busy = busy
}

// dropLate answers the attempts that are past their deadline, and drops those that nobody waits for.
func (s *shard) dropLate(now int64, attempts []*attempt) []*attempt {
	kept := attempts[:0]
	for _, a := range attempts {
		if !a.gone && now < a.deadline {
			kept = append(kept, a)
			continue
		}
		s.waiting--
		s.reply(a, reply{err: errLate})
	}
	clear(attempts[len(kept):])
	return kept
}
