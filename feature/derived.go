package feature

import (
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"scoremesh/decision"
)

// derived is a feature that follows from the transaction alone, by a CEL expression.
type derived struct {
	name    string
	program cel.Program
}

// maxDerivedCost bounds what one evaluation may cost, in CEL's units, so that no schema can stall a node.
const maxDerivedCost = 10_000

var derivedEnv = func() *cel.Env {
	env, err := cel.NewEnv(
		cel.Variable("amount", cel.DoubleType), cel.Variable("amount_minor", cel.IntType),
		cel.Variable("currency", cel.StringType), cel.Variable("country", cel.StringType), cel.Variable("mcc", cel.StringType),
		cel.Variable("hour", cel.IntType), cel.Variable("weekday", cel.IntType),
		cel.Variable("has_device", cel.BoolType), cel.Variable("has_position", cel.BoolType),
		cel.Variable("attributes", cel.MapType(cel.StringType, cel.StringType)),
	)
	if err != nil {
		panic(fmt.Sprintf("derived features: the constant CEL environment: %v", err))
	}
	return env
}()

func compileDerived(name, expression string) (derived, error) {
	if len(expression) == 0 || len(expression) > 2000 {
		return derived{}, fmt.Errorf("want a CEL expression of 1 to 2000 bytes over amount, amount_minor, currency, country, mcc, hour, weekday, has_device, has_position, attributes")
	}
	tree, issues := derivedEnv.Compile(expression)
	if issues.Err() != nil {
		return derived{}, fmt.Errorf("CEL: %w", issues.Err())
	}
	switch tree.OutputType() {
	case cel.DoubleType, cel.IntType, cel.BoolType:
	default:
		return derived{}, fmt.Errorf("the expression's type is %s: want double, int or bool", tree.OutputType())
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	estimate, err := derivedEnv.EstimateCost(tree, derivedSizes{})
	if err != nil {
		return derived{}, fmt.Errorf("CEL: estimate cost: %w", err)
	}
	if estimate.Max > maxDerivedCost {
		// Watching the cost is a good part of what a short expression costs: only those that could exceed the bound are watched.
		options = append(options, cel.CostLimit(maxDerivedCost))
	}
	program, err := derivedEnv.Program(tree, options...)
	if err != nil {
		return derived{}, fmt.Errorf("CEL: %w", err)
	}
	return derived{name, program}, nil
}

// derivedSizes tells the estimate how large a transaction's texts and its map of attributes can be; Transaction.Validate holds it to that.
type derivedSizes struct{}

// EstimateSize implements cost.Estimator.
func (derivedSizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if len(n.Path()) == 0 {
		return nil
	}
	switch n.Type().Kind() {
	case types.StringKind:
		return &cost.SizeEstimate{Max: decision.MaxAttributeValueBytes}
	case types.MapKind:
		return &cost.SizeEstimate{Max: decision.MaxAttributes}
	}
	return nil
}

// EstimateCallCost implements cost.Estimator: the library's own estimates stand.
func (derivedSizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// ReadTransaction fills the derived slots, which stand before those of the kinds. A failing expression (a missing attribute,
// a cost above the bound) leaves NaN, which models take as missing, and is named in the error.
func (s *Schema) ReadTransaction(t *decision.Transaction, vector []float64) error {
	var failed error
	activation := transactionVariables{t, s}
	for i := range s.derived {
		value, _, err := s.derived[i].program.Eval(&activation)
		if err != nil {
			failed = fmt.Errorf("derive %s: %w", s.derived[i].name, err)
			vector[i] = nan
			continue
		}
		vector[i] = number(value)
	}
	return failed
}

func number(v ref.Val) float64 {
	switch v := v.(type) {
	case types.Double:
		return float64(v)
	case types.Int:
		return float64(v)
	case types.Bool:
		if v {
			return 1
		}
		return 0
	}
	return nan
}

// transactionVariables resolves CEL's variables from the transaction on demand.
type transactionVariables struct {
	*decision.Transaction
	schema *Schema
}

var _ interpreter.Activation = (*transactionVariables)(nil)

func (v *transactionVariables) Parent() interpreter.Activation { return nil }

func (v *transactionVariables) ResolveName(name string) (any, bool) {
	switch name {
	case "amount":
		return types.Double(v.schema.units(float64(v.BaseAmount))), true
	case "amount_minor":
		return types.Int(v.BaseAmount), true
	case "currency":
		return types.String(v.Currency), true
	case "country":
		return types.String(v.Country), true
	case "mcc":
		return types.String(v.MCC), true
	case "hour":
		return types.Int(time.UnixMilli(v.At).UTC().Hour()), true
	case "weekday":
		return types.Int((time.UnixMilli(v.At).UTC().Weekday() + 6) % 7), true
	case "has_device":
		return types.Bool(v.Device != ""), true
	case "has_position":
		return types.Bool(v.HasPosition), true
	case "attributes":
		m := make(map[string]string, len(v.Attributes))
		for _, a := range v.Attributes {
			m[a.Name] = a.Value
		}
		return m, true
	}
	return nil, false
}
