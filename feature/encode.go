package feature

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unique"

	"scoremesh/decision"
)

// The binary form of an entity is what Redis and snapshots hold. It is deterministic: equal states give equal bytes.
//
//	version byte 1 · vector (see vector.go) · body
//
// The body begins with three tables, sorted and free of duplicates, that the rest refers to by number: origins that the vector does
// not have, strings, and attribute hashes. Integers are varints (signed ones zigzag), times are differences.

const encodingVersion = 1

// Bounds that the decoder holds against hostile bytes.
const maxEntityBytes = 64 << 20

// ErrEncoding is wrapped by every error of Decode.
var ErrEncoding = errors.New("malformed entity")

// flags of an encoded element.
const (
	flagPresent = 1 << iota
	flagRetracted
	flagAnswer
	flagLabels
	flagOrigin
	flagOutcome // two bits
)

// Append appends the entity's binary form.
func (e *Entity) Append(b []byte) []byte {
	b = append(b, encodingVersion)
	b = e.vector.Append(b)
	w := e.tables()
	b = w.append(b)
	b = appendText(b, e.id)
	b = appendTime(b, e.newest)
	b = e.appendTimeline(b, w)
	for i := range e.tiles {
		b = e.tiles[i].append(b, &e.schema.groups[i])
	}
	if e.schema.hasCountry {
		b = e.appendCountry(b, w)
	}
	if e.schema.hasPosition {
		b = e.appendPosition(b)
	}
	if e.schema.kind == Card {
		b = e.appendLabels(b, w)
	}
	for _, r := range e.rows {
		b = r.append(b, w)
	}
	return b
}

// tables are what the body refers to by number.
type tables struct {
	vector *Vector
	// origins are numbered behind those of the vector.
	origins []Origin
	strings []string
	hashes  []uint64
}

func (e *Entity) tables() *tables {
	w := &tables{vector: &e.vector}
	for i := range e.timeline.elements {
		el := &e.timeline.elements[i]
		w.origin(el.origin.Value())
		if el.present && e.schema.kind == Card {
			w.text(el.device)
			w.text(el.merchant)
		}
		for j, h := range el.attributes {
			if !e.schema.derivable(j) {
				w.hash(h)
			}
		}
		if a := el.answer; a != nil {
			w.text(a.versions.Schema)
			w.text(a.versions.Model)
			w.text(a.versions.Policy)
			w.text(a.node)
			for _, r := range a.reasons {
				w.text(r.Code)
				w.text(r.Detail)
			}
			for _, d := range a.degraded {
				w.text(d)
			}
		}
	}
	if e.schema.hasCountry {
		w.text(e.country.country)
	}
	for i := range e.labels.entries {
		w.origin(e.labels.entries[i].position.Origin)
	}
	for i := range e.labels.postings {
		p := &e.labels.postings[i]
		w.origin(p.label.Origin)
		w.origin(p.decision.Origin)
		w.text(p.facts.Device)
		w.text(p.facts.Merchant)
	}
	for i := range e.rows {
		if e.rows[i].set {
			w.origin(e.rows[i].position.Origin)
		}
	}
	return w
}

// derivable says that attribute j of a contribution follows from what a card keeps anyway.
func (ks *kindSchema) derivable(j int) bool {
	return ks.kind == Card && (ks.attributes[j] == attrDevice || ks.attributes[j] == attrMerchant)
}

func (w *tables) origin(o Origin) {
	if w.vector.Get(o) == 0 {
		if i, found := slices.BinarySearchFunc(w.origins, o, Origin.Compare); !found {
			w.origins = slices.Insert(w.origins, i, o)
		}
	}
}

func (w *tables) text(s string) {
	if i, found := slices.BinarySearch(w.strings, s); !found {
		w.strings = slices.Insert(w.strings, i, s)
	}
}

func (w *tables) hash(h uint64) {
	if i, found := slices.BinarySearch(w.hashes, h); !found {
		w.hashes = slices.Insert(w.hashes, i, h)
	}
}

