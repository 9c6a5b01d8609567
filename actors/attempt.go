package actors

import (
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
)

var (
	errLate        = &decision.Error{Code: decision.CodeDeadline, Detail: "the card's state was not there before the deadline"}
	errGaveUp      = &decision.Error{Code: decision.CodeDeadline, Detail: "the request that was deciding this transaction gave up"}
	errClosing     = &decision.Error{Code: decision.CodeNotReady, Detail: "the node is shutting down"}
	errConflict    = &decision.Error{Code: decision.CodeConflict, Field: "transaction_id", Detail: "the id is known for this card with another body"}
	errExpired     = &decision.Error{Code: decision.CodeExpired, Field: "transaction_id", Detail: "the id is known for this card, and its decision is past the idempotency period"}
	errReplicating = &decision.Error{Code: decision.CodeNotReady, Field: "transaction_id", Detail: "the id was decided in another region, whose decision has not arrived yet", RetryAfter: time.Second}
	errSaturated   = &decision.Error{Code: decision.CodeSaturated, Field: "card_id", Detail: "the card has more transactions within the horizon than can be told apart"}
	errUndecided   = &decision.Error{Code: decision.CodeNotReady, Detail: "the request that was deciding this transaction ended without a decision"}
	errUnreadable  = &decision.Error{Code: decision.CodeNotReady, Detail: "the card's features cannot be read"}
)

// degraded is a set of degradations that an attempt met.
type degraded uint8

const (
	degradedRebuilding degraded = 1 << iota
	degradedIdempotency
	degradedSpeedLayer
)

// degradedNames holds the names of every set, sorted. They are shared: nobody writes to them.
var degradedNames = func() (sets [8][]string) {
	for d := range sets {
		for _, n := range []struct {
			bit  degraded
			name string
		}{
			{degradedIdempotency, decision.DegradedIdempotency},
			{degradedRebuilding, decision.DegradedRebuilding},
			{degradedSpeedLayer, decision.DegradedSpeedLayer},
		} {
			if degraded(d)&n.bit != 0 {
				sets[d] = append(sets[d], n.name)
			}
		}
		sets[d] = sets[d][:len(sets[d]):len(sets[d])]
	}
	return sets
}()

// attempt answers at once, or lets the attempt wait: for the first replay, or for the card's state.
func (s *shard) attempt(now int64, a *attempt) {
	s.answering = a
	switch {
	case s.closing:
		s.reply(a, reply{err: errClosing})
	case now >= a.deadline:
		s.reply(a, reply{err: errLate})
	case s.mustWait():
		if s.mayWait(a) {
			s.lobby = append(s.lobby, a)
		}
	default:
		s.attend(now, a)
	}
	s.answering = nil
}

// mustWait says that an answer now would be worth less than one after the replay: the shard has never served, or does not even
// know what is stored.
func (s *shard) mustWait() bool {
	if s.config.ServeWhileReplaying {
		return false
	}
	return s.status == statusStarting || s.status != statusServing && !s.served
}

// mayWait takes a place among the waiting, or refuses.
func (s *shard) mayWait(a *attempt) bool {
	if s.waiting >= s.config.MaxWaiting {
		s.counts.shed++
		s.reply(a, reply{err: s.overloaded()})
		return false
	}
	s.waiting++
	return true
}

func (s *shard) overloaded() error {
	return &decision.Error{Code: decision.CodeOverloaded, Detail: "too many requests wait for this card's shard", RetryAfter: s.config.RetryAfter}
}

func (s *shard) backlogged() error {
	return &decision.Error{Code: decision.CodeOverloaded, Detail: "too many decisions of this card's shard have not come back through the log", RetryAfter: s.config.RetryAfter}
}

// attend answers the attempt when the card's state is present, or orders the state.
func (s *shard) attend(now int64, a *attempt) {
	h := s.use(now, a.transaction.Card)
	switch s.fetch(h) {
	case awaited:
		if s.mayWait(a) {
			h.waiting = append(h.waiting, a)
			s.markBusy(h)
			s.hurry(h)
		}
	case absent:
		s.answer(now, h, a, true)
	case present:
		s.answer(now, h, a, false)
	}
}

// openLobby attends to what waited for the shard.
func (s *shard) openLobby(now int64) {
	lobby := s.lobby
	s.lobby = nil
	s.waiting -= len(lobby)
	for _, a := range lobby {
		s.attempt(now, a)
	}
}

