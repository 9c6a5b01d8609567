package api

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"scoremesh/decision"
)

// scanner reads one JSON text (RFC 8259) front to back, for decoders that know what comes next. It builds no tree and never recurses:
// a value that is not of the expected type is refused where it starts, so nothing nests deeper than the decoders do.
//
// It is stricter than encoding/json: invalid UTF-8 and lone surrogates are errors, and the decoders refuse unknown and repeated keys.
// Its errors never repeat what the input says.
type scanner struct {
	in  []byte
	pos int
	// text collects the strings that are kept, so that one conversion makes all of them. See keep.
	text []byte
	// unescaped holds the last token that had escapes.
	unescaped []byte
}

// span is a part of scanner.text.
type span struct{ from, to int }

// reset starts on another text. The scanner keeps in only until the next reset.
func (s *scanner) reset(in []byte) { s.in, s.pos, s.text = in, 0, s.text[:0] }

// invalid makes the error of a malformed or unexpected input; detail is constant text.
func invalid(field, detail string) *decision.Error {
	return &decision.Error{Code: decision.CodeInvalid, Field: field, Detail: detail}
}

// within puts the error's field under parent: within("transactions[2]", "amount") is "transactions[2].amount".
func within(parent string, err error) error {
	var e *decision.Error
	if !errors.As(err, &e) {
		return err
	}
	c := *e
	switch {
	case e.Field == "":
		c.Field = parent
	case strings.HasPrefix(e.Field, "["):
		c.Field = parent + e.Field
	default:
		c.Field = parent + "." + e.Field
	}
	return &c
}

// fault says what was expected, what is there instead, and where.
func (s *scanner) fault(expected string) error {
	return invalid("", fmt.Sprintf("expected %s, got %s at byte %d", expected, s.found(), s.pos))
}