func (w *tables) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(w.origins)))
	for _, o := range w.origins {
		b = appendText(b, o.Region)
		b = binary.BigEndian.AppendUint64(b, o.Epoch)
	}
	b = binary.AppendUvarint(b, uint64(len(w.strings)))
	for _, s := range w.strings {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(w.hashes)))
	for _, h := range w.hashes {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

func (w *tables) appendOrigin(b []byte, o Origin) []byte {
	return binary.AppendUvarint(b, uint64(w.originNumber(o)))
}

func (w *tables) originNumber(o Origin) int {
	for i := range w.vector.entries {
		if w.vector.entries[i].origin == o {
			return i
		}
	}
	i, _ := slices.BinarySearchFunc(w.origins, o, Origin.Compare)
	return len(w.vector.entries) + i
}

func (w *tables) appendPosition(b []byte, p Position) []byte {
	return appendMark(w.appendOrigin(b, p.Origin), p.Mark)
}

func (w *tables) appendString(b []byte, s string) []byte {
	i, _ := slices.BinarySearch(w.strings, s)
	return binary.AppendUvarint(b, uint64(i))
}

func (w *tables) appendHash(b []byte, h uint64) []byte {
	i, _ := slices.BinarySearch(w.hashes, h)
	return binary.AppendUvarint(b, uint64(i))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendMark(b []byte, m Mark) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, m.Seq()), uint64(m.Index()))
}

// appendTime appends an absolute time, counted from 2020 so that it stays short.
func appendTime(b []byte, at int64) []byte {
	if at == math.MinInt64 {
		return append(b, 0)
	}
	return binary.AppendVarint(append(b, 1), at-timeBase)
}

const timeBase = 1_577_836_800_000

func (e *Entity) appendTimeline(b []byte, w *tables) []byte {
	t := &e.timeline
	b = binary.AppendUvarint(b, uint64(len(t.elements)))
	if e.schema.kind != Card {
		b = binary.AppendUvarint(b, uint64(t.saturated))
	}
	at, seq := int64(timeBase), int64(0)
	for i := range t.elements {
		el := &t.elements[i]
		number := w.originNumber(el.origin.Value())
		b = append(b, el.flags(number))
		b = binary.AppendVarint(b, el.at-at)
		b = binary.BigEndian.AppendUint64(b, el.key)
		if number != 0 {
			b = binary.AppendUvarint(b, uint64(number))
		}
		b = binary.AppendVarint(b, int64(el.mark.Seq())-seq)
		b = binary.AppendUvarint(b, uint64(el.mark.Index()))
		at, seq = el.at, int64(el.mark.Seq())
		if el.fraud != 0 || el.genuine != 0 {
			b = binary.AppendVarint(b, int64(el.fraud))
			b = binary.AppendVarint(b, int64(el.genuine))
		}
		if el.present && !el.retracted {
			b = e.appendDecision(b, w, el)
		}
	}
	return b
}

func (el *element) flags(origin int) byte {
	var f byte
	if el.present {
		f |= flagPresent
	}
	if el.retracted {
		f |= flagRetracted
	}
	if el.answer != nil {
		f |= flagAnswer
	}
	if el.fraud != 0 || el.genuine != 0 {
		f |= flagLabels
	}
	if origin != 0 {
		f |= flagOrigin
	}
	return f | byte(el.outcome)*flagOutcome
}

// appendDecision appends what a timeline keeps of a present decision.
func (e *Entity) appendDecision(b []byte, w *tables, el *element) []byte {
	b = binary.AppendVarint(b, el.decidedAt-el.at)
	b = binary.AppendVarint(b, el.baseAmount)
	if e.schema.kind == Card {
		b = w.appendString(b, el.device)
		b = w.appendString(b, el.merchant)
	}
	for j, h := range el.attributes {
		if !e.schema.derivable(j) {
			b = w.appendHash(b, h)
		}
	}
	a := el.answer
	if a == nil {
		return b
	}
	b = binary.BigEndian.AppendUint64(b, a.digest)
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(a.score))
	b = w.appendString(b, a.versions.Schema)
	b = w.appendString(b, a.versions.Model)
	b = w.appendString(b, a.versions.Policy)
	b = w.appendString(b, a.node)
	b = binary.AppendUvarint(b, uint64(len(a.reasons)))
	for _, r := range a.reasons {
		b = w.appendString(w.appendString(b, r.Code), r.Detail)
	}
	b = binary.AppendUvarint(b, uint64(len(a.degraded)))
	for _, d := range a.degraded {
		b = w.appendString(b, d)
	}
	return b
}

