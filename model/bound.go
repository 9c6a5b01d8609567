package model

import (
	"fmt"
	"strings"
)

// Bound is a model bound to the order of a schema's features. It is immutable and safe for concurrent use.
type Bound struct {
	model *Model
	// from is, for each of the model's inputs, its place in the schema's vector.
	from []int
	// width is the length of the schema's vector.
	width int
}

// Prediction is what a model says about one transaction.
type Prediction struct {
	// Score is Booster.predict's value: the probability of fraud, 0 to 1, when Model.IsProbability.
	Score float32
	// Margin is the score before the link, the scale of contributions: log-odds when Model.IsProbability.
	Margin float32
}

// Bind binds m to vectors that hold the features names, in that order. It refuses names that lack one of m's inputs, naming all that
// are missing, and names of which one comes twice.
func (m *Model) Bind(names []string) (*Bound, error) {
	at := make(map[string]int, len(names))
	for i, name := range names {
		if first, ok := at[name]; ok {
			return nil, fmt.Errorf("bind model %s: feature %s is at %d and at %d", m, name, first, i)
		}
		at[name] = i
	}
	b := &Bound{model: m, from: make([]int, 0, len(m.manifest.inputs)), width: len(names)}
	var missing []string
	for _, name := range m.manifest.inputs {
		i, ok := at[name]
		if !ok {
			missing = append(missing, name)
		}
		b.from = append(b.from, i)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("bind model %s: the schema lacks %s", m, strings.Join(missing, ", "))
	}
	return b, nil
}

// Model is what is bound.
func (b *Bound) Model() *Model { return b.model }

// smallRow is the length of row up to which Predict gets by with a small stack frame: most models have few inputs.
const smallRow = 2*64 + 1

// Predict scores a vector of the features that b is bound to; NaN is a missing value. Values are rounded to float32, as in training.
// It allocates nothing. It panics when the vector's length is not that of the names given to Bind.
func (b *Bound) Predict(features []float64) Prediction {
	e := b.model.ensemble
	var margin float32
	if n := e.rowLen(); n <= smallRow {
		var row [smallRow]float32
		margin = b.margin(features, row[:n])
	} else {
		var row [2*MaxInputs + 1]float32
		margin = b.margin(features, row[:n])
	}
	return Prediction{Score: e.link.score(margin), Margin: margin}
}

func (b *Bound) margin(features []float64, row []float32) float32 {
	b.fill(features, row)
	return b.model.ensemble.margin(row)
}

// fill states features in row, see ensemble. The constant at its end stays 0.
func (b *Bound) fill(features []float64, row []float32) {
	if len(features) != b.width {
		panic(fmt.Sprintf("model: a vector of %d features, bound to %d", len(features), b.width))
	}
	for f, i := range b.from {
		setRow(row, f, float32(features[i]))
	}
}

// Explain appends to dst one contribution per input, in the model's order, and returns it with the bias, which is the expected margin.
// Bias and contributions add up to the margin that Predict gives, but for rounding. It allocates only where dst lacks capacity,
// and costs about a hundred times as much as Predict.
// It panics when the vector's length is not that of the names given to Bind.
func (b *Bound) Explain(dst []Contribution, features []float64) (contributions []Contribution, bias float32) {
	e := b.model.ensemble
	x := e.explainers.Get().(*explainer)
	defer e.explainers.Put(x)
	b.fill(features, x.row)
	x.explain(e)
	for f, name := range b.model.manifest.inputs {
		dst = append(dst, Contribution{Input: name, Feature: b.from[f], Value: float32(x.phi[f])})
	}
	return dst, float32(e.bias)
}
