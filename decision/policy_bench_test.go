package decision

import (
	"fmt"
	"strings"
	"testing"
)

// benchRules are ten ordinary rules of which none matches benchInput, so that a decision evaluates all of them.
var benchRules = []string{
	`features.card_count_5m > 6`,
	`features.card_count_5m > 3 && transaction.amount > 500.0`,
	`features.card_travel_kmh > 1000.0 && features.card_country_changed == 1.0`,
	`transaction.mcc in ["7995", "5967", "6051"] && transaction.hour < 6`,
	`transaction.attributes.channel == "moto"`,
	`transaction.country != "NL" && transaction.amount > 200.0`,
	`"features_stale" in degraded`,
	`score > 0.9`,
	`transaction.merchant.startsWith("test-")`,
	`features["card-sum.24h"] / 24.0 > 100.0 || transaction.amount_minor > 1000000`,
}

func benchInput() Input {
	return Input{
		Transaction: &Transaction{
			ID: "t-81", Card: "c-77", Device: "d-3", Merchant: "m-9", At: 1_763_856_000_000, Amount: 4599, BaseAmount: 4599,
			Currency: "EUR", Country: "NL", MCC: "5732", Attributes: []Attribute{{"channel", "ecom"}},
		},
		Features: []float64{2, 35.5, 0, 310},
		Score:    0.12,
	}
}

func benchPolicy(b *testing.B, conditions ...string) *Policy {
	var text strings.Builder
	text.WriteString("name: bench\nversion: 1\n")
	for i, c := range conditions {
		if i == 0 {
			text.WriteString("rules:\n")
		}
		fmt.Fprintf(&text, "- {name: r%d, when: '%s', outcome: decline, reason: {code: R, detail: \"${transaction.amount} by rule %d\"}}\n", i, c, i)
	}
	return bind(b, text.String())
}

func BenchmarkDecide(b *testing.B) {
	run := func(name string, want Outcome, conditions ...string) {
		b.Run(name, func(b *testing.B) {
			p, in := benchPolicy(b, conditions...), benchInput()
			if v := p.Decide(in); v.Outcome != want || v.Errors != 0 {
				b.Fatalf("got %v, want %v without errors", v, want)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(in)
			}
		})
	}
	run("no rules", Approve)
	run("ten rules, none matches", Approve, benchRules...)
	run("ten rules, the last matches with a detail", Decline, append(benchRules[:9:9], "true")...)
	for i, c := range benchRules {
		run(fmt.Sprintf("rule %d: %s", i, c), Approve, c)
	}
	run("macro over degraded", Approve, `degraded.exists(d, d.startsWith("owner"))`)
	run("macro over attributes", Approve, `transaction.attributes.exists(k, k == "risk")`)
}

func BenchmarkBind(b *testing.B) {
	var text strings.Builder
	text.WriteString("name: bench\nversion: 1\nrules:\n")
	for i, c := range benchRules {
		fmt.Fprintf(&text, "- {name: r%d, when: '%s', outcome: decline, reason: {code: R}}\n", i, c)
	}
	for b.Loop() {
		f, err := ParsePolicy("bench.yaml", []byte(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Bind(testFeatures, 2); err != nil {
			b.Fatal(err)
		}
	}
}
