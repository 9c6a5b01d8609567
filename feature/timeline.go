package feature

import (
	"bytes"
	"cmp"
	"slices"
	"unique"

	"github.com/zeebo/xxh3"

	"scoremesh/decision"
)

// element is what a timeline keeps of one record that contributes a transaction: a decision, the retraction of one, or a
// label posted on one. It is identified, for ever, by (at, key, origin, mark) of the decision; the three kinds of records may
// come in any order.
type element struct {
	// at is the transaction's time, Unix milliseconds; key is decision.Key.
	at  int64
	key uint64
	// origin and mark are the decision's position.
	origin unique.Handle[Origin]
	mark   Mark

	// present: the decision itself has come. What follows is zero otherwise, and once retracted.
	present bool
	outcome decision.Outcome
	// retracted: a retraction has come, before or after the decision. It never counts again.
	retracted bool
	// counts: present, not retracted, and canonical among the elements of its key. Derived, not encoded.
	counts bool
	// fraud and genuine are the signed sums of the postings on this decision (device and merchant timelines).
	fraud, genuine int16

	decidedAt  int64
	baseAmount int64
	// attributes are hashes of the values of kindSchema.attributes, 0 for an empty value.
	attributes []uint64
	// device and merchant are kept on cards, to complete labels and retractions.
	device, merchant string
	// answer is kept on cards, within the idempotency period.
	answer *answer
}

// answer is what a retry is answered with.
type answer struct {
	digest   uint64
	score    float32
	reasons  []decision.Reason
	degraded []string
	versions decision.Versions
	node     string
}

func (e *element) position() Position { return Position{e.origin.Value(), e.mark} }

func (e *element) compare(f *element) int {
	return cmp.Or(cmp.Compare(e.at, f.at), cmp.Compare(e.key, f.key), e.comparePosition(f))
}

func (e *element) comparePosition(f *element) int {
	if e.origin != f.origin {
		return e.origin.Value().Compare(f.origin.Value())
	}
	return cmp.Compare(e.mark, f.mark)
}

// before orders duplicates: the first of them is canonical.
func (e *element) before(f *element) bool {
	return cmp.Or(cmp.Compare(e.decidedAt, f.decidedAt), e.comparePosition(f)) < 0
}

// label returns what the postings say of the element's decision.
func (e *element) label() labelFilter {
	switch {
	case e.fraud > 0:
		return fraudLabel
	case e.genuine > 0:
		return genuineLabel
	}
	return anyLabel
}

// timeline is a set of elements. It grows by add and shrinks by trim only; both commute.
type timeline struct {
	// elements are sorted by compare, and distinct.
	elements []element
	// backing is the memory that elements are the end of; drops leave room at its front.
	backing []element
	// prints[i] is the lowest byte of elements[i].key: a scan over bytes finds the few elements that may have a key.
	prints []byte
	// duplicates: several elements of one key are held, or were. Derived, not encoded.
	duplicates bool
	// saturated is the newest time that trimNewest dropped, 0 for none. Behind the horizon it is 0 again.
	saturated int64
}

// at returns the element with e's identity, and inserts an empty one if there is none.
func (t *timeline) at(e element) *element {
	i := len(t.elements)
	if i > 0 && t.elements[i-1].compare(&e) >= 0 {
		var found bool
		i, found = slices.BinarySearchFunc(t.elements, &e, func(a element, b *element) int { return a.compare(b) })
		if found {
			return &t.elements[i]
		}
	}
	t.makeRoom()
	t.elements = slices.Insert(t.elements, i, e)
	t.prints = slices.Insert(t.prints, i, byte(e.key))
	return &t.elements[i]
}

// makeRoom makes space for one more element, at the front of the backing if drops have left some there.
func (t *timeline) makeRoom() {
	n := len(t.elements)
	if n < cap(t.elements) {
		return
	}
	if cap(t.backing)-n <= n/4 {
		t.backing = make([]element, n+max(4, n/2))
		copy(t.backing, t.elements)
	} else {
		copy(t.backing, t.elements)
		clear(t.backing[n:])
	}
	t.elements = t.backing[:n]
}

