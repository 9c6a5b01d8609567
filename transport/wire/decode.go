package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"scoremesh/decision"
	"scoremesh/feature"
)

// Batch is a decoded RecordBatch.
type Batch struct {
	// ID is the batch's id. It is a part of the bytes that were decoded.
	ID []byte
	// Records are in their order in the batch. A record of a kind that is not known here has no field set.
	Records []feature.Record
}

// DecodeBatch decodes a batch. An error wraps ErrMalformed or ErrBounds; then nothing of the batch may be used.
//
// The records do not refer to data. Decisions of one batch, and their lists, share memory, so whoever keeps a few of them for
// long should keep copies; the strings of a record share memory with that record's other strings only.
func DecodeBatch(data []byte) (Batch, error) {
	if len(data) > MaxBatchBytes {
		return Batch{}, outOfBounds("batch size")
	}
	records, decisions, err := count(data)
	if err != nil {
		return Batch{}, err
	}
	if records > feature.MaxBatch {
		return Batch{}, outOfBounds("records of a batch")
	}
	batch := Batch{Records: make([]feature.Record, records)}
	d := decoder{decisions: make([]decision.Decision, decisions)}
	i := 0
	for at := 0; at < len(data); {
		var f field
		if f, at, err = next(data, at, len(data)); err != nil {
			return Batch{}, err
		}
		switch f.key {
		case bytes1:
			batch.ID = data[f.from:f.to:f.to]
		case bytes2:
			if err := d.record(data[f.from:f.to], &batch.Records[i]); err != nil {
				return Batch{}, fmt.Errorf("record %d: %w", i, err)
			}
			i++
		}
	}
	if len(batch.ID) == 0 || len(batch.ID) > MaxBatchIDBytes {
		return Batch{}, outOfBounds("batch id")
	}
	return batch, nil
}

// BatchID returns the id of an encoded batch without decoding its records. It is a part of data.
func BatchID(data []byte) ([]byte, error) {
	var id []byte
	for at := 0; at < len(data); {
		f, after, err := next(data, at, len(data))
		if err != nil {
			return nil, err
		}
		if f.key == bytes1 {
			id = data[f.from:f.to:f.to]
		}
		at = after
	}
	if len(id) == 0 || len(id) > MaxBatchIDBytes {
		return nil, outOfBounds("batch id")
	}
	return id, nil
}

// count finds how many records, and how many decisions among them, a batch holds.
func count(data []byte) (records, decisions int, err error) {
	for at := 0; at < len(data); {
		f, after, err := next(data, at, len(data))
		if err != nil {
			return 0, 0, err
		}
		if f.key == bytes2 {
			records++
			if f.to > f.from && uint64(data[f.from]) == bytes1 {
				decisions++
			}
		}
		at = after
	}
	return records, decisions, nil
}

// The keys (number and wire type) of the fields of all messages. A field of another wire type than declared is an unknown
// field, as in every protobuf decoder.
const (
	varint1  = 1<<3 | uint64(protowire.VarintType)
	varint2  = 2<<3 | uint64(protowire.VarintType)
	varint3  = 3<<3 | uint64(protowire.VarintType)
	varint4  = 4<<3 | uint64(protowire.VarintType)
	varint5  = 5<<3 | uint64(protowire.VarintType)
	varint6  = 6<<3 | uint64(protowire.VarintType)
	varint7  = 7<<3 | uint64(protowire.VarintType)
	varint8  = 8<<3 | uint64(protowire.VarintType)
	fixed1   = 1<<3 | uint64(protowire.Fixed64Type)
	fixed2   = 2<<3 | uint64(protowire.Fixed64Type)
	fixed8   = 8<<3 | uint64(protowire.Fixed64Type)
	single3  = 3<<3 | uint64(protowire.Fixed32Type)
	bytes1   = 1<<3 | uint64(protowire.BytesType)
	bytes2   = 2<<3 | uint64(protowire.BytesType)
	bytes3   = 3<<3 | uint64(protowire.BytesType)
	bytes4   = 4<<3 | uint64(protowire.BytesType)
	bytes5   = 5<<3 | uint64(protowire.BytesType)
	bytes6   = 6<<3 | uint64(protowire.BytesType)
	bytes7   = 7<<3 | uint64(protowire.BytesType)
	bytes9   = 9<<3 | uint64(protowire.BytesType)
	bytes10  = 10<<3 | uint64(protowire.BytesType)
	bytes11  = 11<<3 | uint64(protowire.BytesType)
	bytes12  = 12<<3 | uint64(protowire.BytesType)
	maxField = uint64(protowire.MaxValidNumber)
)

