package feature

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Origin is one incarnation of one region's log.
type Origin struct {
	// Region is the name of the region in whose log the record was first written.
	Region string
	// Epoch identifies the incarnation: drawn at random when the log's store is created. Never 0.
	Epoch uint64
}

// Compare orders origins by region, then epoch.
func (o Origin) Compare(p Origin) int {
	return cmp.Or(strings.Compare(o.Region, p.Region), cmp.Compare(o.Epoch, p.Epoch))
}

// Mark is a place in one origin's log: the sequence of a batch and the index of a record in it, ordered as uint64.
type Mark uint64

// MaxBatch is the largest number of records in one batch.
const MaxBatch = 1<<16 - 1

// MaxSequence is the largest sequence that a Mark can hold.
const MaxSequence = 1<<48 - 1

// MarkOf returns the mark of the record at index of the batch at sequence seq.
func MarkOf(seq uint64, index int) Mark { return Mark(seq<<16 | uint64(index)) }

// EndOf returns the mark that covers the whole batch at sequence seq and everything before it.
func EndOf(seq uint64) Mark { return Mark(seq<<16 | 0xffff) }

// Seq is the sequence of the batch that the mark lies in.
func (m Mark) Seq() uint64 { return uint64(m) >> 16 }

// Index is the index within the batch.
func (m Mark) Index() int { return int(m & 0xffff) }

// Position says where in which log a record stands. It identifies the record for ever.
type Position struct {
	Origin Origin
	Mark   Mark
}

// Compare orders positions by origin, sequence, index.
func (p Position) Compare(q Position) int {
	return cmp.Or(p.Origin.Compare(q.Origin), cmp.Compare(p.Mark, q.Mark))
}

// Vector maps origins to the last mark applied of each. The zero Vector has applied nothing.
// A Vector is a value: methods never change their receiver's backing array, except Advance on the owner's copy.
type Vector struct {
	// entries are sorted by origin, origins unique, marks never 0.
	entries []vectorEntry
}

type vectorEntry struct {
	origin Origin
	mark   Mark
}

// VectorOf returns a vector with one entry.
func VectorOf(o Origin, m Mark) Vector {
	var v Vector
	v.Advance(o, m)
	return v
}

// Get returns the mark of the origin, 0 when nothing of it was applied.
func (v *Vector) Get(o Origin) Mark {
	for i := range v.entries {
		if e := &v.entries[i]; e.origin.Epoch == o.Epoch && e.origin.Region == o.Region {
			return e.mark
		}
	}
	return 0
}

// Len is the number of origins.
func (v *Vector) Len() int { return len(v.entries) }

// All yields the entries in the order of their origins.
func (v *Vector) All() func(yield func(Origin, Mark) bool) {
	return func(yield func(Origin, Mark) bool) {
		for _, e := range v.entries {
			if !yield(e.origin, e.mark) {
				return
			}
		}
	}
}

// Covers says whether the record at p was applied.
func (v *Vector) Covers(p Position) bool { return v.Get(p.Origin) >= p.Mark }

// Advance moves the origin's mark to m; it never moves back.
func (v *Vector) Advance(o Origin, m Mark) {
	for i := range v.entries {
		if e := &v.entries[i]; e.origin.Epoch == o.Epoch && e.origin.Region == o.Region {
			e.mark = max(e.mark, m)
			return
		}
	}
	if m == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(v.entries, o, func(e vectorEntry, o Origin) int { return e.origin.Compare(o) })
	v.entries = slices.Insert(v.entries, i, vectorEntry{o, m})
}

// Merge advances v to the pointwise maximum with w.
func (v *Vector) Merge(w Vector) {
	for _, e := range w.entries {
		v.Advance(e.origin, e.mark)
	}
}

// Clone returns an independent copy.
func (v *Vector) Clone() Vector { return Vector{slices.Clone(v.entries)} }

// Dominates says whether v has applied everything that w has.
func (v *Vector) Dominates(w Vector) bool {
	for _, e := range w.entries {
		if v.Get(e.origin) < e.mark {
			return false
		}
	}
	return true
}

// Equal says whether both have applied the same.
func (v *Vector) Equal(w Vector) bool { return slices.Equal(v.entries, w.entries) }

// String shows the vector for logs and errors: "{eu-west/1a2b:17.3}".
func (v *Vector) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range v.entries {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s/%x:%d", e.origin.Region, e.origin.Epoch, e.mark.Seq())
		if e.mark != EndOf(e.mark.Seq()) {
			fmt.Fprintf(&b, ".%d", e.mark.Index())
		}
	}
	b.WriteByte('}')
	return b.String()
}

// The binary form of a vector is made to be read by the flush script in Redis (Lua): one count byte; then per origin the epoch
// (8 bytes, big endian) and the mark (8 bytes, big endian), which compare byte by byte; then per origin, in the same order, the
// region's name (one length byte, bytes). Epochs are unique over regions, so dominance needs the fixed part only.

// Bounds of the binary form. Apply refuses what would exceed them.
const (
	maxOrigins     = 255
	maxRegionBytes = 255
)

// fits says whether the vector can take a mark of the origin and still be encoded.
func (v *Vector) fits(o Origin) bool {
	return o.Epoch != 0 && len(o.Region) <= maxRegionBytes && (len(v.entries) < maxOrigins || v.Get(o) != 0)
}

// ErrVector is returned for bytes that are not a vector.
var ErrVector = errors.New("malformed vector")

// Append appends the binary form.
func (v *Vector) Append(b []byte) []byte {
	b = append(b, byte(len(v.entries)))
	for _, e := range v.entries {
		b = binary.BigEndian.AppendUint64(b, e.origin.Epoch)
		b = binary.BigEndian.AppendUint64(b, uint64(e.mark))
	}
	for _, e := range v.entries {
		b = append(b, byte(len(e.origin.Region)))
		b = append(b, e.origin.Region...)
	}
	return b
}

// DecodeVector reads a vector from the front of b and returns the rest.
func DecodeVector(b []byte) (Vector, []byte, error) {
	if len(b) == 0 {
		return Vector{}, nil, ErrVector
	}
	n := int(b[0])
	b = b[1:]
	if len(b) < 16*n {
		return Vector{}, nil, ErrVector
	}
	fixed, b := b[:16*n], b[16*n:]
	v := Vector{}
	if n > 0 {
		v.entries = make([]vectorEntry, n)
	}
	for i := range v.entries {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return Vector{}, nil, ErrVector
		}
		e := &v.entries[i]
		e.origin.Epoch = binary.BigEndian.Uint64(fixed[16*i:])
		e.mark = Mark(binary.BigEndian.Uint64(fixed[16*i+8:]))
		e.origin.Region = intern(string(b[1 : 1+int(b[0])]))
		b = b[1+int(b[0]):]
		if e.mark == 0 || e.origin.Epoch == 0 || i > 0 && v.entries[i-1].origin.Compare(e.origin) >= 0 {
			return Vector{}, nil, ErrVector
		}
	}
	return v, b, nil
}
