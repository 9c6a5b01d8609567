package api

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"scoremesh/decision"
	"scoremesh/feature"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[from:i]...)
			b = append(b, `\ufffd`...)
			from = i + n
		}
		i += n
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendFloat appends the shortest number that reads back as f in so many bits; what JSON cannot say becomes null.
func appendFloat(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, bits)
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendAnswer appends the answer to one score request. took is the time that it cost at the edge.
func appendAnswer(b []byte, a *decision.Answer, region string, took time.Duration) []byte {
	d := a.Decision
	b = append(b, `{"transaction_id":`...)
	b = appendString(b, d.Transaction.ID)
	b = append(b, `,"outcome":"`...)
	b = append(b, d.Outcome.String()...)
	b = append(b, `","score":`...)
	b = appendFloat(b, float64(d.Score), 32)
	b = append(b, `,"reasons":[`...)
	for i, r := range d.Reasons {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"code":`...)
		b = appendString(b, r.Code)
		if r.Detail != "" {
			b = append(b, `,"detail":`...)
			b = appendString(b, r.Detail)
		}
		b = append(b, '}')
	}
	b = append(b, `],"durability":`...)
	b = appendString(b, string(a.Durability))
	b = append(b, `,"replayed":`...)
	b = strconv.AppendBool(b, a.Replayed)
	b = append(b, `,"degraded":`...)
	b = appendStrings(b, d.Degraded)
	b = append(b, `,"region":`...)
	b = appendString(b, region)
	b = append(b, `,"node":`...)
	b = appendString(b, d.Node)
	b = append(b, `,"latency_ms":`...)
	b = appendFloat(b, float64(took.Microseconds())/1000, 64)
	b = append(b, `,"versions":{"schema":`...)
	b = appendString(b, d.Versions.Schema)
	b = append(b, `,"model":`...)
	b = appendString(b, d.Versions.Model)
	b = append(b, `,"policy":`...)
	b = appendString(b, d.Versions.Policy)
	b = append(b, '}')
	if x := a.Explanation; x != nil {
		b = append(b, `,"features":`...)
		b = appendFeatureValues(b, x.Features)
		b = append(b, `,"contributions":`...)
		b = appendFeatureValues(b, x.Contributions)
	}
	return append(b, '}')
}

func appendFeatureValues(b []byte, values []decision.FeatureValue) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendString(b, v.Name)
		b = append(b, `,"value":`...)
		b = appendFloat(b, v.Value, 64)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendEntity appends the view of one entity. An age is in milliseconds at the view's own time.
func appendEntity(b []byte, kind feature.Kind, id string, v *EntityView) []byte {
	b = append(b, `{"kind":"`...)
	b = append(b, kind.String()...)
	b = append(b, `","id":`...)
	b = appendString(b, id)
	b = append(b, `,"at":`...)
	b = appendTimestamp(b, v.At)
	b = append(b, `,"degraded":`...)
	b = appendStrings(b, v.Degraded)
	b = append(b, `,"features":[`...)
	for i, f := range v.Features {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendString(b, f.Name)
		b = append(b, `,"value":`...)
		b = appendFloat(b, f.Value, 64)
		b = append(b, `,"age_ms":`...)
		if f.AsOf == 0 {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendInt(b, max(0, v.At-f.AsOf), 10)
		}
		b = append(b, `,"source":`...)
		b = appendString(b, f.Source)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendHealth appends the answer of /livez and /readyz.
func appendHealth(b []byte, ok bool, h *Health) []byte {
	b = append(b, `{"ok":`...)
	b = strconv.AppendBool(b, ok)
	b = append(b, `,"state":`...)
	b = appendString(b, h.State)
	b = append(b, `,"reasons":`...)
	b = appendStrings(b, h.Reasons)
	return append(b, '}')
}