// field is one field of a message: its key and either its number (varint, fixed) or where its bytes lie.
type field struct {
	key      uint64
	value    uint64
	from, to int
}

// next reads the field at b[at:end] and returns the offset behind it.
func next(b []byte, at, end int) (field, int, error) {
	key, at, ok := varint(b, at, end)
	if !ok || key>>3 == 0 || key>>3 > maxField {
		return field{}, 0, ErrMalformed
	}
	f := field{key: key}
	switch protowire.Type(key & 7) {
	case protowire.VarintType:
		if f.value, at, ok = varint(b, at, end); !ok {
			return field{}, 0, ErrMalformed
		}
	case protowire.Fixed64Type:
		if end-at < 8 {
			return field{}, 0, ErrMalformed
		}
		f.value = binary.LittleEndian.Uint64(b[at:])
		at += 8
	case protowire.Fixed32Type:
		if end-at < 4 {
			return field{}, 0, ErrMalformed
		}
		f.value = uint64(binary.LittleEndian.Uint32(b[at:]))
		at += 4
	case protowire.BytesType:
		var size uint64
		if size, at, ok = varint(b, at, end); !ok || size > uint64(end-at) {
			return field{}, 0, ErrMalformed
		}
		f.from, f.to = at, at+int(size)
		at = f.to
	default: // groups, which only a newer or a foreign writer makes
		n := protowire.ConsumeFieldValue(protowire.Number(key>>3), protowire.Type(key&7), b[at:end])
		if n < 0 {
			return field{}, 0, ErrMalformed
		}
		at += n
	}
	return f, at, nil
}

func varint(b []byte, at, end int) (v uint64, after int, ok bool) {
	if at < end && b[at] < 0x80 {
		return uint64(b[at]), at + 1, true
	}
	v, n := protowire.ConsumeVarint(b[at:end])
	return v, at + n, n > 0
}

// decoder decodes the records of one batch.
type decoder struct {
	// data and text are the bytes of the record at hand; its strings are cut from text.
	data []byte
	text string

	// What is left of the memory that the batch's records share.
	decisions  []decision.Decision
	attributes []decision.Attribute
	reasons    []decision.Reason
	degraded   []string
	values     []feature.Value
}

// each calls set for every field of the message at data[from:to].
func (d *decoder) each(from, to int, set func(f field) error) error {
	for from < to {
		f, after, err := next(d.data, from, to)
		if err != nil {
			return err
		}
		if err := set(f); err != nil {
			return err
		}
		from = after
	}
	return nil
}

func (d *decoder) str(f field) string { return d.text[f.from:f.to] }

// extend appends to a list whose memory is cut from a pool that lists of one batch share.
func extend[T any](pool *[]T, list []T, v T) []T {
	if len(list) == cap(list) {
		size := max(2, 2*len(list))
		if len(*pool) < size {
			*pool = make([]T, max(128, size))
		}
		grown := (*pool)[:len(list):size]
		*pool = (*pool)[size:]
		copy(grown, list)
		list = grown
	}
	return append(list, v)
}

func (d *decoder) record(data []byte, r *feature.Record) error {
	if len(data) > MaxRecordBytes {
		return outOfBounds("record size")
	}
	d.data, d.text = data, string(data)
	for at := 0; at < len(data); {
		f, after, err := next(data, at, len(data))
		if err != nil {
			return err
		}
		if err := d.kind(f, r); err != nil {
			return err
		}
		at = after
	}
	return check(r)
}

