package api

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"scoremesh/decision"
)

// transactionField numbers the keys of a transaction's body.
type transactionField uint8

const (
	fieldID transactionField = iota
	fieldTimestamp
	fieldCard
	fieldCardNumber
	fieldDevice
	fieldMerchant
	fieldAmount
	fieldCurrency
	fieldCountry
	fieldLat
	fieldLon
	fieldMCC
	fieldAttributes
	transactionFields
)

var transactionFieldNames = [transactionFields]string{"transaction_id", "timestamp", "card_id", "card_number", "device_id", "merchant_id",
	"amount", "currency", "country", "lat", "lon", "mcc", "attributes"}

func transactionFieldOf(key []byte) (transactionField, bool) {
	switch string(key) {
	case "transaction_id":
		return fieldID, true
	case "timestamp":
		return fieldTimestamp, true
	case "card_id":
		return fieldCard, true
	case "card_number":
		return fieldCardNumber, true
	case "device_id":
		return fieldDevice, true
	case "merchant_id":
		return fieldMerchant, true
	case "amount":
		return fieldAmount, true
	case "currency":
		return fieldCurrency, true
	case "country":
		return fieldCountry, true
	case "lat":
		return fieldLat, true
	case "lon":
		return fieldLon, true
	case "mcc":
		return fieldMCC, true
	case "attributes":
		return fieldAttributes, true
	}
	return 0, false
}

// transactionBody is a transaction as the body says it: right in shape, not yet judged. It is reused from body to body.
type transactionBody struct {
	seen           uint16
	texts          [transactionFields]span
	timestamp      int64
	amount         int64
	lat, lon       float64
	attributes     [decision.MaxAttributes]attributeSpan
	attributeCount int
	number         []byte
}

type attributeSpan struct{ name, value span }

func (t *transactionBody) has(f transactionField) bool { return t.seen&(1<<f) != 0 }

// read reads one transaction object. The strings stand in s.text, which it starts anew.
func (t *transactionBody) read(s *scanner) error {
	s.text = s.text[:0]
	t.seen, t.attributeCount, t.number = 0, 0, t.number[:0]
	if err := s.open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
		f, known := transactionFieldOf(key)
		if !known {
			return unknownKey(key)
		}
		if t.has(f) {
			return repeatedKey(transactionFieldNames[f])
		}
		t.seen |= 1 << f
		if err := t.readField(s, f); err != nil {
			return within(transactionFieldNames[f], err)
		}
	}
}

func (t *transactionBody) readField(s *scanner, f transactionField) (err error) {
	switch f {
	case fieldTimestamp:
		t.timestamp, err = readTimestamp(s)
	case fieldAmount:
		t.amount, err = s.integer()
	case fieldLat:
		t.lat, err = s.number()
	case fieldLon:
		t.lon, err = s.number()
	case fieldCardNumber:
		// The number stays out of text, which outlives the request.
		t.number, err = readCardNumber(s, t.number)
	case fieldAttributes:
		err = t.readAttributes(s)
	default:
		t.texts[f], err = s.keep()
	}
	return err
}

// readTimestamp reads a string that holds a time.
func readTimestamp(s *scanner) (int64, error) {
	b, err := s.token()
	if err != nil {
		return 0, err
	}
	return parseTimestamp(b)
}

// readCardNumber reads a string into number, and zeroes the copy that unescaping may have left behind.
func readCardNumber(s *scanner, number []byte) ([]byte, error) {
	b, err := s.token()
	number = append(number, b...)
	clear(s.unescaped)
	return number, err
}