// next returns the place of the first element of the key from place i on, or -1.
func (t *timeline) next(key uint64, i int) int {
	for i < len(t.prints) {
		n := bytes.IndexByte(t.prints[i:], byte(key))
		if n < 0 {
			return -1
		}
		if i += n; t.elements[i].key == key {
			return i
		}
		i++
	}
	return -1
}

// elect settles which element of the key counts.
func (t *timeline) elect(key uint64) {
	first := t.next(key, 0)
	if first < 0 {
		return
	}
	winner := &t.elements[first]
	winner.counts = winner.present && !winner.retracted
	for i := t.next(key, first+1); i >= 0; i = t.next(key, i+1) {
		t.duplicates = true
		e := &t.elements[i]
		e.counts = e.present && !e.retracted && (!winner.counts || e.before(winner))
		if e.counts {
			winner.counts = false
			winner = e
		}
	}
}

// electAll derives, after decoding, which elements count.
func (t *timeline) electAll() {
	var seen hashSet
	seen.grow(len(t.elements))
	for i := range t.elements {
		el := &t.elements[i]
		el.counts = el.present && !el.retracted
		// A set of hashes has no room for the key 0, which is therefore treated as a duplicate.
		if el.key == 0 || !seen.add(el.key) {
			t.elect(el.key)
		}
	}
}

// canonical returns the element of the key that counts, and whether the key is known at all.
func (t *timeline) canonical(key uint64) (e *element, known bool) {
	for i := t.next(key, 0); i >= 0; i = t.next(key, i+1) {
		known = true
		if t.elements[i].counts {
			return &t.elements[i], true
		}
	}
	return nil, known
}

// holds returns the element of a decision, or nil.
func (t *timeline) holds(key uint64, p Position) *element {
	for i := t.next(key, 0); i >= 0; i = t.next(key, i+1) {
		if t.elements[i].position() == p {
			return &t.elements[i]
		}
	}
	return nil
}

// trimBefore drops what is older than edge.
func (t *timeline) trimBefore(edge int64) {
	n := 0
	for n < len(t.elements) && t.elements[n].at < edge {
		n++
	}
	t.drop(n)
	if t.saturated < edge {
		t.saturated = 0
	}
}

// trimNewest drops all but the newest n.
func (t *timeline) trimNewest(n int) {
	if extra := len(t.elements) - n; extra > 0 {
		t.saturated = max(t.saturated, t.elements[extra-1].at)
		t.drop(extra)
	}
}

// drop removes the n oldest elements. A dropped duplicate of a kept key is re-elected.
func (t *timeline) drop(n int) {
	if n == 0 {
		return
	}
	var orphans []uint64
	if t.duplicates {
		for i := range n {
			orphans = append(orphans, t.elements[i].key)
		}
	}
	clear(t.elements[:n])
	// Slicing the front off moves nothing: a hot timeline drops one element for each that it takes.
	t.elements, t.prints = t.elements[n:], t.prints[n:]
	for _, key := range orphans {
		t.elect(key)
	}
}

// index returns the place of the first element later than at.
func (t *timeline) index(at int64) int {
	lo, hi := 0, len(t.elements)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.elements[mid].at <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// attributesOf hashes the attributes that a kind keeps.
func attributesOf(keep []attribute, t *decision.Transaction) []uint64 {
	if len(keep) == 0 {
		return nil
	}
	return appendAttributes(make([]uint64, 0, len(keep)), keep, t)
}

func appendAttributes(out []uint64, keep []attribute, t *decision.Transaction) []uint64 {
	for _, a := range keep {
		out = append(out, hashAttribute(a.of(t)))
	}
	return out
}

// hashAttribute is the 64-bit identity (xxh3) of an attribute's value; 0 stands for the empty value only.
func hashAttribute(v string) uint64 {
	if v == "" {
		return 0
	}
	return xxh3.HashString(v) | 1
}
