package decision

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// The bounds of evaluation, in CEL's units of cost (about one per operation, one per ten bytes of text looked at).
// A whole policy is refused when the estimate of its worst case exceeds maxPolicyCost. A comprehension is besides stopped
// when it runs over maxExpressionCost or holds more memory than maxExpressionMemory; the rule has then failed. What has no comprehension
// does work linear in its length and needs no watching.
const (
	maxExpressionCost   = 10_000
	maxPolicyCost       = 50_000
	maxExpressionMemory = 1 << 20
	maxExpressionNodes  = 2_000
	maxExpressionDepth  = 64
	maxRegexProgram     = 1_000
)

// The largest sizes that an estimate reckons with; Transaction.Validate holds transactions to them.
const (
	assumedTextBytes = MaxAttributeValueBytes
	assumedEntries   = 64
)

// The roots under which an expression finds its inputs. A comprehension may not use one as the name of its variable.
var roots = []string{"transaction", "features", "mesh", "score", "has_score", "degraded"}

// baseEnvironment is the language without variables.
var baseEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	// Time has its own inputs (hour, weekday). Without timestamps no expression can name a time zone, which is read from a file.
	// Without dyn every type is known when a policy is loaded; see flat.
	subset := env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction("timestamp"), env.NewFunction("duration"), env.NewFunction("dyn"))
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxExpressionBytes),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.ExpressionNestingDepthLimit(maxExpressionDepth),
		cel.ExpressionNodeLimit(maxExpressionNodes),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		ext.Math(),
	)
})

// parseExpression checks the syntax of an expression.
func parseExpression(text string) (*cel.Ast, error) {
	base, err := baseEnvironment()
	if err != nil {
		return nil, err
	}
	parsed, issues := base.Parse(text)
	if issues.Err() != nil {
		return nil, celError(issues)
	}
	return parsed, nil
}

// celError turns CEL's multi-line report into one line.
func celError(issues *cel.Issues) error {
	var parts []string
	for _, e := range issues.Errors() {
		message, _, _ := strings.Cut(e.Message, "\n")
		if strings.Contains(message, "no matching overload") && strings.Contains(message, "double") && strings.Contains(message, "int") {
			message += " (double and int do not mix in arithmetic and ==: write 2.0 for 2)"
		}
		if column := e.Location.Column() + 1; column > 0 {
			message = fmt.Sprintf("column %d: %s", column, message)
		}
		parts = append(parts, message)
		if len(parts) == 3 {
			break
		}
	}
	return errors.New(strings.Join(parts, "; "))
}

// compiler turns expressions into programs over the slots of one policy.
type compiler struct {
	slots *slots
	env   *cel.Env
	// cost is the estimated worst case of all programs so far.
	cost uint64
}

// newCompiler makes the environment of a policy: the fixed inputs, the features by name, and an own slot for each
// transaction attribute that one of the expressions reads.
func newCompiler(features []string, expressions []string) (*compiler, error) {
	base, err := baseEnvironment()
	if err != nil {
		return nil, err
	}
	s := newSlots(features)
	if len(s.index) != len(s.names) {
		return nil, errors.New("a feature is named twice")
	}
	for _, e := range expressions {
		parsed, err := parseExpression(e)
		if err != nil {
			return nil, err
		}
		for _, name := range attributesRead(parsed.NativeRep().Expr()) {
			s.addAttribute(name)
		}
	}
	options := make([]cel.EnvOption, 0, len(s.names))
	for i, name := range s.names {
		options = append(options, cel.Variable(name, s.types[i]))
	}
	declared, err := base.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("declare the inputs of expressions: %w", err)
	}
	return &compiler{slots: s, env: declared}, nil
}

