package feature

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"scoremesh/decision"
)

// oracle computes features from the raw records, by their definitions and without any state.
type oracle struct {
	kind Kind
	log  []placed
	// t is the time of the transaction that is decided.
	t       int64
	query   *decision.Transaction
	pending []*Pending
}

// contribution is a transaction that counts.
type contribution struct {
	transaction *decision.Transaction
	outcome     decision.Outcome
	label       string
	overlay     bool
}

func (o *oracle) newest() int64 {
	newest := int64(math.MinInt64)
	for _, p := range o.log {
		switch r := p.record; {
		case r.Decision != nil:
			newest = max(newest, r.Decision.Transaction.At)
		case r.Retraction != nil:
			newest = max(newest, r.Retraction.Facts.At)
		case r.Posting != nil:
			newest = max(newest, r.Posting.Facts.At)
		}
	}
	return newest
}

// slot identifies what a timeline keeps: the place of a decision.
type slot struct {
	at       int64
	key      uint64
	position Position
}

// kept returns the places that a timeline keeps: those within the horizon and, but for cards, the newest of them.
func (o *oracle) kept() map[Position]bool {
	var slots []slot
	for _, p := range o.log {
		switch r := p.record; {
		case r.Decision != nil:
			slots = append(slots, slot{r.Decision.Transaction.At, r.Decision.Transaction.Key(), p.position})
		case r.Retraction != nil:
			slots = append(slots, slot{r.Retraction.Facts.At, r.Retraction.Facts.Key, r.Retraction.Loser})
		case r.Posting != nil && o.kind != Card:
			slots = append(slots, slot{r.Posting.Facts.At, r.Posting.Facts.Key, r.Posting.Decision})
		}
	}
	slices.SortFunc(slots, func(a, b slot) int {
		return -cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key), a.position.Compare(b.position))
	})
	slots = slices.DeleteFunc(slices.Compact(slots), func(s slot) bool { return s.at < o.newest()-testHorizon })
	if o.kind != Card {
		slots = slots[:min(len(slots), testNewest)]
	}
	kept := map[Position]bool{}
	for _, s := range slots {
		kept[s.position] = true
	}
	return kept
}

// labelOf returns the label that counts for the decision at a position.
func (o *oracle) labelOf(key uint64, at Position) string {
	if o.kind == Card {
		var last *decision.Label
		var where Position
		for _, p := range o.log {
			l := p.record.Label
			if l == nil || decision.Key(l.Card, l.TransactionID) != key || o.newest() != math.MinInt64 && l.KnownAt < o.newest()-testHorizon {
				continue
			}
			if last == nil || last.KnownAt < l.KnownAt || last.KnownAt == l.KnownAt && where.Compare(p.position) < 0 {
				last, where = l, p.position
			}
		}
		if last == nil {
			return ""
		}
		return labelName(last.Fraud)
	}
	signs := map[string]int{}
	for _, p := range o.log {
		if r := p.record.Posting; r != nil && r.Decision == at {
			signs[labelName(r.Fraud)] += int(r.Sign)
		}
	}
	if signs["fraud"] > 0 {
		return "fraud"
	}
	if signs["genuine"] > 0 {
		return "genuine"
	}
	return ""
}

func labelName(fraud bool) string {
	if fraud {
		return "fraud"
	}
	return "genuine"
}

// countable returns the decisions of the timeline that count.
func (o *oracle) countable() []contribution {
	kept := o.kept()
	retracted := map[Position]bool{}
	for _, p := range o.log {
		if r := p.record.Retraction; r != nil {
			retracted[r.Loser] = true
		}
	}
	canonical := map[uint64]placed{}
	for _, p := range o.log {
		d := p.record.Decision
		if d == nil || !kept[p.position] || retracted[p.position] {
			continue
		}
		best, ok := canonical[d.Transaction.Key()]
		if !ok || cmp.Or(cmp.Compare(d.DecidedAt, best.record.Decision.DecidedAt), p.position.Compare(best.position)) < 0 {
			canonical[d.Transaction.Key()] = p
		}
	}
	var out []contribution
	for key, p := range canonical {
		out = append(out, contribution{&p.record.Decision.Transaction, p.record.Decision.Outcome, o.labelOf(key, p.position), false})
	}
	return out
}

// known says whether the timeline holds anything of a transaction.
func (o *oracle) known(key uint64) bool {
	kept := o.kept()
	for _, p := range o.log {
		if d := p.record.Decision; d != nil && kept[p.position] && d.Transaction.Key() == key {
			return true
		}
		if r := p.record.Retraction; r != nil && kept[r.Loser] && r.Facts.Key == key {
			return true
		}
	}
	return false
}

