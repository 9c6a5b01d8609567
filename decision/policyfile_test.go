package decision

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// faultsOf returns the messages of the joined *PolicyError of an error.
func faultsOf(t testing.TB, err error) []string {
	t.Helper()
	var single *PolicyError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, faultsOf(t, e)...)
		}
		return all
	}
	if !errors.As(err, &single) {
		t.Fatalf("got %T %v, want a *PolicyError", err, err)
	}
	return []string{single.Error()}
}

func TestParseRefusesAndSaysWhere(t *testing.T) {
	const head = "name: n\nversion: 1\n"
	const rule = head + "rules:\n- name: r\n  when: \"true\"\n  outcome: approve\n"
	for name, c := range map[string]struct{ text, want string }{
		"an unknown key":                    {head + "treshold: {}\n", `p.yaml:3: treshold: unknown field, did you mean "thresholds"?; want one of name, version`},
		"an unknown key of a rule":          {rule + "  wen: x\n", `p.yaml:7: rules[0].wen: unknown field, did you mean "when"?`},
		"an unknown key of thresholds":      {head + "thresholds: {review: 0.1}\nfallback: {outcome: approve}\n", `p.yaml:3: thresholds.review: unknown field; want one of step_up, decline`},
		"a key given twice":                 {head + "on_error: skip\non_error: skip\n", `p.yaml:4: mapping key "on_error" already defined`},
		"a key given twice in a rule":       {rule + "  outcome: approve\n", `p.yaml:7: mapping key "outcome" already defined`},
		"a list for a mapping":              {head + "thresholds: [1]\n", `p.yaml:3: thresholds: want a mapping, got sequence`},
		"a mapping for a list":              {head + "rules: {a: b}\n", `p.yaml:3: rules: want a list, got mapping`},
		"a text for a number":               {head + "thresholds: {decline: high}\nfallback: {outcome: approve}\n", `p.yaml:3: thresholds.decline: want a number, got string`},
		"a number for a text":               {"name: 5\nversion: 1\n", `p.yaml:1: name: want a text, got integer`},
		"a text for the version":            {"name: n\nversion: v1\n", `p.yaml:2: version: want an integer, got string`},
		"version zero":                      {"name: n\nversion: 0\n", `p.yaml:2: version: 0: want 1 to 2147483647`},
		"a negative version":                {"name: n\nversion: -3\n", `p.yaml:2: version: -3: want 1 to`},
		"an enormous version":               {"name: n\nversion: 18446744073709551615\n", `p.yaml:2: version: 9223372036854775807: want 1 to`},
		"no name":                           {"version: 1\n", `p.yaml:1: name: required`},
		"no version":                        {"name: n\n", `p.yaml:1: version: required`},
		"a name with spaces":                {"name: a b\nversion: 1\n", `p.yaml:1: name: "a b": want 1 to 64 of`},
		"nothing for a value":               {head + "rules:\n", `p.yaml:3: rules: want a list, got null`},
		"a threshold above one":             {head + "thresholds: {decline: 1.5}\nfallback: {outcome: approve}\n", `p.yaml:3: thresholds.decline: 1.5: want 0 to 1`},
		"a threshold that is no number":     {head + "thresholds: {decline: .nan}\nfallback: {outcome: approve}\n", `p.yaml:3: thresholds.decline: want a number, got nan`},
		"thresholds in the wrong order":     {head + "thresholds:\n  step_up: 0.9\n  decline: 0.8\nfallback: {outcome: approve}\n", `thresholds: step_up 0.9 is above decline 0.8`},
		"thresholds without a fallback":     {head + "thresholds: {decline: 0.5}\n", `p.yaml:1: fallback: required beside thresholds`},
		"a fallback without an outcome":     {head + "fallback: {rules: []}\n", `p.yaml:3: fallback.outcome: required`},
		"an unknown outcome":                {rule + "- name: s\n  when: \"true\"\n  outcome: deny\n", `p.yaml:9: rules[1].outcome: "deny": want one of approve, decline, step_up`},
		"undecided as an outcome":           {head + "fallback: {outcome: undecided}\n", `p.yaml:3: fallback.outcome: "undecided": want one of`},
		"an unknown on_error":               {head + "on_error: ignore\n", `p.yaml:3: on_error: "ignore": want one of skip, approve, decline, step_up`},
		"a rule without a name":             {head + "rules:\n- when: \"true\"\n  outcome: approve\n", `p.yaml:4: rules[0].name: required`},
		"a rule without a condition":        {head + "rules:\n- name: r\n  outcome: approve\n", `p.yaml:4: rules[0].when: required`},
		"a rule without an outcome":         {head + "rules:\n- name: r\n  when: \"true\"\n", `p.yaml:4: rules[0].outcome: required`},
		"a declining rule without a reason": {head + "rules:\n- name: r\n  when: \"true\"\n  outcome: decline\n", `p.yaml:4: rules[0].reason: required unless the outcome is approve`},
		"two rules of one name":             {rule + "- name: r\n  when: \"true\"\n  outcome: approve\n", `p.yaml:7: rules[1].name: "r" is the name of the rule at line 4 too`},
		"a rule named as the fallback's":    {rule + "fallback:\n  outcome: approve\n  rules:\n  - {name: r, when: \"true\", outcome: approve}\n", `fallback.rules[0].name: "r" is the name of the rule at line 4 too`},
		"an empty condition":                {head + "rules:\n- name: r\n  when: \" \"\n  outcome: approve\n", `p.yaml:5: rules[0].when: empty`},
		"a condition that is no CEL":        {head + "rules:\n- name: r\n  when: score >\n  outcome: approve\n", `p.yaml:5: rules[0].when: column 8: Syntax error`},
		"a code in lower case":              {rule + "  reason: {code: velocity}\n", `p.yaml:7: rules[0].reason.code: "velocity": want UPPER_SNAKE`},
		"a long code":                       {rule + "  reason: {code: A" + strings.Repeat("B", 64) + "}\n", `p.yaml:7: rules[0].reason.code: 65 bytes, at most 64`},
		"a reason without a code":           {rule + "  reason: {detail: x}\n", `p.yaml:7: rules[0].reason.code: required`},
		"an open placeholder":               {rule + "  reason: {code: A, detail: \"${score\"}\n", `rules[0].reason.detail: placeholder "${score" has no closing brace`},
		"an empty placeholder":              {rule + "  reason: {code: A, detail: \"${ }\"}\n", `rules[0].reason.detail: empty placeholder`},
		"a placeholder that is no CEL":      {rule + "  reason: {code: A, detail: \"${1 +}\"}\n", `rules[0].reason.detail: column 4: Syntax error`},
		"nine placeholders":                 {rule + "  reason: {code: A, detail: \"" + strings.Repeat("${1}", 9) + "\"}\n", `more than 8 placeholders`},
		"a long detail":                     {rule + "  reason: {code: A, detail: \"" + strings.Repeat("d", 513) + "\"}\n", `513 bytes, at most 512`},
		"a long condition":                  {head + "rules:\n- {name: r, outcome: approve, when: \"" + strings.Repeat(" ", 4090) + "1 == 1 \"}\n", `4097 bytes, at most 4096`},
		"a condition that nests too deep":   {head + "rules:\n- {name: r, outcome: approve, when: \"" + strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500) + "\"}\n", `rules[0].when`},
		"an anchor":                         {head + "rules: &a []\n", `p.yaml:3: rules: want a list, got anchor`},
		"an alias":                          {"name: n\nversion: 1\non_error: *a\n", `p.yaml:3`},
		"a merge":                           {head + "<<: {on_error: skip}\n", `p.yaml:3`},
		"a tag":                             {"name: !!str n\nversion: 1\n", `p.yaml:1: name: want a text, got tag`},
		"a key that is no text":             {head + "5: x\n", `p.yaml:3: key 5: want one of`},
		"a second document":                 {head + "---\nname: m\n", `p.yaml: 2 documents, want 1`},
		"an empty file":                     {"", `p.yaml: 0 documents, want 1`},
		"a list as the file":                {"- a\n", `p.yaml:1: want a mapping, got sequence`},
		"broken YAML":                       {"name: [n\n", `p.yaml:1: `},
		"a file that is too large":          {strings.Repeat("#", MaxPolicyBytes+1), `p.yaml: 131073 bytes, at most 131072`},
		"257 rules":                         {head + "rules:\n" + manyRules(257), `p.yaml:1: rules: 257 rules in all, at most 256`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePolicy("p.yaml", []byte(c.text))
			if err == nil {
				t.Fatal("got no error")
			}
			if all := strings.Join(faultsOf(t, err), "\n"); !strings.Contains(all, c.want) {
				t.Errorf("got  %s\nwant %s", all, c.want)
			}
		})
	}
}

