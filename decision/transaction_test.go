package decision

import (
	"errors"
	"testing"
)

func TestOutcomesRoundTrip(t *testing.T) {
	for _, o := range []Outcome{Approve, Decline, StepUp} {
		if got, err := ParseOutcome(o.String()); got != o || err != nil {
			t.Errorf("%v: got %v, %v", o, got, err)
		}
	}
	for _, s := range []string{"", "undecided", "Approve", "outcome(9)"} {
		if got, err := ParseOutcome(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
	if got := Outcome(9).String(); got != "outcome(9)" {
		t.Errorf("got %q, want outcome(9)", got)
	}
}

func TestDigestSeesEveryFieldOfTheBody(t *testing.T) {
	base := validTransaction()
	seen := map[uint64]string{base.Digest(): "the base"}
	for name, change := range map[string]func(*Transaction){
		"id": func(x *Transaction) { x.ID += "x" }, "card": func(x *Transaction) { x.Card += "x" }, "device": func(x *Transaction) { x.Device = "" },
		"merchant": func(x *Transaction) { x.Merchant += "x" }, "time": func(x *Transaction) { x.At++ }, "amount": func(x *Transaction) { x.Amount++ },
		"currency": func(x *Transaction) { x.Currency = "USD" }, "country": func(x *Transaction) { x.Country = "" }, "position": func(x *Transaction) { x.HasPosition = false },
		"latitude": func(x *Transaction) { x.Lat++ }, "longitude": func(x *Transaction) { x.Lon++ }, "mcc": func(x *Transaction) { x.MCC = "" },
		"no attribute": func(x *Transaction) { x.Attributes = nil }, "attribute value": func(x *Transaction) { x.Attributes = []Attribute{{"channel", "moto"}} },
		"attribute split otherwise": func(x *Transaction) { x.Attributes = []Attribute{{"channele", "com"}} },
		"text split otherwise":      func(x *Transaction) { x.ID, x.Card = "t-81c", "-77" },
	} {
		x := base
		change(&x)
		if other, ok := seen[x.Digest()]; ok {
			t.Errorf("%s: same digest as %s", name, other)
		}
		seen[x.Digest()] = name
	}
	converted := base
	converted.BaseAmount++
	if converted.Digest() != base.Digest() {
		t.Error("the base amount changes the digest, want it left out")
	}
}

func TestKeyIsScopedToTheCard(t *testing.T) {
	x := validTransaction()
	if x.Key() != Key(x.Card, x.ID) {
		t.Error("a transaction's key is not that of its card and id")
	}
	if Key("a", "bc") == Key("ab", "c") || Key("a", "b") == Key("b", "a") {
		t.Error("different cards and ids have the same key")
	}
}

func TestAttributesAreFoundByName(t *testing.T) {
	x := Transaction{Attributes: []Attribute{{"a", "1"}, {"b", "2"}, {"c", "3"}}}
	for name, want := range map[string]string{"a": "1", "b": "2", "c": "3", "": "", "d": "", "bb": ""} {
		if got := x.Attribute(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestErrorsMatchByCode(t *testing.T) {
	var err error = &Error{Code: CodeConflict, Field: "amount", Detail: "d"}
	if !errors.Is(err, &Error{Code: CodeConflict}) || errors.Is(err, &Error{Code: CodeExpired}) {
		t.Error("want a match by code, and by code only")
	}
	if got, want := err.Error(), "transaction_conflict: amount: d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&Error{Code: CodeOverloaded, Detail: "d"}).Error(), "overloaded: d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
