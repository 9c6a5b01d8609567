package model

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// manifest is the YAML file that names a model:
//
//	name: fraud                   # letters, digits, dot, dash, underscore
//	version: 7
//	format: xgboost-json
//	file: ${MODELS}/fraud-7.json  # relative to the manifest; ${NAME} is the environment's
//	inputs: [amount, card_count_1d]
//	description: trained on ...   # optional
//	metrics: {auc_roc: 0.93}      # optional: held-out figures
type manifest struct {
	name        string
	version     int
	format      string
	file        string
	inputs      []string
	description string
	metrics     map[string]float64
}

const (
	formatXGBoost    = "xgboost-json"
	maxManifestBytes = 256 << 10
	maxNameLen       = 128
	maxMetrics       = 256
)

// parseManifest reads text strictly: an unknown, missing or repeated key and a value of another type are errors that begin with
// path:line and the field.
func parseManifest(path string, text []byte) (*manifest, error) {
	top, err := parseMapping(path, text)
	if err != nil {
		return nil, err
	}
	var m manifest
	first := 1 // the line of the first key
	required := []string{"name", "version", "format", "file", "inputs"}
	seen := make(map[string]bool)
	for it := top.MapRange(); it.Next(); {
		line, key, err := yamlKey(it.Key())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		if len(seen) == 0 {
			first = line
		}
		seen[key] = true
		if err := m.set(key, it.Value()); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, line, key, err)
		}
	}
	for _, key := range required {
		if !seen[key] {
			return nil, fmt.Errorf("%s:%d: %s: missing", path, first, key)
		}
	}
	return &m, nil
}

// parseMapping parses a document that is one mapping. The parser itself refuses a key that comes twice.
func parseMapping(path string, text []byte) (top ast.MapNode, err error) {
	if len(text) > maxManifestBytes {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxManifestBytes)
	}
	// The parser is somebody else's, and no file may end the process.
	defer func() {
		if p := recover(); p != nil {
			top, err = nil, fmt.Errorf("%s: not YAML: the parser panicked: %v", path, p)
		}
	}()
	file, err := parser.ParseBytes(text, 0)
	if at := yaml.Error(nil); errors.As(err, &at) && at.GetToken() != nil {
		// The parser's own message quotes the lines around, which is too much for a log.
		return nil, fmt.Errorf("%s:%d: not YAML: %s", path, at.GetToken().Position.Line, at.GetMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: not YAML: %w", path, err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, fmt.Errorf("%s:1: want one YAML document that is a mapping", path)
	}
	top, ok := file.Docs[0].Body.(ast.MapNode)
	if !ok {
		return nil, fmt.Errorf("%s:%d: want a mapping, got %s", path, file.Docs[0].Body.GetToken().Position.Line, yamlKind(file.Docs[0].Body))
	}
	return top, nil
}

// set takes one member and checks its value.
func (m *manifest) set(key string, value ast.Node) (err error) {
	switch key {
	case "name":
		if m.name, err = yamlString(value); err == nil && !isName(m.name) {
			err = fmt.Errorf("want 1 to %d letters, digits, dots, dashes or underscores, got %s", maxNameLen, clip(m.name))
		}
	case "version":
		m.version, err = yamlVersion(value)
	case "format":
		if m.format, err = yamlString(value); err == nil && m.format != formatXGBoost {
			err = fmt.Errorf("want %s, got %s", formatXGBoost, clip(m.format))
		}
	case "file":
		if m.file, err = yamlString(value); err == nil && m.file == "" {
			err = errors.New("want a path, got none")
		}
	case "inputs":
		m.inputs, err = yamlInputs(value)
	case "description":
		m.description, err = yamlString(value)
	case "metrics":
		m.metrics, err = yamlMetrics(value)
	default:
		err = errors.New("unknown key; known are name, version, format, file, inputs, description, metrics")
	}
	return err
}

