package feature

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unique"

	"scoremesh/decision"
)

// Decode reads the state of an entity of the kind. The bytes are copied. Bytes that are not such a state, whatever they are, give an error
// that wraps ErrEncoding, or ErrVector.
func (s *Schema) Decode(k Kind, b []byte) (*Entity, error) {
	if len(b) > maxEntityBytes {
		return nil, fmt.Errorf("decode %s: %w: %d bytes", k, ErrEncoding, len(b))
	}
	if len(b) == 0 || b[0] != encodingVersion {
		return nil, fmt.Errorf("decode %s: %w: encoding version is not %d", k, ErrEncoding, encodingVersion)
	}
	vector, body, err := DecodeVector(b[1:])
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k, err)
	}
	e := s.New(k)
	e.vector = vector
	d := &decoder{b: body, body: string(body)}
	d.known(&e.vector)
	e.id = d.text()
	if e.newest = d.time(); e.newest != math.MinInt64 && !foldable(e.newest, decision.Undecided) {
		d.fail("a newest time out of range")
	}
	d.timeline(e)
	for i := range e.tiles {
		d.tiles(&e.tiles[i], &e.schema.groups[i])
	}
	if e.schema.hasCountry {
		d.country(&e.country)
	}
	if e.schema.hasPosition {
		d.lastPosition(&e.position)
	}
	if k == Card {
		d.labels(e)
	}
	for i := range e.rows {
		d.row(&e.rows[i])
	}
	if d.failed == "" && len(d.b) > 0 {
		d.fail("bytes behind the end")
	}
	if d.failed != "" {
		return nil, fmt.Errorf("decode %s: %w: %s", k, ErrEncoding, d.failed)
	}
	e.timeline.electAll()
	return e, nil
}

// decoder reads a body. After the first failure it returns zeros, and counts of things become 0, so that every loop ends.
type decoder struct {
	b []byte
	// body is the whole body as text; every string is cut from it.
	body    string
	failed  string
	origins []unique.Handle[Origin]
	last    []uint64
	strings []string
	hashes  []uint64
}

// known begins the dictionary of origins with the vector's.
func (d *decoder) known(v *Vector) {
	d.origins = make([]unique.Handle[Origin], len(v.entries))
	d.last = make([]uint64, len(v.entries))
	for i := range v.entries {
		d.origins[i], d.last[i] = unique.Make(v.entries[i].origin), v.entries[i].mark.Seq()
	}
}

func (d *decoder) fail(why string) {
	if d.failed == "" {
		d.failed = why
	}
	d.b = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("a cut or overlong integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("a cut or overlong integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of things that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail("a count beyond the end")
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	if len(d.b) < n {
		d.fail("cut short")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) float() float64 { return math.Float64frombits(d.uint64()) }

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail("a flag that is neither 0 nor 1")
	}
	return v == 1
}

func (d *decoder) text() string {
	n := d.count(1)
	at := len(d.body) - len(d.b)
	if d.bytes(n) == nil {
		return ""
	}
	return d.body[at : at+n]
}

func (d *decoder) time() int64 {
	if !d.bool() {
		return math.MinInt64
	}
	return d.varint() + timeBase
}

func (d *decoder) outcome(v byte) decision.Outcome {
	if v > byte(decision.StepUp) {
		d.fail("an unknown outcome")
		return 0
	}
	return decision.Outcome(v)
}

// number reads a number in a dictionary that has so many entries; new says that the entry itself follows.
func (d *decoder) number(have int) (n int, added bool) {
	v := d.uvarint()
	if d.failed == "" && v > uint64(have) {
		d.fail("a number that the dictionary does not have")
	}
	if d.failed != "" {
		return 0, true
	}
	return int(v), int(v) == have
}

func (d *decoder) string() string {
	n, added := d.number(len(d.strings))
	if !added {
		return d.strings[n]
	}
	s := d.text()
	d.strings = append(d.strings, s)
	return s
}

func (d *decoder) hash() uint64 {
	n, added := d.number(len(d.hashes))
	if !added {
		return d.hashes[n]
	}
	h := d.uint64()
	d.hashes = append(d.hashes, h)
	return h
}

