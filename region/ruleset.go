package region

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/model"
)

// RulesetFiles names the files of what decides.
type RulesetFiles struct {
	// Schema is the feature schema (YAML).
	Schema string `yaml:"schema"`
	// Model is the model's manifest (YAML). Empty: no model; every decision is the policy's fallback, and says so.
	Model string `yaml:"model"`
	// Policy is the policy (YAML).
	Policy string `yaml:"policy"`
}

// Ruleset is what decides: a schema, a model and a policy, checked against each other. It is immutable.
type Ruleset struct {
	schema   *feature.Schema
	model    *model.Bound // nil: none
	policy   *decision.Policy
	versions decision.Versions
}

// modelFactors is how many of the model's inputs are named as reasons of an outcome that its score made.
const modelFactors = 3

// ReasonModelFactor is the code of a reason that names an input which raised the model's score.
const ReasonModelFactor = "MODEL_FACTOR"

// LoadRuleset reads and checks all files. An error names the file, the line and the field; nothing is returned by halves.
func LoadRuleset(files RulesetFiles) (*Ruleset, error) {
	text, err := os.ReadFile(files.Schema)
	if err != nil {
		return nil, fmt.Errorf("rules.schema: %w", err)
	}
	schema, err := feature.ParseSchema(files.Schema, text)
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	return bindRuleset(schema, files)
}

// Reload reads model and policy again and binds them to the schema, which stays.
func (r *Ruleset) Reload(files RulesetFiles) (*Ruleset, error) { return bindRuleset(r.schema, files) }

func bindRuleset(schema *feature.Schema, files RulesetFiles) (*Ruleset, error) {
	r := &Ruleset{schema: schema, versions: decision.Versions{Schema: schema.Version(), Model: "none"}}
	if files.Model != "" {
		m, err := model.Load(files.Model)
		if err != nil {
			return nil, fmt.Errorf("rules.model: %w", err)
		}
		if !m.IsProbability() {
			return nil, fmt.Errorf("load model %s: objective %s gives no probability; thresholds need one", files.Model, m.Objective())
		}
		if r.model, err = m.Bind(schema.Names()); err != nil {
			return nil, fmt.Errorf("bind model %s to schema %s: %w", files.Model, schema.Version(), err)
		}
		r.versions.Model = m.String()
	}
	text, err := os.ReadFile(files.Policy)
	if err != nil {
		return nil, fmt.Errorf("rules.policy: %w", err)
	}
	parsed, err := decision.ParsePolicy(files.Policy, text)
	if err != nil {
		return nil, fmt.Errorf("parse policy: %w", err)
	}
	if r.policy, err = parsed.Bind(schema.Names(), schema.Exponent()); err != nil {
		return nil, fmt.Errorf("bind policy %s to schema %s: %w", files.Policy, schema.Version(), err)
	}
	r.versions.Policy = r.policy.String()
	return r, nil
}

// Schema returns the feature schema.
func (r *Ruleset) Schema() *feature.Schema { return r.schema }

// Versions names what the ruleset consists of.
func (r *Ruleset) Versions() decision.Versions { return r.versions }

// Thresholds are those of the policy.
func (r *Ruleset) Thresholds() decision.Thresholds { return r.policy.Thresholds() }

// Score asks the model; NaN when there is none.
func (r *Ruleset) Score(vector []float64) float32 {
	if r.model == nil {
		return float32(math.NaN())
	}
	return r.model.Predict(vector).Score
}

// Judge fills in what follows from the features and the score: outcome, score, reasons, degradations, versions. degraded says what the features
// lack, and is not kept.
func (r *Ruleset) Judge(d *decision.Decision, vector []float64, score float32, degraded []string, staleness map[string]float64) {
	if math.IsNaN(float64(score)) && !slices.Contains(degraded, decision.DegradedModel) {
		degraded = append(degraded, decision.DegradedModel)
	}
	verdict := r.policy.Decide(decision.Input{Transaction: &d.Transaction, Features: vector, Score: score, Degraded: degraded, Staleness: staleness})
	if verdict.Errors > 0 {
		degraded = append(degraded, decision.DegradedPolicy)
	}
	d.Outcome, d.Score, d.Versions, d.Reasons = verdict.Outcome, score, r.versions, verdict.Reasons
	if verdict.Outcome != decision.Approve && verdict.Rule == "" && r.model != nil && !math.IsNaN(float64(score)) {
		d.Reasons = append(slices.Clip(d.Reasons), r.factors(vector)...)
	}
	if len(degraded) > 0 {
		d.Degraded = slices.Clone(degraded)
		slices.Sort(d.Degraded)
		d.Degraded = slices.Compact(d.Degraded)
	}
}

// factors names the inputs that raised the score the most.
func (r *Ruleset) factors(vector []float64) []decision.Reason {
	all, _ := r.model.Explain(nil, vector)
	var reasons []decision.Reason
	for _, c := range model.Top(nil, all, modelFactors) {
		reasons = append(reasons, decision.Reason{Code: ReasonModelFactor, Detail: fmt.Sprintf("%s = %.6g", c.Input, vector[c.Feature])})
	}
	return reasons
}

// Explain shows the features, and what each input of the model added to its margin.
func (r *Ruleset) Explain(vector []float64) *decision.Explanation {
	out := &decision.Explanation{}
	for i, name := range r.schema.Names() {
		out.Features = append(out.Features, decision.FeatureValue{Name: name, Value: vector[i]})
	}
	if r.model == nil {
		return out
	}
	contributions, bias := r.model.Explain(nil, vector)
	for _, c := range contributions {
		out.Contributions = append(out.Contributions, decision.FeatureValue{Name: c.Input, Value: float64(c.Value)})
	}
	out.Contributions = append(out.Contributions, decision.FeatureValue{Name: "bias", Value: float64(bias)})
	return out
}

var errNoFile = errors.New("no file named")

// Validate says which file is not named.
func (f RulesetFiles) Validate() error {
	if f.Schema == "" {
		return fmt.Errorf("rules.schema: %w", errNoFile)
	}
	if f.Policy == "" {
		return fmt.Errorf("rules.policy: %w", errNoFile)
	}
	return nil
}
