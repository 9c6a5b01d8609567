package feature

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"scoremesh/decision"
)

// head are the first two lines of every test schema.
const head = "version: v1\ncurrency: EUR\n"

// group writes a schema of one card group: the group's own keys on line 5, the feature on line 7.
func group(keys, feature string) string {
	return head + "card:\n  groups:\n    - {name: g" + keys + ", features: [\n" + "      # the feature\n" + "        {name: f" + feature + "}]}\n"
}

func TestParseSchemaNamesLineAndField(t *testing.T) {
	tests := []struct {
		name, text string
		line       int
		field      string
		// detail is a part of the error's.
		detail string
	}{
		{"unknown key", head + "colour: blue\n" + "card: {}\n", 3, "colour", "unknown field"},
		{"unknown key of a feature", group("", ", function: count, window: 5m, widow: 5m"), 7, "card.groups[0].features[0].widow", "unknown field"},
		{"unknown function", group("", ", function: median, window: 5m"), 7, "card.groups[0].features[0].function", `"median"`},
		{"no function", group("", ", window: 5m"), 7, "card.groups[0].features[0].function", "want one of"},
		{"zero window", group("", ", function: count, window: 0s"), 7, "card.groups[0].features[0].window", "want 1s to 400d"},
		{"negative window", group("", ", function: count, window: -5m"), 7, "card.groups[0].features[0].window", "want 1s to 400d"},
		{"huge window", group("", ", function: count, window: 401d"), 7, "card.groups[0].features[0].window", "want 1s to 400d"},
		{"window beyond what a duration holds", group("", ", function: count, window: 999999999999d"), 7, "card.groups[0].features[0].window", "want a duration"},
		{"window without unit", group("", ", function: count, window: 5"), 7, "card.groups[0].features[0].window", "want a duration"},
		{"window of less than a millisecond", group("", ", function: count, window: 1s1us"), 7, "card.groups[0].features[0].window", "whole milliseconds"},
		{"window of the group", group(", window: 5x", ", function: count"), 5, "card.groups[0].window", "want a duration"},
		{"missing window", group("", ", function: sum"), 7, "card.groups[0].features[0].window", "missing"},
		{"window where there is none", group("", ", function: seconds_since_last, window: 5m"), 7, "card.groups[0].features[0].window", "has no window"},
		{"negative delay", group("", ", function: count, window: 5m, delay: -1s"), 7, "card.groups[0].features[0].delay", "want 0s to 400d"},
		{"bad delay of the group", group(", delay: soon", ", function: count, window: 5m"), 5, "card.groups[0].delay", "want a duration"},
		{"current with a delay", group(", delay: 1h", ", function: count, window: 5m, current: true"), 7, "card.groups[0].features[0].current", "never holds the current"},
		{"duplicate name in a group", head + "card:\n  groups:\n    - name: g\n      features:\n        - {name: f, function: count, window: 5m}\n        - {name: f, function: sum, window: 5m}\n",
			8, "card.groups[0].features[1].name", "already the name of card.groups[0].features[0]"},
		{"duplicate name in another section", head + "transaction:\n  - {name: f, expression: amount}\nmerchant:\n  groups:\n    - name: g\n      features:\n        - {name: f, function: count, window: 5m}\n",
			9, "merchant.groups[0].features[0].name", "already the name of transaction[0]"},
		{"duplicate group", head + "card:\n  groups:\n    - name: g\n      features: [{name: a, function: count, window: 5m}]\n    - name: g\n      features: [{name: b, function: count, window: 5m}]\n",
			7, "card.groups[1].name", "once in card"},
		{"duplicate key", "version: v1\nversion: v2\ncurrency: EUR\n", 2, "version", "already defined"},
		{"bad name", group("", `x-y, function: count, window: 5m`), 7, "card.groups[0].features[0].name", "letters, digits"},
		{"group without features", head + "card:\n  groups:\n    - name: g\n", 5, "card.groups[0].features", "without features"},
		{"number for a list", head + "transaction: 5\n", 3, "transaction", "sequence"},
		{"list for a mapping", head + "card: [1]\n", 3, "card", "mapping"},
		{"text for a number", head + "card:\n  timeline_max: many\n", 4, "card.timeline_max", "int"},
		{"text for a boolean", group("", ", function: count, window: 5m, current: perhaps"), 7, "card.groups[0].features[0].current", "bool"},
		{"timeline_max of 0", head + "card:\n  timeline_max: 0\n", 4, "card.timeline_max", "want 1 to 65536"},
		{"infinite default", group("", ", function: count, window: 5m, default: .inf"), 7, "card.groups[0].features[0].default", "finite"},
		{"bad version", "version: V 1\ncurrency: EUR\n", 1, "version", "want 1 to 32"},
		{"version that YAML takes for a number", "version: 1.10\ncurrency: EUR\n", 1, "version", "in quotes"},
		{"missing version", "currency: EUR\n", 1, "version", "want 1 to 32"},
		{"bad currency", "version: v1\ncurrency: euro\n", 2, "currency", "ISO 4217"},
		{"bad skew", head + "skew: 10ms\n", 3, "skew", "want 1s"},
		{"CEL syntax", head + "transaction:\n  - name: x\n    expression: amount +\n", 5, "transaction[0].expression", "Syntax error"},
		{"CEL type", head + "transaction:\n  - name: x\n    expression: country\n", 5, "transaction[0].expression", "want double, int or bool"},
		{"CEL operand types", head + "transaction:\n  - name: x\n    expression: amount + country\n", 5, "transaction[0].expression", "no matching overload"},
		{"CEL unknown variable", head + "transaction:\n  - name: x\n    expression: amont * 2.0\n", 5, "transaction[0].expression", "undeclared reference to 'amont'"},
		{"CEL missing", head + "transaction:\n  - name: x\n", 4, "transaction[0].expression", "want a CEL expression"},
		{"CEL deep", head + "transaction:\n  - name: x\n    expression: " + strings.Repeat("(", 25) + "1" + strings.Repeat(")", 25) + strings.Repeat("+(1", 300) + "\n", 5, "transaction[0].expression", "CEL"},
		{"outcome that is none", group("", ", function: count, window: 5m, where: {outcome: [approve, refuse]}"), 7, "card.groups[0].features[0].where.outcome[1]", `"refuse"`},
		{"label that is none", group(", where: {label: bad}", ", function: count, window: 5m"), 5, "card.groups[0].where.label", `"bad"`},
		{"numerator without ratio", group("", ", function: count, window: 5m, numerator: {label: fraud}"), 7, "card.groups[0].features[0].numerator", "ratio needs"},
		{"ratio without numerator", group("", ", function: ratio, window: 5m"), 7, "card.groups[0].features[0].numerator", "ratio needs"},
		{"numerator that selects everything", group("", ", function: ratio, window: 5m, numerator: {}"), 7, "card.groups[0].features[0].numerator", "selects everything"},
		{"contradictory labels", group("", ", function: ratio, window: 5m, where: {label: genuine}, numerator: {label: fraud}"), 7, "card.groups[0].features[0].numerator", "contradicts where"},
		{"contradictory outcomes", group(", where: {outcome: [approve]}", ", function: ratio, window: 5m, numerator: {outcome: [decline]}"), 7, "card.groups[0].features[0].numerator", "contradicts where"},
		{"distinct of nothing", group("", ", function: distinct, window: 5m"), 7, "card.groups[0].features[0].of", "distinct needs it"},
		{"count of something", group("", ", function: count, window: 5m, of: device"), 7, "card.groups[0].features[0].of", "distinct needs it"},
		{"distinct of itself", group("", ", function: distinct, of: card, window: 5m"), 7, "card.groups[0].features[0].of", `"card"`},
		{"storage that is none", group(", storage: disk", ", function: count, window: 5m"), 5, "card.groups[0].storage", "timeline or tiles"},
		{"min over tiles by label", group(", storage: tiles", ", function: min, window: 5m, where: {label: fraud}"), 7, "card.groups[0].features[0].where", "use storage: timeline"},
		{"max over tiles by label", group(", storage: tiles", ", function: max, window: 5m, where: {label: fraud}"), 7, "card.groups[0].features[0].where", "use storage: timeline"},
		{"distinct over tiles by label", group(", storage: tiles", ", function: distinct, of: device, window: 5m, where: {label: fraud}"), 7, "card.groups[0].features[0].where", "use storage: timeline"},
		{"distinct over tiles long ago", group(", storage: tiles", ", function: distinct, of: device, window: 1h, delay: 9h"), 7, "card.groups[0].features[0].delay", "at most 8 windows"},
		{"time to live of a window", group(", ttl: 5m", ", function: count, window: 5m"), 5, "card.groups[0].ttl", "only profile"},
		{"time to live of a register", group(", ttl: 5m", ", function: travel_speed"), 5, "card.groups[0].ttl", "only profile"},
		{"bad time to live", group(", ttl: 5s", ", function: profile"), 5, "card.groups[0].ttl", "want 1m0s"},
		{"second document", head + "---\n" + head, 4, "", "second YAML document"},
		{"empty file", "", 1, "", "empty"},
		{"comments only", "# nothing\n", 1, "", "empty"},
		{"empty documents", "---\n---\n", 1, "", "empty"},
		{"no features", head, 1, "", "no features"},
		{"not YAML", "version: [v1\n", 1, "", "not found"},
		{"bytes", "\x00\xff\xfe", 1, "", ""},
		{"list at the top", "- a\n- b\n", 1, "", "mapping"},
		{"anchor and alias", head + "card: &a {}\ndevice: *a\n", 3, "card", "anchors"},
		{"merge", head + "card:\n  <<: {timeline_max: 3}\n", 4, "card.<<", "merges"},
		{"tag", head + "card: !!map {}\n", 3, "card", "tags"},
		{"alias bomb", "a: &a [x]\n" + bomb(30), 1, "a", "anchors"},
		{"deep brackets", head + "card: " + strings.Repeat("[", 100_000), 3, "", "nested deeper"},
		{"deep braces over lines", head + "card: " + strings.Repeat("{a:\n", 5000), 35, "", "nested deeper"},
		{"deep dashes", head + "card:\n  " + strings.Repeat("- ", 5000), 4, "", "nested deeper"},
		{"a megabyte", head + strings.Repeat("#", 1<<20), 1, "", "at most 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Now()
			s, err := ParseSchema("schema.yaml", []byte(tt.text))
			if err == nil {
				t.Fatalf("parsed %v, want an error", s.Names())
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("refusing took %v", d)
			}
			var e *SchemaError
			if !errors.As(err, &e) {
				t.Fatalf("got %T %v, want a *SchemaError", err, err)
			}
			if e.File != "schema.yaml" || e.Line != tt.line || e.Field != tt.field || !strings.Contains(e.Detail, tt.detail) {
				t.Errorf("got  %s:%d: %s: %s\nwant schema.yaml:%d: %s: ...%s...", e.File, e.Line, e.Field, e.Detail, tt.line, tt.field, tt.detail)
			}
		})
	}
}