func (t *tiles) append(b []byte, g *tileGroup) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.index)))
	before := int64(0)
	for i, tile := range t.index {
		b = binary.AppendVarint(b, tile-before)
		before = tile
		for c := range g.columns {
			v := t.cells[i*len(g.columns)+c]
			if g.columns[c].function >= columnMin {
				if v == none {
					b = append(b, 0)
					continue
				}
				b = append(b, 1)
			}
			b = binary.AppendVarint(b, v)
		}
	}
	for i := range g.sketches {
		var s sketch
		if t.sketches != nil {
			s = t.sketches[i]
		}
		b = s.append(b)
	}
	return b
}

func (s *sketch) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.pairs)))
	base := int64(0)
	if len(s.pairs) > 0 {
		base = slices.MinFunc(s.pairs, func(p, q pair) int { return int(p.tile - q.tile) }).tile
		b = binary.AppendVarint(b, base)
	}
	for _, p := range s.pairs {
		b = append(b, p.register, p.rank)
		b = binary.AppendUvarint(b, uint64(p.tile-base))
	}
	return b
}

func (e *Entity) appendCountry(b []byte, w *tables) []byte {
	b = w.appendString(b, e.country.country)
	if e.country.country != "" {
		b = binary.BigEndian.AppendUint64(appendTime(b, e.country.at), e.country.key)
	}
	return b
}

func (e *Entity) appendPosition(b []byte) []byte {
	p := &e.position
	if !p.known {
		return append(b, 0)
	}
	b = binary.BigEndian.AppendUint64(appendTime(append(b, 1), p.at), p.key)
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.lat))
	return binary.BigEndian.AppendUint64(b, math.Float64bits(p.lon))
}

func (e *Entity) appendLabels(b []byte, w *tables) []byte {
	b = binary.AppendUvarint(b, uint64(len(e.labels.entries)))
	for i := range e.labels.entries {
		l := &e.labels.entries[i]
		b = binary.BigEndian.AppendUint64(b, l.key)
		b = w.appendPosition(appendTime(appendBool(b, l.fraud), l.knownAt), l.position)
	}
	b = binary.AppendUvarint(b, uint64(len(e.labels.postings)))
	for i := range e.labels.postings {
		p := &e.labels.postings[i]
		b = binary.BigEndian.AppendUint64(b, p.key)
		b = w.appendPosition(w.appendPosition(appendBool(b, p.fraud), p.label), p.decision)
		b = binary.AppendVarint(b, int64(p.sum))
		b = w.appendString(w.appendString(appendTime(b, p.facts.At), p.facts.Device), p.facts.Merchant)
		b = append(binary.AppendVarint(b, p.facts.BaseAmount), byte(p.facts.Outcome))
	}
	return b
}

