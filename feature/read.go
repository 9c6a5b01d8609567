package feature

import (
	"math"
	"sync"

	"github.com/zeebo/xxh3"

	"scoremesh/decision"
)

// Query asks for the features of one kind for one transaction.
type Query struct {
	Kind Kind
	// Entity is the folded state; nil is an entity that nothing is known of.
	Entity *Entity
	// Transaction is the one to decide. Windows end at its time; its own contribution counts only in windows with current: true, and
	// never in filters, since it is undecided and unlabelled.
	Transaction *decision.Transaction
	// Pending is the overlay of what the card's owner has registered and not yet seen come back through the log. The transaction's
	// own entry and those that the timeline already holds are skipped. It is for cards only, and ignored for other kinds.
	Pending []*Pending
}

// Pending is a transaction that the card's owner has registered: undecided at first, then decided, then committed.
type Pending struct {
	// Key is decision.Key of the transaction.
	Key uint64
	// Outcome is Undecided until the attempt is decided. It counts in windows that do not filter on outcome.
	Outcome decision.Outcome
	// Transaction is what was registered; it must not change.
	Transaction *decision.Transaction
	// hashes caches the attributes.
	hashes []uint64
}

// PendingOf returns the overlay entry of a new attempt.
func (s *Schema) PendingOf(t *decision.Transaction) *Pending {
	return &Pending{Key: t.Key(), Transaction: t, hashes: attributesOf(s.kinds[Card].attributes, t)}
}

