package feature

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
)

// The binary form of an entity is what Redis and snapshots hold. It is deterministic: equal states give equal bytes.
//
//	version byte 1 · vector (see vector.go) · body
//
// Integers of the body are varints (signed ones zigzag), times are differences. An origin, a string or an attribute hash is a number in
// its dictionary; the next free number means that the value itself follows, and has that number from then on. The dictionary
// of origins begins with those of the vector. Elements of a timeline go from the newest to the oldest, so that the first of them follow
// from the entity's newest time and from the vector.

const encodingVersion = 1

// maxEntityBytes bounds what is decoded. The largest legal card (65,536 transactions in each of several regions) stays below it.
const maxEntityBytes = 16 << 20

// ErrEncoding is wrapped by every error of Decode.
var ErrEncoding = errors.New("malformed entity")

// An encoded element begins with a byte: what state it is in, and flags.
const (
	stateAbsent = iota // labels came, the decision did not
	stateRetracted
	statePresent // + outcome, 0 to 3
	stateEnd     = statePresent + 4

	stateMask       = 7
	flagAnswer      = 1 << 3 // the answer follows
	flagLabels      = 1 << 4 // label counts follow
	flagOrigin      = 1 << 5 // the origin follows; otherwise it is that of the element before, or the first one
	flagIndex       = 1 << 6 // the index within the batch follows; otherwise it is 0
	flagOtherDevice = 1 << 7 // cards: the device follows; otherwise it is that of the decision before, or empty
)

// Append appends the entity's binary form.
func (e *Entity) Append(b []byte) []byte {
	b = append(b, encodingVersion)
	w := writers.Get().(*writer)
	defer w.release()
	w.b = e.vector.Append(b)
	w.known(&e.vector)
	w.text(e.id)
	w.time(e.newest)
	w.timeline(e)
	for i := range e.tiles {
		w.tiles(&e.tiles[i], &e.schema.groups[i])
	}
	if e.schema.hasCountry {
		w.country(&e.country)
	}
	if e.schema.hasPosition {
		w.lastPosition(&e.position)
	}
	if e.schema.kind == Card {
		w.labels(&e.labels)
	}
	for i := range e.rows {
		w.row(&e.rows[i])
	}
	return w.b
}

// writer appends a body.
type writer struct {
	b       []byte
	origins dictionary[Origin]
	strings dictionary[string]
	hashes  dictionary[uint64]
	// last[i] is the sequence that was written last for origin i: differences to it are short.
	last []uint64
}

// writers keeps the memory of dictionaries from entity to entity.
var writers = sync.Pool{New: func() any { return new(writer) }}

// release gives the writer back, empty.
func (w *writer) release() {
	w.b, w.last = nil, w.last[:0]
	w.origins.reset()
	w.strings.reset()
	w.hashes.reset()
	writers.Put(w)
}

// known begins the dictionary of origins with the vector's.
func (w *writer) known(v *Vector) {
	for i := range v.entries {
		w.origins.list = append(w.origins.list, v.entries[i].origin)
		w.last = append(w.last, v.entries[i].mark.Seq())
	}
}

// dictionary numbers values in the order in which they come first.
type dictionary[T comparable] struct {
	list []T
	// index is used, as indexed says, when list has grown beyond what is quick to scan.
	index   map[T]int
	indexed bool
}

const (
	scannedEntries = 24
	// keptEntries bounds the memory that an empty dictionary holds on to: one that had more lets go of it.
	keptEntries = 1024
)

// reset empties the dictionary.
func (d *dictionary[T]) reset() {
	if len(d.list) > keptEntries {
		*d = dictionary[T]{}
		return
	}
	if d.indexed {
		clear(d.index)
		d.indexed = false
	}
	clear(d.list)
	d.list = d.list[:0]
}