func (t *transactionBody) readAttributes(s *scanner) error {
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
		if t.attributeCount == len(t.attributes) {
			return invalid("", fmt.Sprintf("at most %d are allowed", len(t.attributes)))
		}
		from := len(s.text)
		s.text = append(s.text, key...)
		a := attributeSpan{name: span{from, len(s.text)}}
		if a.value, err = s.keep(); err != nil {
			return within(string(s.text[a.name.from:a.name.to]), err)
		}
		t.attributes[t.attributeCount] = a
		t.attributeCount++
	}
	name := func(a attributeSpan) []byte { return s.text[a.name.from:a.name.to] }
	list := t.attributes[:t.attributeCount]
	slices.SortFunc(list, func(a, b attributeSpan) int { return bytes.Compare(name(a), name(b)) })
	for i := 1; i < len(list); i++ {
		if bytes.Equal(name(list[i-1]), name(list[i])) {
			return repeatedKey(string(name(list[i])))
		}
	}
	return nil
}

// judgement is what a transaction is held to, read once per request.
type judgement struct {
	now    int64
	bounds Bounds
}

// judge makes the transaction, if the body is one: complete, within bounds, card number replaced, amount converted.
func (e *edge) judge(body *transactionBody, s *scanner, j judgement) (*decision.Transaction, error) {
	for _, f := range [...]transactionField{fieldID, fieldTimestamp, fieldMerchant, fieldAmount, fieldCurrency} {
		if !body.has(f) {
			return nil, invalid(transactionFieldNames[f], "required")
		}
	}
	if body.has(fieldLat) != body.has(fieldLon) {
		if body.has(fieldLat) {
			return nil, invalid("lon", "required with lat")
		}
		return nil, invalid("lat", "required with lon")
	}
	// Checked here although Validate does: its error repeats the amount, which might be a misplaced card number.
	if body.amount < 0 || body.amount > decision.MaxAmount {
		return nil, invalid("amount", fmt.Sprintf("want 0 to %d minor units", int64(decision.MaxAmount)))
	}

	number := ""
	if body.has(fieldCardNumber) {
		number = onlyDigits(string(body.number))
	}
	text := string(s.text)
	at := func(f transactionField) string {
		if !body.has(f) {
			return ""
		}
		return text[body.texts[f].from:body.texts[f].to]
	}
	card, err := cardOf(e.hashCard, at(fieldCard), body.has(fieldCard), body.number, body.has(fieldCardNumber))
	if err != nil {
		return nil, err
	}
	t := &decision.Transaction{ID: at(fieldID), Card: card, Device: at(fieldDevice), Merchant: at(fieldMerchant),
		At: body.timestamp, Amount: body.amount, Currency: at(fieldCurrency), Country: at(fieldCountry),
		HasPosition: body.has(fieldLat), MCC: at(fieldMCC)}
	if t.HasPosition {
		t.Lat, t.Lon = body.lat, body.lon
	}
	if n := body.attributeCount; n > 0 {
		t.Attributes = make([]decision.Attribute, n)
		for i, a := range body.attributes[:n] {
			t.Attributes[i] = decision.Attribute{Name: text[a.name.from:a.name.to], Value: text[a.value.from:a.value.to]}
		}
	}
	if err := refuseCardNumbers(t, number); err != nil {
		return nil, err
	}
	if err := t.Validate(j.now, j.bounds.Skew, j.bounds.Horizon); err != nil {
		return nil, err
	}
	if t.BaseAmount, err = e.backend.Convert(t.Amount, t.Currency); err != nil {
		return nil, err
	}
	return t, nil
}

// refuseCardNumbers looks for card numbers where none belongs; Validate looks at the card id.
func refuseCardNumbers(t *decision.Transaction, number string) error {
	for _, f := range [...]struct{ field, value string }{
		{"transaction_id", t.ID}, {"device_id", t.Device}, {"merchant_id", t.Merchant},
	} {
		if err := refuseCardNumber(f.field, f.value, number); err != nil {
			return err
		}
	}
	for _, a := range t.Attributes {
		if err := refuseCardNumber(strings.Clone(a.Name), a.Value, number); err != nil {
			return within("attributes", err)
		}
	}
	return nil
}
