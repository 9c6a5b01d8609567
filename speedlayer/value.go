package speedlayer

import (
	"encoding/binary"
	"fmt"

	"scoremesh/feature"
)

// Version is the first byte of every stored value. The flush script refuses to touch values of another version.
const Version = 1

// AppendEntity appends an entity's stored value: Version, the vector, the payload. The payload is opaque to this package.
func AppendEntity(b []byte, v feature.Vector, payload []byte) []byte {
	b = append(b, Version)
	b = v.Append(b)
	return append(b, payload...)
}

// SplitEntity takes a stored value apart. The payload aliases it. Error: ErrMalformed.
func SplitEntity(state []byte) (v feature.Vector, payload []byte, err error) {
	if len(state) == 0 || state[0] != Version {
		return v, nil, fmt.Errorf("entity: %w: version", ErrMalformed)
	}
	v, payload, err = feature.DecodeVector(state[1:])
	if err != nil {
		return v, nil, fmt.Errorf("entity: %w: %w", ErrMalformed, err)
	}
	return v, payload, nil
}

// Watermark says how much of the log a shard's states in Redis reflect. The zero Watermark reflects nothing.
type Watermark struct {
	// Vector: every record of the shard that it covers is in the stored states.
	Vector feature.Vector
	// FoldedAt is the time of the newest beacon folded, Unix milliseconds; 0 when there was none.
	FoldedAt int64
}

// Append appends the stored value: Version, the vector, FoldedAt (8 bytes, big endian).
func (w *Watermark) Append(b []byte) []byte {
	b = append(b, Version)
	b = w.Vector.Append(b)
	return binary.BigEndian.AppendUint64(b, uint64(w.FoldedAt))
}

// ParseWatermark reads a stored value. Nothing stored (empty) is the zero Watermark. Error: ErrMalformed.
func ParseWatermark(b []byte) (Watermark, error) {
	if len(b) == 0 {
		return Watermark{}, nil
	}
	if b[0] != Version {
		return Watermark{}, fmt.Errorf("watermark: %w: version %d", ErrMalformed, b[0])
	}
	v, rest, err := feature.DecodeVector(b[1:])
	if err != nil {
		return Watermark{}, fmt.Errorf("watermark: %w: %w", ErrMalformed, err)
	}
	if len(rest) != 8 {
		return Watermark{}, fmt.Errorf("watermark: %w: %d bytes after the vector, want 8", ErrMalformed, len(rest))
	}
	return Watermark{Vector: v, FoldedAt: int64(binary.BigEndian.Uint64(rest))}, nil
}
