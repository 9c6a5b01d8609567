package feature

import (
	"math"
	"slices"
	"unique"

	"scoremesh/decision"
)

var nan = math.NaN()

// Entity is the folded state of one card, device or merchant. It is not safe for concurrent use.
type Entity struct {
	schema *kindSchema
	// id is known once a record was applied, and is encoded, so that a state says whose it is.
	id string
	// vector is what was applied. Invariant: it only grows, and each record is applied at most once.
	vector Vector
	// newest is the latest transaction time among all records, those included that were trimmed. It drives every trim.
	newest   int64
	timeline timeline
	tiles    []tiles
	country  lastCountry
	position lastPosition
	labels   labels
	rows     []rowValue
}

// rowValue is a published value: the last one by (as_of, origin, epoch, sequence).
type rowValue struct {
	set      bool
	asOf     int64
	position Position
	value    float64
}

// New returns the state of an entity that no record has touched.
func (s *Schema) New(k Kind) *Entity {
	ks := &s.kinds[k]
	return &Entity{schema: ks, newest: math.MinInt64, tiles: make([]tiles, len(ks.groups)), rows: make([]rowValue, len(ks.profiles))}
}

// Kind returns the entity's kind.
func (e *Entity) Kind() Kind { return e.schema.kind }

// ID returns the entity's id, empty before the first record.
func (e *Entity) ID() string { return e.id }

// Vector returns what was applied. The caller must not change it, and must not keep it across an Apply.
func (e *Entity) Vector() *Vector { return &e.vector }

// Newest returns the latest transaction time applied, Unix milliseconds; math.MinInt64 for none.
func (e *Entity) Newest() int64 { return e.newest }

// Len returns the number of contributions in the timeline.
func (e *Entity) Len() int { return len(e.timeline.elements) }

// Saturated says whether transactions inside the horizon were dropped to keep the newest timeline_max: exact counts are then
// lower bounds.
func (e *Entity) Saturated() bool { return e.timeline.saturated != 0 }

// Apply folds the record at p in. It returns false, and changes nothing, when the vector covers p, the record does not touch
// this entity, or p.Origin is none that a vector can hold (epoch 0, a name above 255 bytes, the 256th origin).
// A transaction 35,000 years away, or of an unknown outcome, which no edge lets through, adds nothing.
func (e *Entity) Apply(p Position, r *Record) bool {
	id := r.Touches(e.schema.kind)
	if id == "" || e.id != "" && e.id != id || e.vector.Covers(p) || !e.vector.fits(p.Origin) {
		return false
	}
	e.id = id
	e.vector.Advance(p.Origin, p.Mark)
	switch {
	case r.Decision != nil:
		e.applyDecision(p, r.Decision)
	case r.Label != nil:
		e.labels.apply(p, r.Label)
		e.trimLabels()
	case r.Row != nil:
		e.applyRow(p, r.Row)
	case r.Retraction != nil:
		e.applyRetraction(r.Retraction)
	case r.Posting != nil:
		e.applyPosting(r.Posting)
	}
	return true
}

func (e *Entity) applyDecision(p Position, d *decision.Decision) {
	t := &d.Transaction
	if !foldable(t.At, d.Outcome) {
		return
	}
	key := t.Key()
	e.advance(t.At)
	for i := range e.tiles {
		g := &e.schema.groups[i]
		if g.tile(t.At) >= g.oldest(e.newest) {
			e.tiles[i].add(g, t.At, t.BaseAmount, d.Outcome, anyLabel, 1)
			e.tiles[i].observe(g, t, d.Outcome, e.newest)
		}
	}
	if t.At < e.horizonEdge() {
		return
	}
	if e.schema.hasCountry {
		e.country.observe(t, key)
	}
	if e.schema.hasPosition {
		e.position.observe(t, key)
	}
	if !e.schema.hasTimeline {
		return
	}
	el := e.timeline.at(element{at: t.At, key: key, origin: unique.Make(p.Origin), mark: p.Mark})
	if el.retracted || el.present {
		return
	}
	el.present, el.outcome = true, d.Outcome
	el.decidedAt, el.baseAmount = d.DecidedAt, t.BaseAmount
	el.attributes = attributesOf(e.schema.attributes, t)
	if e.schema.kind == Card {
		el.device, el.merchant = t.Device, t.Merchant
		if t.At >= e.answerEdge() {
			el.answer = &answer{d.Digest, d.Score, d.Reasons, d.Degraded, d.Versions, d.Node}
		}
	}
	e.settle(key)
}

func (e *Entity) applyRetraction(r *Retraction) {
	f := &r.Facts
	if !foldable(f.At, f.Outcome) {
		return
	}
	e.advance(f.At)
	for i := range e.tiles {
		g := &e.schema.groups[i]
		if g.tile(f.At) >= g.oldest(e.newest) {
			e.tiles[i].add(g, f.At, f.BaseAmount, f.Outcome, anyLabel, -1)
		}
	}
	if !e.schema.hasTimeline || f.At < e.horizonEdge() {
		return
	}
	el := e.timeline.at(element{at: f.At, key: f.Key, origin: unique.Make(r.Loser.Origin), mark: r.Loser.Mark})
	*el = element{at: el.at, key: el.key, origin: el.origin, mark: el.mark, retracted: true, fraud: el.fraud, genuine: el.genuine}
	e.settle(f.Key)
}

