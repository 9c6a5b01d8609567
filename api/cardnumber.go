package api

import (
	"strings"

	"scoremesh/decision"
)

// maxNumberText bounds a card_number with its separators.
const maxNumberText = 40

// HashCard replaces a card number by a card id (decision.CardHasher.Hash). Its errors never contain the number.
type HashCard func(number string) (string, error)

// cardOf makes the card id out of what a body says: exactly one of card_id and card_number.
func cardOf(hash HashCard, id string, hasID bool, number []byte, hasNumber bool) (string, error) {
	switch {
	case hasID && hasNumber:
		return "", invalid("card_number", "exactly one of card_id and card_number is allowed")
	case hasID:
		return id, nil
	case !hasNumber:
		return "", invalid("card_id", "required: either card_id or card_number")
	case hash == nil:
		return "", invalid("card_number", "card numbers are not accepted here: no key to hash them is configured; send card_id")
	case len(number) > maxNumberText:
		return "", invalid("card_number", "want 12 to 19 digits, with spaces or dashes at most")
	}
	return hash(string(number))
}

// onlyDigits returns s without spaces and dashes.
func onlyDigits(s string) string {
	if !strings.ContainsAny(s, " -") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := s[i]; c != ' ' && c != '-' {
			b = append(b, c)
		}
	}
	return string(b)
}

// refuseCardNumber refuses a field that is one, or that holds number, the digits of the request's own card number, or "".
func refuseCardNumber(field, value, number string) error {
	if decision.IsCardNumber(value) || number != "" && strings.Contains(onlyDigits(value), number) {
		return invalid(field, "looks like a card number, which only card_number may hold")
	}
	return nil
}