func manyRules(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {name: r%d, when: \"false\", outcome: approve}\n", i)
	}
	return b.String()
}

func TestParseReportsEveryFault(t *testing.T) {
	_, err := ParsePolicy("p.yaml", []byte("name: N\nversion: 0\nrules:\n- {name: r, when: 1 +, outcome: no}\n"))
	if got := faultsOf(t, err); len(got) < 4 {
		t.Errorf("got %d faults %q, want those of name, version, when and outcome", len(got), got)
	}
}

func TestNestingNeverReachesTheParser(t *testing.T) {
	for name, text := range map[string]string{
		"brackets": strings.Repeat("[", 33), "many brackets": strings.Repeat("[", 100_000), "braces": strings.Repeat("{a: ", 30_000),
		"dashes": strings.Repeat("- ", 60_000), "question marks": strings.Repeat("? ", 60_000), "anchors": "&a" + strings.Repeat(" &a", 40) + strings.Repeat("[", 33),
		"brackets over lines": strings.Repeat("[\n", 60_000),
	} {
		_, err := ParsePolicy("p.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), "nested deeper than 32") {
			t.Errorf("%s: got %.200v, want it refused as nested too deep", name, err)
		}
	}
}

func TestOddFilesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"tags": "a: " + strings.Repeat("!!a ", 10_000), "keys": "a" + strings.Repeat(": a", 10_000), "indentation": indented(400),
		"aliases": strings.Repeat("*a ", 10_000), "quotes": strings.Repeat(`"`, 60_000), "carriage returns": strings.Repeat("- \r", 10_000),
		"documents": strings.Repeat("---\n", 20_000), "many lines": strings.Repeat("a\n", 40_000), "many pairs": manyPairs(5_000),
	} {
		if _, err := ParsePolicy("p.yaml", []byte(text)); err == nil {
			t.Errorf("%s: got no error", name)
		} else if n := len(faultsOf(t, err)); n > maxFaults {
			t.Errorf("%s: got %d faults, want at most %d", name, n, maxFaults)
		}
	}
}

