package decision

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Transaction is one payment as the edge accepted it: decoded, validated and free of card numbers.
// It is immutable once the edge has made it.
type Transaction struct {
	// ID is the client's name for the transaction, unique per card. A retry carries the same ID.
	ID string
	// Card, Device and Merchant name the entities that the transaction touches. Device may be empty.
	Card, Device, Merchant string
	// At is the transaction's own time in Unix milliseconds. All windows are computed from it.
	At int64
	// Amount is in minor units of Currency (cents of EUR, yen of JPY).
	Amount int64
	// Currency is the ISO 4217 code of Amount.
	Currency string
	// BaseAmount is Amount in minor units of the schema's base currency. The edge converts once, and
	// the log carries the result, so that a later change of rates changes no history.
	BaseAmount int64
	// Country is the ISO 3166-1 alpha-2 code of where the payment is made, or empty.
	Country string
	// HasPosition says whether Lat and Lon (degrees, WGS 84) are known.
	HasPosition bool
	Lat, Lon    float64
	// MCC is the merchant category code, four digits, or empty.
	MCC string
	// Attributes are further facts for policy and derived features, sorted by name, names unique.
	Attributes []Attribute
}

// Attribute is a named fact of a transaction.
type Attribute struct{ Name, Value string }

// Attribute returns the named attribute's value, or "".
func (t *Transaction) Attribute(name string) string {
	i, ok := slices.BinarySearchFunc(t.Attributes, name, func(a Attribute, n string) int { return strings.Compare(a.Name, n) })
	if !ok {
		return ""
	}
	return t.Attributes[i].Value
}

// Key identifies the transaction within its card: a 64-bit hash of card and transaction id.
func (t *Transaction) Key() uint64 { return Key(t.Card, t.ID) }

// Key is the 64-bit identity (xxh3) of a transaction id that is scoped to its card.
func Key(card, id string) uint64 {
	var stack [192]byte
	b := binary.AppendUvarint(stack[:0], uint64(len(card)))
	b = append(b, card...)
	b = append(b, id...)
	return xxh3.Hash(b)
}

// Digest is a 64-bit hash (xxh3) of the whole body: every field that the client sent. Two requests with
// equal ids and unequal digests are a conflict. BaseAmount is left out: it follows from the rates of the day.
func (t *Transaction) Digest() uint64 {
	var stack [512]byte
	b := stack[:0]
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(t.ID)
	text(t.Card)
	text(t.Device)
	text(t.Merchant)
	b = binary.BigEndian.AppendUint64(b, uint64(t.At))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Amount))
	text(t.Currency)
	text(t.Country)
	if t.HasPosition {
		b = append(b, 1)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(t.Lat))
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(t.Lon))
	} else {
		b = append(b, 0)
	}
	text(t.MCC)
	for _, a := range t.Attributes {
		text(a.Name)
		text(a.Value)
	}
	return xxh3.Hash(b)
}