func (d *decoder) origin() int {
	n, added := d.number(len(d.origins))
	if added {
		n = len(d.origins)
		d.origins = append(d.origins, unique.Make(Origin{intern(d.text()), d.uint64()}))
		d.last = append(d.last, 0)
	}
	return n
}

func (d *decoder) sequence(n int) uint64 {
	seq := d.last[n] - uint64(d.varint())
	if seq > MaxSequence {
		d.fail("a sequence out of range")
		return 0
	}
	d.last[n] = seq
	return seq
}

func (d *decoder) index() int {
	index := d.uvarint()
	if index > MaxBatch {
		d.fail("an index out of range")
		return 0
	}
	return int(index)
}

func (d *decoder) position() Position {
	n := d.origin()
	return Position{d.origins[n].Value(), MarkOf(d.sequence(n), d.index())}
}

// smallestElement is a flags byte, a time, a key and a sequence.
const smallestElement = 1 + 1 + 8 + 1

func (d *decoder) timeline(e *Entity) {
	n := d.count(smallestElement)
	t := &e.timeline
	if e.schema.kind != Card {
		if t.saturated = int64(d.uvarint()); t.saturated < 0 {
			d.fail("a time out of range")
		}
	}
	if n == 0 {
		return
	}
	if !e.schema.hasTimeline || len(d.origins) == 0 || e.newest == math.MinInt64 {
		d.fail("a timeline that cannot be")
		return
	}
	t.elements, t.prints = make([]element, n), make([]byte, n)
	attributes := make([]uint64, n*len(e.schema.attributes))
	at, number, device := e.newest, 0, ""
	for i := n - 1; i >= 0; i-- {
		el := &t.elements[i]
		flags := d.byte()
		at -= int64(d.uvarint())
		el.at, el.key = at, d.uint64()
		if flags&flagOrigin != 0 {
			number = d.origin()
		}
		el.origin = d.origins[number]
		el.mark = MarkOf(d.sequence(number), 0)
		if flags&flagIndex != 0 {
			el.mark += Mark(d.index())
		}
		if flags&flagLabels != 0 {
			el.fraud, el.genuine = d.labelCount(), d.labelCount()
		}
		if flags&flagOtherDevice != 0 {
			device = d.string()
		}
		switch state := flags & stateMask; {
		case state >= stateEnd:
			d.fail("an unknown state")
		case state >= statePresent:
			el.present, el.outcome, el.device = true, d.outcome(state-statePresent), device
			el.attributes, attributes = cut(attributes, len(e.schema.attributes))
			d.decision(e.schema, el, flags&flagAnswer != 0)
		default:
			el.retracted = state == stateRetracted
			if flags&(flagAnswer|flagOtherDevice) != 0 {
				d.fail("facts of a decision that is not there")
			}
		}
		if i < n-1 && el.compare(&t.elements[i+1]) >= 0 || at > e.newest {
			d.fail("elements out of order")
		}
		if d.failed != "" {
			return
		}
		t.prints[i] = byte(el.key)
	}
}

// cut takes the first n off a slice; none of no attributes is nil, as the fold has it.
func cut(s []uint64, n int) (head, rest []uint64) {
	if n == 0 {
		return nil, s
	}
	return s[:n:n], s[n:]
}

func (d *decoder) labelCount() int16 {
	v := d.varint()
	if int64(int16(v)) != v {
		d.fail("a label count out of range")
		return 0
	}
	return int16(v)
}

