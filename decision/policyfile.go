package decision

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// The bounds of a policy file. A file beyond one is refused when it is parsed.
const (
	// MaxPolicyBytes is the largest policy file.
	MaxPolicyBytes = 128 << 10
	// MaxPolicyRules is the largest number of rules, the fallback's included.
	MaxPolicyRules = 256
	// MaxExpressionBytes is the longest CEL expression.
	MaxExpressionBytes = 4 << 10
	// MaxDetailBytes is the longest detail of a reason, as written and as filled in. A filled-in detail is cut there.
	MaxDetailBytes = 512
	// MaxPlaceholders is the largest number of ${...} in a detail.
	MaxPlaceholders = 8
)

// maxFaults is the largest number of faults that are reported of a file.
const maxFaults = 20

// Thresholds turn a score into an outcome. A threshold that the policy does not set is +Inf.
type Thresholds struct {
	// StepUp and Decline are the least scores, 0 to 1, that step up and decline. StepUp <= Decline.
	StepUp, Decline float64
}

// Outcome is what the thresholds alone make of a score: "score >= 0.8" holds for every float32 that is written 0.8 or
// more in its shortest decimal form, so that what people read in an answer is what was compared. NaN is approved.
func (t Thresholds) Outcome(score float32) Outcome {
	switch s := decimalScore(score); {
	case s >= t.Decline:
		return Decline
	case s >= t.StepUp:
		return StepUp
	}
	return Approve
}

// PolicyFile is a parsed policy whose expressions are not compiled yet, because that needs the names of the features.
// It is immutable.
type PolicyFile struct {
	file       string
	name       string
	version    int64
	thresholds Thresholds
	onError    Outcome // Undecided: skip the rule
	rules      []ruleText
	fallback   *fallbackText
}

// ruleText is a rule as it is written.
type ruleText struct {
	field   string // "rules[3]"
	line    int
	name    string
	when    located
	outcome Outcome
	reason  reasonText
}

// reasonText is a reason as it is written; its code is empty when there is none.
type reasonText struct {
	code   string
	detail located
}

// fallbackText is what decides when no model scored and no ordinary rule matched.
type fallbackText struct {
	outcome Outcome
	reason  reasonText
	rules   []ruleText
}

// located is a text with the place where it is written.
type located struct {
	text  string
	field string
	line  int
}

// PolicyError is a fault of a policy file.
type PolicyError struct {
	File string
	// Line counts from 1; 0 when the fault has no line.
	Line int
	// Field is the path of the field at fault ("rules[3].when"), or empty.
	Field string
	// Detail says what is wrong and what is allowed.
	Detail string
}

// Error returns "file:line: field: detail".
func (e *PolicyError) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Field == "" {
		return place + ": " + e.Detail
	}
	return place + ": " + e.Field + ": " + e.Detail
}

// ParsePolicy reads a policy in YAML (the package comment shows one). It refuses unknown and duplicate keys, wrong types, values
// out of bounds, and expressions that are not CEL. The error joins one *PolicyError per fault, of the first 20; file only
// names the source in them.
func ParsePolicy(file string, data []byte) (*PolicyFile, error) {
	r := &policyReader{file: file, names: map[string]int{}}
	root, err := parseYAML(file, data)
	if err != nil {
		return nil, err
	}
	f := r.policy(root)
	if len(r.faults) > 0 {
		return nil, errors.Join(r.faults...)
	}
	return f, nil
}

// String returns "name@version".
func (f *PolicyFile) String() string { return fmt.Sprintf("%s@%d", f.name, f.version) }

// Thresholds returns the thresholds on the score.
func (f *PolicyFile) Thresholds() Thresholds { return f.thresholds }

var (
	policyName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	ruleName   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)
	reasonCode = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
)

// policyReader turns a YAML tree into a PolicyFile and collects what is wrong with it.
type policyReader struct {
	file   string
	faults []error
	names  map[string]int // rule name -> line
}

func (r *policyReader) fault(line int, field, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, &PolicyError{r.file, line, field, fmt.Sprintf(format, args...)})
	}
}

func (r *policyReader) policy(root yamlValue) *PolicyFile {
	m, ok := r.mapping(root, "name", "version", "thresholds", "rules", "fallback", "on_error")
	if !ok {
		return nil
	}
	f := &PolicyFile{file: r.file, thresholds: Thresholds{StepUp: math.Inf(1), Decline: math.Inf(1)}}
	f.name = r.matching(m, "name", policyName, "1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit")
	if v, ok := r.required(m, "version"); ok {
		f.version = r.integer(v, 1, math.MaxInt32)
	}
	if v, ok := m.fields["thresholds"]; ok {
		f.thresholds = r.thresholds(v)
	}
	if v, ok := m.fields["rules"]; ok {
		f.rules = r.rules(v)
	}
	if v, ok := m.fields["on_error"]; ok {
		f.onError = r.onError(v)
	}
	if v, ok := m.fields["fallback"]; ok {
		f.fallback = r.fallback(v)
	} else if _, scored := m.fields["thresholds"]; scored {
		r.fault(m.line, "fallback", "required beside thresholds: it says what is decided when no model scored")
	}
	if n := len(r.names); n > MaxPolicyRules {
		r.fault(m.line, "rules", "%d rules in all, at most %d are allowed", n, MaxPolicyRules)
	}
	return f
}