// overlay returns the pending transactions that count, and the current one.
func (o *oracle) overlay(current bool) []contribution {
	var out []contribution
	if o.kind == Card {
		for _, p := range o.pending {
			if p.Key != o.query.Key() && !o.known(p.Key) {
				out = append(out, contribution{p.Transaction, p.Outcome, o.labelOf(p.Key, Position{}), true})
			}
		}
	}
	if current {
		out = append(out, contribution{o.query, decision.Undecided, "", true})
	}
	return out
}

func (c condition) holds(x contribution) bool {
	return (len(c.outcomes) == 0 || slices.Contains(c.outcomes, x.outcome)) && (c.label == "" || c.label == x.label)
}

// exact computes a feature over single transactions.
func (o *oracle) exact(s *spec) float64 {
	to := o.t - s.delay*1000
	from := to - s.window*1000
	var in []contribution
	own := o.query.Key()
	for _, c := range append(slices.DeleteFunc(o.countable(), func(c contribution) bool { return c.transaction.Key() == own }),
		o.overlay(s.current)...) {
		if c.transaction.At > from && c.transaction.At <= to && s.where.holds(c) {
			in = append(in, c)
		}
	}
	var total, least, greatest, matched int64
	least, greatest = math.MaxInt64, math.MinInt64
	values := map[string]bool{}
	for _, c := range in {
		total += c.transaction.BaseAmount
		least, greatest = min(least, c.transaction.BaseAmount), max(greatest, c.transaction.BaseAmount)
		if s.part.holds(c) {
			matched++
		}
		if s.of == "card" {
			values[c.transaction.Card] = true
		} else {
			values[c.transaction.Merchant] = true
		}
	}
	n := float64(len(in))
	switch {
	case s.function == "count":
		return n
	case s.function == "sum":
		return float64(total) / 100
	case s.function == "distinct":
		return float64(len(values))
	case n == 0:
		return -7
	case s.function == "mean":
		return float64(total) / n / 100
	case s.function == "min":
		return float64(least) / 100
	case s.function == "max":
		return float64(greatest) / 100
	}
	return float64(matched) / n
}

// tiled computes a feature over whole tiles: every decision counts, every retraction takes one away, postings count for labels.
func (o *oracle) tiled(s *spec) float64 {
	width := (s.window*1000 + 59) / 60
	tile := func(at int64) int64 { return int64(math.Floor(float64(at) / float64(width))) }
	from, to := tile(o.t-s.delay*1000-s.window*1000), tile(o.t-s.delay*1000)
	within := func(at int64) bool { return tile(at) > from && tile(at) <= to }
	// tally counts and sums what a condition selects; the extremes and the values are those of decisions alone.
	type tallied struct {
		n, sum, least, greatest int64
		values                  map[string]bool
	}
	tally := func(c condition) tallied {
		out := tallied{least: math.MaxInt64, greatest: math.MinInt64, values: map[string]bool{}}
		add := func(at, amount int64, outcome decision.Outcome, label string, sign int64) {
			if within(at) && c.holds(contribution{outcome: outcome, label: label}) && (c.label == "") == (label == "") {
				out.n += sign
				out.sum += sign * amount
			}
		}
		observe := func(tr *decision.Transaction, outcome decision.Outcome) {
			if !within(tr.At) || !c.holds(contribution{outcome: outcome}) {
				return
			}
			out.least, out.greatest = min(out.least, tr.BaseAmount), max(out.greatest, tr.BaseAmount)
			if s.of == "card" {
				out.values[tr.Card] = true
			} else {
				out.values[tr.Merchant] = true
			}
		}
		for _, p := range o.log {
			switch r := p.record; {
			case r.Decision != nil:
				tr := &r.Decision.Transaction
				add(tr.At, tr.BaseAmount, r.Decision.Outcome, "", 1)
				observe(tr, r.Decision.Outcome)
			case r.Retraction != nil:
				add(r.Retraction.Facts.At, r.Retraction.Facts.BaseAmount, r.Retraction.Facts.Outcome, "", -1)
			case r.Posting != nil:
				add(r.Posting.Facts.At, r.Posting.Facts.BaseAmount, r.Posting.Facts.Outcome, labelName(r.Posting.Fraud), int64(r.Posting.Sign))
			}
		}
		for _, x := range o.overlay(s.current) {
			add(x.transaction.At, x.transaction.BaseAmount, x.outcome, "", 1)
			observe(x.transaction, x.outcome)
		}
		return out
	}
	all := tally(s.where)
	switch s.function {
	case "count":
		return float64(max(all.n, 0))
	case "sum":
		return float64(all.sum) / 100
	case "distinct":
		return loglog(all.values)
	case "min", "max":
		if all.least == math.MaxInt64 {
			return -7
		}
		if s.function == "min" {
			return float64(all.least) / 100
		}
		return float64(all.greatest) / 100
	}
	if all.n <= 0 {
		return -7
	}
	if s.function == "mean" {
		return float64(all.sum) / float64(all.n) / 100
	}
	both := condition{s.part.outcomes, s.where.label}
	if both.label == "" {
		both.label = s.part.label
	}
	if len(s.where.outcomes) > 0 {
		both.outcomes = slices.DeleteFunc(slices.Clone(s.where.outcomes), func(x decision.Outcome) bool {
			return len(s.part.outcomes) > 0 && !slices.Contains(s.part.outcomes, x)
		})
	}
	return float64(min(max(tally(both).n, 0), all.n)) / float64(all.n)
}