func (r *rowValue) append(b []byte, w *tables) []byte {
	b = appendBool(b, r.set)
	if r.set {
		b = w.appendPosition(appendTime(b, r.asOf), r.position)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.value))
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// Decode reads the state of an entity of the kind. The bytes are copied. Bytes that are not such a state, whatever they are, give an error
// that wraps ErrEncoding, or ErrVector.
func (s *Schema) Decode(k Kind, b []byte) (*Entity, error) {
	if len(b) > maxEntityBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrEncoding, len(b))
	}
	if len(b) == 0 || b[0] != encodingVersion {
		return nil, fmt.Errorf("%w: encoding version is not %d", ErrEncoding, encodingVersion)
	}
	vector, body, err := DecodeVector(b[1:])
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k, err)
	}
	e := s.New(k)
	e.vector = vector
	d := &decoder{b: body, vector: &e.vector}
	d.tables()
	e.id = d.text()
	e.newest = d.time()
	d.timeline(e)
	for i := range e.tiles {
		d.tiles(&e.tiles[i], &e.schema.groups[i])
	}
	if e.schema.hasCountry {
		if e.country.country = d.string(); e.country.country != "" {
			e.country.at, e.country.key = d.time(), d.uint64()
		}
	}
	if e.schema.hasPosition && d.bool() {
		e.position = lastPosition{true, d.time(), d.uint64(), math.Float64frombits(d.uint64()), math.Float64frombits(d.uint64())}
	}
	if k == Card {
		d.labels(e)
	}
	for i := range e.rows {
		if d.bool() {
			e.rows[i] = rowValue{true, d.time(), d.position(), math.Float64frombits(d.uint64())}
		}
	}
	if d.failed == "" && len(d.b) > 0 {
		d.fail("bytes behind the end")
	}
	if d.failed != "" {
		return nil, fmt.Errorf("decode %s: %w: %s", k, ErrEncoding, d.failed)
	}
	e.electAll()
	return e, nil
}

// electAll derives what is not encoded.
func (e *Entity) electAll() {
	t := &e.timeline
	seen := make(map[uint64]int, len(t.keys))
	for i, key := range t.keys {
		el := &t.elements[i]
		el.counts = el.present && !el.retracted
		seen[key]++
	}
	for key, n := range seen {
		if n > 1 {
			e.duplicates = true
			t.elect(key)
		}
	}
}

