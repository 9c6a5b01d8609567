package decision

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

const (
	testNow     = int64(1_795_428_902_120)
	testSkew    = 5 * time.Minute
	testHorizon = 38 * 24 * time.Hour
)

func validTransaction() Transaction {
	return Transaction{
		ID: "t-81", Card: "c-77", Device: "d-3", Merchant: "m-9", At: testNow, Amount: 4599, Currency: "EUR", Country: "NL",
		HasPosition: true, Lat: 52.37, Lon: 4.9, MCC: "5732", Attributes: []Attribute{{"channel", "ecom"}},
	}
}

func manyAttributes(n int) []Attribute {
	var all []Attribute
	for i := range n {
		all = append(all, Attribute{fmt.Sprintf("a%02d", i), ""})
	}
	return all
}

func TestTransactionsWithinTheBoundsAreValid(t *testing.T) {
	for name, change := range map[string]func(*Transaction){
		"an ordinary one": func(*Transaction) {},
		"only what is required": func(x *Transaction) {
			*x = Transaction{ID: "t", Card: "c", Merchant: "m", At: testNow, Currency: "EUR"}
		},
		"the longest ids":            func(x *Transaction) { x.ID, x.Card = strings.Repeat("i", 128), strings.Repeat("é", 64) },
		"ids with spaces":            func(x *Transaction) { x.Merchant = "Café 24 – Zürich" },
		"nothing to pay":             func(x *Transaction) { x.Amount = 0 },
		"the largest amount":         func(x *Transaction) { x.Amount = MaxAmount },
		"the south-west corner":      func(x *Transaction) { x.Lat, x.Lon = -90, -180 },
		"the north-east corner":      func(x *Transaction) { x.Lat, x.Lon = 90, 180 },
		"a position not given":       func(x *Transaction) { x.HasPosition, x.Lat, x.Lon = false, 1000, math.NaN() },
		"as old as allowed":          func(x *Transaction) { x.At = testNow - testHorizon.Milliseconds() },
		"as far ahead as allowed":    func(x *Transaction) { x.At = testNow + testSkew.Milliseconds() },
		"32 attributes":              func(x *Transaction) { x.Attributes = manyAttributes(32) },
		"the longest attribute":      func(x *Transaction) { x.Attributes = []Attribute{{strings.Repeat("n", 64), strings.Repeat("v", 256)}} },
		"a transaction id of digits": func(x *Transaction) { x.ID, x.Merchant = "1795428902120", "700000000000003" },
	} {
		t.Run(name, func(t *testing.T) {
			x := validTransaction()
			change(&x)
			if err := x.Validate(testNow, testSkew, testHorizon); err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
}

func TestTransactionsBeyondTheBoundsAreRefused(t *testing.T) {
	const pan = "4111 1111 1111 1111"
	attribute := func(name, value string) func(*Transaction) {
		return func(x *Transaction) { x.Attributes = []Attribute{{name, value}} }
	}
	for name, c := range map[string]struct {
		change func(*Transaction)
		code   Code
		field  string
		detail string
	}{
		"no id":                        {func(x *Transaction) { x.ID = "" }, CodeInvalid, "transaction_id", "required"},
		"a long id":                    {func(x *Transaction) { x.ID = strings.Repeat("i", 129) }, CodeInvalid, "transaction_id", "129 bytes, at most 128"},
		"an id with a line break":      {func(x *Transaction) { x.ID = "t\n1" }, CodeInvalid, "transaction_id", "printable"},
		"an id that is not UTF-8":      {func(x *Transaction) { x.ID = "t\xff" }, CodeInvalid, "transaction_id", "printable"},
		"an id with a zero byte":       {func(x *Transaction) { x.Merchant = "m\x00" }, CodeInvalid, "merchant_id", "printable"},
		"no card":                      {func(x *Transaction) { x.Card = "" }, CodeInvalid, "card_id", "required"},
		"a card number as card id":     {func(x *Transaction) { x.Card = pan }, CodeInvalid, "card_id", "looks like a card number"},
		"a long device":                {func(x *Transaction) { x.Device = strings.Repeat("d", 129) }, CodeInvalid, "device_id", "at most 128"},
		"no merchant":                  {func(x *Transaction) { x.Merchant = "" }, CodeInvalid, "merchant_id", "required"},
		"a card number as merchant id": {func(x *Transaction) { x.Merchant = "4111111111111111" }, CodeInvalid, "merchant_id", "looks like a card number"},
		"an amount below zero":         {func(x *Transaction) { x.Amount = -1 }, CodeInvalid, "amount", "negative: want 0 to 549755813887"},
		"an amount too large":          {func(x *Transaction) { x.Amount = MaxAmount + 1 }, CodeInvalid, "amount", "want 0 to 549755813887"},
		"no currency":                  {func(x *Transaction) { x.Currency = "" }, CodeInvalid, "currency", "three upper-case"},
		"a currency in lower case":     {func(x *Transaction) { x.Currency = "eur" }, CodeInvalid, "currency", "three upper-case"},
		"a country of three letters":   {func(x *Transaction) { x.Country = "NLD" }, CodeInvalid, "country", "two upper-case"},
		"a country in lower case":      {func(x *Transaction) { x.Country = "nl" }, CodeInvalid, "country", "two upper-case"},
		"a latitude too far north":     {func(x *Transaction) { x.Lat = math.Nextafter(90, 91) }, CodeInvalid, "lat", "-90 to 90"},
		"a latitude too far south":     {func(x *Transaction) { x.Lat = math.Nextafter(-90, -91) }, CodeInvalid, "lat", "-90 to 90"},
		"a latitude that is none":      {func(x *Transaction) { x.Lat = math.NaN() }, CodeInvalid, "lat", "-90 to 90"},
		"a longitude too far east":     {func(x *Transaction) { x.Lon = math.Nextafter(180, 181) }, CodeInvalid, "lon", "-180 to 180"},
		"an infinite longitude":        {func(x *Transaction) { x.Lon = math.Inf(-1) }, CodeInvalid, "lon", "-180 to 180"},
		"a longitude that is none":     {func(x *Transaction) { x.Lon = math.NaN() }, CodeInvalid, "lon", "-180 to 180"},
		"three digits of MCC":          {func(x *Transaction) { x.MCC = "573" }, CodeInvalid, "mcc", "four digits"},
		"letters in the MCC":           {func(x *Transaction) { x.MCC = "57a2" }, CodeInvalid, "mcc", "four digits"},
		"33 attributes":                {func(x *Transaction) { x.Attributes = manyAttributes(33) }, CodeInvalid, "attributes", "33, at most 32"},
		"an attribute without name":    {attribute("", "v"), CodeInvalid, "attributes", "a name of 0 bytes"},
		"a long attribute name":        {attribute(strings.Repeat("n", 65), "v"), CodeInvalid, "attributes", "a name of 65 bytes: want 1 to 64"},
		"an attribute name unprinted":  {attribute("a\tb", "v"), CodeInvalid, "attributes", "printable"},
		"a long attribute":             {attribute("a", strings.Repeat("v", 257)), CodeInvalid, "attributes", `"a": 257 bytes, at most 256`},
		"an attribute unprinted":       {attribute("a", "\x1b[0m"), CodeInvalid, "attributes", `"a": want printable`},
		"a card number in a value":     {attribute("pan", pan), CodeInvalid, "attributes", `"pan" looks like a card number`},
		"a card number as a name":      {attribute(pan, strings.Repeat("v", 300)), CodeInvalid, "attributes", "a name looks like a card number"},
		"an attribute given twice":     {func(x *Transaction) { x.Attributes = []Attribute{{"a", "1"}, {"a", "2"}} }, CodeInvalid, "attributes", `"a" is given twice`},
		"attributes out of order":      {func(x *Transaction) { x.Attributes = []Attribute{{"b", ""}, {"a", ""}} }, CodeInvalid, "attributes", `"a" is out of order`},
		"a millisecond too old":        {func(x *Transaction) { x.At = testNow - testHorizon.Milliseconds() - 1 }, CodeTooOld, "timestamp", "further back than 912h0m0s"},
		"a millisecond too new":        {func(x *Transaction) { x.At = testNow + testSkew.Milliseconds() + 1 }, CodeTooNew, "timestamp", "further ahead than 5m0s"},
		"the oldest time there is":     {func(x *Transaction) { x.At = math.MinInt64 }, CodeTooOld, "timestamp", "further back"},
		"the newest time there is":     {func(x *Transaction) { x.At = math.MaxInt64 }, CodeTooNew, "timestamp", "further ahead"},
		"malformed and too old":        {func(x *Transaction) { x.At, x.MCC = 0, "x" }, CodeInvalid, "mcc", "four digits"},
	} {
		t.Run(name, func(t *testing.T) {
			x := validTransaction()
			c.change(&x)
			refused(t, x.Validate(testNow, testSkew, testHorizon), c.code, c.field, c.detail)
		})
	}
}

func refused(t *testing.T, err error, code Code, field, detail string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Code != code || e.Field != field || !strings.Contains(e.Detail, detail) {
		t.Errorf("got  %v\nwant %s: %s: ... %s", e, code, field, detail)
	}
	if strings.Contains(e.Error(), "4111") {
		t.Errorf("the error %q shows a card number", e)
	}
}

func TestLabelsAreHeldToTheirBounds(t *testing.T) {
	valid := Label{TransactionID: "t", Card: "c", Fraud: true, KnownAt: testNow}
	for name, change := range map[string]func(*Label){
		"now":                     func(*Label) {},
		"years later":             func(l *Label) { l.KnownAt = 1 },
		"as far ahead as allowed": func(l *Label) { l.KnownAt = testNow + testSkew.Milliseconds() },
	} {
		l := valid
		change(&l)
		if err := l.Validate(testNow, testSkew); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
	for name, c := range map[string]struct {
		change func(*Label)
		code   Code
		field  string
		detail string
	}{
		"no transaction":        {func(l *Label) { l.TransactionID = "" }, CodeInvalid, "transaction_id", "required"},
		"no card":               {func(l *Label) { l.Card = "" }, CodeInvalid, "card_id", "required"},
		"a card number":         {func(l *Label) { l.Card = "4111111111111111" }, CodeInvalid, "card_id", "looks like a card number"},
		"no time":               {func(l *Label) { l.KnownAt = 0 }, CodeInvalid, "known_at", "required"},
		"a millisecond too new": {func(l *Label) { l.KnownAt = testNow + testSkew.Milliseconds() + 1 }, CodeTooNew, "known_at", "further ahead than 5m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			l := valid
			c.change(&l)
			refused(t, l.Validate(testNow, testSkew), c.code, c.field, c.detail)
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	x := validTransaction()
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Validate(testNow, testSkew, testHorizon); err != nil {
			b.Fatal(err)
		}
	}
}
