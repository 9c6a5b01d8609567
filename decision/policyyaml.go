package decision

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxYAMLDepth bounds how deep a file may nest, because the YAML parser recurses.
const maxYAMLDepth = 32

// yamlValue is a node of the file with its place.
type yamlValue struct {
	node  ast.Node
	field string
	line  int
}

// yamlMapping is a mapping whose keys are known and unique.
type yamlMapping struct {
	field  string
	line   int
	fields map[string]yamlValue
}

// parseYAML parses one document. Anchors, aliases, merges and tags are refused where a value is read: a policy has no use for
// them, and they are how a small file becomes a huge one.
func parseYAML(file string, data []byte) (v yamlValue, err error) {
	if len(data) > MaxPolicyBytes {
		return v, &PolicyError{File: file, Detail: fmt.Sprintf("%d bytes, at most %d are allowed", len(data), MaxPolicyBytes)}
	}
	if line := nestsTooDeep(data); line > 0 {
		return v, &PolicyError{File: file, Line: line, Detail: fmt.Sprintf("nested deeper than %d", maxYAMLDepth)}
	}
	// A fault of the parser on some input must refuse the file, not end the process.
	defer func() {
		if p := recover(); p != nil {
			err = &PolicyError{File: file, Detail: fmt.Sprintf("not YAML that can be parsed: %v", p)}
		}
	}()
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return v, yamlError(file, err)
	}
	var docs []ast.Node
	for _, d := range f.Docs {
		if d.Body != nil {
			docs = append(docs, d.Body)
		}
	}
	if len(docs) != 1 {
		return v, &PolicyError{File: file, Detail: fmt.Sprintf("%d documents, want 1", len(docs))}
	}
	return yamlValue{node: docs[0], line: lineOf(docs[0])}, nil
}

// nestsTooDeep returns the first line that nests too deep, or 0. It counts brackets without regard to quotes, and
// indicators at the start of a line, so it may refuse an odd text but never lets deep nesting through.
func nestsTooDeep(data []byte) int {
	depth, line := 0, 1
	leading, starting := 0, true
	for _, c := range data {
		switch c {
		case '\n', '\r':
			if c == '\n' {
				line++
			}
			leading, starting = 0, true
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if starting {
			switch c {
			case '-', '?', '!', '&', ':':
				leading++
			case ' ', '\t':
			default:
				starting = false
			}
		}
		if depth > maxYAMLDepth || leading > maxYAMLDepth {
			return line
		}
	}
	return 0
}

func yamlError(file string, err error) error {
	var positioned yaml.Error
	if !errors.As(err, &positioned) {
		return &PolicyError{File: file, Detail: err.Error()}
	}
	line := 0
	if t := positioned.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	return &PolicyError{File: file, Line: line, Detail: positioned.GetMessage()}
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	// A mapping's own token is the colon of its first pair; its first key is where it starts.
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return lineOf(m.Values[0].Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// mapping reads a mapping that may have the given keys only.
func (r *policyReader) mapping(v yamlValue, allowed ...string) (yamlMapping, bool) {
	m := yamlMapping{field: v.field, line: v.line, fields: map[string]yamlValue{}}
	var pairs []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		r.wrongType(v, "a mapping")
		return m, false
	}
	for _, p := range pairs {
		key, ok := p.Key.(*ast.StringNode)
		line := lineOf(p.Key)
		if !ok {
			r.fault(line, v.field, "key %s: want one of %s", clip(p.Key.String()), strings.Join(allowed, ", "))
			continue
		}
		field := key.Value
		if v.field != "" {
			field = v.field + "." + key.Value
		}
		if !slices.Contains(allowed, key.Value) {
			r.fault(line, clip(field), "unknown field%s; want one of %s", didYouMean(key.Value, allowed), strings.Join(allowed, ", "))
			continue
		}
		if _, ok := m.fields[key.Value]; ok {
			r.fault(line, field, "given twice")
			continue
		}
		m.fields[key.Value] = yamlValue{p.Value, field, line}
	}
	return m, true
}

func (r *policyReader) sequence(v yamlValue) ([]yamlValue, bool) {
	n, ok := v.node.(*ast.SequenceNode)
	if !ok {
		r.wrongType(v, "a list")
		return nil, false
	}
	items := make([]yamlValue, len(n.Values))
	for i, item := range n.Values {
		items[i] = yamlValue{item, fmt.Sprintf("%s[%d]", v.field, i), lineOf(item)}
	}
	return items, true
}

func (r *policyReader) required(m yamlMapping, key string) (yamlValue, bool) {
	v, ok := m.fields[key]
	if !ok {
		field := key
		if m.field != "" {
			field = m.field + "." + key
		}
		r.fault(m.line, field, "required")
	}
	return v, ok
}

// text reads a string. "true" and "false" are texts too, because they are CEL expressions.
func (r *policyReader) text(v yamlValue) (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode:
		return n.GetToken().Value, true
	}
	r.wrongType(v, "a text")
	return "", false
}

func (r *policyReader) integer(v yamlValue, low, high int64) int64 {
	n, ok := v.node.(*ast.IntegerNode)
	if !ok {
		r.wrongType(v, "an integer")
		return 0
	}
	var i int64
	switch value := n.Value.(type) {
	case int64:
		i = value
	case uint64:
		i = int64(min(value, math.MaxInt64))
	}
	if i < low || i > high {
		r.fault(v.line, v.field, "%d: want %d to %d", i, low, high)
	}
	return i
}

func (r *policyReader) number(v yamlValue, low, high float64) float64 {
	var x float64
	switch n := v.node.(type) {
	case *ast.FloatNode:
		x = n.Value
	case *ast.IntegerNode:
		switch value := n.Value.(type) {
		case int64:
			x = float64(value)
		case uint64:
			x = float64(value)
		}
	default:
		r.wrongType(v, "a number")
		return 0
	}
	if !(x >= low && x <= high) {
		r.fault(v.line, v.field, "%v: want %v to %v", x, low, high)
	}
	return x
}

func (r *policyReader) wrongType(v yamlValue, want string) {
	got := "nothing"
	if v.node != nil {
		got = strings.ToLower(v.node.Type().String())
	}
	r.fault(v.line, v.field, "want %s, got %s", want, got)
}