// modelPath is where the model file is: file with its ${NAME}s replaced, relative to dir. A variable that is unset or empty is an
// error: half a path would name another file.
func (m *manifest) modelPath(dir string, lookup func(string) (string, bool)) (string, error) {
	var out strings.Builder
	rest := m.file
	for {
		before, after, found := strings.Cut(rest, "${")
		out.WriteString(before)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed || name == "" {
			return "", fmt.Errorf("file: %s: want ${NAME}", clip(m.file))
		}
		value, ok := lookup(name)
		if !ok || value == "" {
			return "", fmt.Errorf("file: environment variable %s is not set", name)
		}
		out.WriteString(value)
		rest = tail
	}
	if path := out.String(); filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Join(dir, out.String()), nil
}

func yamlKey(key ast.Node) (line int, name string, err error) {
	line = key.GetToken().Position.Line
	s, ok := key.(*ast.StringNode)
	if !ok {
		return line, "", fmt.Errorf("want a key that is a string, got %s", yamlKind(key))
	}
	return line, s.Value, nil
}

func yamlString(value ast.Node) (string, error) {
	switch v := value.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return v.Value.Value, nil
	}
	return "", fmt.Errorf("want a string, got %s", yamlKind(value))
}

func yamlVersion(value ast.Node) (int, error) {
	v, ok := value.(*ast.IntegerNode)
	if !ok {
		return 0, fmt.Errorf("want a whole number, got %s", yamlKind(value))
	}
	n, ok := v.Value.(uint64)
	if !ok || n < 1 || n > math.MaxInt32 {
		return 0, fmt.Errorf("want 1 to %d, got %v", math.MaxInt32, v.Value)
	}
	return int(n), nil
}

func yamlInputs(value ast.Node) ([]string, error) {
	list, ok := value.(*ast.SequenceNode)
	if !ok {
		return nil, fmt.Errorf("want a list of feature names, got %s", yamlKind(value))
	}
	if n := len(list.Values); n < 1 || n > MaxInputs {
		return nil, fmt.Errorf("want 1 to %d feature names, got %d", MaxInputs, n)
	}
	inputs := make([]string, 0, len(list.Values))
	for i, v := range list.Values {
		name, err := yamlString(v)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		if name == "" || len(name) > maxNameLen {
			return nil, fmt.Errorf("[%d]: want a name of 1 to %d bytes, got %d", i, maxNameLen, len(name))
		}
		if slices.Contains(inputs, name) {
			return nil, fmt.Errorf("[%d]: %s: given twice", i, clip(name))
		}
		inputs = append(inputs, name)
	}
	return inputs, nil
}

func yamlMetrics(value ast.Node) (map[string]float64, error) {
	members, ok := value.(ast.MapNode)
	if !ok {
		return nil, fmt.Errorf("want a mapping of names to numbers, got %s", yamlKind(value))
	}
	metrics := make(map[string]float64)
	for it := members.MapRange(); it.Next(); {
		_, name, err := yamlKey(it.Key())
		if err != nil {
			return nil, err
		}
		if len(metrics) == maxMetrics {
			return nil, fmt.Errorf("more than %d figures", maxMetrics)
		}
		if metrics[name], err = yamlFigure(it.Value()); err != nil {
			return nil, fmt.Errorf("%s: %w", clip(name), err)
		}
	}
	return metrics, nil
}

func yamlFigure(value ast.Node) (float64, error) {
	switch v := value.(type) {
	case *ast.FloatNode:
		if math.IsInf(v.Value, 0) || math.IsNaN(v.Value) {
			return 0, fmt.Errorf("want a finite number, got %g", v.Value)
		}
		return v.Value, nil
	case *ast.IntegerNode:
		switch n := v.Value.(type) {
		case uint64:
			return float64(n), nil
		case int64:
			return float64(n), nil
		}
	}
	return 0, fmt.Errorf("want a number, got %s", yamlKind(value))
}

// yamlKind names what value is, for an error message.
func yamlKind(value ast.Node) string {
	switch v := value.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return clip(v.Value)
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode:
		return "an anchor"
	case *ast.AliasNode:
		return "an alias"
	case *ast.TagNode:
		return "a tag"
	case ast.ScalarNode:
		return fmt.Sprint(v.GetValue())
	default:
		return strings.ToLower(value.Type().String())
	}
}

func isName(s string) bool {
	if s == "" || len(s) > maxNameLen {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
