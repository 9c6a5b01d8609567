package decision

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// The lengths of card numbers in digits; ISO/IEC 7812-1 allows up to 19, and no scheme in use has fewer than 12.
const (
	minCardDigits = 12
	maxCardDigits = 19
)

// LooksLikeCardNumber says whether s is 12 to 19 digits with a valid check digit (Luhn, ISO/IEC 7812-1 annex B), apart from spaces
// and dashes. One in ten other numbers of that length looks like one too.
func LooksLikeCardNumber(s string) bool {
	var digits [maxCardDigits]byte
	n, ok := cardDigits(s, &digits)
	return ok && luhn(digits[:n])
}

// cardDigits copies the digits of s and returns how many there are. It is false when s holds anything but digits, spaces and
// dashes, or a number of digits that no card has.
func cardDigits(s string, digits *[maxCardDigits]byte) (int, bool) {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ' || c == '-':
		case c < '0' || c > '9' || n == maxCardDigits:
			return 0, false
		default:
			digits[n] = c
			n++
		}
	}
	return n, n >= minCardDigits
}

// luhn says whether the last digit is the check digit of the others.
func luhn(digits []byte) bool {
	sum := 0
	for i, c := range digits {
		d := int(c - '0')
		if (len(digits)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// MinCardKeyBytes is the least length of a card hash key.
const MinCardKeyBytes = 32

// CardHasher turns card numbers into card ids that tell nothing to those without the key. All regions of a mesh need the same
// key, which is why the mesh compares KeyID. It is immutable and never shows its key.
type CardHasher struct {
	key   []byte
	keyID string
}

// NewCardHasher makes a hasher with a secret of at least MinCardKeyBytes bytes.
func NewCardHasher(key []byte) (*CardHasher, error) {
	if len(key) < MinCardKeyBytes {
		return nil, fmt.Errorf("card hash key: %d bytes, want at least %d", len(key), MinCardKeyBytes)
	}
	h := &CardHasher{key: append([]byte(nil), key...)}
	h.keyID = hex.EncodeToString(h.mac("key id")[:4])
	return h, nil
}

// mac is HMAC-SHA-256 (RFC 2104) of the text.
func (h *CardHasher) mac(text string) []byte {
	m := hmac.New(sha256.New, h.key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Hash returns the card id of a card number: "h:" and the first 128 bits of the MAC of its digits in base64url. Spaces and dashes
// do not matter. The error is an *Error with CodeInvalid, and never contains the number.
func (h *CardHasher) Hash(number string) (string, error) {
	var digits [maxCardDigits]byte
	n, ok := cardDigits(number, &digits)
	if !ok {
		return "", &Error{Code: CodeInvalid, Field: "card_number", Detail: "want 12 to 19 digits, with spaces or dashes at most"}
	}
	if !luhn(digits[:n]) {
		return "", &Error{Code: CodeInvalid, Field: "card_number", Detail: "the check digit does not match"}
	}
	return "h:" + base64.RawURLEncoding.EncodeToString(h.mac("card " + string(digits[:n]))[:16]), nil
}

// KeyID is a short fingerprint of the key: equal for equal keys, and of no help to find the key.
func (h *CardHasher) KeyID() string { return h.keyID }

// String returns the fingerprint, so that printing a hasher does not print its key.
func (h *CardHasher) String() string { return "card hasher " + h.keyID }

// GoString is String.
func (h *CardHasher) GoString() string { return h.String() }