func (d *decoder) decision(ks *kindSchema, el *element, answered bool) {
	el.decidedAt = el.at + d.varint()
	el.baseAmount = d.varint()
	if ks.kind == Card {
		el.merchant = d.string()
	} else if el.device != "" || answered {
		d.fail("facts that only cards keep")
	}
	for j := range el.attributes {
		switch {
		case !ks.derivable(j):
			el.attributes[j] = d.hash()
		case ks.attributes[j] == attrDevice:
			el.attributes[j] = hashAttribute(el.device)
		default:
			el.attributes[j] = hashAttribute(el.merchant)
		}
	}
	if !answered {
		return
	}
	a := &answer{digest: d.uint64(), score: math.Float32frombits(d.uint32())}
	a.versions = decision.Versions{Schema: d.string(), Model: d.string(), Policy: d.string()}
	a.node = d.string()
	if n := d.count(2); n > 0 {
		a.reasons = make([]decision.Reason, n)
		for i := range a.reasons {
			a.reasons[i] = decision.Reason{Code: d.string(), Detail: d.string()}
		}
	}
	if n := d.count(1); n > 0 {
		a.degraded = make([]string, n)
		for i := range a.degraded {
			a.degraded[i] = d.string()
		}
	}
	el.answer = a
}

func (d *decoder) tiles(t *tiles, g *tileGroup) {
	n := d.count(1 + len(g.columns))
	if n > 0 && len(g.columns) == 0 {
		d.fail("tiles without columns")
		return
	}
	t.index = slices.Grow(t.index, n)
	t.cells = slices.Grow(t.cells, n*len(g.columns))
	tile := int64(0)
	for i := range n {
		tile += d.varint()
		if d.failed != "" || i > 0 && tile <= t.index[i-1] {
			d.fail("tiles out of order")
			return
		}
		t.index = append(t.index, tile)
		for c := range g.columns {
			v := int64(none)
			if g.columns[c].function < columnMin || d.bool() {
				v = d.varint()
			}
			t.cells = append(t.cells, v)
		}
	}
	for i := range g.sketches {
		if s := d.sketch(); len(s.pairs) > 0 {
			if t.sketches == nil {
				t.sketches = make([]sketch, len(g.sketches))
			}
			t.sketches[i] = s
		}
	}
}

func (d *decoder) sketch() sketch {
	var s sketch
	n := d.count(2)
	if n == 0 {
		return s
	}
	s.pairs = make([]pair, 0, n)
	base := d.varint()
	register := byte(0)
	for i := range n {
		rank := d.byte()
		if rank&flagRegister != 0 {
			register = d.byte()
		} else if i == 0 {
			d.fail("a sketch without a register")
		}
		p := pair{register: register, rank: rank &^ flagRegister, tile: base + int64(d.uvarint())}
		if p.register >= registers || p.rank == 0 || p.rank > maxRank || i > 0 && s.pairs[i-1].compare(p) >= 0 {
			d.fail("a sketch out of order")
		}
		if d.failed != "" {
			return sketch{}
		}
		s.pairs = append(s.pairs, p)
	}
	return s
}

func (d *decoder) country(c *lastCountry) {
	if c.country = d.string(); c.country != "" {
		c.at, c.key = d.time(), d.uint64()
	}
}

func (d *decoder) lastPosition(p *lastPosition) {
	if d.bool() {
		*p = lastPosition{true, d.time(), d.uint64(), d.float(), d.float()}
	}
}

func (d *decoder) labels(e *Entity) {
	for i := range d.count(8 + 1 + 1 + 3) {
		l := labelEntry{key: d.uint64(), fraud: d.bool(), knownAt: d.time(), position: d.position()}
		if d.failed != "" || i > 0 && e.labels.entries[i-1].key >= l.key {
			d.fail("labels out of order")
			return
		}
		e.labels.entries = append(e.labels.entries, l)
	}
	for i := range d.count(8 + 1 + 2*3 + 1 + 5) {
		p := postingEntry{key: d.uint64(), fraud: d.bool(), label: d.position(), decision: d.position()}
		sum := d.varint()
		p.sum = int32(sum)
		p.facts = Facts{Key: p.key, Card: e.id, At: d.time(), Device: d.string(), Merchant: d.string(), BaseAmount: d.varint()}
		p.facts.Outcome = d.outcome(d.byte())
		if d.failed != "" || int64(p.sum) != sum || i > 0 && e.labels.postings[i-1].compare(&p) >= 0 {
			d.fail("postings out of order")
			return
		}
		e.labels.postings = append(e.labels.postings, p)
	}
}

func (d *decoder) row(r *rowValue) {
	if d.bool() {
		*r = rowValue{true, d.time(), d.position(), d.float()}
	}
}
