package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"scoremesh/decision"
)

// reference reads a transaction's body with encoding/json's tokens, slowly and in the plainest way. It knows shape only, as
// transactionBody.read does.
func reference(body []byte) (map[string]any, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("not utf-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	fields, err := referenceObject(d, func(key string, value json.Token) (any, error) {
		text, isText := value.(string)
		number, isNumber := value.(json.Number)
		switch key {
		case "transaction_id", "card_id", "card_number", "device_id", "merchant_id", "currency", "country", "mcc":
			if !isText {
				return nil, errors.New("not a string")
			}
			return text, nil
		case "timestamp":
			if !isText {
				return nil, errors.New("not a string")
			}
			return referenceTimestamp(text)
		case "amount":
			if !isNumber || strings.ContainsAny(number.String(), ".eE") || len(number) > maxNumberBytes {
				return nil, errors.New("not an integer")
			}
			return strconv.ParseInt(number.String(), 10, 64)
		case "lat", "lon":
			if !isNumber || len(number) > maxNumberBytes {
				return nil, errors.New("not a number")
			}
			return strconv.ParseFloat(number.String(), 64)
		case "attributes":
			if value != json.Delim('{') {
				return nil, errors.New("not an object")
			}
			attributes, err := referenceMembers(d, func(name string, value json.Token) (any, error) {
				text, isText := value.(string)
				if !isText || !isName(name) {
					return nil, errors.New("not an attribute")
				}
				return text, nil
			})
			if len(attributes) > decision.MaxAttributes {
				return nil, errors.New("too many attributes")
			}
			return attributes, err
		}
		return nil, errors.New("unknown key")
	})
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("trailing data")
	}
	return fields, nil
}

func referenceObject(d *json.Decoder, value func(string, json.Token) (any, error)) (map[string]any, error) {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	return referenceMembers(d, value)
}

func referenceMembers(d *json.Decoder, value func(string, json.Token) (any, error)) (map[string]any, error) {
	fields := map[string]any{}
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		if t == json.Delim('}') {
			return fields, nil
		}
		key := t.(string)
		if _, again := fields[key]; again {
			return nil, errors.New("repeated key")
		}
		if t, err = d.Token(); err != nil {
			return nil, err
		}
		if fields[key], err = value(key, t); err != nil {
			return nil, err
		}
	}
}

func referenceTimestamp(s string) (int64, error) {
	// Of the forms that time.Parse accepts, these are not RFC 3339, or beyond what the edge keeps.
	if len(s) < 20 || s[10] != 'T' || strings.Contains(s, ",") || s[13] != ':' {
		return 0, errors.New("not RFC 3339")
	}
	if _, fraction, ok := strings.Cut(s, "."); ok && strings.IndexAny(fraction, "Z+-") > 9 {
		return 0, errors.New("beyond nanoseconds")
	}
	at, err := time.Parse(time.RFC3339, s)
	return at.UnixMilli(), err
}

// asMap is what reference returns, made from a body that was read.
func asMap(t *transactionBody, s *scanner) map[string]any {
	m := map[string]any{}
	text := func(p span) string { return string(s.text[p.from:p.to]) }
	for f := range transactionFields {
		if !t.has(f) {
			continue
		}
		var v any
		switch f {
		case fieldTimestamp:
			v = t.timestamp
		case fieldAmount:
			v = t.amount
		case fieldLat:
			v = t.lat
		case fieldLon:
			v = t.lon
		case fieldCardNumber:
			v = string(t.number)
		case fieldAttributes:
			attributes := map[string]any{}
			for _, a := range t.attributes[:t.attributeCount] {
				attributes[text(a.name)] = text(a.value)
			}
			v = attributes
		default:
			v = text(t.texts[f])
		}
		m[transactionFieldNames[f]] = v
	}
	return m
}

