package transport

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"scoremesh/decision"
	"scoremesh/feature"
)

// The types of the feed's events. A change that would break a subscriber gets a new version.
const (
	// DecisionEvent is a committed decision.
	DecisionEvent = "scoremesh.decision.v1"
	// ConflictEvent says that a transaction was decided twice with different outcomes, and which one counts.
	ConflictEvent = "scoremesh.conflict.v1"
)

// The events are encoded by hand: they are the same few fields each time, and the feed pays for each of them on every decision.
// Tests hold the result to what the CloudEvents SDK reads.

// eventTime is RFC 3339 with milliseconds, UTC.
const eventTime = "2006-01-02T15:04:05.000Z"

// appendDecisionEvent appends the event of the decision at p, as structured-mode JSON.
func appendDecisionEvent(b []byte, p feature.Position, d *decision.Decision) []byte {
	t := &d.Transaction
	b = appendEnvelope(b, p, DecisionEvent, t.ID, d.DecidedAt)
	b = appendKey(b, `"transaction_id":`, t.ID)
	b = appendKey(b, `,"card_id":`, t.Card)
	b = appendKey(b, `,"merchant_id":`, t.Merchant)
	if t.Device != "" {
		b = appendKey(b, `,"device_id":`, t.Device)
	}
	b = appendTime(b, `,"timestamp":`, t.At)
	b = strconv.AppendInt(append(b, `,"amount":`...), t.Amount, 10)
	b = appendKey(b, `,"currency":`, t.Currency)
	b = appendKey(b, `,"outcome":`, d.Outcome.String())
	b = append(b, `,"score":`...)
	if s := float64(d.Score); math.IsNaN(s) || math.IsInf(s, 0) {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendFloat(b, s, 'g', -1, 32)
	}
	b = append(b, `,"reasons":[`...)
	for i, r := range d.Reasons {
		b = appendComma(b, i)
		b = appendKey(b, `{"code":`, r.Code)
		if r.Detail != "" {
			b = appendKey(b, `,"detail":`, r.Detail)
		}
		b = append(b, '}')
	}
	b = appendKey(b, `],"versions":{"schema":`, d.Versions.Schema)
	b = appendKey(b, `,"model":`, d.Versions.Model)
	b = appendKey(b, `,"policy":`, d.Versions.Policy)
	b = append(b, `},"degraded":[`...)
	for i, s := range d.Degraded {
		b = appendComma(b, i)
		b = appendString(b, s)
	}
	b = appendTime(b, `],"decided_at":`, d.DecidedAt)
	b = appendKey(b, `,"region":`, p.Origin.Region)
	b = appendKey(b, `,"node":`, d.Node)
	return append(b, "}}"...)
}

// appendConflictEvent appends the event of the retraction at p. The transaction's id is empty when the loser's record is not at
// hand any more; storedAt is when the retraction was appended, in Unix milliseconds.
func appendConflictEvent(b []byte, p feature.Position, r *feature.Retraction, transaction string, storedAt int64) []byte {
	b = appendEnvelope(b, p, ConflictEvent, transaction, storedAt)
	b = appendKey(b, `"card_id":`, r.Facts.Card)
	if transaction != "" {
		b = appendKey(b, `,"transaction_id":`, transaction)
	}
	b = appendKey(b, `,"merchant_id":`, r.Facts.Merchant)
	if r.Facts.Device != "" {
		b = appendKey(b, `,"device_id":`, r.Facts.Device)
	}
	b = appendTime(b, `,"timestamp":`, r.Facts.At)
	b = strconv.AppendInt(append(b, `,"base_amount":`...), r.Facts.BaseAmount, 10)
	b = appendSide(b, `,"winner":`, r.Winner, r.WinnerOutcome)
	b = appendSide(b, `,"loser":`, r.Loser, r.Facts.Outcome)
	b = appendKey(b, `,"region":`, p.Origin.Region)
	return append(b, "}}"...)
}

// appendSide appends one of the two decisions of a conflict. The event of that decision has the same id.
func appendSide(b []byte, key string, p feature.Position, o decision.Outcome) []byte {
	b = append(b, key...)
	b = appendKey(b, `{"outcome":`, o.String())
	b = appendKey(b, `,"region":`, p.Origin.Region)
	b = appendKey(b, `,"event_id":`, eventID(p))
	return append(b, '}')
}

// eventID is the position: unique in the mesh, and the same whoever publishes the event, however often.
func eventID(p feature.Position) string {
	var stack [128]byte
	b := append(append(stack[:0], p.Origin.Region...), '/')
	b = append(appendHex64(b, p.Origin.Epoch), '/')
	return string(appendMark(b, p.Mark))
}

// appendMark appends sequence and index as "17.3".
func appendMark(b []byte, m feature.Mark) []byte {
	b = append(strconv.AppendUint(b, m.Seq(), 10), '.')
	return strconv.AppendInt(b, int64(m.Index()), 10)
}

// appendHex64 appends n as 16 hex digits.
func appendHex64(b []byte, n uint64) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], n)
	return hex.AppendEncode(b, raw[:])
}

// appendEnvelope appends the attributes up to the data's first key.
func appendEnvelope(b []byte, p feature.Position, kind, subject string, at int64) []byte {
	b = append(b, `{"specversion":"`+event.CloudEventsVersionV1+`"`...)
	b = appendKey(b, `,"id":`, eventID(p))
	b = appendKey(b, `,"source":`, "/scoremesh/"+p.Origin.Region)
	b = appendKey(b, `,"type":`, kind)
	if subject != "" {
		b = appendKey(b, `,"subject":`, subject)
	}
	b = appendTime(b, `,"time":`, at)
	return append(b, `,"datacontenttype":"`+event.ApplicationJSON+`","data":{`...)
}

func appendTime(b []byte, key string, at int64) []byte {
	b = append(b, key...)
	b = append(b, '"')
	b = time.UnixMilli(at).UTC().AppendFormat(b, eventTime)
	return append(b, '"')
}

func appendComma(b []byte, index int) []byte {
	if index > 0 {
		return append(b, ',')
	}
	return b
}

// appendKey appends the text before a string, and the string.
func appendKey(b []byte, key, value string) []byte { return appendString(append(b, key...), value) }

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			escaped, err := json.Marshal(s)
			if err != nil {
				panic("transport: a string has no JSON form: " + err.Error()) // encoding/json has one for every string
			}
			return append(b, escaped...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
