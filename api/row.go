package api

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"scoremesh/decision"
	"scoremesh/feature"
)

// maxRowValues bounds the values of one feature row.
const maxRowValues = 256

type rowField uint8

const (
	rowKind rowField = iota
	rowID
	rowCardNumber
	rowAsOf
	rowValues
	rowFields
)

var rowFieldNames = [rowFields]string{"kind", "id", "card_number", "as_of", "values"}

func rowFieldOf(key []byte) (rowField, bool) {
	for f, name := range rowFieldNames {
		if string(key) == name {
			return rowField(f), true
		}
	}
	return 0, false
}

// rowBody is a published feature row as the body says it.
type rowBody struct {
	seen   uint8
	kind   feature.Kind
	id     string
	number []byte
	asOf   int64
	values []feature.Value
}

func (r *rowBody) has(f rowField) bool { return r.seen&(1<<f) != 0 }

// read reads one row object.
func (r *rowBody) read(s *scanner) error {
	*r = rowBody{number: r.number[:0]}
	if err := s.open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		f, known := rowFieldOf(key)
		if !known {
			return unknownKey(key)
		}
		if r.has(f) {
			return repeatedKey(rowFieldNames[f])
		}
		r.seen |= 1 << f
		if err := r.readField(s, f); err != nil {
			return within(rowFieldNames[f], err)
		}
	}
}

func (r *rowBody) readField(s *scanner, f rowField) (err error) {
	switch f {
	case rowKind:
		var b []byte
		if b, err = s.token(); err == nil {
			r.kind, err = parseKind(string(b))
		}
	case rowID:
		r.id, err = readString(s)
	case rowCardNumber:
		r.number, err = readCardNumber(s, r.number)
	case rowAsOf:
		r.asOf, err = readTimestamp(s)
	case rowValues:
		err = r.readValues(s)
	}
	return err
}

// parseKind is feature.ParseKind with an error that does not repeat its input.
func parseKind(s string) (feature.Kind, error) {
	k, err := feature.ParseKind(s)
	if err != nil {
		return 0, invalid("", "want one of card, device, merchant")
	}
	return k, nil
}

func (r *rowBody) readValues(s *scanner) error {
	if err := s.open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if !isName(string(key)) {
			return invalid("", nameForm)
		}
		if len(r.values) == maxRowValues {
			return invalid("", fmt.Sprintf("at most %d are allowed", maxRowValues))
		}
		v := feature.Value{Name: string(key)}
		if v.Value, err = s.number(); err != nil {
			return within(v.Name, err)
		}
		r.values = append(r.values, v)
	}
	if len(r.values) == 0 {
		return invalid("", "want at least one value")
	}
	slices.SortFunc(r.values, func(a, b feature.Value) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(r.values); i++ {
		if r.values[i-1].Name == r.values[i].Name {
			return repeatedKey(r.values[i].Name)
		}
	}
	return nil
}

// judge makes the row, if the body is one that the schema has a place for. The values are sorted by name.
func (r *rowBody) judge(e *edge, j judgement) (feature.Row, error) {
	for _, f := range [...]rowField{rowKind, rowAsOf, rowValues} {
		if !r.has(f) {
			return feature.Row{}, invalid(rowFieldNames[f], "required")
		}
	}
	id, err := r.entity(e)
	if err != nil {
		return feature.Row{}, err
	}
	if r.asOf <= 0 {
		return feature.Row{}, invalid("as_of", "must be after 1970-01-01T00:00:00Z")
	}
	// A row from the future would win against every honest one until then.
	if r.asOf > j.now+j.bounds.Skew.Milliseconds() {
		return feature.Row{}, &decision.Error{Code: decision.CodeTooNew, Field: "as_of",
			Detail: fmt.Sprintf("further ahead than %s", j.bounds.Skew)}
	}
	row := feature.Row{Kind: r.kind, ID: id, AsOf: r.asOf, Values: r.values}
	return row, e.backend.CheckRow(&row)
}

func (r *rowBody) entity(e *edge) (string, error) {
	if r.has(rowCardNumber) && r.kind != feature.Card {
		return "", invalid("card_number", "only a row of kind card may have it")
	}
	if r.kind != feature.Card && !r.has(rowID) {
		return "", invalid("id", "required")
	}
	if r.kind == feature.Card {
		if !r.has(rowID) && !r.has(rowCardNumber) {
			return "", invalid("id", "required: either id or card_number")
		}
		card, err := cardOf(e.hashCard, r.id, r.has(rowID), r.number, r.has(rowCardNumber))
		if err != nil {
			return "", err
		}
		return card, checkEntityID("id", r.kind, card)
	}
	return r.id, checkEntityID("id", r.kind, r.id)
}

// checkEntityID holds an entity's id to the bounds that a transaction's ids have.
func checkEntityID(field string, kind feature.Kind, id string) error {
	if id == "" || len(id) > decision.MaxIDBytes {
		return invalid(field, fmt.Sprintf("want 1 to %d bytes", decision.MaxIDBytes))
	}
	if !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return invalid(field, "want printable UTF-8")
	}
	if kind == feature.Card && decision.LooksLikeCardNumber(id) {
		return invalid(field, "looks like a card number, which no id may be")
	}
	return refuseCardNumber(field, id, "")
}