// checkAgainstReference reads the body both ways.
func checkAgainstReference(t *testing.T, body []byte) {
	t.Helper()
	var s scanner
	var tb transactionBody
	s.reset(body)
	err := tb.read(&s)
	if err == nil {
		err = s.end()
	}
	want, wantErr := reference(body)
	// encoding/json replaces what cannot be decoded, the scanner refuses it.
	replaced := bytes.Contains(bytes.ToLower(body), []byte(`\ud`))
	switch {
	case err == nil && wantErr != nil:
		t.Fatalf("accepted %q, want %v", body, wantErr)
	case err != nil && wantErr == nil && !replaced:
		t.Fatalf("refused %q with %v, want %v", body, err, want)
	case err == nil:
		if diff := cmp.Diff(want, asMap(&tb, &s)); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", body, diff)
		}
	}
	if err == nil {
		return
	}
	var e *decision.Error
	if !errors.As(err, &e) || e.Detail == "" {
		t.Fatalf("refused with %v, want a *decision.Error with a detail", err)
	}
}

// wellFormedBodies is how many bodies scoreBodies begins with that are right in shape.
const wellFormedBodies = 12

func scoreBodies() []string {
	list := []string{fullBody, leastBody, panBody, "{}", " {\n} ", `{"lat":-0.0e-5,"lon":1E+2}`, `{"amount":-0}`, `{"card_id":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`,
		`{"timestamp":"2024-02-29T23:59:59.999999999-23:59"}`, `{"attributes":{}}`, `{"attributes":{"b":"","a":"é"}}`, `{"amount":9223372036854775807}`}
	for _, h := range hostileRequests() {
		if h.target == "" {
			list = append(list, h.body)
		}
	}
	return list
}

func TestTheScannerReadsWhatEncodingJSONReads(t *testing.T) {
	for _, body := range scoreBodies() {
		checkAgainstReference(t, []byte(body))
	}
	// Every cut and every single changed byte of some.
	for _, body := range scoreBodies()[:wellFormedBodies] {
		for i := range len(body) {
			checkAgainstReference(t, []byte(body[:i]))
			for _, c := range []byte(`"\{}[],:0-9eEu.` + "\x00\x80 ") {
				changed := []byte(body)
				changed[i] = c
				checkAgainstReference(t, changed)
			}
		}
	}
}

func FuzzScoreBody(f *testing.F) {
	for _, body := range scoreBodies() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkAgainstReference(t, body) })
}

func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{testTime, "2026-11-23T10:15:02Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+23:59", "1900-02-29T00:00:00Z",
		"2000-02-29T00:00:00-00:00", "1969-12-31T23:59:59.9999Z", "2026-11-23T24:00:00Z", "2026-11-23t10:15:02z", "2026-11-23T10:15:02,5Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTimestamp([]byte(s))
		want, wantErr := referenceTimestamp(s)
		if (err == nil) != (wantErr == nil) || err == nil && got != want {
			t.Errorf("%q: got %d, %v; want %d, %v", s, got, err, want, wantErr)
		}
	})
}

func TestEveryDayOfFourCenturiesHasItsNumber(t *testing.T) {
	for at := time.Date(1599, 12, 31, 0, 0, 0, 0, time.UTC); at.Year() < 2001; at = at.AddDate(0, 0, 1) {
		if got, want := int64(daysSince1970(at.Year(), int(at.Month()), at.Day())), at.Unix()/86400; got != want {
			t.Fatalf("%s: got %d, want %d", at, got, want)
		}
	}
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "é😀\u2028", "cut \xf0\x9f\x98", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q became %s: %v", s, b, err)
		}
		if utf8.ValidString(s) && got != s {
			t.Errorf("%q came back as %q", s, got)
		}
		plain, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(plain, &want); err != nil || got != want {
			t.Errorf("%q: got %q, encoding/json says %q", s, got, want)
		}
	})
}

func FuzzFloat(f *testing.F) {
	for _, v := range []float64{0, 1, -0.5, 0.41, 1e-7, 1e21, 123456789, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.NaN()} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		got := appendFloat(nil, v, 64)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			if string(got) != "null" {
				t.Errorf("%v: got %s, want null", v, got)
			}
			return
		}
		var back float64
		if err := json.Unmarshal(got, &back); err != nil || back != v {
			t.Errorf("%v became %s and came back as %v: %v", v, got, back, err)
		}
	})
}
