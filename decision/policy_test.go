package decision

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"
)

// testFeatures are the features that the policies of the tests are bound to.
var testFeatures = []string{"card_count_5m", "card_travel_kmh", "card_country_changed", "card-sum.24h"}

func bindFile(t testing.TB, name string) *Policy {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return bind(t, string(data))
}

func bind(t testing.TB, text string) *Policy {
	t.Helper()
	f, err := ParsePolicy("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Bind(testFeatures, 2)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// input is an ordinary payment of 45.99 EUR on Monday 2026-11-23 at 10:15 UTC, with the values of testFeatures.
func input(score float32, features ...float64) Input {
	all := make([]float64, len(testFeatures))
	copy(all, features)
	return Input{
		Transaction: &Transaction{
			ID: "t-81", Card: "c-77", Device: "d-3", Merchant: "m-9", At: 1_795_428_902_120, Amount: 4599, BaseAmount: 4599,
			Currency: "EUR", Country: "NL", MCC: "5732", Attributes: []Attribute{{"channel", "ecom"}, {"risk", "a-b"}},
		},
		Features: all,
		Score:    score,
	}
}

var nan = float32(math.NaN())

func TestDefaultPolicyDecides(t *testing.T) {
	p := bindFile(t, "default.yaml")
	large := input(0.1)
	large.Transaction.BaseAmount, large.Degraded = 50001, []string{DegradedStale}
	night := input(0.1)
	night.Transaction.BaseAmount, night.Transaction.MCC, night.Transaction.At = 20001, "7995", night.Transaction.At-5*3_600_000
	terminal := input(0.99)
	terminal.Transaction.BaseAmount, terminal.Transaction.Attributes = 2499, []Attribute{{"channel", "terminal"}}
	for name, c := range map[string]struct {
		in   Input
		want Verdict
	}{
		"a low score approves plainly":            {input(0.1), Verdict{Outcome: Approve}},
		"a rule wins over the score":              {input(0.95, 7), Verdict{StepUp, []Reason{{"CARD_VELOCITY_5M", "7 in 5 minutes"}}, "card-velocity", 0}},
		"the first of two matching rules decides": {input(0.1, 7, 2000.5, 1), Verdict{StepUp, []Reason{{"CARD_VELOCITY_5M", "7 in 5 minutes"}}, "card-velocity", 0}},
		"a detail is filled in":                   {input(0.1, 0, 2000.5, 1), Verdict{Decline, []Reason{{"IMPOSSIBLE_TRAVEL", "2000 km/h to NL"}}, "impossible-travel", 0}},
		"a rule may approve":                      {terminal, Verdict{Outcome: Approve, Rule: "trusted-terminal"}},
		"degradations can be asked for":           {large, Verdict{StepUp, []Reason{{"STALE_FEATURES", "features are stale and the amount is large"}}, "stale-and-large", 0}},
		"a reason may have no detail":             {night, Verdict{StepUp, []Reason{{"RISKY_MERCHANT_AT_NIGHT", ""}}, "risky-at-night", 0}},
		"a high score declines":                   {input(0.93), Verdict{Decline, []Reason{{"SCORE_DECLINE", "score 0.93, threshold 0.8"}}, "", 0}},
		"a score at a threshold has reached it":   {input(0.8), Verdict{Decline, []Reason{{"SCORE_DECLINE", "score 0.8, threshold 0.8"}}, "", 0}},
		"a middling score steps up":               {input(0.3), Verdict{StepUp, []Reason{{"SCORE_STEP_UP", "score 0.3, threshold 0.3"}}, "", 0}},
		"a score below a threshold has not":       {input(math.Nextafter32(0.3, 0)), Verdict{Outcome: Approve}},
		"without a score the fallback decides":    {input(nan, 3), Verdict{StepUp, []Reason{{"MODEL_UNAVAILABLE", "decided without a model"}}, "", 0}},
		"without a score its rules come first":    {input(nan, 2), Verdict{Outcome: Approve, Rule: "fallback-small"}},
		"without a score the rules still decide":  {input(nan, 7), Verdict{StepUp, []Reason{{"CARD_VELOCITY_5M", "7 in 5 minutes"}}, "card-velocity", 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, p.Decide(c.in)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
	if p.String() != "default@12" || p.Thresholds() != (Thresholds{0.3, 0.8}) {
		t.Errorf("got %s with %v, want default@12 with {0.3 0.8}", p, p.Thresholds())
	}
}

// oneRule is a policy whose only rule declines when the condition holds.
func oneRule(condition string) string {
	return fmt.Sprintf("name: one\nversion: 1\nrules:\n- name: r\n  when: %q\n  outcome: decline\n  reason: {code: R}\n", condition)
}

func TestExpressionsReadTheirInputs(t *testing.T) {
	for _, condition := range []string{
		`transaction.id == "t-81" && transaction.card == "c-77" && transaction.device == "d-3" && transaction.merchant == "m-9"`,
		`transaction.amount == 45.99 && transaction.amount_minor == 4599`,
		`transaction.currency == "EUR" && transaction.country == "NL" && transaction.mcc == "5732"`,
		`transaction.hour == 10 && transaction.weekday == 0`,
		`transaction["hour"] == 10 && .transaction.hour == 10`,
		`transaction.attributes.channel == "ecom" && transaction.attributes["channel"] == "ecom"`,
		`transaction["attributes"]["channel"] == "ecom"`,
		`transaction.attributes.absent == "" && transaction.attributes["absent"] != "ecom"`,
		`has(transaction.attributes.channel) && !has(transaction.attributes.absent)`,
		`"channel" in transaction.attributes && !("absent" in transaction.attributes) && size(transaction.attributes) == 2`,
		`transaction.attributes.exists(k, transaction.attributes[k] == "a-b")`,
		`transaction.attributes.all(k, features.card_count_5m == 4.0 && score > 0.2)`,
		`features.card_count_5m == 4.0 && features["card_count_5m"] > 3 && features["card-sum.24h"] == 9.5`,
		`features.card_count_5m >= 4 && features.card_count_5m < 5`,
		`has_score && score == 0.25`,
		`degraded == ["features_stale", "rebuilding"] && "rebuilding" in degraded && degraded.exists(d, d.startsWith("feat"))`,
		`mesh.staleness["eu-west"] > 1.0 && mesh.staleness.exists(r, mesh.staleness[r] == 1.5) && !("x" in mesh.staleness)`,
		`degraded != [] && transaction.attributes != {} && [1, 2, 3].filter(i, i > 2) == [3]`,
		`transaction.attributes.risk.matches("^[a-z]-[a-z]$") && math.round(2.4) == 2.0`,
	} {
		t.Run(condition, func(t *testing.T) {
			in := input(0.25, 4, 0, 0, 9.5)
			in.Degraded = []string{DegradedStale, DegradedRebuilding}
			in.Staleness = map[string]float64{"eu-west": 1.5}
			if v := bind(t, oneRule(condition)).Decide(in); v.Outcome != Decline || v.Errors != 0 {
				t.Errorf("got %v with %d errors, want decline without", v.Outcome, v.Errors)
			}
			negated := bind(t, oneRule("!("+condition+")")).Decide(in)
			if negated.Outcome != Approve || negated.Errors != 0 {
				t.Errorf("negated: got %v with %d errors, want approve without", negated.Outcome, negated.Errors)
			}
		})
	}
}

func TestHourAndWeekdayAreUTC(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC),
		time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), time.Date(2028, 2, 29, 12, 0, 0, 0, time.UTC),
	} {
		want := (int64(at.Weekday()) + 6) % 7
		if got := weekdayUTC(at.UnixMilli()); got != want {
			t.Errorf("weekday of %v: got %d, want %d", at, got, want)
		}
		if got := hourUTC(at.UnixMilli()); got != int64(at.Hour()) {
			t.Errorf("hour of %v: got %d, want %d", at, got, at.Hour())
		}
	}
}

func TestRuleThatNeedsAMissingScoreDoesNotMatch(t *testing.T) {
	for condition, want := range map[string]Outcome{
		`score > 0.5`:                   Approve,
		`!(score > 0.5)`:                Approve,
		`score != score`:                Approve,
		`has_score && score > 0.5`:      Approve,
		`!has_score || score > 0.5`:     Decline,
		`score > 0.5 || true`:           Decline,
		`degraded.exists(d, score > 0)`: Approve,
		`[1].exists(x, score > 0.5)`:    Approve,
	} {
		p := bind(t, "on_error: step_up\n"+oneRule(condition))
		if v := p.Decide(input(nan)); v.Outcome != want || v.Errors != 0 {
			t.Errorf("%s: got %v with %d errors, want %v without", condition, v.Outcome, v.Errors, want)
		}
	}
}

func TestScoreIsTheNumberThatAnswersShow(t *testing.T) {
	for _, text := range []string{"0.1", "0.3", "0.7", "0.8", "0.9", "0.123456"} {
		score, err := strconv.ParseFloat(text, 32)
		if err != nil {
			t.Fatal(err)
		}
		p := bind(t, "thresholds: {decline: "+text+"}\nfallback: {outcome: approve}\n"+strings.Replace(oneRule("score == "+text), "decline", "step_up", 1))
		if got := p.Decide(input(float32(score))).Outcome; got != StepUp {
			t.Errorf("score == %s: got %v, want step_up", text, got)
		}
		for s, want := range map[float32]Outcome{
			math.Nextafter32(float32(score), 0): Approve, float32(score): Decline, math.Nextafter32(float32(score), 1): Decline,
		} {
			if got := p.Thresholds().Outcome(s); got != want {
				t.Errorf("score %v at threshold %s: got %v, want %v", s, text, got, want)
			}
		}
	}
}

func TestFailingRuleMeansWhatOnErrorSays(t *testing.T) {
	fails := `1 / (transaction.hour - 10) > 0`
	for onError, want := range map[string]Verdict{
		"skip":    {Decline, []Reason{{"SCORE_DECLINE", "score 0.9, threshold 0.8"}}, "", 1},
		"step_up": {StepUp, []Reason{{"POLICY_RULE_FAILED", "rule r"}}, "r", 1},
		"approve": {Approve, []Reason{{"POLICY_RULE_FAILED", "rule r"}}, "r", 1},
	} {
		p := bind(t, "on_error: "+onError+"\nthresholds: {decline: 0.8}\nfallback: {outcome: decline}\n"+oneRule(fails))
		if diff := cmp.Diff(want, p.Decide(input(0.9))); diff != "" {
			t.Errorf("on_error %s (-want +got):\n%s", onError, diff)
		}
	}
}

func TestNothingInAnInputPanics(t *testing.T) {
	p := bindFile(t, "default.yaml")
	short := input(0.1)
	short.Features = nil
	for name, in := range map[string]Input{
		"no transaction": {Score: 0.1, Features: make([]float64, 4)}, "a short vector": short, "all zero": {},
		"an infinite feature in a detail": input(0.1, 1, math.Inf(1), 1),
	} {
		if v := p.Decide(in); v.Errors == 0 {
			t.Errorf("%s: got %v without errors, want errors counted", name, v)
		}
	}
	if v := p.Decide(input(0.1, math.NaN(), math.NaN(), math.NaN())); v.Errors != 0 || v.Outcome != Approve {
		t.Errorf("features that are not numbers: got %v, want no limit exceeded and no error", v)
	}
	if v := p.Decide(input(0.1)); v.Errors != 0 || v.Outcome != Approve {
		t.Errorf("an ordinary input after them: got %v, want a plain approval", v)
	}
}

func TestDetailsAreFilledIn(t *testing.T) {
	for detail, want := range map[string]string{
		"plain":              "plain",
		"":                   "",
		"$5 and $${x} and }": "$5 and ${x} and }",
		"${transaction.amount} ${transaction.currency}":    "45.99 EUR",
		"${transaction.hour}h ${has_score}":                "10h true",
		"${score}":                                         "0.25",
		"${features.card_count_5m}":                        "1250000",
		"${features.card_travel_kmh}":                      "1e+21",
		"${uint(7)}":                                       "7",
		`${"}" + '"}'}`:                                    `}"}`,
		`${ {"a": "b"}["a"] }`:                             "b",
		"${1 / (transaction.hour - 10)}!":                  "?!",
		"${transaction.attributes.absent}.":                ".",
		`${transaction.hour < 12 ? "morning" : "evening"}`: "morning",
	} {
		text := strings.Replace(oneRule("true"), "{code: R}", fmt.Sprintf("{code: R, detail: %q}", detail), 1)
		v := bind(t, text).Decide(input(0.25, 1250000, 1e21))
		if len(v.Reasons) != 1 || v.Reasons[0] != (Reason{"R", want}) {
			t.Errorf("%q: got %v, want %q", detail, v.Reasons, want)
		}
		if failed := strings.HasPrefix(want, "?"); failed != (v.Errors == 1) {
			t.Errorf("%q: got %d errors, want them only for a placeholder that fails", detail, v.Errors)
		}
	}
}

func TestLongDetailIsCutBetweenCharacters(t *testing.T) {
	in := input(0.1)
	in.Transaction.Attributes = []Attribute{{"a", strings.Repeat("é", 128)}}
	text := strings.Replace(oneRule("true"), "{code: R}", `{code: R, detail: "x${transaction.attributes.a}${transaction.attributes.a}${transaction.attributes.a}"}`, 1)
	got := bind(t, text).Decide(in).Reasons[0].Detail
	if want := "x" + strings.Repeat("é", 255); got != want {
		t.Errorf("got %d bytes %q, want %d bytes", len(got), got, len(want))
	}
}

func TestMissingScoreInADetailIsNoError(t *testing.T) {
	p := bind(t, "name: n\nversion: 1\nthresholds: {}\nfallback: {outcome: decline, reason: {code: F, detail: \"score ${score}\"}}\n")
	if diff := cmp.Diff(Verdict{Decline, []Reason{{"F", "score ?"}}, "", 0}, p.Decide(input(nan))); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestFallbackWithoutReasonHasTheStandardOne(t *testing.T) {
	for outcome, want := range map[string]Verdict{
		"decline": {Decline, []Reason{{Code: ReasonModelUnavailable}}, "", 0},
		"approve": {Outcome: Approve},
	} {
		p := bind(t, "name: n\nversion: 1\nfallback: {outcome: "+outcome+"}\n")
		if diff := cmp.Diff(want, p.Decide(input(nan))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", outcome, diff)
		}
		if v := p.Decide(input(1)); v.Outcome != Approve || v.Reasons != nil {
			t.Errorf("%s, with a score and no thresholds: got %v, want a plain approval", outcome, v)
		}
	}
}

func TestAppendingToAVerdictChangesNoOther(t *testing.T) {
	p := bind(t, oneRule("true"))
	first := append(p.Decide(input(0.1)).Reasons, Reason{Code: "A"})
	second := append(p.Decide(input(0.1)).Reasons, Reason{Code: "B"})
	if first[1].Code != "A" || second[1].Code != "B" {
		t.Errorf("got %v and %v, want A and B as second reasons", first, second)
	}
}

func TestDecidesConcurrently(t *testing.T) {
	p := bindFile(t, "default.yaml")
	var group errgroup.Group
	for worker := range 4 {
		group.Go(func() error {
			for i := range 500 {
				count := float64(7 + worker*1000 + i)
				want := fmt.Sprintf("%d in 5 minutes", int(count))
				if v := p.Decide(input(0.1, count)); v.Reasons[0].Detail != want {
					return fmt.Errorf("got %v, want %q", v, want)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMacroOverMoreThanWasReckonedWithIsStopped(t *testing.T) {
	p := bind(t, oneRule(`degraded.exists(d, d == "x")`))
	in := input(0.1)
	in.Degraded = make([]string, 100_000)
	if v := p.Decide(in); v.Outcome != Approve || v.Errors != 1 {
		t.Errorf("got %v with %d errors, want the rule failed and skipped", v.Outcome, v.Errors)
	}
	in.Degraded = []string{"a", "x"}
	if v := p.Decide(in); v.Outcome != Decline || v.Errors != 0 {
		t.Errorf("an ordinary input after it: got %v with %d errors, want decline without", v.Outcome, v.Errors)
	}
}

// The law of a policy: the verdict is that of the first rule whose condition holds, else of the thresholds or the fallback.
func TestFirstMatchWins(t *testing.T) {
	outcomes := []Outcome{Approve, Decline, StepUp}
	rapid.Check(t, func(t *rapid.T) {
		limits := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 6).Draw(t, "limits")
		extra := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 3).Draw(t, "fallback limits")
		draw := func(label string) Outcome { return rapid.SampledFrom(outcomes).Draw(t, label) }
		var text strings.Builder
		var decided []Outcome
		rule := func(indent string, limit int) {
			o := draw("outcome")
			fmt.Fprintf(&text, "%s- {name: r%d, when: features.card_count_5m > %d, outcome: %v, reason: {code: R}}\n", indent, len(decided), limit, o)
			decided = append(decided, o)
		}
		fmt.Fprintf(&text, "name: law\nversion: 1\nthresholds: {step_up: 0.3, decline: 0.8}\nrules: %s\n", map[bool]string{true: "[]"}[len(limits) == 0])
		for _, l := range limits {
			rule("", l)
		}
		last := draw("fallback")
		fmt.Fprintf(&text, "fallback:\n  outcome: %v\n  rules: %s\n", last, map[bool]string{true: "[]"}[len(extra) == 0])
		for _, l := range extra {
			rule("  ", l)
		}
		f, err := ParsePolicy("law.yaml", []byte(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.Bind(testFeatures, 2)
		if err != nil {
			t.Fatal(err)
		}
		count := rapid.IntRange(0, 9).Draw(t, "count")
		score := rapid.SampledFrom([]float32{0, 0.29, 0.3, 0.79, 0.8, 1, nan}).Draw(t, "score")

		all := limits
		if score != score {
			all = append(limits[:len(limits):len(limits)], extra...)
		}
		want, wantRule := Approve, ""
		if i := slices.IndexFunc(all, func(l int) bool { return count > l }); i >= 0 {
			want, wantRule = decided[i], fmt.Sprintf("r%d", i)
		} else {
			switch {
			case score != score:
				want = last
			case score >= 0.8:
				want = Decline
			case score >= 0.3:
				want = StepUp
			}
		}
		if got := p.Decide(input(score, float64(count))); got.Outcome != want || got.Rule != wantRule || got.Errors != 0 {
			t.Fatalf("got %v by %q with %d errors, want %v by %q\n%s", got.Outcome, got.Rule, got.Errors, want, wantRule, text.String())
		}
	})
}