// loglog is the textbook HyperLogLog of a set with 128 registers, with linear counting for small ones.
func loglog(values map[string]bool) float64 {
	var highest [128]int
	for v := range values {
		h := xxh3.HashString(v)
		rank := 1
		for bit := 56; bit >= 0 && h>>bit&1 == 0; bit-- {
			rank++
		}
		highest[h>>57] = max(highest[h>>57], rank)
	}
	zeros, sum := 0, 0.0
	for _, r := range highest {
		if r == 0 {
			zeros++
		}
		sum += math.Pow(2, -float64(r))
	}
	e := 0.7213 / (1 + 1.079/128.0) * 128 * 128 / sum
	if e <= 320 && zeros > 0 {
		e = 128 * math.Log(128/float64(zeros))
	}
	return math.Round(e)
}

// last returns the newest transaction that has what is asked for: the maximum by time, key and value.
func (o *oracle) last(has func(*decision.Transaction) bool, value func(*decision.Transaction) []uint64) *decision.Transaction {
	edge := o.newest() - testHorizon
	var last *decision.Transaction
	take := func(t *decision.Transaction) {
		if !has(t) || t.At < o.t-testHorizon {
			return
		}
		if last == nil || cmp.Or(cmp.Compare(last.At, t.At), cmp.Compare(last.Key(), t.Key()), slices.Compare(value(last), value(t))) < 0 {
			last = t
		}
	}
	for _, p := range o.log {
		if d := p.record.Decision; d != nil && d.Transaction.At >= edge {
			take(&d.Transaction)
		}
	}
	if o.kind == Card {
		for _, p := range o.pending {
			if p.Key != o.query.Key() {
				take(p.Transaction)
			}
		}
	}
	return last
}

func (o *oracle) pointwise(function string) float64 {
	switch function {
	case "seconds_since_last", "seconds_since_first":
		var ages []float64
		for _, c := range append(o.countable(), o.overlay(false)...) {
			age := o.t - c.transaction.At
			if c.transaction.Key() != o.query.Key() && age <= testHorizon && (age >= 0 || function == "seconds_since_first") {
				ages = append(ages, float64(age)/1000)
			}
		}
		if len(ages) == 0 {
			return -9
		}
		if function == "seconds_since_last" {
			return slices.Min(ages)
		}
		if oldest := slices.Max(ages); oldest >= 0 {
			return oldest
		}
	case "country_changed":
		last := o.last(func(t *decision.Transaction) bool { return t.Country != "" },
			func(t *decision.Transaction) []uint64 { return []uint64{uint64(t.Country[0])} })
		if last != nil && o.query.Country != "" {
			if last.Country != o.query.Country {
				return 1
			}
			return 0
		}
	case "travel_speed":
		last := o.last(func(t *decision.Transaction) bool { return t.HasPosition },
			func(t *decision.Transaction) []uint64 {
				return []uint64{math.Float64bits(t.Lat), math.Float64bits(t.Lon)}
			})
		if last != nil && o.query.HasPosition {
			return kilometres(last, o.query) / (max(math.Abs(float64(o.t-last.At)), 1000) / 3.6e6)
		}
	}
	return -9
}

