package decision

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The reason codes that a policy gives without a rule of its own.
const (
	// ReasonScoreDecline: the score reached the decline threshold.
	ReasonScoreDecline = "SCORE_DECLINE"
	// ReasonScoreStepUp: the score reached the step-up threshold.
	ReasonScoreStepUp = "SCORE_STEP_UP"
	// ReasonModelUnavailable: no model scored, and the policy's fallback names no reason of its own.
	ReasonModelUnavailable = "MODEL_UNAVAILABLE"
	// ReasonPolicyRuleFailed: a rule could not be evaluated, and the policy's on_error names an outcome.
	ReasonPolicyRuleFailed = "POLICY_RULE_FAILED"
)

// Input is what a policy decides on.
type Input struct {
	Transaction *Transaction
	// Features are in the order of the names that the policy was bound to.
	Features []float64
	// Score is the model's probability of fraud, 0 to 1, or NaN when no model scored.
	Score float32
	// Degraded names what was missing; see the Degraded constants.
	Degraded []string
	// Staleness is the age in seconds of what is known of each other region; nil when there is none.
	Staleness map[string]float64
}

// Verdict is what a policy makes of an Input.
type Verdict struct {
	Outcome Outcome
	// Reasons is empty for a plain approval. It may be shared between verdicts: append to it, but change nothing in place.
	Reasons []Reason
	// Rule is the name of the rule that decided, of the fallback's rules too; empty when the thresholds, the fallback's
	// outcome or nothing did.
	Rule string
	// Errors counts the rules and details that failed to evaluate on the way.
	Errors int
}

// Policy is a PolicyFile that is bound to feature names and compiled. It is immutable and safe for concurrent use.
type Policy struct {
	name          string
	thresholds    Thresholds
	onError       Outcome
	rules         []rule
	fallback      *fallback
	slots         *slots
	minorPerMajor float64
	// spare keeps inputs for reuse, with their values cleared.
	spare sync.Pool
}

// rule is a compiled rule.
type rule struct {
	name    string
	when    cel.Program
	outcome Outcome
	reason  *reason
	// failed is the reason when the rule fails and on_error names an outcome.
	failed []Reason
}

type fallback struct {
	outcome Outcome
	reason  *reason
	rules   []rule
}

// reason gives the reason of an outcome.
type reason struct {
	code string
	// fixed is the whole reason when its detail has no placeholder.
	fixed []Reason
	parts []detailPart
}

// detailPart is plain text, or a placeholder's program.
type detailPart struct {
	text    string
	program cel.Program
}

// Bind compiles the policy for vectors with the given features, in their order. currencyExponent is the number of minor-unit digits
// of the base currency (2 for EUR). It refuses features that do not exist, wrong types, and expressions whose worst case is too
// expensive; the error joins one *PolicyError per fault.
func (f *PolicyFile) Bind(features []string, currencyExponent int) (*Policy, error) {
	if currencyExponent < 0 || currencyExponent > maxExponent {
		return nil, fmt.Errorf("bind policy %s: currency exponent %d: want 0 to %d", f, currencyExponent, maxExponent)
	}
	c, err := newCompiler(features, f.expressions())
	if err != nil {
		return nil, fmt.Errorf("bind policy %s: %w", f, err)
	}
	b := &binder{file: f, compiler: c}
	p := &Policy{
		name:          f.String(),
		thresholds:    f.thresholds,
		onError:       f.onError,
		rules:         b.rules(f.rules),
		slots:         c.slots,
		minorPerMajor: math.Pow10(currencyExponent),
	}
	if t := f.fallback; t != nil {
		p.fallback = &fallback{t.outcome, b.reason(t.reason), b.rules(t.rules)}
	}
	if len(b.faults) > 0 {
		return nil, errors.Join(b.faults...)
	}
	p.spare.New = func() any {
		return &inputs{slots: p.slots, minorPerMajor: p.minorPerMajor, values: make([]ref.Val, len(p.slots.names))}
	}
	return p, nil
}

// expressions returns the text of every expression in the file. Details were split without error when the file was parsed.
func (f *PolicyFile) expressions() []string {
	var texts []string
	detail := func(r reasonText) {
		pieces, _ := splitDetail(r.detail.text)
		for _, p := range pieces {
			if p.expression {
				texts = append(texts, p.text)
			}
		}
	}
	rules := f.rules
	if f.fallback != nil {
		detail(f.fallback.reason)
		rules = append(rules[:len(rules):len(rules)], f.fallback.rules...)
	}
	for _, r := range rules {
		texts = append(texts, r.when.text)
		detail(r.reason)
	}
	return texts
}

// binder compiles the parts of a file and collects what is wrong with them.
type binder struct {
	file     *PolicyFile
	compiler *compiler
	faults   []error
}

func (b *binder) compile(e located, text string, kinds ...types.Kind) cel.Program {
	p, err := b.compiler.compile(text, kinds...)
	if err != nil {
		b.faults = append(b.faults, &PolicyError{b.file.file, e.line, e.field, err.Error()})
	}
	return p
}

func (b *binder) rules(texts []ruleText) []rule {
	rules := make([]rule, 0, len(texts))
	for _, t := range texts {
		rules = append(rules, rule{
			name:    t.name,
			when:    b.compile(t.when, t.when.text, types.BoolKind),
			outcome: t.outcome,
			reason:  b.reason(t.reason),
			failed:  []Reason{{ReasonPolicyRuleFailed, "rule " + t.name}},
		})
	}
	return rules
}