// compile checks and plans one expression, whose result has to be of one of the given kinds.
func (c *compiler) compile(text string, kinds ...types.Kind) (cel.Program, error) {
	parsed, err := parseExpression(text)
	if err != nil {
		return nil, err
	}
	root := parsed.NativeRep().Expr()
	comprehends, err := c.examine(root)
	if err != nil {
		return nil, err
	}
	checked, issues := c.env.Check(parsed)
	if issues.Err() != nil {
		return nil, celError(issues)
	}
	if t := checked.OutputType(); !slices.Contains(kinds, t.Kind()) {
		return nil, fmt.Errorf("result is of type %s, want %s", t, kindNames(kinds))
	}
	if err := flat(checked.NativeRep()); err != nil {
		return nil, err
	}
	estimate, err := c.env.EstimateCost(checked, sizeEstimator{})
	if err != nil {
		return nil, fmt.Errorf("estimate cost: %w", err)
	}
	if estimate.Max > maxExpressionCost {
		return nil, fmt.Errorf("too expensive: its worst case costs %s, at most %d is allowed", costText(estimate.Max), maxExpressionCost)
	}
	if c.cost += estimate.Max; c.cost > maxPolicyCost {
		return nil, fmt.Errorf("too expensive: with the expressions before it the policy's worst case costs %d, at most %d is allowed", c.cost, maxPolicyCost)
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if comprehends {
		options = append(options, cel.CostLimit(maxExpressionCost), cel.MemoryLimit(maxExpressionMemory))
	} else {
		options = append(options, cel.CustomDecoratorV2(c.slots.readDirectly))
	}
	program, err := c.env.Program(checked, options...)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return program, nil
}

// flat refuses lists and maps whose elements are not scalars. Comparing those costs more than CEL's costs say, without bound:
// [x].map(x, [x, x]), repeated n times, is small in memory and takes 2^n steps to compare with itself.
func flat(checked *ast.AST) error {
	for _, t := range checked.TypeMap() {
		if t.Kind() != types.ListKind && t.Kind() != types.MapKind {
			continue
		}
		for _, element := range t.Parameters() {
			switch element.Kind() {
			case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.StringKind:
			default:
				return fmt.Errorf("%s: the elements of lists and maps have to be of one scalar type", t)
			}
		}
	}
	return nil
}

// costText writes a cost; the largest number stands for one that has no bound.
func costText(c uint64) string {
	if c == ^uint64(0) {
		return "more than can be told"
	}
	return fmt.Sprint(c)
}

func kindNames(kinds []types.Kind) string {
	var names []string
	for _, k := range kinds {
		switch k {
		case types.BoolKind:
			names = append(names, "bool")
		case types.IntKind:
			names = append(names, "int")
		case types.UintKind:
			names = append(names, "uint")
		case types.DoubleKind:
			names = append(names, "double")
		case types.StringKind:
			names = append(names, "string")
		}
	}
	return strings.Join(names, " or ")
}

// examine walks a parsed expression before it is checked: it makes x["name"] the same as x.name below the known roots, refuses
// names that do not exist with a better message than CEL's, and patterns that are not constant, because a regular
// expression from a transaction could be costly to compile. It says whether the expression has a comprehension.
func (c *compiler) examine(e ast.Expr) (comprehends bool, err error) {
	switch e.Kind() {
	case ast.IdentKind:
		return false, c.knownPath([]string{strings.TrimPrefix(e.AsIdent(), ".")})
	case ast.SelectKind, ast.CallKind:
		if path, ok := inputPath(e); ok {
			selectByName(e)
			return false, c.knownPath(path)
		}
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.Matches {
		call := e.AsCall()
		if n := len(call.Args()); n == 0 || call.Args()[n-1].Kind() != ast.LiteralKind {
			return false, errors.New("matches: the pattern has to be a constant")
		}
	}
	if e.Kind() == ast.StructKind {
		return false, fmt.Errorf("%s{}: messages cannot be made here", e.AsStruct().TypeName())
	}
	if e.Kind() == ast.ComprehensionKind {
		comprehends = true
		l := e.AsComprehension()
		for _, v := range []string{l.IterVar(), l.IterVar2(), l.AccuVar()} {
			if slices.Contains(roots, v) {
				return true, fmt.Errorf("%q is an input and cannot be a variable of a macro", v)
			}
		}
	}
	for _, child := range children(e) {
		inner, err := c.examine(child)
		if err != nil {
			return false, err
		}
		comprehends = comprehends || inner
	}
	return comprehends, nil
}

// selectByName writes x["name"] as x.name all along the path of an input, so that CEL sees the name of its slot.
func selectByName(e ast.Expr) {
	operand, key, ok := step(e)
	if !ok {
		return
	}
	selectByName(operand)
	if e.Kind() == ast.CallKind {
		e.SetKindCase(ast.NewExprFactory().NewSelect(e.ID(), operand, key))
	}
}

// knownPath returns an error when the path lies under an input root and names nothing.
func (c *compiler) knownPath(path []string) error {
	name := strings.Join(path, ".")
	if !slices.Contains(roots, path[0]) {
		return nil
	}
	if _, ok := c.slots.index[name]; ok {
		return nil
	}
	switch {
	case len(path) > 2 && strings.HasPrefix(name, attributesPrefix), len(path) > 2 && path[0] == "mesh" && path[1] == "staleness":
		return nil
	case len(path) == 1:
		return fmt.Errorf("%q is not a value of its own: write %s.<name>", name, name)
	case path[0] == "features":
		feature := strings.TrimPrefix(name, featuresPrefix)
		return fmt.Errorf("there is no feature %q%s", clip(feature), didYouMean(feature, c.slots.features))
	}
	return fmt.Errorf("there is no input %q%s", clip(name), didYouMean(name, c.slots.fixedNames()))
}

// step splits x.name or x["name"] into x and name.
func step(e ast.Expr) (operand ast.Expr, key string, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return s.Operand(), s.FieldName(), !s.IsTestOnly()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 || call.Args()[1].Kind() != ast.LiteralKind {
			return nil, "", false
		}
		s, ok := call.Args()[1].AsLiteral().(types.String)
		return call.Args()[0], string(s), ok
	}
	return nil, "", false
}

// inputPath returns the names of a chain such as transaction.attributes["channel"] that starts at a root.
func inputPath(e ast.Expr) ([]string, bool) {
	if e.Kind() == ast.IdentKind {
		name := strings.TrimPrefix(e.AsIdent(), ".")
		return []string{name}, slices.Contains(roots, name)
	}
	operand, key, ok := step(e)
	if !ok {
		return nil, false
	}
	path, ok := inputPath(operand)
	return append(path, key), ok
}

// attributesRead returns the names n of all transaction.attributes.n in an expression.
func attributesRead(e ast.Expr) []string {
	if path, ok := inputPath(e); ok && len(path) > 2 {
		if name, ok := strings.CutPrefix(strings.Join(path, "."), attributesPrefix); ok {
			return []string{name}
		}
	}
	var names []string
	for _, child := range children(e) {
		names = append(names, attributesRead(child)...)
	}
	return names
}

// children returns the direct parts of an expression.
func children(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return append([]ast.Expr{call.Target()}, call.Args()...)
		}
		return call.Args()
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var parts []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			parts = append(parts, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		return parts
	case ast.ComprehensionKind:
		l := e.AsComprehension()
		return []ast.Expr{l.IterRange(), l.AccuInit(), l.LoopCondition(), l.LoopStep(), l.Result()}
	}
	return nil
}