// bomb nests n aliases, each of which would double what it stands for.
func bomb(n int) string {
	var b strings.Builder
	last := "a"
	for i := range n {
		next := fmt.Sprintf("a%d", i)
		fmt.Fprintf(&b, "%s: &%s [*%s, *%s]\n", next, next, last, last)
		last = next
	}
	return b.String()
}

func TestParseSchemaReadsEveryKey(t *testing.T) {
	s := mustParse(t, `
version: "1.10"
currency: KWD
skew: 90s
idempotency: 36h
transaction:
  - {name: amount_kwd, expression: amount}
  - {name: night, expression: "hour <= 6"}
card:
  timeline_max: 77
  groups:
    - {name: w, window: 2d, delay: 12h, where: {outcome: [approve]}, default: 3, features: [
        {name: inherits, function: mean},
        {name: overrides, function: mean, window: 90m, delay: 0s, current: true, default: .nan, where: {label: fraud}}]}
merchant:
  groups:
    - {name: p, ttl: 100d, features: [{name: rating, function: profile, default: 0.5}]}
`)
	if got, want := fmt.Sprintf("%s %s %d %v", s.Version(), s.Currency(), s.Exponent(), s.Names()),
		"1.10 KWD 3 [amount_kwd night inherits overrides rating]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, d := range []struct {
		name      string
		got, want time.Duration
	}{
		{"skew", s.Skew(), 90 * time.Second}, {"idempotency", s.Idempotency(), 36 * time.Hour},
		{"horizon", s.Horizon(), 60*time.Hour + 90*time.Second}, {"retention", s.Retention(), 2400*time.Hour + 90*time.Second},
	} {
		if d.got != d.want {
			t.Errorf("%s: got %v, want %v", d.name, d.got, d.want)
		}
	}
	if s.CardLimit() != 77 {
		t.Errorf("card limit: got %d, want 77", s.CardLimit())
	}
	if !s.Published(Merchant, "rating") || s.Published(Card, "rating") || s.Published(Merchant, "inherits") {
		t.Error("published features: want rating of merchants only")
	}
	vector := make([]float64, s.Len())
	s.Defaults(Card, vector)
	s.Defaults(Merchant, vector)
	if vector[2] != 3 || !math.IsNaN(vector[3]) || vector[4] != 0.5 {
		t.Errorf("defaults: got %v, want 3 NaN 0.5 behind the derived features", vector)
	}
	if lo, hi := s.Range(Card); lo != 2 || hi != 4 {
		t.Errorf("range of cards: got %d %d, want 2 4", lo, hi)
	}
	night := time.Date(2026, 11, 22, 6, 59, 0, 0, time.UTC).UnixMilli()
	if err := s.ReadTransaction(&decision.Transaction{At: night, BaseAmount: 1_234_567}, vector); err != nil || vector[0] != 1234.567 || vector[1] != 1 {
		t.Errorf("derived: got %v %v, want 1234.567 1", vector[:2], err)
	}
}