// kilometres is the great circle by the angle between two vectors, another formula than the package's.
func kilometres(a, b *decision.Transaction) float64 {
	vector := func(t *decision.Transaction) [3]float64 {
		lat, lon := t.Lat*math.Pi/180, t.Lon*math.Pi/180
		return [3]float64{math.Cos(lat) * math.Cos(lon), math.Cos(lat) * math.Sin(lon), math.Sin(lat)}
	}
	p, q := vector(a), vector(b)
	cross := [3]float64{p[1]*q[2] - p[2]*q[1], p[2]*q[0] - p[0]*q[2], p[0]*q[1] - p[1]*q[0]}
	length := math.Sqrt(cross[0]*cross[0] + cross[1]*cross[1] + cross[2]*cross[2])
	return 6371 * math.Atan2(length, p[0]*q[0]+p[1]*q[1]+p[2]*q[2])
}

// profile returns the published value that was last as of the latest time, unless it is too old.
func (o *oracle) profile(name string) float64 {
	var last *Row
	var where Position
	value := -5.0
	for _, p := range o.log {
		r := p.record.Row
		if r == nil || r.Values[0].Name != name {
			continue
		}
		if last == nil || last.AsOf < r.AsOf || last.AsOf == r.AsOf && where.Compare(p.position) < 0 {
			last, where, value = r, p.position, r.Values[0].Value
		}
	}
	if last == nil || o.t-last.AsOf > 90_000 {
		return -5
	}
	return value
}

func TestReadAgreesWithTheDefinitions(t *testing.T) {
	specs := testSpecs()
	s := mustParse(t, testSchemaText(specs))
	slots := map[string]int{}
	for i, name := range s.Names() {
		slots[name] = i
	}
	vector := make([]float64, s.Len())
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		id := rapid.SampledFrom(testEntities).Draw(t, "entity")
		o := oracle{kind: id.kind, log: id.touching(log)}
		// Tiles are whole for transactions up to the skew late; sketches and registers, which keep less, for the newest.
		o.t = drawTime(t)
		if newest := o.newest(); newest != math.MinInt64 {
			o.t = max(o.t, newest)
			if rapid.Bool().Draw(t, "late") {
				o.t = newest - rapid.Int64Range(0, testSkew).Draw(t, "lateness")
			}
		}
		for _, p := range o.log {
			if p.record.Row != nil && rapid.Bool().Draw(t, "at the time to live") {
				at := p.record.Row.AsOf + 90_000 + rapid.Int64Range(0, 1).Draw(t, "past it")
				if o.newest() == math.MinInt64 || at >= o.newest() {
					o.t = at
				}
			}
		}
		bodies := map[string]decision.Transaction{}
		o.query = &decision.Transaction{ID: rapid.SampledFrom([]string{"query", "query", "t0", "t1"}).Draw(t, "own id"), Card: "c0", Merchant: "m0", At: o.t, BaseAmount: rapid.Int64Range(0, 900).Draw(t, "amount"),
			Country: rapid.SampledFrom([]string{"", "NL", "BE"}).Draw(t, "country"), HasPosition: rapid.Bool().Draw(t, "positioned"), Lat: 1, Lon: 1}
		for range rapid.IntRange(0, 3).Draw(t, "pending") {
			tr := drawTransaction(t, bodies)
			p := s.PendingOf(&tr)
			if slices.ContainsFunc(o.pending, func(q *Pending) bool { return q.Key == p.Key }) {
				continue
			}
			p.Outcome = rapid.SampledFrom([]decision.Outcome{decision.Undecided, decision.Approve, decision.Decline}).Draw(t, "outcome")
			o.pending = append(o.pending, p)
		}
		e := fold(s, id.kind, o.log)
		s.Read(&Query{Kind: id.kind, Entity: e, Transaction: o.query, Pending: o.pending}, vector)

		check := func(name string, want, tolerance float64, why string) {
			if got := vector[slots[name]]; math.Abs(got-want) > tolerance {
				t.Fatalf("%v at %d: %s: got %v, want %v", id, o.t-testEpoch, why, got, want)
			}
		}
		for i := range specs {
			f := &specs[i]
			if f.kind != id.kind {
				continue
			}
			want := o.exact(f)
			if f.tiled {
				if f.function == "distinct" && o.t < o.newest() {
					continue
				}
				want = o.tiled(f)
			}
			check(f.name, want, 1e-9, fmt.Sprintf("%+v", *f))
		}
		for _, function := range []string{"seconds_since_last", "seconds_since_first", "country_changed", "travel_speed"} {
			want := o.pointwise(function)
			check(fmt.Sprintf("%s_%s", id.kind, function), want, 1e-9*math.Abs(want), function)
		}
		for i := range 2 {
			name := fmt.Sprintf("%s_profile_%d", id.kind, i)
			check(name, o.profile(name), 0, name)
		}
	})
}
