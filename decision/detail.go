package decision

import (
	"fmt"
	"strings"
)

// detailPiece is a stretch of a reason's detail: plain text, or the CEL expression of a placeholder.
type detailPiece struct {
	text       string
	expression bool
}

// splitDetail splits "${int(features.count)} in 5 minutes" at its placeholders. "$${" stands for a plain "${".
// A placeholder ends at its closing brace; braces nest, and those inside a quoted CEL string do not count.
func splitDetail(s string) ([]detailPiece, error) {
	var pieces []detailPiece
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			pieces = append(pieces, detailPiece{text: plain.String()})
			plain.Reset()
		}
	}
	placeholders := 0
	for len(s) > 0 {
		if strings.HasPrefix(s, "$${") {
			plain.WriteString("${")
			s = s[3:]
			continue
		}
		if !strings.HasPrefix(s, "${") {
			plain.WriteByte(s[0])
			s = s[1:]
			continue
		}
		end := closingBrace(s[2:])
		if end < 0 {
			return nil, fmt.Errorf("placeholder %q has no closing brace", clip(s))
		}
		expression := strings.TrimSpace(s[2 : 2+end])
		if expression == "" {
			return nil, fmt.Errorf("empty placeholder: want a CEL expression in ${...}")
		}
		flush()
		pieces = append(pieces, detailPiece{text: expression, expression: true})
		if placeholders++; placeholders > MaxPlaceholders {
			return nil, fmt.Errorf("more than %d placeholders", MaxPlaceholders)
		}
		s = s[2+end+1:]
	}
	flush()
	return pieces, nil
}

// closingBrace returns the index of the brace that closes an expression which starts at s, or -1.
func closingBrace(s string) int {
	depth := 0
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}
