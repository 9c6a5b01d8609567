package feature

import (
	"fmt"
	"math"

	"github.com/zeebo/xxh3"

	"scoremesh/decision"
)

// Kind is the kind of an entity.
type Kind uint8

// The kinds of entities.
const (
	Card Kind = iota
	Device
	Merchant
)

// Kinds lists every kind, in the order of the schema's sections.
var Kinds = [...]Kind{Card, Device, Merchant}

// String returns "card", "device" or "merchant".
func (k Kind) String() string {
	switch k {
	case Card:
		return "card"
	case Device:
		return "device"
	case Merchant:
		return "merchant"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the inverse of Kind.String.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("kind %q: want one of card, device, merchant", s)
}

// Of returns the id of the transaction's entity of this kind; empty when the transaction has none.
func (k Kind) Of(t *decision.Transaction) string {
	switch k {
	case Card:
		return t.Card
	case Device:
		return t.Device
	default:
		return t.Merchant
	}
}

// PartitionOf returns the partition, 0 to partitions-1, that owns the entity.
func PartitionOf(kind Kind, id string, partitions int) int {
	return int(xxh3.HashStringSeed(id, uint64(kind)+1) % uint64(partitions))
}

// Record is one entry of a log. Exactly one field is set.
type Record struct {
	// Decision is a committed decision. It touches its card, device and merchant.
	Decision *decision.Decision
	// Label touches the card of its transaction only; Postings carry it to the others.
	Label *decision.Label
	// Row is a published feature row. It touches its entity.
	Row *Row
	// Retraction takes a decision that lost against its duplicate out of every entity that it touches.
	Retraction *Retraction
	// Posting carries a label to every entity that the labelled decision touches.
	Posting *Posting
	// Beacon touches nothing. Its age says how far behind a reader of the log is.
	Beacon *Beacon
}

// Row is a set of feature values that was computed elsewhere (batch, stream) and published for one entity.
type Row struct {
	Kind Kind
	ID   string
	// AsOf is the time for which the values hold, Unix milliseconds. Per feature, the last one wins.
	AsOf   int64
	Values []Value
}

// Value is one published feature value.
type Value struct {
	Name  string
	Value float64
}

// Facts are what the card keeps of a decision for its other entities: enough to take it out of their tiles, or to post a label
// for it, without the decision at hand.
type Facts struct {
	// Key is decision.Key of the card and the transaction id.
	Key                    uint64
	Card, Device, Merchant string
	// At is the transaction's time in Unix milliseconds.
	At         int64
	BaseAmount int64
	Outcome    decision.Outcome
}

// FactsOf returns the facts of a decision.
func FactsOf(d *decision.Decision) Facts {
	t := &d.Transaction
	return Facts{Key: t.Key(), Card: t.Card, Device: t.Device, Merchant: t.Merchant, At: t.At, BaseAmount: t.BaseAmount,
		Outcome: d.Outcome}
}

// Of returns the id of the facts' entity of the kind; empty when there is none.
func (f *Facts) Of(k Kind) string {
	switch k {
	case Card:
		return f.Card
	case Device:
		return f.Device
	default:
		return f.Merchant
	}
}

// Retraction says that the decision at Loser is a duplicate that lost. Only the region in whose log the loser stands appends it.
type Retraction struct {
	Loser Position
	Facts Facts
	// LoserOutcome and Winner describe the conflict for subscribers.
	Winner        Position
	WinnerOutcome decision.Outcome
}

// Posting adds (Sign +1) or withdraws (Sign -1) a label on the decision that stands at Decision. Only the region in whose log the
// label stands appends it.
type Posting struct {
	Label    Position
	Decision Position
	Fraud    bool
	Sign     int8
	Facts    Facts
}

// Beacon is the log's own sign of life.
type Beacon struct {
	// At is the writing node's clock in Unix milliseconds.
	At int64
	// Node is the writer's name.
	Node string
}

// Touches returns the id of the record's entity of the kind, or "" when the record does not touch that kind.
func (r *Record) Touches(k Kind) string {
	switch {
	case r.Decision != nil:
		return k.Of(&r.Decision.Transaction)
	case r.Label != nil:
		if k == Card {
			return r.Label.Card
		}
	case r.Row != nil:
		if k == r.Row.Kind {
			return r.Row.ID
		}
	case r.Retraction != nil:
		return r.Retraction.Facts.Of(k)
	case r.Posting != nil:
		return r.Posting.Facts.Of(k)
	}
	return ""
}

// Bounds of record fields. The edge refuses what exceeds them; the fold relies on none of them.
const (
	// MaxIDBytes bounds every id and name that comes from outside.
	MaxIDBytes = 128
	// MaxAmount bounds the absolute value of an amount in minor units, so that sums over any timeline fit an int64.
	MaxAmount = math.MaxInt64 >> 24
)