// closeLobby refuses what waits for the shard: it will not serve again.
func (s *shard) closeLobby() {
	s.waiting -= len(s.lobby)
	for _, a := range s.lobby {
		s.reply(a, reply{err: errClosing})
	}
	s.lobby = nil
}

// answer decides what an attempt gets: the recorded decision, the one in flight, a refusal, or features and a registration. blind says that
// the card's state could not be had.
func (s *shard) answer(now int64, h *hot, a *attempt, blind bool) {
	if a.gone {
		return
	}
	s.answering = a
	defer s.guard()
	if now >= a.deadline {
		s.reply(a, reply{err: errLate})
		return
	}
	if h.entity != nil {
		if k, known := h.entity.Known(a.key); known {
			s.reply(a, s.replay(a, &k))
			return
		}
	}
	if p := h.find(a.key); p != nil {
		s.join(p, a)
		return
	}
	if s.pendings >= s.config.MaxPending {
		s.counts.shed++
		s.reply(a, reply{err: s.backlogged()})
		return
	}
	held := len(h.pending)
	if h.entity != nil {
		held += h.entity.Len()
	}
	if held >= s.schema.CardLimit() {
		s.reply(a, reply{err: errSaturated})
		return
	}
	s.query = feature.Query{Kind: feature.Card, Entity: h.entity, Transaction: a.transaction, Pending: h.overlay}
	r := reply{defaults: s.schema.Read(&s.query, a.values), degraded: s.degradations(h, blind), foldedAt: s.foldedAt}
	r.pending = s.register(h, a.transaction, a.digest, a.deadline)
	a.pending = r.pending
	s.reply(a, r)
}

// replay is the answer to a transaction whose decision came through the log.
func (s *shard) replay(a *attempt, k *feature.Known) reply {
	switch {
	case !k.Held && k.Position == feature.Position{}:
		return reply{err: errReplicating}
	case !k.Held:
		return reply{err: errExpired}
	case k.Digest != a.digest:
		return reply{err: errConflict}
	}
	d := &decision.Decision{Transaction: *a.transaction, Outcome: k.Outcome, Score: k.Score, Reasons: k.Reasons, Degraded: k.Degraded,
		Versions: k.Versions, DecidedAt: k.DecidedAt, Digest: k.Digest, Node: k.Node}
	return reply{recorded: &decision.Answer{Decision: d, Durability: decision.Committed, Replayed: true}, foldedAt: s.foldedAt}
}

// join lets a retry share the answer of the attempt in flight.
func (s *shard) join(p *pending, a *attempt) {
	switch {
	case p.digest != a.digest:
		s.reply(a, reply{err: errConflict})
	case p.durability != "" && p.decision != nil:
		s.reply(a, reply{recorded: p.recorded(), foldedAt: s.foldedAt})
	case len(p.waiters) >= s.config.MaxWaiters:
		s.counts.shed++
		s.reply(a, reply{err: s.overloaded()})
	default:
		s.waiting++
		p.waiters = append(p.waiters, a)
	}
}

// degradations says what an answer lacks, as the shard stands.
func (s *shard) degradations(h *hot, blind bool) degraded {
	var d degraded
	if blind {
		d |= degradedIdempotency
		if s.status != statusStarting {
			d |= degradedSpeedLayer
		}
	}
	switch {
	case s.status == statusServing:
	case s.status == statusRebuilding && !h.partial:
		// The state is from before the rebuild: whole, but as old as that.
		d |= degradedRebuilding
	default:
		d |= degradedRebuilding | degradedIdempotency
	}
	return d
}

// reply gives the attempt its only answer.
func (s *shard) reply(a *attempt, r reply) {
	if s.answering == a {
		s.answering = nil
	}
	s.out.answers = append(s.out.answers, answer{a, r})
}

// guard is deferred where an answer is read from an entity's state. Reading changes nothing, so a panic costs that answer only.
func (s *shard) guard() {
	if v := recover(); v != nil {
		s.out.panics = append(s.out.panics, panicOf(v))
		s.unanswered()
	}
	s.answering, s.showing = nil, nil
}

// unanswered replies to what a panic has left without, and takes its registration back.
func (s *shard) unanswered() {
	if a := s.answering; a != nil {
		if a.pending != nil {
			s.remove(a.pending)
		}
		s.reply(a, reply{err: errUnreadable})
	}
	if s.showing != nil {
		s.out.views = append(s.out.views, viewAnswer{s.showing, viewReply{err: errUnreadable}})
		s.showing = nil
	}
}