// Read fills the slots of the query's kind in the vector, and returns how many of them are the schema's defaults because there is
// no value. It changes nothing, and allocates nothing once warm.
func (s *Schema) Read(q *Query, vector []float64) (defaults int) {
	ks := &s.kinds[q.Kind]
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.reset(ks, q)
	for i := range ks.features {
		f := &ks.features[i]
		value, ok := r.feature(f)
		if !ok {
			value = f.fallback
			defaults++
		}
		vector[ks.lo+i] = value
	}
	r.release()
	return defaults
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// reader computes the features of one query.
type reader struct {
	ks     *kindSchema
	query  *Query
	at     int64
	entity *Entity
	own    uint64
	// extra are contributions that the timeline does not have: the countable pendings, and the transaction itself last. sources are
	// their transactions.
	extra   []element
	sources []*decision.Transaction
	// hashes are the transaction's own attributes.
	hashes []uint64
	// edge is the oldest time that is seen. An expired state is an empty one, so what an expired one may have held is not read.
	edge int64
	set  hashSet
	// onlooker: the query's transaction is only a point in time, and counts nowhere.
	onlooker bool
}

func (r *reader) reset(ks *kindSchema, q *Query) {
	r.ks, r.query, r.at, r.entity, r.own = ks, q, q.Transaction.At, q.Entity, q.Transaction.Key()
	if r.entity != nil && r.entity.id == "" {
		r.entity = nil
	}
	r.extra, r.sources = r.extra[:0], r.sources[:0]
	r.edge = r.at - ks.horizon
	for _, p := range r.pending() {
		if p.Key == r.own || r.holds(p.Key) {
			continue
		}
		r.extra = append(r.extra, element{at: p.Transaction.At, key: p.Key, outcome: p.Outcome, baseAmount: p.Transaction.BaseAmount,
			attributes: p.hashes, counts: true})
		r.sources = append(r.sources, p.Transaction)
	}
	r.hashes = appendAttributes(r.hashes[:0], ks.attributes, q.Transaction)
	r.extra = append(r.extra, element{at: r.at, key: r.own, baseAmount: q.Transaction.BaseAmount, attributes: r.hashes, counts: true})
	r.sources = append(r.sources, q.Transaction)
}

// release drops references, so that the pool keeps no transaction alive.
func (r *reader) release() {
	clear(r.extra)
	clear(r.sources)
	r.query, r.entity, r.onlooker = nil, nil, false
}

// pending is the overlay, of cards.
func (r *reader) pending() []*Pending {
	if r.ks.kind != Card {
		return nil
	}
	return r.query.Pending
}

func (r *reader) holds(key uint64) bool {
	if r.entity == nil {
		return false
	}
	_, known := r.entity.timeline.canonical(key)
	return known
}

// overlay returns the contributions of the overlay; current adds the transaction itself.
func (r *reader) overlay(current bool) []element {
	if current && !r.onlooker {
		return r.extra
	}
	return r.extra[:len(r.extra)-1]
}

// feature computes one value; false means that there is none, and that the default holds.
func (r *reader) feature(f *feature) (float64, bool) {
	switch f.function {
	case secondsSinceLast:
		return r.sinceLast()
	case secondsSinceFirst:
		return r.sinceFirst()
	case countryChanged:
		return r.countryChanged()
	case travelSpeed:
		return r.travelSpeed()
	case published:
		return r.published(f)
	}
	var a aggregate
	if f.group >= 0 {
		a = r.tiled(f)
	} else {
		a = r.exact(f)
	}
	return a.value(f, r.ks.Schema)
}

// aggregate is what a window comes to.
type aggregate struct {
	// n counts what the filter selects, matched what the numerator does.
	n, matched int64
	// sum, least and greatest are in minor units; least and greatest hold if n > 0.
	sum             int64
	least, greatest int64
	distinct        float64
}

func (a *aggregate) value(f *feature, s *Schema) (float64, bool) {
	n := max(a.n, 0) // an interim count below zero reads as zero
	switch f.function {
	case count:
		return float64(n), true
	case distinct:
		return a.distinct, true
	case sum:
		return s.units(float64(a.sum)), true
	}
	if n == 0 {
		return 0, false
	}
	switch f.function {
	case mean:
		return s.units(float64(a.sum) / float64(n)), true
	case minimum:
		return s.units(float64(a.least)), true
	case maximum:
		return s.units(float64(a.greatest)), true
	default:
		// A label's posting may come before the decision that it is posted on.
		return float64(min(max(a.matched, 0), n)) / float64(n), true
	}
}

func (a *aggregate) amount(v int64) {
	if a.n == 0 || v < a.least {
		a.least = v
	}
	if a.n == 0 || v > a.greatest {
		a.greatest = v
	}
	a.n++
	a.sum += v
}

// exact aggregates single transactions.
func (r *reader) exact(f *feature) aggregate {
	var a aggregate
	from, to := r.at-f.delay-f.window, r.at-f.delay
	if f.function == distinct {
		r.set.reset()
	}
	if r.entity != nil {
		t := &r.entity.timeline
		for i := t.index(from); i < len(t.elements) && t.elements[i].at <= to; i++ {
			if t.elements[i].key != r.own {
				r.contribute(&a, f, &t.elements[i])
			}
		}
	}
	overlay := r.overlay(f.current)
	for i := range overlay {
		if el := &overlay[i]; el.at > from && el.at <= to {
			r.contribute(&a, f, el)
		}
	}
	if f.function == distinct {
		a.distinct = float64(r.set.len)
	}
	return a
}

func (r *reader) contribute(a *aggregate, f *feature, el *element) {
	if !el.counts {
		return
	}
	label := anyLabel
	if f.filter.label != anyLabel || f.numerator.label != anyLabel {
		label = r.label(el)
	}
	if !f.filter.matches(el.outcome, label) {
		return
	}
	a.amount(el.baseAmount)
	switch f.function {
	case ratio:
		if f.numerator.matches(el.outcome, label) {
			a.matched++
		}
	case distinct:
		if h := el.attributes[f.attribute]; h != 0 {
			r.set.add(h)
		}
	}
}

// label returns what is known of an element: on cards the label itself, elsewhere the postings.
func (r *reader) label(el *element) labelFilter {
	if el.key == r.own {
		return anyLabel
	}
	if r.ks.kind != Card || r.entity == nil {
		return el.label()
	}
	if l, ok := r.entity.labels.of(el.key); ok {
		return l.filter()
	}
	return anyLabel
}

// tiled aggregates whole tiles, and adds the overlay.
func (r *reader) tiled(f *feature) aggregate {
	if f.function == distinct {
		return aggregate{distinct: r.sketched(f)}
	}
	var a aggregate
	g := &r.ks.groups[f.group]
	from, to := g.span(r.at)
	if r.entity != nil {
		t := &r.entity.tiles[f.group]
		switch f.function {
		case count:
			a.n = t.total(g, f.columns[0], from, to)
		case sum:
			a.sum = t.total(g, f.columns[0], from, to)
		case mean:
			a.sum, a.n = t.total(g, f.columns[0], from, to), t.total(g, f.columns[1], from, to)
		case ratio:
			a.matched, a.n = t.total(g, f.columns[0], from, to), t.total(g, f.columns[1], from, to)
		case minimum, maximum:
			if v := t.extreme(g, f.columns[0], from, to); v != none {
				a.least, a.greatest, a.n = v, v, 1
			}
		}
	}
	overlay := r.overlay(f.current)
	for i := range overlay {
		el := &overlay[i]
		if tile := g.tile(el.at); tile <= from || tile > to || !f.filter.matches(el.outcome, anyLabel) {
			continue
		}
		a.amount(el.baseAmount)
		if f.function == ratio && f.numerator.matches(el.outcome, anyLabel) {
			a.matched++
		}
	}
	return a
}

// sketched estimates distinct values from a sketch and the overlay.
func (r *reader) sketched(f *feature) float64 {
	g := &r.ks.groups[f.group]
	from, to := g.span(r.at)
	var ranks ranks
	if r.entity != nil {
		if t := &r.entity.tiles[f.group]; t.sketches != nil {
			t.sketches[f.columns[0]].collect(&ranks, from, to)
		}
	}
	attribute := g.sketches[f.columns[0]].attribute
	overlay := r.overlay(f.current)
	for i := range overlay {
		el := &overlay[i]
		if tile := g.tile(el.at); tile <= from || tile > to || !f.filter.matches(el.outcome, anyLabel) {
			continue
		}
		if v := attribute.of(r.sources[i]); v != "" {
			ranks.add(xxh3.HashString(v))
		}
	}
	return ranks.estimate()
}

// sinceLast returns the seconds since the newest earlier (or simultaneous) transaction.
func (r *reader) sinceLast() (float64, bool) {
	last := int64(math.MinInt64)
	if r.entity != nil {
		t := &r.entity.timeline
		for i := t.index(r.at) - 1; i >= 0; i-- {
			if t.elements[i].counts && t.elements[i].key != r.own {
				last = t.elements[i].at
				break
			}
		}
	}
	for _, el := range r.overlay(false) {
		if el.at <= r.at {
			last = max(last, el.at)
		}
	}
	if last < r.edge {
		return 0, false
	}
	return float64(r.at-last) / 1000, true
}

// sinceFirst returns the seconds since the oldest transaction within the horizon.
func (r *reader) sinceFirst() (float64, bool) {
	first := int64(math.MaxInt64)
	if r.entity != nil {
		t := &r.entity.timeline
		for i := t.index(r.edge - 1); i < len(t.elements); i++ {
			if el := &t.elements[i]; el.counts && el.key != r.own {
				first = el.at
				break
			}
		}
	}
	for _, el := range r.overlay(false) {
		if el.at >= r.edge {
			first = min(first, el.at)
		}
	}
	if first > r.at {
		return 0, false
	}
	return float64(r.at-first) / 1000, true
}

func (r *reader) countryChanged() (float64, bool) {
	var last lastCountry
	if r.entity != nil {
		last = r.entity.country
	}
	for _, p := range r.pending() {
		if p.Key != r.own {
			last.observe(p.Transaction, p.Key)
		}
	}
	now := r.query.Transaction.Country
	if last.country == "" || last.at < r.edge || now == "" {
		return 0, false
	}
	if last.country != now {
		return 1, true
	}
	return 0, true
}

func (r *reader) travelSpeed() (float64, bool) {
	var last lastPosition
	if r.entity != nil {
		last = r.entity.position
	}
	for _, p := range r.pending() {
		if p.Key != r.own {
			last.observe(p.Transaction, p.Key)
		}
	}
	if !last.known || last.at < r.edge || !r.query.Transaction.HasPosition {
		return 0, false
	}
	return last.speed(r.query.Transaction), true
}

func (r *reader) published(f *feature) (float64, bool) {
	if r.entity == nil {
		return 0, false
	}
	row := &r.entity.rows[f.profile]
	if !row.set || row.asOf < r.at-r.ks.profiles[f.profile].ttl {
		return 0, false
	}
	return row.value, true
}

// hashSet counts distinct non-zero hashes, in memory that it keeps.
type hashSet struct {
	slots []uint64
	len   int
}

func (s *hashSet) reset() {
	clear(s.slots)
	s.len = 0
}

// grow makes room for n hashes.
func (s *hashSet) grow(n int) {
	size := max(64, len(s.slots))
	for size < 2*n {
		size *= 2
	}
	if size == len(s.slots) {
		return
	}
	old := s.slots
	s.slots, s.len = make([]uint64, size), 0
	for _, h := range old {
		if h != 0 {
			s.add(h)
		}
	}
}

// add takes a hash in, and says whether it is new.
func (s *hashSet) add(h uint64) bool {
	if 2*(s.len+1) > len(s.slots) {
		s.grow(s.len + 1)
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case h:
			return false
		case 0:
			s.slots[i] = h
			s.len++
			return true
		}
	}
}
