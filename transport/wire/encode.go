package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"scoremesh/decision"
	"scoremesh/feature"
)

// AppendRecord appends the record as an element of a batch's records: tag, length and message. Behind AppendBatchID,
// records that are appended one after the other make a batch. On an error, which wraps ErrBounds, b comes back as it was.
// It allocates only to grow b.
func AppendRecord(b []byte, r *feature.Record) ([]byte, error) {
	if err := check(r); err != nil {
		return b, err
	}
	start := len(b)
	b, mark := open(b, 2)
	switch {
	case r.Decision != nil:
		b = appendDecision(b, 1, r.Decision)
	case r.Label != nil:
		b = appendLabel(b, 2, r.Label)
	case r.Row != nil:
		b = appendRow(b, 3, r.Row)
	case r.Retraction != nil:
		b = appendRetraction(b, 4, r.Retraction)
	case r.Posting != nil:
		b = appendPosting(b, 5, r.Posting)
	case r.Beacon != nil:
		b = appendBeacon(b, 6, r.Beacon)
	default:
		return b[:start], outOfBounds("record without content")
	}
	if len(b)-mark > MaxRecordBytes {
		return b[:start], outOfBounds("record size")
	}
	return seal(b, mark), nil
}

// AppendBatchID begins a batch. The id has 1 to MaxBatchIDBytes bytes; another length gives a batch that DecodeBatch refuses.
func AppendBatchID(b, id []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendBytes(b, id)
}

// AppendBatch appends a whole batch. On an error b comes back as it was.
func AppendBatch(b, id []byte, records []feature.Record) ([]byte, error) {
	start := len(b)
	if len(id) == 0 || len(id) > MaxBatchIDBytes {
		return b, outOfBounds("batch id")
	}
	if len(records) > feature.MaxBatch {
		return b, outOfBounds("records of a batch")
	}
	b = AppendBatchID(b, id)
	for i := range records {
		var err error
		if b, err = AppendRecord(b, &records[i]); err != nil {
			return b[:start], err
		}
	}
	if len(b)-start > MaxBatchBytes {
		return b[:start], outOfBounds("batch size")
	}
	return b, nil
}

// open begins a message of unknown length; seal writes the length before it. One byte is kept for the length, and the
// message moves when it needs more, which costs less than to compute all sizes first.
func open(b []byte, num protowire.Number) (grown []byte, mark int) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = append(b, 0)
	return b, len(b)
}

func seal(b []byte, mark int) []byte {
	size := len(b) - mark
	if size < 0x80 {
		b[mark-1] = byte(size)
		return b
	}
	extra := protowire.SizeVarint(uint64(size)) - 1
	for range extra {
		b = append(b, 0)
	}
	copy(b[mark+extra:], b[mark:mark+size])
	protowire.AppendVarint(b[:mark-1], uint64(size))
	return b
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendElement(b, num, s)
}

// appendElement appends an element of a repeated string, which is there also when it is empty.
func appendElement(b []byte, num protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendSigned(b []byte, num protowire.Number, v int64) []byte {
	return appendUint(b, num, protowire.EncodeZigZag(v))
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	return appendUint(b, num, protowire.EncodeBool(v))
}

func appendFixed(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, v)
}

func appendDecision(b []byte, num protowire.Number, d *decision.Decision) []byte {
	b, mark := open(b, num)
	b = appendTransaction(b, 1, &d.Transaction)
	b = appendUint(b, 2, uint64(d.Outcome))
	if bits := math.Float32bits(d.Score); bits != 0 {
		b = protowire.AppendTag(b, 3, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, bits)
	}
	for i := range d.Reasons {
		b = appendReason(b, 4, &d.Reasons[i])
	}
	for _, s := range d.Degraded {
		b = appendElement(b, 5, s)
	}
	b = appendVersions(b, 6, &d.Versions)
	b = appendUint(b, 7, uint64(d.DecidedAt))
	b = appendFixed(b, 8, d.Digest)
	b = appendText(b, 9, d.Node)
	return seal(b, mark)
}

