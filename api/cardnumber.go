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

// network is a range of leading digits that a card network issues, with the lengths of its numbers.
type network struct {
	prefixDigits, from, to int
	minDigits, maxDigits   int
}

// networks are the issuer identification numbers in wide use (ISO/IEC 7812, as the networks publish them).
var networks = [...]network{
	{1, 4, 4, 13, 19},       // Visa
	{2, 51, 55, 16, 16},     // Mastercard
	{4, 2221, 2720, 16, 16}, // Mastercard
	{2, 34, 34, 15, 15},     // American Express
	{2, 37, 37, 15, 15},     // American Express
	{4, 6011, 6011, 16, 19}, // Discover
	{3, 644, 649, 16, 19},   // Discover
	{2, 65, 65, 16, 19},     // Discover
	{4, 3528, 3589, 16, 19}, // JCB
	{3, 300, 305, 14, 19},   // Diners Club
	{2, 36, 36, 14, 19},     // Diners Club
	{2, 38, 39, 14, 19},     // Diners Club
	{2, 62, 62, 16, 19},     // UnionPay
	{2, 50, 50, 12, 19},     // Maestro
	{2, 56, 58, 12, 19},     // Maestro
	{2, 63, 63, 12, 19},     // Maestro
	{2, 67, 67, 12, 19},     // Maestro
}

// isCardNumber says whether s is, apart from spaces and dashes, a number that a card network issues: prefix, length and check digit.
// Unlike decision.LooksLikeCardNumber it rarely takes an innocent numeric id for one.
func isCardNumber(s string) bool {
	if len(s) < 12 || !decision.LooksLikeCardNumber(s) {
		return false
	}
	digits := onlyDigits(s)
	for _, n := range networks {
		if len(digits) < n.minDigits || len(digits) > n.maxDigits {
			continue
		}
		prefix := 0
		for _, c := range []byte(digits[:n.prefixDigits]) {
			prefix = prefix*10 + int(c-'0')
		}
		if n.from <= prefix && prefix <= n.to {
			return true
		}
	}
	return false
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
	if isCardNumber(value) || number != "" && strings.Contains(onlyDigits(value), number) {
		return invalid(field, "looks like a card number, which only card_number may hold")
	}
	return nil
}