// kind decodes the record's content. The last kind counts, and a kind that comes twice is merged, as protobuf says.
func (d *decoder) kind(f field, r *feature.Record) error {
	switch f.key {
	case bytes1:
		if r.Decision == nil {
			*r = feature.Record{Decision: d.newDecision()}
		}
		return d.decision(f.from, f.to, r.Decision)
	case bytes2:
		if r.Label == nil {
			*r = feature.Record{Label: &decision.Label{}}
		}
		return d.label(f.from, f.to, r.Label)
	case bytes3:
		if r.Row == nil {
			*r = feature.Record{Row: &feature.Row{}}
		}
		return d.row(f.from, f.to, r.Row)
	case bytes4:
		if r.Retraction == nil {
			*r = feature.Record{Retraction: &feature.Retraction{}}
		}
		return d.retraction(f.from, f.to, r.Retraction)
	case bytes5:
		if r.Posting == nil {
			*r = feature.Record{Posting: &feature.Posting{}}
		}
		return d.posting(f.from, f.to, r.Posting)
	case bytes6:
		if r.Beacon == nil {
			*r = feature.Record{Beacon: &feature.Beacon{}}
		}
		return d.beacon(f.from, f.to, r.Beacon)
	}
	return nil
}

func (d *decoder) newDecision() *decision.Decision {
	if len(d.decisions) == 0 {
		return &decision.Decision{}
	}
	n := &d.decisions[0]
	d.decisions = d.decisions[1:]
	return n
}