func (b *binder) reason(t reasonText) *reason {
	if t.code == "" {
		return nil
	}
	pieces, err := splitDetail(t.detail.text)
	if err != nil {
		b.faults = append(b.faults, &PolicyError{b.file.file, t.detail.line, t.detail.field, err.Error()})
	}
	r := &reason{code: t.code}
	plain := ""
	for _, p := range pieces {
		part := detailPart{text: p.text}
		if p.expression {
			part = detailPart{program: b.compile(t.detail, p.text, types.StringKind, types.IntKind, types.UintKind, types.DoubleKind, types.BoolKind)}
		} else {
			plain += p.text
		}
		r.parts = append(r.parts, part)
	}
	if len(pieces) == 0 || len(pieces) == 1 && !pieces[0].expression {
		r.fixed = []Reason{{t.code, plain}}
	}
	return r
}

// String returns "name@version", as decisions name their policy.
func (p *Policy) String() string { return p.name }

// Thresholds returns the thresholds on the score.
func (p *Policy) Thresholds() Thresholds { return p.thresholds }

// Decide returns the verdict of the first rule that matches; else, of the thresholds when there is a score, or of the fallback when
// there is none; else, it approves. It never panics and never blocks, whatever the input.
func (p *Policy) Decide(in Input) Verdict {
	e := evaluation{policy: p, inputs: p.spare.Get().(*inputs)}
	defer e.close()
	e.inputs.Input = in
	if v, ok := e.first(p.rules); ok {
		return v
	}
	if in.Score != in.Score {
		return e.withoutScore()
	}
	return e.byScore(in.Score)
}

// evaluation is one call of Decide.
type evaluation struct {
	policy *Policy
	inputs *inputs
	errors int
}

func (e *evaluation) close() {
	clear(e.inputs.values)
	e.inputs.Input = Input{}
	e.policy.spare.Put(e.inputs)
}

// first returns the verdict of the first of the rules that matches, or fails where failing means an outcome.
func (e *evaluation) first(rules []rule) (Verdict, bool) {
	for i := range rules {
		r := &rules[i]
		matched, err := e.matches(r)
		switch {
		case err != nil && e.policy.onError != Undecided:
			return Verdict{e.policy.onError, r.failed, r.name, e.errors}, true
		case matched:
			reasons := e.reasons(r.reason)
			return Verdict{r.outcome, reasons, r.name, e.errors}, true
		}
	}
	return Verdict{}, false
}

// matches evaluates a rule. A rule that needs a score that does not exist does not match; any other error counts.
func (e *evaluation) matches(r *rule) (bool, error) {
	v, err := e.run(r.when)
	if err == nil {
		return v == types.True, nil
	}
	if errors.Is(err, errNoScore) {
		return false, nil
	}
	e.errors++
	return false, err
}

func (e *evaluation) run(program cel.Program) (ref.Val, error) {
	v, _, err := program.Eval(e.inputs)
	return v, err
}

// withoutScore decides when no model scored and no ordinary rule matched.
func (e *evaluation) withoutScore() Verdict {
	f := e.policy.fallback
	if f == nil {
		return Verdict{Outcome: Approve, Errors: e.errors}
	}
	if v, ok := e.first(f.rules); ok {
		return v
	}
	reasons := e.reasons(f.reason)
	return Verdict{f.outcome, reasons, "", e.errors}
}

// byScore decides by the thresholds.
func (e *evaluation) byScore(score float32) Verdict {
	v := Verdict{Outcome: e.policy.thresholds.Outcome(score), Errors: e.errors}
	switch v.Outcome {
	case Decline:
		v.Reasons = scoreReason(ReasonScoreDecline, score, e.policy.thresholds.Decline)
	case StepUp:
		v.Reasons = scoreReason(ReasonScoreStepUp, score, e.policy.thresholds.StepUp)
	}
	return v
}

// scoreReason returns "score 0.93, threshold 0.8".
func scoreReason(code string, score float32, threshold float64) []Reason {
	b := make([]byte, 0, 48)
	b = append(b, "score "...)
	b = strconv.AppendFloat(b, float64(score), 'g', -1, 32)
	b = append(b, ", threshold "...)
	b = strconv.AppendFloat(b, threshold, 'g', -1, 64)
	return []Reason{{code, string(b)}}
}

// reasons fills in the detail of a reason. A placeholder that has no value is shown as "?".
func (e *evaluation) reasons(r *reason) []Reason {
	if r == nil {
		return nil
	}
	if r.fixed != nil {
		return r.fixed
	}
	b := make([]byte, 0, 64)
	for _, p := range r.parts {
		if p.program == nil {
			b = append(b, p.text...)
			continue
		}
		v, err := e.run(p.program)
		if err != nil {
			if !errors.Is(err, errNoScore) {
				e.errors++
			}
			b = append(b, '?')
			continue
		}
		b = appendValue(b, v)
	}
	detail := string(b)
	if len(detail) > MaxDetailBytes {
		detail = strings.ToValidUTF8(detail[:MaxDetailBytes], "")
	}
	return []Reason{{r.code, detail}}
}

// appendValue writes a value for people: numbers without exponent where that is readable.
func appendValue(b []byte, v ref.Val) []byte {
	switch v := v.(type) {
	case types.String:
		return append(b, v...)
	case types.Int:
		return strconv.AppendInt(b, int64(v), 10)
	case types.Uint:
		return strconv.AppendUint(b, uint64(v), 10)
	case types.Bool:
		return strconv.AppendBool(b, bool(v))
	case types.Double:
		format := byte('f')
		if x := math.Abs(float64(v)); x >= 1e15 || x < 1e-6 && x > 0 {
			format = 'g'
		}
		return strconv.AppendFloat(b, float64(v), format, -1, 64)
	}
	return append(b, '?')
}
