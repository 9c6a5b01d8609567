package decision

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCardNumbersAreRecognized(t *testing.T) {
	for s, want := range map[string]bool{
		"4111111111111111":     true, // the test numbers that card schemes publish
		"5555555555554444":     true,
		"378282246310005":      true,
		"30569309025904":       true,
		"6304000000000000":     true,
		"4111 1111 1111 1111":  true,
		"4111-1111-1111-1111":  true,
		" 4111111111111111 ":   true,
		"4111111111111112":     false, // check digit
		"4111111111111":        false, // check digit at 13 digits
		"400000000002":         true,  // 12 digits
		"40000000006":          false, // 11 digits, else right
		"4000000000000000006":  true,  // 19 digits
		"40000000000000000002": false, // 20 digits, else right
		"c-4111111111111111":   false,
		"4111.1111.1111.1111":  false,
		"４１１１111111111111":     false,
		"":                     false,
		"- -":                  false,
	} {
		if got := LooksLikeCardNumber(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

// The law of the check digit: exactly one last digit is right, and any single wrong digit is noticed.
func TestOneCheckDigitIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := []byte(rapid.StringMatching(`[0-9]{11,18}`).Draw(t, "digits"))
		var right []string
		for d := byte('0'); d <= '9'; d++ {
			if s := string(append(digits[:len(digits):len(digits)], d)); LooksLikeCardNumber(s) {
				right = append(right, s)
			}
		}
		if len(right) != 1 {
			t.Fatalf("got %d right check digits for %s, want 1", len(right), digits)
		}
		wrong := []byte(right[0])
		i := rapid.IntRange(0, len(wrong)-1).Draw(t, "place")
		wrong[i] = '0' + (wrong[i]-'0'+byte(rapid.IntRange(1, 9).Draw(t, "by")))%10
		if LooksLikeCardNumber(string(wrong)) {
			t.Fatalf("%s passes although a digit of %s was changed", wrong, right[0])
		}
	})
}

func hasher(t testing.TB, fill byte) *CardHasher {
	t.Helper()
	h, err := NewCardHasher(bytes.Repeat([]byte{fill}, MinCardKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustHash(t testing.TB, h *CardHasher, number string) string {
	t.Helper()
	id, err := h.Hash(number)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestHashDependsOnDigitsAndKeyOnly(t *testing.T) {
	one, same, other := hasher(t, 1), hasher(t, 1), hasher(t, 2)
	id := mustHash(t, one, "4111111111111111")
	// Computed with: printf 'card 4111111111111111' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101... -binary | head -c 16 | base64, in the URL alphabet
	if want := "F8wM0g49nQfkn78HI_YIZA"; id != "h:"+want {
		t.Errorf("got %s, want h:%s", id, want)
	}
	if got := mustHash(t, same, " 4111-1111 1111-1111"); got != id {
		t.Errorf("separated: got %s, want %s", got, id)
	}
	if got := mustHash(t, one, "5555555555554444"); got == id {
		t.Error("another card has the same id")
	}
	if got := mustHash(t, other, "4111111111111111"); got == id {
		t.Error("another key gives the same id")
	}
	if one.KeyID() != same.KeyID() || one.KeyID() == other.KeyID() || len(one.KeyID()) != 8 {
		t.Errorf("key ids: got %s, %s, %s, want the first two alike and 8 long", one.KeyID(), same.KeyID(), other.KeyID())
	}
}

func TestHashRefusesWithoutTheNumber(t *testing.T) {
	h := hasher(t, 1)
	for number, want := range map[string]string{
		"4111111111111112":       "the check digit does not match",
		"41111111111":            "want 12 to 19 digits",
		"41111111111111111111":   "want 12 to 19 digits",
		"4111x1111111111111":     "want 12 to 19 digits",
		"":                       "want 12 to 19 digits",
		"41111111111111111111\n": "want 12 to 19 digits",
	} {
		_, err := h.Hash(number)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != "card_number" || !strings.Contains(e.Detail, want) {
			t.Errorf("got %v, want card_number invalid: %s", err, want)
			continue
		}
		if strings.Contains(err.Error(), "4111") {
			t.Errorf("the error %q shows digits of the number", err)
		}
	}
}

func TestHasherNeedsALongKeyAndKeepsIt(t *testing.T) {
	if _, err := NewCardHasher(make([]byte, MinCardKeyBytes-1)); err == nil || !strings.Contains(err.Error(), "31 bytes, want at least 32") {
		t.Errorf("got %v, want the key refused as too short", err)
	}
	key := bytes.Repeat([]byte("k"), MinCardKeyBytes)
	h, err := NewCardHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	before := mustHash(t, h, "4111111111111111")
	clear(key)
	if after := mustHash(t, h, "4111111111111111"); after != before {
		t.Errorf("got %s after the caller's key changed, want %s", after, before)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got, want := fmt.Sprintf(format, h), "card hasher "+h.KeyID(); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	h := hasher(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		mustHash(b, h, "4111 1111 1111 1111")
	}
}