func indented(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func manyPairs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}

func TestBindRefusesAndSaysWhy(t *testing.T) {
	for condition, want := range map[string]string{
		`features.card_count_5 > 3`:                            `there is no feature "card_count_5", did you mean "card_count_5m"?`,
		`features["card_cnt_5m"] > 3`:                          `there is no feature "card_cnt_5m", did you mean "card_count_5m"?`,
		`features.something_else > 3`:                          `there is no feature "something_else"`,
		`features.exists(f, true)`:                             `"features" is not a value of its own: write features.<name>`,
		`has(features.card_count_5m)`:                          `"features" is not a value of its own`,
		`features[transaction.id] > 3`:                         `"features" is not a value of its own`,
		`transaction.amnt > 3`:                                 `there is no input "transaction.amnt", did you mean "transaction.amount"`,
		`transaction.amount.cents > 3`:                         `there is no input "transaction.amount.cents"`,
		`mesh.lag > 3`:                                         `there is no input "mesh.lag"`,
		`scores > 3`:                                           `undeclared reference to 'scores'`,
		`score`:                                                `result is of type double, want bool`,
		`dyn(true)`:                                            `undeclared reference to 'dyn'`,
		`features.card_count_5m * 2 > 3.0`:                     `write 2.0 for 2`,
		`features.card_count_5m == 2`:                          `write 2.0 for 2`,
		`transaction.amount > "3"`:                             `no matching overload`,
		`[1].exists(score, score > 0)`:                         `"score" is an input and cannot be a variable of a macro`,
		`[1].all(features, true)`:                              `"features" is an input and cannot be a variable`,
		`transaction.id.matches(degraded[0])`:                  `the pattern has to be a constant`,
		`matches(transaction.id, degraded[0])`:                 `the pattern has to be a constant`,
		`transaction.id.matches("(")`:                          `error parsing regexp`,
		`transaction.id.matches("(a{100}){9}(b{100}){9}")`:     `regex`,
		`timestamp(transaction.id).getHours("Asia/Tokyo") > 3`: `undeclared reference to 'timestamp'`,
		`transaction.attributes.exists(a, transaction.attributes.exists(b, transaction.attributes.exists(c, a + b == c)))`:                  `too expensive`,
		`[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, a + b + c + d > 0))))`: `too expensive`,
		strings.Repeat(`transaction.id + `, 50) + `"" == ""`:                                                                                `too expensive`,
		strings.Repeat(`transaction.id + `, 200) + `"" == ""`:                                                                               `max recursion depth exceeded`,
		`[[1]] == [[1]]`: `list(list(int)): the elements of lists and maps have to be of one scalar type`,
		`[1].map(x, [x, x]).map(x, [x, x]).size() > 0`:               `the elements of lists and maps have to be of one scalar type`,
		`[1, "a"].size() > 0`:                                        `the elements of lists and maps have to be of one scalar type`,
		`{"a": [1]}.size() > 0`:                                      `the elements of lists and maps have to be of one scalar type`,
		`google.protobuf.ListValue{} == google.protobuf.ListValue{}`: `google.protobuf.ListValue{}: messages cannot be made here`,
	} {
		t.Run(fmt.Sprintf("%.60s", condition), func(t *testing.T) {
			f, err := ParsePolicy("p.yaml", []byte(oneRule(condition)))
			if err == nil {
				_, err = f.Bind(testFeatures, 2)
			}
			if err == nil {
				t.Fatal("got no error")
			}
			got := strings.Join(faultsOf(t, err), "\n")
			if !strings.Contains(got, want) || !strings.HasPrefix(got, "p.yaml:5: rules[0].when: ") {
				t.Errorf("got  %s\nwant p.yaml:5: rules[0].when: ... %s", got, want)
			}
		})
	}
}

