package feature

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func drawVector(t *rapid.T, label string) (Vector, map[Origin]Mark) {
	var v Vector
	want := map[Origin]Mark{}
	for range rapid.IntRange(0, 8).Draw(t, label) {
		o := rapid.SampledFrom(testOrigins).Draw(t, "origin")
		m := MarkOf(rapid.Uint64Range(0, 3).Draw(t, "sequence"), rapid.IntRange(0, 2).Draw(t, "index"))
		v.Advance(o, m)
		want[o] = max(want[o], m)
	}
	return v, want
}

func TestVectorIsAPointwiseMaximum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, marks := drawVector(t, "v")
		w, others := drawVector(t, "w")
		dominates := true
		for _, o := range testOrigins {
			if got := v.Get(o); got != marks[o] {
				t.Fatalf("%v has %v at %v, want %v", &v, got, o, marks[o])
			}
			dominates = dominates && marks[o] >= others[o]
			if p := (Position{o, 1 << 16}); v.Covers(p) != (marks[o] >= p.Mark) {
				t.Fatalf("%v covers %v: %v", &v, p, v.Covers(p))
			}
		}
		if got := v.Dominates(w); got != dominates {
			t.Fatalf("%v dominates %v: got %v, want %v", &v, &w, got, dominates)
		}
		merged := v.Clone()
		merged.Merge(w)
		for _, o := range testOrigins {
			if got, want := merged.Get(o), max(marks[o], others[o]); got != want || v.Get(o) != marks[o] {
				t.Fatalf("%v and %v merged have %v at %v, want %v", &v, &w, got, o, want)
			}
		}
		if got := merged.Equal(v); got != v.Dominates(w) {
			t.Fatalf("%v with %v equals it: %v", &v, &w, got)
		}
		b := merged.Append([]byte("x"))
		again, rest, err := DecodeVector(append(b, 7)[1:])
		if err != nil || !again.Equal(merged) || !bytes.Equal(rest, []byte{7}) {
			t.Fatalf("decoded %v, rest %v, %v; want %v, rest 7", &again, rest, err, &merged)
		}
	})
}

func TestDecodeVectorRefuses(t *testing.T) {
	var v Vector
	for _, o := range testOrigins {
		v.Advance(o, 9)
	}
	whole := v.Append(nil)
	for n := range whole {
		if _, _, err := DecodeVector(whole[:n]); !errors.Is(err, ErrVector) {
			t.Errorf("cut to %d bytes: got %v, want ErrVector", n, err)
		}
	}
	noMark := bytes.Clone(whole)
	clear(noMark[9:17])
	for name, b := range map[string][]byte{"origins out of order, of one region twice": append([]byte{2},
		append(append(bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{1}, 16)...), 1, 'a', 1, 'a')...), "mark 0": noMark} {
		if _, _, err := DecodeVector(b); !errors.Is(err, ErrVector) {
			t.Errorf("%s: got %v, want ErrVector", name, err)
		}
	}
}