func TestDerivedFeatures(t *testing.T) {
	day := time.Date(2026, 11, 29, 23, 59, 59, 0, time.UTC) // a Sunday
	full := decision.Transaction{At: day.UnixMilli(), BaseAmount: 1999, Currency: "USD", Country: "NL", MCC: "5732", Device: "d", HasPosition: true,
		Attributes: []decision.Attribute{{Name: "channel", Value: "ecom"}}}
	tests := []struct {
		expression string
		of         decision.Transaction
		want       float64
		fails      bool
	}{
		{"amount", full, 19.99, false},
		{"amount_minor % 100", full, 99, false},
		{"hour", full, 23, false},
		{"weekday", full, 6, false},
		{"weekday", decision.Transaction{At: day.Add(time.Second).UnixMilli()}, 0, false},
		{"currency == 'USD' && country == 'NL' && mcc.startsWith('57')", full, 1, false},
		{"has_device && has_position", full, 1, false},
		{"has_device || has_position", decision.Transaction{}, 0, false},
		{"attributes['channel'] == 'ecom'", full, 1, false},
		{"attributes['channel'] == 'ecom'", decision.Transaction{}, math.NaN(), true},
		{"'channel' in attributes ? 1.0 : 2.0", decision.Transaction{}, 2, false},
		{"amount_minor / (amount_minor - amount_minor)", full, math.NaN(), true},
		{strings.Repeat("[1,2,3,4,5,6,7,8,9].all(x, ", 6) + "x <= amount_minor" + strings.Repeat(")", 6), full, math.NaN(), true},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			s := mustParse(t, head+"transaction:\n  - name: x\n    expression: \""+tt.expression+"\"\n")
			vector := []float64{-1}
			err := s.ReadTransaction(&tt.of, vector)
			if got := vector[0]; got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if (err != nil) != tt.fails {
				t.Errorf("error %v, want one: %v", err, tt.fails)
			}
		})
	}
}