func TestBindBoundsThePolicyAsAWhole(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: n\nversion: 1\nrules:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "- {name: r%d, when: 'transaction.attributes.exists(k, transaction.attributes[k].contains(\"x\"))', outcome: approve}\n", i)
	}
	f, err := ParsePolicy("p.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Bind(testFeatures, 2)
	if err == nil || !strings.Contains(err.Error(), "with the expressions before it the policy's worst case costs") {
		t.Errorf("got %v, want the policy refused as too expensive", err)
	}
}

func TestBindTakesADetailOfEveryPrintableType(t *testing.T) {
	f, err := ParsePolicy("p.yaml", []byte(strings.Replace(oneRule("true"), "{code: R}", "{code: R, detail: \"${degraded}\"}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Bind(testFeatures, 2)
	if want := "p.yaml:7: rules[0].reason.detail: result is of type list(string), want string or int or uint or double or bool"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestBindRefusesItsOwnArguments(t *testing.T) {
	f, err := ParsePolicy("p.yaml", []byte(oneRule("true")))
	if err != nil {
		t.Fatal(err)
	}
	for _, exponent := range []int{-1, 5} {
		if _, err := f.Bind(nil, exponent); err == nil {
			t.Errorf("exponent %d: got no error", exponent)
		}
	}
	if _, err := f.Bind([]string{"a", "a"}, 2); err == nil {
		t.Error("a feature named twice: got no error")
	}
	yen, err := f.Bind(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if yen.minorPerMajor != 1 {
		t.Errorf("exponent 0: got %v minor units per major one, want 1", yen.minorPerMajor)
	}
}

func TestBindingLeavesTheFileAsItWas(t *testing.T) {
	data, err := os.ReadFile("testdata/default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParsePolicy("default.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Bind([]string{"other"}, 2); err == nil {
		t.Fatal("bound to features that it does not know")
	}
	for range 2 {
		p, err := f.Bind(testFeatures, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Decide(input(0.1, 7)).Outcome; got != StepUp {
			t.Errorf("got %v, want step_up", got)
		}
	}
	// The same names in another order are another vector.
	p, err := f.Bind([]string{"card_country_changed", "card_travel_kmh", "card_count_5m"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Decide(input(0.1, 7)).Outcome; got != Approve {
		t.Errorf("reordered: got %v, want approve", got)
	}
}

func FuzzParsePolicy(f *testing.F) {
	example, err := os.ReadFile("testdata/default.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add(oneRule(`transaction.attributes.exists(k, transaction.attributes[k].matches("a.*b")) || score > 0.5`))
	f.Add("name: n\nversion: 1\nthresholds: {decline: 0.5}\nfallback: {outcome: step_up, reason: {code: A, detail: \"${score} $${ ${degraded[0]}\"}}\n")
	f.Add("name: n\nversion: 1\nrules:\n- name: r\n  when: |\n    features[\"card_count_5m\"] / 0.0 > 1.0\n  outcome: approve\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := ParsePolicy("fuzz.yaml", []byte(text))
		if err != nil {
			faultsOf(t, err)
			return
		}
		p, err := file.Bind(testFeatures, 2)
		if err != nil {
			return
		}
		for _, score := range []float32{0, 1, nan} {
			in := input(score, 7, 2000, 1)
			in.Degraded = []string{DegradedStale}
			if v := p.Decide(in); v.Outcome == Undecided || v.Outcome > StepUp {
				t.Errorf("got outcome %v, want a committed one", v.Outcome)
			}
		}
	})
}
