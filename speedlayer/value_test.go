package speedlayer_test

import (
	"bytes"
	"errors"
	"testing"

	"scoremesh/speedlayer"
)

func TestAWatermarkIsReadAsItWasWritten(t *testing.T) {
	for _, w := range []speedlayer.Watermark{{}, {Vector: at(1, 0)}, {Vector: at(3, 9), FoldedAt: 1795000000000}} {
		got, err := speedlayer.ParseWatermark(w.Append(nil))
		if err != nil || !got.Vector.Equal(w.Vector) || got.FoldedAt != w.FoldedAt {
			t.Errorf("got %+v %v, want %+v", got, err, w)
		}
	}
}

func FuzzValuesAreReadOrRefused(f *testing.F) {
	w := speedlayer.Watermark{Vector: at(3, 9), FoldedAt: 7}
	f.Add(w.Append(nil))
	f.Add(state(at(1, 2), "payload"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := speedlayer.ParseWatermark(b); err == nil && len(b) > 0 {
			if got := w.Append(nil); !bytes.Equal(got, b) {
				t.Errorf("watermark %x: written again as %x", b, got)
			}
		} else if err != nil && !errors.Is(err, speedlayer.ErrMalformed) {
			t.Errorf("watermark %x: got %v, want ErrMalformed", b, err)
		}
		if v, payload, err := speedlayer.SplitEntity(b); err == nil {
			if got := speedlayer.AppendEntity(nil, v, payload); !bytes.Equal(got, b) {
				t.Errorf("entity %x: written again as %x", b, got)
			}
		} else if !errors.Is(err, speedlayer.ErrMalformed) {
			t.Errorf("entity %x: got %v, want ErrMalformed", b, err)
		}
	})
}
