package feature

import (
	"slices"
	"time"

	"scoremesh/decision"
)

// Schema declares the features: what is kept of each transaction, for how long, and what is read from it.
// It is immutable; equal hashes mean equal folds.
type Schema struct {
	version  string
	currency string
	exponent int
	// skew, idempotency and horizon are in milliseconds.
	skew, idempotency, horizon int64
	retention                  int64
	hash                       uint64
	names                      []string
	derived                    []derived
	kinds                      [len(Kinds)]kindSchema
}

// kindSchema is the compiled section of one kind.
type kindSchema struct {
	*Schema
	kind Kind
	// lo and hi bound the kind's slots in the vector.
	lo, hi int
	// timelineMax is the newest N of device and merchant timelines; for cards the edge's bound.
	timelineMax int
	// hasTimeline is true for cards, and where a feature reads single transactions.
	hasTimeline bool
	// attributes are kept of each contribution in the timeline, for distinct counts.
	attributes  []attribute
	features    []feature
	groups      []tileGroup
	profiles    []profile
	hasCountry  bool
	hasPosition bool
}

// feature is one slot of the vector.
type feature struct {
	name     string
	function function
	fallback float64
	// window and delay in milliseconds: (t - delay - window, t - delay].
	window, delay int64
	current       bool
	filter        filter
	numerator     filter
	// attribute indexes kindSchema.attributes; distinct only.
	attribute int
	// group indexes kindSchema.groups, or is -1 for exact features; columns are the group's columns that the function needs.
	group   int
	columns [2]int
	// profile indexes kindSchema.profiles.
	profile int
}

type function uint8

const (
	count function = iota
	sum
	mean
	minimum
	maximum
	distinct
	ratio
	secondsSinceLast
	secondsSinceFirst
	countryChanged
	travelSpeed
	published
)

// functionNames are the functions as the schema file spells them.
var functionNames = map[string]function{
	"count": count, "sum": sum, "mean": mean, "min": minimum, "max": maximum, "distinct": distinct, "ratio": ratio,
	"seconds_since_last": secondsSinceLast, "seconds_since_first": secondsSinceFirst,
	"country_changed": countryChanged, "travel_speed": travelSpeed, "profile": published,
}

// windowed says whether the function aggregates over a window.
func (f function) windowed() bool { return f <= ratio }

// attribute is a property of a transaction whose distinct values can be counted.
type attribute uint8

const (
	attrCard attribute = iota
	attrDevice
	attrMerchant
	attrCountry
	attrMCC
	attrCurrency
)

var attributeNames = []string{"card", "device", "merchant", "country", "mcc", "currency"}

// of returns the attribute's value; empty values are not counted.
func (a attribute) of(t *decision.Transaction) string {
	switch a {
	case attrCard:
		return t.Card
	case attrDevice:
		return t.Device
	case attrMerchant:
		return t.Merchant
	case attrCountry:
		return t.Country
	case attrMCC:
		return t.MCC
	default:
		return t.Currency
	}
}

// filter selects contributions by outcome and label. The zero filter selects all.
type filter struct {
	// outcomes is a bit set over decision.Outcome; 0 selects any, undecided included.
	outcomes uint8
	label    labelFilter
}

type labelFilter uint8

const (
	anyLabel labelFilter = iota
	fraudLabel
	genuineLabel
)

func (f filter) matches(outcome decision.Outcome, label labelFilter) bool {
	return (f.outcomes == 0 || f.outcomes&(1<<outcome) != 0) && (f.label == anyLabel || f.label == label)
}

// and returns the filter that selects what both select, and false when that is nothing.
func (f filter) and(g filter) (filter, bool) {
	switch {
	case f.outcomes == 0:
		f.outcomes = g.outcomes
	case g.outcomes != 0:
		f.outcomes &= g.outcomes
		if f.outcomes == 0 {
			return f, false
		}
	}
	switch {
	case f.label == anyLabel:
		f.label = g.label
	case g.label != anyLabel && g.label != f.label:
		return f, false
	}
	return f, true
}

// profile is a feature that is published from outside.
type profile struct {
	name string
	// ttl in milliseconds; an older value is missing.
	ttl int64
}

// Version is the schema's version, "v3". It is part of every key in the speed layer.
func (s *Schema) Version() string { return s.version }

// Currency is the base currency; amount features are in its major units.
func (s *Schema) Currency() string { return s.currency }

// Exponent is the number of decimals of the base currency: 2 for EUR.
func (s *Schema) Exponent() int { return s.exponent }

// Hash identifies what the schema means, comments and layout aside.
func (s *Schema) Hash() uint64 { return s.hash }

// Names returns the features in the order of the vector.
func (s *Schema) Names() []string { return slices.Clone(s.names) }

// Len is the length of the vector.
func (s *Schema) Len() int { return len(s.names) }

// Range returns the slots [lo, hi) of a kind. Derived features stand before all kinds.
func (s *Schema) Range(k Kind) (lo, hi int) { return s.kinds[k].lo, s.kinds[k].hi }

// Skew is how far a timestamp may lie ahead of the node's clock.
func (s *Schema) Skew() time.Duration { return time.Duration(s.skew) * time.Millisecond }

// Horizon is the longest window plus delay plus skew, and at least the idempotency period plus skew. Older transactions are
// refused, and what lies further back is trimmed.
func (s *Schema) Horizon() time.Duration { return time.Duration(s.horizon) * time.Millisecond }

// Idempotency is how long a decision is kept to answer a retry, counted back from the card's newest transaction.
func (s *Schema) Idempotency() time.Duration {
	return time.Duration(s.idempotency) * time.Millisecond
}

// Retention is the shortest time that a state may live in the speed layer after its last change, so that an expired entity
// and an empty one are the same. It covers the horizon and the longest time to live of a published feature.
func (s *Schema) Retention() time.Duration { return time.Duration(s.retention) * time.Millisecond }

// CardLimit is the number of transactions that a card's timeline may hold in one region before the edge refuses more.
func (s *Schema) CardLimit() int { return s.kinds[Card].timelineMax }

// Published says whether name is a profile feature of the kind.
func (s *Schema) Published(k Kind, name string) bool {
	return slices.ContainsFunc(s.kinds[k].profiles, func(p profile) bool { return p.name == name })
}

// Defaults fills the slots of the kind with the schema's conservative defaults, for when its state cannot be had.
func (s *Schema) Defaults(k Kind, vector []float64) {
	ks := &s.kinds[k]
	for i := range ks.features {
		vector[ks.lo+i] = ks.features[i].fallback
	}
}

// minorUnits are the minor units in a major one, by the currency's exponent. One division gives the nearest float64.
var minorUnits = [...]float64{1, 10, 100, 1000, 10_000}

// units converts minor to major units of the base currency.
func (s *Schema) units(minor float64) float64 {
	return minor / minorUnits[s.exponent]
}