// number returns the value's number, and whether it had one.
func (d *dictionary[T]) number(v T) (n int, known bool) {
	if d.indexed {
		if n, known = d.index[v]; known {
			return n, true
		}
		d.index[v] = len(d.list)
	} else {
		if n = slices.Index(d.list, v); n >= 0 {
			return n, true
		}
		if len(d.list) == scannedEntries {
			if d.indexed = true; d.index == nil {
				d.index = make(map[T]int, 8*scannedEntries)
			}
			for i, o := range d.list {
				d.index[o] = i
			}
			d.index[v] = len(d.list)
		}
	}
	d.list = append(d.list, v)
	return len(d.list) - 1, false
}

func (w *writer) byte(v byte)      { w.b = append(w.b, v) }
func (w *writer) uvarint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) varint(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) uint64(v uint64)  { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) float(v float64)  { w.uint64(math.Float64bits(v)) }

func (w *writer) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

func (w *writer) text(s string) {
	w.uvarint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// time appends an absolute time, counted from 2020 so that it stays short.
func (w *writer) time(at int64) {
	w.bool(at != math.MinInt64)
	if at != math.MinInt64 {
		w.varint(at - timeBase)
	}
}

const timeBase = 1_577_836_800_000

func (w *writer) string(s string) {
	n, known := w.strings.number(s)
	w.uvarint(uint64(n))
	if !known {
		w.text(s)
	}
}

func (w *writer) hash(h uint64) {
	n, known := w.hashes.number(h)
	w.uvarint(uint64(n))
	if !known {
		w.uint64(h)
	}
}

// origin appends an origin and returns its number.
func (w *writer) origin(o Origin) int {
	n, known := w.origins.number(o)
	w.uvarint(uint64(n))
	if !known {
		w.last = append(w.last, 0)
		w.text(o.Region)
		w.uint64(o.Epoch)
	}
	return n
}

// sequence appends a sequence of origin n.
func (w *writer) sequence(n int, seq uint64) {
	w.varint(int64(w.last[n] - seq))
	w.last[n] = seq
}

func (w *writer) position(p Position) {
	w.sequence(w.origin(p.Origin), p.Mark.Seq())
	w.uvarint(uint64(p.Mark.Index()))
}

func (w *writer) timeline(e *Entity) {
	t := &e.timeline
	w.uvarint(uint64(len(t.elements)))
	if e.schema.kind != Card {
		w.uvarint(uint64(t.saturated))
	}
	at, origin, number, device := e.newest, w.firstOrigin(), 0, ""
	for i := len(t.elements) - 1; i >= 0; i-- {
		el := &t.elements[i]
		flags := el.flags()
		from := el.origin.Value()
		if from != origin {
			flags |= flagOrigin
		}
		if el.present && e.schema.kind == Card && el.device != device {
			flags |= flagOtherDevice
			device = el.device
		}
		w.byte(flags)
		w.uvarint(uint64(at - el.at))
		at = el.at
		w.uint64(el.key)
		if from != origin {
			number, origin = w.origin(from), from
		}
		w.sequence(number, el.mark.Seq())
		if flags&flagIndex != 0 {
			w.uvarint(uint64(el.mark.Index()))
		}
		if flags&flagLabels != 0 {
			w.varint(int64(el.fraud))
			w.varint(int64(el.genuine))
		}
		if flags&flagOtherDevice != 0 {
			w.string(el.device)
		}
		if el.present {
			w.decision(e.schema, el)
		}
	}
}

// firstOrigin is the origin that elements have without saying so: the vector's first.
func (w *writer) firstOrigin() Origin {
	if len(w.origins.list) == 0 {
		return Origin{}
	}
	return w.origins.list[0]
}

func (el *element) flags() byte {
	f := byte(stateAbsent)
	switch {
	case el.retracted:
		f = stateRetracted
	case el.present:
		f = statePresent + byte(el.outcome)
	}
	if el.answer != nil {
		f |= flagAnswer
	}
	if el.fraud != 0 || el.genuine != 0 {
		f |= flagLabels
	}
	if el.mark.Index() != 0 {
		f |= flagIndex
	}
	return f
}

// derivable says that attribute j of a contribution follows from what a card keeps anyway.
func (ks *kindSchema) derivable(j int) bool {
	return ks.kind == Card && (ks.attributes[j] == attrDevice || ks.attributes[j] == attrMerchant)
}

// decision appends what a timeline keeps of a present decision.
func (w *writer) decision(ks *kindSchema, el *element) {
	w.varint(el.decidedAt - el.at)
	w.varint(el.baseAmount)
	if ks.kind == Card {
		w.string(el.merchant)
	}
	for j, h := range el.attributes {
		if !ks.derivable(j) {
			w.hash(h)
		}
	}
	a := el.answer
	if a == nil {
		return
	}
	w.uint64(a.digest)
	w.b = binary.BigEndian.AppendUint32(w.b, math.Float32bits(a.score))
	w.string(a.versions.Schema)
	w.string(a.versions.Model)
	w.string(a.versions.Policy)
	w.string(a.node)
	w.uvarint(uint64(len(a.reasons)))
	for _, r := range a.reasons {
		w.string(r.Code)
		w.string(r.Detail)
	}
	w.uvarint(uint64(len(a.degraded)))
	for _, d := range a.degraded {
		w.string(d)
	}
}

func (w *writer) tiles(t *tiles, g *tileGroup) {
	w.uvarint(uint64(len(t.index)))
	before := int64(0)
	for i, tile := range t.index {
		w.varint(tile - before)
		before = tile
		for c := range g.columns {
			v := t.cells[i*len(g.columns)+c]
			if g.columns[c].function >= columnMin {
				w.bool(v != none)
				if v == none {
					continue
				}
			}
			w.varint(v)
		}
	}
	for i := range g.sketches {
		if t.sketches == nil {
			w.uvarint(0)
		} else {
			w.sketch(&t.sketches[i])
		}
	}
}

// sketch appends a sketch: a pair's first byte holds its rank, and a flag for a new register.
func (w *writer) sketch(s *sketch) {
	w.uvarint(uint64(len(s.pairs)))
	if len(s.pairs) == 0 {
		return
	}
	base := s.pairs[0].tile
	for _, p := range s.pairs {
		base = min(base, p.tile)
	}
	w.varint(base)
	for i, p := range s.pairs {
		if i > 0 && s.pairs[i-1].register == p.register {
			w.byte(p.rank)
		} else {
			w.byte(p.rank | flagRegister)
			w.byte(p.register)
		}
		w.uvarint(uint64(p.tile - base))
	}
}

const flagRegister = 1 << 7

func (w *writer) country(c *lastCountry) {
	w.string(c.country)
	if c.country != "" {
		w.time(c.at)
		w.uint64(c.key)
	}
}

func (w *writer) lastPosition(p *lastPosition) {
	w.bool(p.known)
	if p.known {
		w.time(p.at)
		w.uint64(p.key)
		w.float(p.lat)
		w.float(p.lon)
	}
}

func (w *writer) labels(l *labels) {
	w.uvarint(uint64(len(l.entries)))
	for i := range l.entries {
		e := &l.entries[i]
		w.uint64(e.key)
		w.bool(e.fraud)
		w.time(e.knownAt)
		w.position(e.position)
	}
	w.uvarint(uint64(len(l.postings)))
	for i := range l.postings {
		p := &l.postings[i]
		w.uint64(p.key)
		w.bool(p.fraud)
		w.position(p.label)
		w.position(p.decision)
		w.varint(int64(p.sum))
		w.time(p.facts.At)
		w.string(p.facts.Device)
		w.string(p.facts.Merchant)
		w.varint(p.facts.BaseAmount)
		w.byte(byte(p.facts.Outcome))
	}
}

func (w *writer) row(r *rowValue) {
	w.bool(r.set)
	if r.set {
		w.time(r.asOf)
		w.position(r.position)
		w.float(r.value)
	}
}
