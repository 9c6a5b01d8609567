package speedlayer_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/speedlayer/redistest"
)

const benchEntities = 10_000

// filled puts entities of every kind, of about 400 bytes each, into a fresh server.
func filled(b *testing.B) handles {
	cfg := unhurried(redistest.Start(b).URL())
	s, _ := open(b, cfg)
	h := in(b, s, space())
	flushes := map[[2]int]*speedlayer.Flush{}
	for _, kind := range feature.Kinds {
		for i := range benchEntities {
			ref := h.ref(kind, fmt.Sprintf("%s-%d", kind, i))
			at2 := [2]int{int(kind), ref.Partition}
			if flushes[at2] == nil {
				flushes[at2] = &speedlayer.Flush{Kind: kind, Partition: ref.Partition, Target: at(5, 5)}
			}
			flushes[at2].Entities = append(flushes[at2].Entities, speedlayer.EntityState{ID: ref.ID, State: state(at(5, 5), strings.Repeat("x", 350))})
		}
	}
	for _, f := range flushes {
		h.flush(b, *f)
	}
	return h
}

func BenchmarkRead3Refs64Callers(b *testing.B) {
	h := filled(b)
	var n atomic.Uint64
	b.ReportAllocs()
	b.SetParallelism(64 / 2) // times GOMAXPROCS, which is 2 on the class of machine that the figures are for
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		out := make([]speedlayer.Value, 3)
		refs := make([]speedlayer.Ref, 3)
		for pb.Next() {
			i := n.Add(1) * 7919
			for k, kind := range feature.Kinds {
				refs[k] = h.ref(kind, fmt.Sprintf("%s-%d", kind, i%benchEntities))
			}
			if err := h.Read(context.Background(), refs, out); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkRead3Refs1Caller(b *testing.B) {
	h := filled(b)
	out := make([]speedlayer.Value, 3)
	refs := []speedlayer.Ref{h.ref(feature.Card, "card-1"), h.ref(feature.Device, "device-1"), h.ref(feature.Merchant, "merchant-1")}
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Read(context.Background(), refs, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFlush100Entities(b *testing.B) {
	h := filled(b)
	payload := strings.Repeat("x", 350)
	f := speedlayer.Flush{Kind: feature.Card, Partition: 3, Base: at(5, 5)}
	seq := uint64(5)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		f.Target = at(seq, 5)
		f.Entities = f.Entities[:0]
		for i := range 100 {
			f.Entities = append(f.Entities, speedlayer.EntityState{ID: fmt.Sprint(i), State: state(f.Target, payload)})
		}
		if r := h.flush(b, f); r.Written != 100 {
			b.Fatalf("got %d written, want 100", r.Written)
		}
		f.Base = f.Target
	}
}
