package api

import (
	"scoremesh/decision"
)

type labelField uint8

const (
	labelID labelField = iota
	labelCard
	labelCardNumber
	labelFraud
	labelKnownAt
	labelFields
)

var labelFieldNames = [labelFields]string{"transaction_id", "card_id", "card_number", "fraud", "known_at"}

func labelFieldOf(key []byte) (labelField, bool) {
	for f, name := range labelFieldNames {
		if string(key) == name {
			return labelField(f), true
		}
	}
	return 0, false
}

// labelBody is a label as the body says it.
type labelBody struct {
	seen    uint8
	id      string
	card    string
	number  []byte
	fraud   bool
	knownAt int64
}

func (l *labelBody) has(f labelField) bool { return l.seen&(1<<f) != 0 }

// read reads one label object.
func (l *labelBody) read(s *scanner) error {
	l.start()
	if err := s.open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		if err := l.readMember(s, key); err != nil {
			return err
		}
	}
}

func (l *labelBody) start() { *l = labelBody{number: l.number[:0]} }

// readMember reads the value of one key.
func (l *labelBody) readMember(s *scanner, key []byte) (err error) {
	f, known := labelFieldOf(key)
	if !known {
		return unknownKey(key)
	}
	if l.has(f) {
		return repeatedKey(labelFieldNames[f])
	}
	l.seen |= 1 << f
	switch f {
	case labelFraud:
		l.fraud, err = s.boolean()
	case labelKnownAt:
		l.knownAt, err = readTimestamp(s)
	case labelCardNumber:
		l.number, err = readCardNumber(s, l.number)
	case labelID:
		l.id, err = readString(s)
	case labelCard:
		l.card, err = readString(s)
	}
	if err != nil {
		return within(labelFieldNames[f], err)
	}
	return nil
}

// readString reads a string of its own.
func readString(s *scanner) (string, error) {
	b, err := s.token()
	return string(b), err
}

// judge makes the label, if the body is one.
func (l *labelBody) judge(e *edge, j judgement) (decision.Label, error) {
	for _, f := range [...]labelField{labelID, labelFraud, labelKnownAt} {
		if !l.has(f) {
			return decision.Label{}, invalid(labelFieldNames[f], "required")
		}
	}
	number := ""
	if l.has(labelCardNumber) {
		number = onlyDigits(string(l.number))
	}
	card, err := cardOf(e.hashCard, l.card, l.has(labelCard), l.number, l.has(labelCardNumber))
	if err != nil {
		return decision.Label{}, err
	}
	label := decision.Label{TransactionID: l.id, Card: card, Fraud: l.fraud, KnownAt: l.knownAt}
	if err := refuseCardNumber("transaction_id", label.TransactionID, number); err != nil {
		return decision.Label{}, err
	}
	return label, label.Validate(j.now, j.bounds.Skew)
}
