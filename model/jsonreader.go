package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// jsonReader reads a JSON text front to back, keeping what its caller asks for and skipping the rest. It is stricter than
// encoding/json: names match exactly, a name that is read may not come twice, and null is not a zero.
// What it holds at a time is bounded by the text's own size.
type jsonReader struct {
	dec *json.Decoder
	// raw is the value read last; reused, so valid until the next read only.
	raw json.RawMessage
}

func newJSONReader(text []byte) *jsonReader {
	dec := json.NewDecoder(bytes.NewReader(text))
	// A number where none belongs is then refused by its text, clipped, instead of by a message that repeats all of it.
	dec.UseNumber()
	return &jsonReader{dec: dec}
}

// jsonField is one member of an object that its reader wants.
type jsonField struct {
	name     string
	optional bool
	read     func() error
}

// object reads one object; members that no field names are skipped.
func (r *jsonReader) object(fields ...jsonField) error {
	if err := r.open('{'); err != nil {
		return err
	}
	seen := make([]bool, len(fields))
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return syntaxError(err)
		}
		at := -1
		for i := range fields {
			if fields[i].name == key {
				at = i
			}
		}
		if at < 0 {
			if err := r.value(); err != nil {
				return err
			}
			continue
		}
		if seen[at] {
			return fmt.Errorf("%s: given twice", fields[at].name)
		}
		seen[at] = true
		if err := fields[at].read(); err != nil {
			return fmt.Errorf("%s: %w", fields[at].name, err)
		}
	}
	for i := range fields {
		if !seen[i] && !fields[i].optional {
			return fmt.Errorf("%s: missing", fields[i].name)
		}
	}
	return r.close()
}

// array reads one array, calling read for each element in turn.
func (r *jsonReader) array(read func(i int) error) error {
	if err := r.open('['); err != nil {
		return err
	}
	for i := 0; r.dec.More(); i++ {
		if err := read(i); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return r.close()
}

// end requires that nothing but space follows.
func (r *jsonReader) end() error {
	switch _, err := r.dec.Token(); {
	case err == nil:
		return errors.New("more text after the end of the model")
	case !errors.Is(err, io.EOF):
		return syntaxError(err)
	}
	return nil
}

func (r *jsonReader) open(want json.Delim) error {
	tok, err := r.dec.Token()
	if err != nil {
		return syntaxError(err)
	}
	if tok != want {
		kind := "an object"
		if want == '[' {
			kind = "an array"
		}
		return fmt.Errorf("want %s, got %s", kind, clip(fmt.Sprint(tok)))
	}
	return nil
}

func (r *jsonReader) close() error {
	if _, err := r.dec.Token(); err != nil {
		return syntaxError(err)
	}
	return nil
}

// value reads one value of any kind into r.raw.
func (r *jsonReader) value() error {
	if err := r.dec.Decode(&r.raw); err != nil {
		return syntaxError(err)
	}
	return nil
}

// str reads one string.
func (r *jsonReader) str() (string, error) {
	if err := r.value(); err != nil {
		return "", err
	}
	if r.raw[0] != '"' {
		return "", fmt.Errorf("want a string, got %s", clip(string(r.raw)))
	}
	var s string
	if err := json.Unmarshal(r.raw, &s); err != nil {
		return "", syntaxError(err)
	}
	return s, nil
}

// number reads one number's text. XGBoost writes its parameters' numbers as strings, and is taken either way.
func (r *jsonReader) number() (string, error) {
	if err := r.value(); err != nil {
		return "", err
	}
	text := string(r.raw)
	if text[0] == '"' {
		if err := json.Unmarshal(r.raw, &text); err != nil {
			return "", syntaxError(err)
		}
	}
	return text, nil
}

// count reads one whole number from 0 to most.
func (r *jsonReader) count(most int) (int, error) {
	text, err := r.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("want a whole number from 0 to %d, got %s", most, clip(text))
	}
	return n, nil
}

// elements reads one array of scalars and calls each with every element's text; there may be at most `most` of them.
func (r *jsonReader) elements(most int, each func(text []byte) error) error {
	if err := r.value(); err != nil {
		return err
	}
	if r.raw[0] != '[' {
		return fmt.Errorf("want an array, got %s", clip(string(r.raw)))
	}
	rest := bytes.TrimSpace(r.raw[1 : len(r.raw)-1])
	for i := 0; len(rest) > 0; i++ {
		if i == most {
			return fmt.Errorf("more than %d elements", most)
		}
		// The text is valid JSON, so a comma ends an element, unless it is inside a string, an array or an object; the pieces of
		// those parse as no number, and are refused.
		text, after, _ := bytes.Cut(rest, []byte{','})
		if err := each(bytes.TrimSpace(text)); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		rest = after
	}
	return nil
}

// floats reads an array of finite float32 into dst[:0].
func (r *jsonReader) floats(dst []float32, most int) ([]float32, error) {
	dst = dst[:0]
	err := r.elements(most, func(text []byte) error {
		v, err := strconv.ParseFloat(string(text), 32)
		if err != nil {
			return fmt.Errorf("want a finite float32, got %s", clip(string(text)))
		}
		dst = append(dst, float32(v))
		return nil
	})
	return dst, err
}

// ints reads an array of int32 into dst[:0].
func (r *jsonReader) ints(dst []int32, most int) ([]int32, error) {
	dst = dst[:0]
	err := r.elements(most, func(text []byte) error {
		v, err := strconv.ParseInt(string(text), 10, 32)
		if err != nil {
			return fmt.Errorf("want an integer of 32 bits, got %s", clip(string(text)))
		}
		dst = append(dst, int32(v))
		return nil
	})
	return dst, err
}

// flags reads an array of 0, 1, false or true into dst[:0].
func (r *jsonReader) flags(dst []bool, most int) ([]bool, error) {
	dst = dst[:0]
	err := r.elements(most, func(text []byte) error {
		switch string(text) {
		case "0", "false":
			dst = append(dst, false)
		case "1", "true":
			dst = append(dst, true)
		default:
			return fmt.Errorf("want 0 or 1, got %s", clip(string(text)))
		}
		return nil
	})
	return dst, err
}

// syntaxError says in one way what encoding/json says in several.
func syntaxError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the text ends early")
	}
	return fmt.Errorf("not JSON: %w", err)
}

// clip quotes text for an error message, which a hostile file shall not make long.
func clip(text string) string {
	const most = 40
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