func (r *policyReader) thresholds(v yamlValue) Thresholds {
	t := Thresholds{StepUp: math.Inf(1), Decline: math.Inf(1)}
	m, ok := r.mapping(v, "step_up", "decline")
	if !ok {
		return t
	}
	if v, ok := m.fields["step_up"]; ok {
		t.StepUp = r.number(v, 0, 1)
	}
	if v, ok := m.fields["decline"]; ok {
		t.Decline = r.number(v, 0, 1)
	}
	if len(m.fields) == 2 && t.StepUp > t.Decline {
		r.fault(m.line, m.field, "step_up %v is above decline %v, so nothing would ever step up", t.StepUp, t.Decline)
	}
	return t
}

func (r *policyReader) onError(v yamlValue) Outcome {
	s, ok := r.text(v)
	if !ok || s == "skip" {
		return Undecided
	}
	o, err := ParseOutcome(s)
	if err != nil {
		r.fault(v.line, v.field, "%q: want one of skip, approve, decline, step_up", s)
	}
	return o
}

func (r *policyReader) rules(v yamlValue) []ruleText {
	items, ok := r.sequence(v)
	if !ok {
		return nil
	}
	rules := make([]ruleText, 0, len(items))
	for _, item := range items {
		rules = append(rules, r.rule(item))
	}
	return rules
}

func (r *policyReader) rule(v yamlValue) ruleText {
	rule := ruleText{field: v.field, line: v.line}
	m, ok := r.mapping(v, "name", "when", "outcome", "reason")
	if !ok {
		return rule
	}
	rule.name = r.matching(m, "name", ruleName, "1 to 64 letters, digits, '.', '_', '-', starting with a letter or digit")
	if line, ok := r.names[rule.name]; ok && rule.name != "" {
		r.fault(v.line, v.field+".name", "%q is the name of the rule at line %d too", rule.name, line)
	}
	r.names[rule.name] = v.line
	if w, ok := r.required(m, "when"); ok {
		rule.when = r.expression(w)
	}
	rule.outcome = r.outcome(m)
	if v, ok := m.fields["reason"]; ok {
		rule.reason = r.reason(v)
	} else if rule.outcome != Approve {
		r.fault(m.line, m.field+".reason", "required unless the outcome is approve")
	}
	return rule
}

func (r *policyReader) outcome(m yamlMapping) Outcome {
	v, ok := r.required(m, "outcome")
	if !ok {
		return Undecided
	}
	s, ok := r.text(v)
	if !ok {
		return Undecided
	}
	o, err := ParseOutcome(s)
	if err != nil {
		r.fault(v.line, v.field, "%q: want one of approve, decline, step_up", s)
	}
	return o
}

func (r *policyReader) reason(v yamlValue) reasonText {
	var reason reasonText
	m, ok := r.mapping(v, "code", "detail")
	if !ok {
		return reason
	}
	reason.code = r.matching(m, "code", reasonCode, "UPPER_SNAKE such as CARD_VELOCITY_5M")
	if len(reason.code) > 64 {
		r.fault(v.line, v.field+".code", "%d bytes, at most 64 are allowed", len(reason.code))
	}
	d, ok := m.fields["detail"]
	if !ok {
		return reason
	}
	text, ok := r.text(d)
	if !ok {
		return reason
	}
	reason.detail = located{text, d.field, d.line}
	if len(text) > MaxDetailBytes {
		r.fault(d.line, d.field, "%d bytes, at most %d are allowed", len(text), MaxDetailBytes)
		return reason
	}
	pieces, err := splitDetail(text)
	if err != nil {
		r.fault(d.line, d.field, "%v", err)
	}
	for _, p := range pieces {
		if p.expression {
			r.syntax(located{p.text, d.field, d.line})
		}
	}
	return reason
}

func (r *policyReader) fallback(v yamlValue) *fallbackText {
	f := &fallbackText{}
	m, ok := r.mapping(v, "outcome", "reason", "rules")
	if !ok {
		return f
	}
	f.outcome = r.outcome(m)
	f.reason.code = ReasonModelUnavailable
	if f.outcome == Approve {
		f.reason.code = ""
	}
	if v, ok := m.fields["reason"]; ok {
		f.reason = r.reason(v)
	}
	if v, ok := m.fields["rules"]; ok {
		f.rules = r.rules(v)
	}
	return f
}

// expression reads a CEL expression and checks its size and syntax.
func (r *policyReader) expression(v yamlValue) located {
	s, ok := r.text(v)
	e := located{s, v.field, v.line}
	switch {
	case !ok:
	case strings.TrimSpace(s) == "":
		r.fault(v.line, v.field, "empty: want a CEL expression")
	case len(s) > MaxExpressionBytes:
		r.fault(v.line, v.field, "%d bytes, at most %d are allowed", len(s), MaxExpressionBytes)
	default:
		r.syntax(e)
	}
	return e
}

func (r *policyReader) syntax(e located) {
	if _, err := parseExpression(e.text); err != nil {
		r.fault(e.line, e.field, "%v", err)
	}
}

// matching reads a required text that has to match a pattern; want describes the pattern.
func (r *policyReader) matching(m yamlMapping, key string, pattern *regexp.Regexp, want string) string {
	v, ok := r.required(m, key)
	if !ok {
		return ""
	}
	s, ok := r.text(v)
	if ok && !pattern.MatchString(s) {
		r.fault(v.line, v.field, "%q: want %s", clip(s), want)
	}
	return s
}

// clip shortens a text from a file so that an error stays readable.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}