func (d *decoder) decision(from, to int, n *decision.Decision) error {
	for from < to {
		f, after, err := next(d.data, from, to)
		if err != nil {
			return err
		}
		from = after
		switch f.key {
		case bytes1:
			err = d.transaction(f.from, f.to, &n.Transaction)
		case varint2:
			n.Outcome, err = enum[decision.Outcome]("decision.outcome", f)
		case single3:
			n.Score = math.Float32frombits(uint32(f.value))
		case bytes4:
			var r decision.Reason
			r.Code, r.Detail, err = d.pair(f.from, f.to)
			n.Reasons = extend(&d.reasons, n.Reasons, r)
		case bytes5:
			n.Degraded = extend(&d.degraded, n.Degraded, d.str(f))
		case bytes6:
			err = d.versions(f.from, f.to, &n.Versions)
		case varint7:
			n.DecidedAt = int64(f.value)
		case fixed8:
			n.Digest = f.value
		case bytes9:
			n.Node = d.str(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) transaction(from, to int, t *decision.Transaction) error {
	for from < to {
		f, after, err := next(d.data, from, to)
		if err != nil {
			return err
		}
		from = after
		switch f.key {
		case bytes1:
			t.ID = d.str(f)
		case bytes2:
			t.Card = d.str(f)
		case bytes3:
			t.Device = d.str(f)
		case bytes4:
			t.Merchant = d.str(f)
		case varint5:
			t.At = int64(f.value)
		case varint6:
			t.Amount = protowire.DecodeZigZag(f.value)
		case bytes7:
			t.Currency = d.str(f)
		case varint8:
			t.BaseAmount = protowire.DecodeZigZag(f.value)
		case bytes9:
			t.Country = d.str(f)
		case bytes10:
			t.HasPosition = true
			err = d.coordinates(f.from, f.to, t)
		case bytes11:
			t.MCC = d.str(f)
		case bytes12:
			var a decision.Attribute
			a.Name, a.Value, err = d.pair(f.from, f.to)
			t.Attributes = extend(&d.attributes, t.Attributes, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) coordinates(from, to int, t *decision.Transaction) error {
	return d.each(from, to, func(f field) error {
		switch f.key {
		case fixed1:
			t.Lat = math.Float64frombits(f.value)
		case fixed2:
			t.Lon = math.Float64frombits(f.value)
		}
		return nil
	})
}

// pair decodes a message of two strings: an attribute or a reason.
func (d *decoder) pair(from, to int) (first, second string, err error) {
	err = d.each(from, to, func(f field) error {
		switch f.key {
		case bytes1:
			first = d.str(f)
		case bytes2:
			second = d.str(f)
		}
		return nil
	})
	return first, second, err
}

func (d *decoder) versions(from, to int, v *decision.Versions) error {
	return d.each(from, to, func(f field) error {
		switch f.key {
		case bytes1:
			v.Schema = d.str(f)
		case bytes2:
			v.Model = d.str(f)
		case bytes3:
			v.Policy = d.str(f)
		}
		return nil
	})
}

func (d *decoder) label(from, to int, l *decision.Label) error {
	return d.each(from, to, func(f field) error {
		switch f.key {
		case bytes1:
			l.TransactionID = d.str(f)
		case bytes2:
			l.Card = d.str(f)
		case varint3:
			l.Fraud = protowire.DecodeBool(f.value)
		case varint4:
			l.KnownAt = int64(f.value)
		}
		return nil
	})
}

func (d *decoder) row(from, to int, r *feature.Row) error {
	return d.each(from, to, func(f field) (err error) {
		switch f.key {
		case varint1:
			r.Kind, err = enum[feature.Kind]("row.kind", f)
		case bytes2:
			r.ID = d.str(f)
		case varint3:
			r.AsOf = int64(f.value)
		case bytes4:
			var v feature.Value
			v, err = d.value(f.from, f.to)
			r.Values = extend(&d.values, r.Values, v)
		}
		return err
	})
}

func (d *decoder) value(from, to int) (v feature.Value, err error) {
	err = d.each(from, to, func(f field) error {
		switch f.key {
		case bytes1:
			v.Name = d.str(f)
		case fixed2:
			v.Value = math.Float64frombits(f.value)
		}
		return nil
	})
	return v, err
}

func (d *decoder) retraction(from, to int, r *feature.Retraction) error {
	return d.each(from, to, func(f field) (err error) {
		switch f.key {
		case bytes1:
			err = d.position(f.from, f.to, &r.Loser)
		case bytes2:
			err = d.facts(f.from, f.to, &r.Facts)
		case bytes3:
			err = d.position(f.from, f.to, &r.Winner)
		case varint4:
			r.WinnerOutcome, err = enum[decision.Outcome]("retraction.winner_outcome", f)
		}
		return err
	})
}

func (d *decoder) posting(from, to int, p *feature.Posting) error {
	return d.each(from, to, func(f field) (err error) {
		switch f.key {
		case bytes1:
			err = d.position(f.from, f.to, &p.Label)
		case bytes2:
			err = d.position(f.from, f.to, &p.Decision)
		case varint3:
			p.Fraud = protowire.DecodeBool(f.value)
		case varint4:
			sign := int32(protowire.DecodeZigZag(f.value & math.MaxUint32))
			if p.Sign = int8(sign); int32(p.Sign) != sign {
				err = outOfBounds("posting.sign")
			}
		case bytes5:
			err = d.facts(f.from, f.to, &p.Facts)
		}
		return err
	})
}

func (d *decoder) beacon(from, to int, n *feature.Beacon) error {
	return d.each(from, to, func(f field) error {
		switch f.key {
		case varint1:
			n.At = int64(f.value)
		case bytes2:
			n.Node = d.str(f)
		}
		return nil
	})
}

func (d *decoder) facts(from, to int, n *feature.Facts) error {
	return d.each(from, to, func(f field) (err error) {
		switch f.key {
		case fixed1:
			n.Key = f.value
		case bytes2:
			n.Card = d.str(f)
		case bytes3:
			n.Device = d.str(f)
		case bytes4:
			n.Merchant = d.str(f)
		case varint5:
			n.At = int64(f.value)
		case varint6:
			n.BaseAmount = protowire.DecodeZigZag(f.value)
		case varint7:
			n.Outcome, err = enum[decision.Outcome]("facts.outcome", f)
		}
		return err
	})
}

func (d *decoder) position(from, to int, p *feature.Position) error {
	seq, index := p.Mark.Seq(), uint32(p.Mark.Index())
	err := d.each(from, to, func(f field) error {
		switch f.key {
		case bytes1:
			p.Origin.Region = d.str(f)
		case fixed2:
			p.Origin.Epoch = f.value
		case varint3:
			seq = f.value
		case varint4:
			index = uint32(f.value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if seq > feature.MaxSequence || index >= feature.MaxBatch {
		return outOfBounds("position")
	}
	p.Mark = feature.MarkOf(seq, int(index))
	return nil
}

// enum narrows an enum's value. Protobuf enums are 32 bits wide on the wire; ours are bytes.
func enum[T ~uint8](name string, f field) (T, error) {
	v := int32(f.value)
	if v < 0 || v > math.MaxUint8 {
		return 0, outOfBounds(name)
	}
	return T(v), nil
}