func TestSchemaHashFollowsTheMeaning(t *testing.T) {
	text := group(", window: 5m", ", function: count, default: .nan")
	same := []string{"# a comment\n" + text, strings.ReplaceAll(text, "{name: g,", "{  name: \"g\",")}
	other := []string{strings.Replace(text, "5m", "6m", 1), strings.Replace(text, ".nan", "1", 1), strings.Replace(text, "count", "sum", 1),
		strings.Replace(text, "v1", "v2", 1)}
	want := mustParse(t, text).Hash()
	for _, s := range same {
		if got := mustParse(t, s).Hash(); got != want {
			t.Errorf("layout changes the hash:\n%s", s)
		}
	}
	for _, s := range other {
		if got := mustParse(t, s).Hash(); got == want {
			t.Errorf("another meaning has the same hash:\n%s", s)
		}
	}
}

func FuzzParseSchema(f *testing.F) {
	for _, seed := range []string{head, group(", window: 5m", ", function: count"), testSchemaText(testSpecs()[:9]), meshSchema,
		"a: &a [*a]", "? - - -", "--- |\n x", "version: !!int v1", head + "card:\n  <<: *x"} {
		f.Add([]byte(seed))
	}
	if handbook, err := os.ReadFile("../configs/handbook/schema.yaml"); err == nil {
		f.Add(handbook)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSchema("schema.yaml", data)
		if err != nil {
			var e *SchemaError
			if !errors.As(err, &e) || e.Line < 1 {
				t.Fatalf("got %T %v, want a *SchemaError with a line", err, err)
			}
			return
		}
		for _, k := range Kinds {
			e := s.New(k)
			if _, err := s.Decode(k, e.Append(nil)); err != nil {
				t.Fatalf("an empty %s cannot be decoded: %v", k, err)
			}
		}
	})
}