// decoder reads a body. After the first failure it returns zeros, and counts of things become 0, so that every loop ends.
type decoder struct {
	b       []byte
	failed  string
	vector  *Vector
	origins []unique.Handle[Origin]
	strings []string
	hashes  []uint64
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

func (d *decoder) text() string { return string(d.bytes(d.count(1))) }

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

func (d *decoder) mark() Mark {
	seq, index := d.uvarint(), d.uvarint()
	if seq > MaxSequence || index > MaxBatch {
		d.fail("a mark out of range")
		return 0
	}
	return MarkOf(seq, int(index))
}

func (d *decoder) tables() {
	for o := range d.vector.All() {
		d.origins = append(d.origins, unique.Make(o))
	}
	for range d.count(9) {
		o := Origin{d.text(), d.uint64()}
		if last := len(d.origins) - 1; last >= d.vector.Len() && d.origins[last].Value().Compare(o) >= 0 || d.vector.Get(o) != 0 {
			d.fail("origins out of order")
		}
		d.origins = append(d.origins, unique.Make(o))
	}
	if n := d.count(1); n > 0 {
		d.strings = make([]string, n)
	}
	for i := range d.strings {
		d.strings[i] = intern(d.bytes(d.count(1)))
		if i > 0 && strings.Compare(d.strings[i-1], d.strings[i]) >= 0 {
			d.fail("strings out of order")
		}
	}
	if n := d.count(8); n > 0 {
		d.hashes = make([]uint64, n)
	}
	for i := range d.hashes {
		d.hashes[i] = d.uint64()
		if i > 0 && d.hashes[i-1] >= d.hashes[i] {
			d.fail("hashes out of order")
		}
	}
}

func (d *decoder) handle(number uint64) unique.Handle[Origin] {
	if number >= uint64(len(d.origins)) {
		d.fail("an origin that the table does not have")
		return unique.Make(Origin{})
	}
	return d.origins[number]
}

func (d *decoder) position() Position {
	h := d.handle(d.uvarint())
	return Position{h.Value(), d.mark()}
}

func (d *decoder) string() string {
	if i := d.uvarint(); i < uint64(len(d.strings)) {
		return d.strings[i]
	}
	d.fail("a string that the table does not have")
	return ""
}

func (d *decoder) hash() uint64 {
	if i := d.uvarint(); i < uint64(len(d.hashes)) {
		return d.hashes[i]
	}
	d.fail("a hash that the table does not have")
	return 0
}

// smallestElement is a flags byte, a time, a key, a sequence and an index.
const smallestElement = 1 + 1 + 8 + 1 + 1

func (d *decoder) timeline(e *Entity) {
	n := d.count(smallestElement)
	t := &e.timeline
	if e.schema.kind != Card {
		t.saturated = int64(d.uvarint())
	}
	if n == 0 {
		return
	}
	if !e.schema.hasTimeline {
		d.fail("a timeline that the schema does not keep")
		return
	}
	t.elements, t.keys = make([]element, n), make([]uint64, n)
	at, seq := int64(timeBase), int64(0)
	for i := range t.elements {
		el := &t.elements[i]
		flags := d.byte()
		el.present, el.retracted = flags&flagPresent != 0, flags&flagRetracted != 0
		el.outcome = d.outcome(flags / flagOutcome)
		at += d.varint()
		el.at, el.key = at, d.uint64()
		number := uint64(0)
		if flags&flagOrigin != 0 {
			number = d.uvarint()
		}
		el.origin = d.handle(number)
		seq += d.varint()
		index := d.uvarint()
		if seq < 0 || seq > MaxSequence || index > MaxBatch {
			d.fail("a mark out of range")
			return
		}
		el.mark = MarkOf(uint64(seq), int(index))
		if flags&flagLabels != 0 {
			fraud, genuine := d.varint(), d.varint()
			if el.fraud, el.genuine = int16(fraud), int16(genuine); int64(el.fraud) != fraud || int64(el.genuine) != genuine {
				d.fail("a label count out of range")
			}
		}
		if el.present && !el.retracted {
			d.decision(e.schema, el, flags&flagAnswer != 0)
		}
		if d.failed != "" {
			return
		}
		t.keys[i] = el.key
		if i > 0 && t.elements[i-1].compare(el) >= 0 {
			d.fail("elements out of order")
		}
	}
}

func (d *decoder) decision(ks *kindSchema, el *element, answered bool) {
	el.decidedAt = el.at + d.varint()
	el.baseAmount = d.varint()
	if ks.kind == Card {
		el.device, el.merchant = d.string(), d.string()
	}
	if len(ks.attributes) > 0 {
		el.attributes = make([]uint64, len(ks.attributes))
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
	for range d.count(2) {
		a.reasons = append(a.reasons, decision.Reason{Code: d.string(), Detail: d.string()})
	}
	for range d.count(1) {
		a.degraded = append(a.degraded, d.string())
	}
	el.answer = a
}

func (d *decoder) tiles(t *tiles, g *tileGroup) {
	n := d.count(1)
	tile := int64(0)
	for i := range n {
		tile += d.varint()
		if i > 0 && tile <= t.index[i-1] {
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
	n := d.count(3)
	if n == 0 {
		return s
	}
	base := d.varint()
	for i := range n {
		p := pair{register: d.byte(), rank: d.byte()}
		p.tile = base + int64(d.uvarint())
		if p.register >= registers || p.rank > 64 || i > 0 && s.pairs[i-1].compare(p) >= 0 {
			d.fail("a sketch out of order")
			return s
		}
		s.pairs = append(s.pairs, p)
	}
	return s
}

func (d *decoder) labels(e *Entity) {
	for i := range d.count(13) {
		l := labelEntry{key: d.uint64(), fraud: d.bool(), knownAt: d.time(), position: d.position()}
		if i > 0 && e.labels.entries[i-1].key >= l.key {
			d.fail("labels out of order")
			return
		}
		e.labels.entries = append(e.labels.entries, l)
	}
	for i := range d.count(20) {
		p := postingEntry{key: d.uint64(), fraud: d.bool(), label: d.position(), decision: d.position()}
		p.sum = int32(d.varint())
		p.facts = Facts{Key: p.key, Card: e.id, At: d.time(), Device: d.string(), Merchant: d.string(), BaseAmount: d.varint()}
		p.facts.Outcome = d.outcome(d.byte())
		if i > 0 && e.labels.postings[i-1].compare(&p) >= 0 {
			d.fail("postings out of order")
			return
		}
		e.labels.postings = append(e.labels.postings, p)
	}
}