// found names what stands at the position.
func (s *scanner) found() string {
	if s.pos >= len(s.in) {
		return "the end of the text"
	}
	switch c := s.in[s.pos]; {
	case c == '"':
		return "a string"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '-' || isDigit(c):
		return "a number"
	case c == 't' || c == 'f':
		return "a boolean"
	case c == 'n':
		return "null"
	}
	return "something else"
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// next skips white space and returns the byte at the position, 0 at the end.
func (s *scanner) next() byte {
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; c {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// open reads '{' or '['.
func (s *scanner) open(bracket byte) error {
	if s.next() != bracket {
		if bracket == '{' {
			return s.fault("an object")
		}
		return s.fault("an array")
	}
	s.pos++
	return nil
}

// end accepts nothing but white space.
func (s *scanner) end() error {
	if s.next(); s.pos != len(s.in) {
		return invalid("", fmt.Sprintf("there is something behind the JSON text, at byte %d", s.pos))
	}
	return nil
}

// key reads up to the value of an object's next member; more is false at the object's end. The key is valid until the next token.
func (s *scanner) key(first bool) (key []byte, more bool, err error) {
	c := s.next()
	if c == '}' {
		s.pos++
		return nil, false, nil
	}
	if !first {
		if c != ',' {
			return nil, false, s.fault(`"," or "}"`)
		}
		s.pos++
		s.next()
	}
	key, err = s.token()
	if err != nil {
		return nil, false, err
	}
	if s.next() != ':' {
		return nil, false, s.fault(`":"`)
	}
	s.pos++
	return key, true, nil
}

// element reads up to an array's next element; more is false at the array's end.
func (s *scanner) element(first bool) (more bool, err error) {
	c := s.next()
	switch {
	case c == ']' && first:
		s.pos++
		return false, nil
	case first:
		return true, nil
	case c == ']':
		s.pos++
		return false, nil
	case c != ',':
		return false, s.fault(`"," or "]"`)
	}
	s.pos++
	if s.next() == ']' {
		return false, s.fault("a value")
	}
	return true, nil
}

// token reads a string. The bytes are valid until the next token.
func (s *scanner) token() ([]byte, error) {
	if s.next() != '"' {
		return nil, s.fault("a string")
	}
	start := s.pos + 1
	ascii := true
	for i := start; i < len(s.in); i++ {
		switch c := s.in[i]; {
		case c == '"':
			s.pos = i + 1
			if !ascii && !utf8.Valid(s.in[start:i]) {
				return nil, invalid("", fmt.Sprintf("the string at byte %d is not valid UTF-8", start-1))
			}
			return s.in[start:i], nil
		case c == '\\':
			return s.escaped(start, i)
		case c < 0x20:
			return nil, invalid("", fmt.Sprintf("control character in the string, at byte %d", i))
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.pos = len(s.in)
	return nil, s.fault(`the string's closing '"'`)
}

// escaped reads on in a string that started at start and has its first escape at i.
func (s *scanner) escaped(start, i int) ([]byte, error) {
	b := append(s.unescaped[:0], s.in[start:i]...)
	for i < len(s.in) {
		switch c := s.in[i]; {
		case c == '"':
			s.pos = i + 1
			s.unescaped = b
			if !utf8.Valid(b) {
				return nil, invalid("", fmt.Sprintf("the string at byte %d is not valid UTF-8", start-1))
			}
			return b, nil
		case c < 0x20:
			return nil, invalid("", fmt.Sprintf("control character in the string, at byte %d", i))
		case c != '\\':
			b = append(b, c)
			i++
		default:
			r, n := unescape(s.in[i:])
			if n == 0 {
				return nil, invalid("", fmt.Sprintf("unknown, cut or unpaired escape in the string, at byte %d", i))
			}
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	s.pos = len(s.in)
	return nil, s.fault(`the string's closing '"'`)
}

// unescape reads the escape at the front of b and its length, 0 when there is none.
func unescape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hex4(b[2:])
		switch {
		case r < 0:
			return 0, 0
		case !utf16.IsSurrogate(r):
			return r, 6
		case len(b) < 12 || b[6] != '\\' || b[7] != 'u':
			return 0, 0
		}
		// DecodeRune refuses whatever is not a high half before a low one, hex4's -1 included.
		if r = utf16.DecodeRune(r, hex4(b[8:])); r == utf8.RuneError {
			return 0, 0
		}
		return r, 12
	}
	return 0, 0
}

// hex4 reads four hex digits, -1 when they are not there.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// keep reads a string and adds it to text.
func (s *scanner) keep() (span, error) {
	t, err := s.token()
	if err != nil {
		return span{}, err
	}
	from := len(s.text)
	s.text = append(s.text, t...)
	return span{from, len(s.text)}, nil
}

// maxNumberBytes bounds a number's text. The shortest text of any float64 has at most 24 bytes.
const maxNumberBytes = 64

// literal reads a number by JSON's grammar and says whether it is written as an integer.
func (s *scanner) literal(expected string) (text []byte, integer bool, err error) {
	c := s.next()
	if c != '-' && !isDigit(c) {
		return nil, false, s.fault(expected)
	}
	start, i := s.pos, s.pos
	digits := func() bool {
		from := i
		for i < len(s.in) && isDigit(s.in[i]) {
			i++
		}
		return i > from
	}
	if c == '-' {
		i++
	}
	first := i
	ok := digits() && (s.in[first] != '0' || i == first+1)
	integer = true
	if ok && i < len(s.in) && s.in[i] == '.' {
		integer = false
		i++
		ok = digits()
	}
	if ok && i < len(s.in) && (s.in[i] == 'e' || s.in[i] == 'E') {
		integer = false
		i++
		if i < len(s.in) && (s.in[i] == '+' || s.in[i] == '-') {
			i++
		}
		ok = digits()
	}
	if !ok {
		return nil, false, invalid("", fmt.Sprintf("malformed number at byte %d", start))
	}
	if i-start > maxNumberBytes {
		return nil, false, invalid("", fmt.Sprintf("the number at byte %d has more than %d digits", start, maxNumberBytes))
	}
	s.pos = i
	return s.in[start:i], integer, nil
}

// integer reads a number without fraction and exponent that fits an int64.
func (s *scanner) integer() (int64, error) {
	text, integer, err := s.literal("an integer")
	if err != nil {
		return 0, err
	}
	if !integer {
		return 0, invalid("", "must be an integer, without fraction or exponent")
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, invalid("", fmt.Sprintf("must be an integer from %d to %d", math.MinInt64, math.MaxInt64))
	}
	return n, nil
}

// number reads a number that fits a float64.
func (s *scanner) number() (float64, error) {
	text, _, err := s.literal("a number")
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, invalid("", "the number exceeds what a 64-bit float holds")
	}
	return f, nil
}

// boolean reads true or false.
func (s *scanner) boolean() (bool, error) {
	s.next()
	for _, word := range [...]string{"false", "true"} {
		if len(s.in)-s.pos >= len(word) && string(s.in[s.pos:s.pos+len(word)]) == word {
			s.pos += len(word)
			return word == "true", nil
		}
	}
	return false, s.fault("true or false")
}

// unknownKey refuses a key. Only a key that reads like a name is repeated: anything else could be data.
func unknownKey(key []byte) error {
	if !isName(string(key)) {
		return invalid("", "has a key that is not known here")
	}
	return invalid(string(key), "this key is not known here")
}

// repeatedKey refuses a key that was there before; name must be a known one or pass isName.
func repeatedKey(name string) error { return invalid(name, "this key is given twice") }

// The bounds of names that a client chooses: of attributes and of feature values. They are repeated in errors and may get into
// policies, so they are plain words, without enough digits for a card number.
const (
	maxNameBytes  = 64
	maxNameDigits = 8
	nameForm      = "a name has 1 to 64 letters, digits, _ . or -, with at most 8 digits"
)

func isName(s string) bool {
	digits := 0
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			digits++
		case c == '_' || c == '.' || c == '-' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxNameBytes && digits <= maxNameDigits
}