func (e *Entity) applyPosting(r *Posting) {
	f := &r.Facts
	if !foldable(f.At, f.Outcome) {
		return
	}
	e.advance(f.At)
	label := genuineLabel
	if r.Fraud {
		label = fraudLabel
	}
	for i := range e.tiles {
		g := &e.schema.groups[i]
		if g.tile(f.At) >= g.oldest(e.newest) {
			e.tiles[i].add(g, f.At, f.BaseAmount, f.Outcome, label, int64(r.Sign))
		}
	}
	if f.At < e.horizonEdge() {
		return
	}
	if e.schema.kind == Card {
		e.labels.post(r)
		return
	}
	if !e.schema.hasTimeline {
		return
	}
	el := e.timeline.at(element{at: f.At, key: f.Key, origin: unique.Make(r.Decision.Origin), mark: r.Decision.Mark})
	if r.Fraud {
		el.fraud += int16(r.Sign)
	} else {
		el.genuine += int16(r.Sign)
	}
	e.settle(f.Key)
}

func (e *Entity) applyRow(p Position, r *Row) {
	for _, v := range r.Values {
		i := slices.IndexFunc(e.schema.profiles, func(p profile) bool { return p.name == v.Name })
		if i < 0 {
			continue // published for another version of the schema
		}
		old := &e.rows[i]
		if n := (rowValue{true, r.AsOf, p, v.Value}); !old.set || old.asOf < n.asOf || old.asOf == n.asOf && old.position.Compare(p) < 0 {
			*old = n
		}
	}
}

// settle restores the timeline's invariants after a change to the elements of key.
func (e *Entity) settle(key uint64) {
	t := &e.timeline
	if e.schema.kind != Card {
		t.trimNewest(e.schema.timelineMax)
	}
	t.elect(key)
}

// advance moves the newest time on, and trims what falls behind.
func (e *Entity) advance(at int64) {
	before := e.newest
	if at <= before {
		return
	}
	e.newest = at
	if before == math.MinInt64 {
		e.trimLabels()
		return
	}
	for i := range e.tiles {
		e.tiles[i].trim(&e.schema.groups[i], before, at)
	}
	edge := e.horizonEdge()
	e.timeline.trimBefore(edge)
	e.trimLabels()
	if e.country.at < edge {
		e.country = lastCountry{}
	}
	if e.position.at < edge {
		e.position = lastPosition{}
	}
	if e.schema.kind == Card {
		e.timeline.forgetAnswers(before-e.schema.idempotency, e.answerEdge())
	}
}

// trimLabels drops what lies behind the horizon. A card that has labels only has no horizon yet.
func (e *Entity) trimLabels() {
	if e.newest != math.MinInt64 {
		e.labels.trimBefore(e.horizonEdge())
	}
}

// foldable says whether a decision can be taken in: its time and a schema's durations add up without overflow, and its outcome
// is one.
func foldable(at int64, o decision.Outcome) bool {
	return -maxTime <= at && at <= maxTime && o <= decision.StepUp
}

// maxTime is some 35,000 years in milliseconds.
const maxTime = 1 << 50

// horizonEdge is the oldest time that is kept.
func (e *Entity) horizonEdge() int64 { return e.newest - e.schema.horizon }

// answerEdge is the oldest time whose decisions are kept to answer retries.
func (e *Entity) answerEdge() int64 { return e.newest - e.schema.idempotency }

// forgetAnswers drops the answers of elements from before up to edge, which is where they were kept from until now.
func (t *timeline) forgetAnswers(before, edge int64) {
	for i := t.index(before - 1); i < len(t.elements) && t.elements[i].at < edge; i++ {
		t.elements[i].answer = nil
	}
}

// Known is what a card knows of a transaction id.
type Known struct {
	// Held: the decision is still kept. Past the idempotency period, and when only the retraction of a duplicate has come yet, it is
	// not, and only Position may be set.
	Held     bool
	Outcome  decision.Outcome
	Score    float32
	Reasons  []decision.Reason
	Degraded []string
	Versions decision.Versions
	// DecidedAt in Unix milliseconds; Digest is decision.Transaction.Digest.
	DecidedAt int64
	Digest    uint64
	Node      string
	Position  Position
}

// Known returns what the card knows of the transaction with that decision.Key: of duplicates, the canonical decision.
func (e *Entity) Known(key uint64) (Known, bool) {
	el, known := e.timeline.canonical(key)
	if !known || el == nil {
		return Known{}, known
	}
	k := Known{Outcome: el.outcome, DecidedAt: el.decidedAt, Position: el.position()}
	if a := el.answer; a != nil {
		k.Held, k.Score, k.Reasons, k.Degraded, k.Versions, k.Digest, k.Node = true, a.score, a.reasons, a.degraded, a.versions, a.digest, a.node
	}
	return k, true
}
