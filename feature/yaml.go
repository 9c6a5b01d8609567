package feature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxYAMLDepth bounds how deep a file may nest, because the YAML parser recurses, and takes the square of the depth.
const maxYAMLDepth = 32

// read parses the file into f, and keeps its tree to find lines in.
func (p *schemaParser) read(data []byte, f *fileSchema) (err error) {
	if line := nestsTooDeep(data); line > 0 {
		return &SchemaError{File: p.file, Line: line, Detail: fmt.Sprintf("nested deeper than %d", maxYAMLDepth)}
	}
	// A fault of the YAML package on some input must refuse the file, not end the process.
	defer func() {
		if fault := recover(); fault != nil {
			err = &SchemaError{File: p.file, Line: 1, Detail: fmt.Sprintf("not YAML that can be parsed: %v", fault)}
		}
	}()
	// Duplicate keys are left to the decoder, whose errors can be placed in the tree.
	if p.tree, err = parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey()); err != nil {
		return p.yamlError(err)
	}
	documents := 0
	for _, d := range p.tree.Docs {
		if d.Body == nil {
			continue
		}
		if documents++; documents > 1 {
			return &SchemaError{File: p.file, Line: lineOf(d.Body), Detail: "a second YAML document; one is allowed"}
		}
		refuse := strict{file: p.file}
		ast.Walk(&refuse, d.Body)
		if refuse.err != nil {
			return refuse.err
		}
	}
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.DisallowUnknownField()).Decode(f)
	if documents == 0 || errors.Is(err, io.EOF) {
		return &SchemaError{File: p.file, Line: 1, Detail: "empty file"}
	}
	if err != nil {
		return p.yamlError(err)
	}
	return nil
}

// strict refuses anchors, aliases, merges and tags: a schema has no use for them, and they are how a small file becomes a huge one.
type strict struct {
	file string
	err  error
}

// Visit is ast.Visitor.
func (s *strict) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		if s.err == nil {
			s.err = &SchemaError{File: s.file, Line: lineOf(n), Field: pathOf(n), Detail: "anchors, aliases, merges and tags are not allowed"}
		}
		return nil
	}
	return s
}

// yamlError turns an error of the YAML package into one with a line, and with the field at the place that it names.
func (p *schemaParser) yamlError(err error) error {
	e := &SchemaError{File: p.file, Line: 1, Detail: err.Error()}
	var y yaml.Error
	if !errors.As(err, &y) {
		return e
	}
	e.Detail = y.GetMessage()
	t := y.GetToken()
	if t == nil || t.Position == nil {
		return e
	}
	e.Line = t.Position.Line
	if p.tree == nil {
		return e
	}
	at := finder{line: t.Position.Line, column: t.Position.Column}
	for _, d := range p.tree.Docs {
		if d.Body != nil {
			ast.Walk(&at, d.Body)
		}
	}
	e.Field = at.field
	return e
}

// finder looks for the field whose key or value stands at a place.
type finder struct {
	line, column int
	field        string
}

// Visit is ast.Visitor.
func (f *finder) Visit(n ast.Node) ast.Visitor {
	if t := n.GetToken(); t != nil && t.Position != nil && t.Position.Line == f.line && t.Position.Column == f.column {
		f.field = pathOf(n)
	}
	return f
}

func pathOf(n ast.Node) string { return strings.TrimPrefix(strings.TrimPrefix(n.GetPath(), "$"), ".") }

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// nestsTooDeep returns the first line that nests too deep, or 0. It counts brackets without regard to quotes, and
// indicators at the start of a line, so it may refuse an odd text but never lets deep nesting through.
func nestsTooDeep(data []byte) int {
	depth, line, leading := 0, 1, 0
	starting := true
	for _, c := range data {
		switch c {
		case '\n':
			line++
			leading, starting = 0, true
		case '\r':
			leading, starting = 0, true
		case '[', '{':
			depth++
			starting = false
		case ']', '}':
			depth = max(0, depth-1)
			starting = false
		case '-', '?', '!', '&', ':':
			if starting {
				leading++
			}
		case ' ', '\t':
		default:
			starting = false
		}
		if depth > maxYAMLDepth || leading > maxYAMLDepth {
			return line
		}
	}
	return 0
}