func appendTransaction(b []byte, num protowire.Number, t *decision.Transaction) []byte {
	b, mark := open(b, num)
	b = appendText(b, 1, t.ID)
	b = appendText(b, 2, t.Card)
	b = appendText(b, 3, t.Device)
	b = appendText(b, 4, t.Merchant)
	b = appendUint(b, 5, uint64(t.At))
	b = appendSigned(b, 6, t.Amount)
	b = appendText(b, 7, t.Currency)
	b = appendSigned(b, 8, t.BaseAmount)
	b = appendText(b, 9, t.Country)
	if t.HasPosition {
		var inner int
		b, inner = open(b, 10)
		b = appendFixed(b, 1, math.Float64bits(t.Lat))
		b = appendFixed(b, 2, math.Float64bits(t.Lon))
		b = seal(b, inner)
	}
	b = appendText(b, 11, t.MCC)
	for i := range t.Attributes {
		var inner int
		b, inner = open(b, 12)
		b = appendText(b, 1, t.Attributes[i].Name)
		b = appendText(b, 2, t.Attributes[i].Value)
		b = seal(b, inner)
	}
	return seal(b, mark)
}

func appendReason(b []byte, num protowire.Number, r *decision.Reason) []byte {
	b, mark := open(b, num)
	b = appendText(b, 1, r.Code)
	b = appendText(b, 2, r.Detail)
	return seal(b, mark)
}

func appendVersions(b []byte, num protowire.Number, v *decision.Versions) []byte {
	b, mark := open(b, num)
	b = appendText(b, 1, v.Schema)
	b = appendText(b, 2, v.Model)
	b = appendText(b, 3, v.Policy)
	return seal(b, mark)
}

func appendLabel(b []byte, num protowire.Number, l *decision.Label) []byte {
	b, mark := open(b, num)
	b = appendText(b, 1, l.TransactionID)
	b = appendText(b, 2, l.Card)
	b = appendBool(b, 3, l.Fraud)
	b = appendUint(b, 4, uint64(l.KnownAt))
	return seal(b, mark)
}

func appendRow(b []byte, num protowire.Number, r *feature.Row) []byte {
	b, mark := open(b, num)
	b = appendUint(b, 1, uint64(r.Kind))
	b = appendText(b, 2, r.ID)
	b = appendUint(b, 3, uint64(r.AsOf))
	for i := range r.Values {
		var inner int
		b, inner = open(b, 4)
		b = appendText(b, 1, r.Values[i].Name)
		b = appendFixed(b, 2, math.Float64bits(r.Values[i].Value))
		b = seal(b, inner)
	}
	return seal(b, mark)
}

func appendRetraction(b []byte, num protowire.Number, r *feature.Retraction) []byte {
	b, mark := open(b, num)
	b = appendPosition(b, 1, r.Loser)
	b = appendFacts(b, 2, &r.Facts)
	b = appendPosition(b, 3, r.Winner)
	b = appendUint(b, 4, uint64(r.WinnerOutcome))
	return seal(b, mark)
}

func appendPosting(b []byte, num protowire.Number, p *feature.Posting) []byte {
	b, mark := open(b, num)
	b = appendPosition(b, 1, p.Label)
	b = appendPosition(b, 2, p.Decision)
	b = appendBool(b, 3, p.Fraud)
	b = appendSigned(b, 4, int64(p.Sign))
	b = appendFacts(b, 5, &p.Facts)
	return seal(b, mark)
}

func appendBeacon(b []byte, num protowire.Number, n *feature.Beacon) []byte {
	b, mark := open(b, num)
	b = appendUint(b, 1, uint64(n.At))
	b = appendText(b, 2, n.Node)
	return seal(b, mark)
}

func appendFacts(b []byte, num protowire.Number, f *feature.Facts) []byte {
	b, mark := open(b, num)
	b = appendFixed(b, 1, f.Key)
	b = appendText(b, 2, f.Card)
	b = appendText(b, 3, f.Device)
	b = appendText(b, 4, f.Merchant)
	b = appendUint(b, 5, uint64(f.At))
	b = appendSigned(b, 6, f.BaseAmount)
	b = appendUint(b, 7, uint64(f.Outcome))
	return seal(b, mark)
}

func appendPosition(b []byte, num protowire.Number, p feature.Position) []byte {
	b, mark := open(b, num)
	b = appendText(b, 1, p.Origin.Region)
	b = appendFixed(b, 2, p.Origin.Epoch)
	b = appendUint(b, 3, p.Mark.Seq())
	b = appendUint(b, 4, uint64(p.Mark.Index()))
	return seal(b, mark)
}