// sizeEstimator tells the largest sizes of inputs.
type sizeEstimator struct{}

// EstimateSize implements cost.Estimator.
func (sizeEstimator) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if len(n.Path()) == 0 {
		return nil
	}
	most := uint64(assumedEntries)
	switch n.Type().Kind() {
	case types.StringKind:
		most = assumedTextBytes
	case types.MapKind, types.ListKind:
	default:
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

// EstimateCallCost implements cost.Estimator: the library's own estimates stand.
func (sizeEstimator) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// slotNode reads an input without looking its name up.
type slotNode struct {
	id   int64
	slot int
	name string
}

// readDirectly replaces the plain reading of a slot in a program without comprehensions.
func (s *slots) readDirectly(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	read, ok := i.(interpreter.InterpretableAttribute)
	if !ok {
		return i, nil
	}
	a, ok := read.Attr().(interpreter.NamespacedAttribute)
	if !ok || len(a.Qualifiers()) > 0 || len(a.CandidateVariableNames()) != 1 {
		return i, nil
	}
	name := strings.TrimPrefix(a.CandidateVariableNames()[0], ".")
	slot, ok := s.index[name]
	if !ok || s.types[slot].Kind() == types.MapKind {
		return i, nil
	}
	return &slotNode{read.ID(), slot, name}, nil
}

// ID implements interpreter.Interpretable.
func (n *slotNode) ID() int64 { return n.id }

// Exec implements interpreter.InterpretableV2.
func (n *slotNode) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	if in, ok := frame.Scope().(*inputs); ok {
		return in.value(n.slot)
	}
	return n.Eval(frame)
}

// Eval implements interpreter.Interpretable.
func (n *slotNode) Eval(a interpreter.Activation) ref.Val {
	v, ok := a.ResolveName(n.name)
	if !ok {
		return types.NewErr("no input %s", n.name)
	}
	return v.(ref.Val)
}
