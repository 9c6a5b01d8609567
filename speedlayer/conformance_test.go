package speedlayer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"scoremesh/feature"
	"scoremesh/speedlayer"
)

// conformance is what every Redis must do for the speed layer.
var conformance = []struct {
	name string
	test func(t *testing.T, url string, h handles)
}{
	{"nothing stored reads as missing", func(t *testing.T, _ string, h handles) {
		v := h.read(t, h.ref(feature.Card, "c-1"))[0]
		if v.State != nil || v.Watermark != nil || v.Err != nil {
			t.Errorf("got %+v, want a missing value", v)
		}
		w, err := h.Watermark(context.Background(), feature.Card, 3)
		if err != nil || w.Vector.Len() != 0 || w.FoldedAt != 0 {
			t.Errorf("watermark: got %v %v, want an empty one", w, err)
		}
	}},
	{"what is flushed is read with its watermark, in every kind", func(t *testing.T, _ string, h handles) {
		var refs []speedlayer.Ref
		for i, kind := range feature.Kinds {
			ref := h.ref(kind, fmt.Sprintf("id}{%d:*", i))
			refs = append(refs, ref)
			r := h.flush(t, speedlayer.Flush{Kind: kind, Partition: ref.Partition, Target: at(7, 2), FoldedAt: 1234,
				Entities: []speedlayer.EntityState{{ID: ref.ID, State: state(at(6, 0), "p\x00\xff"+ref.ID)}}})
			if !r.Confirmed() || r.Written != 1 || r.Stale != 0 || !r.Watermark.Vector.Equal(at(7, 2)) || r.Watermark.FoldedAt != 1234 {
				t.Fatalf("flush: got %+v, want one entity written", r)
			}
		}
		for i, v := range h.read(t, refs...) {
			vector, payload, err := speedlayer.SplitEntity(v.State)
			if err != nil || !vector.Equal(at(6, 0)) || string(payload) != "p\x00\xff"+refs[i].ID {
				t.Errorf("%v: got %v %q %v", refs[i].Kind, vector.String(), payload, err)
			}
			w, err := speedlayer.ParseWatermark(v.Watermark)
			if err != nil || !w.Vector.Equal(at(7, 2)) || w.FoldedAt != 1234 {
				t.Errorf("%v: got watermark %v %v", refs[i].Kind, w, err)
			}
		}
	}},
	{"a flush whose base is not stored is refused and writes nothing", func(t *testing.T, _ string, h handles) {
		ref := h.ref(feature.Card, "c-1")
		f := speedlayer.Flush{Kind: ref.Kind, Partition: ref.Partition, Base: at(1, 1), Target: at(5, 1), OpenAdd: []string{"c-1"},
			Entities: []speedlayer.EntityState{{ID: ref.ID, State: state(at(5, 0), "new")}}}
		for _, stored := range []feature.Vector{{}, at(1, 0), at(9, 0)} {
			if stored.Len() > 0 {
				h.flush(t, speedlayer.Flush{Kind: ref.Kind, Partition: ref.Partition, Target: stored})
			}
			r := h.flush(t, f)
			if !r.Refused || !errors.Is(r.Reason, speedlayer.ErrBaseMissing) || r.Confirmed() || !r.Watermark.Vector.Equal(stored) {
				t.Errorf("base {1,1} on %s: got %+v, want a refusal", stored.String(), r)
			}
		}
		if v := h.read(t, ref)[0]; v.State != nil {
			t.Errorf("got state %q after a refusal, want none", v.State)
		}
		if ids, err := h.OpenIDs(context.Background(), ref.Kind, ref.Partition); err != nil || len(ids) != 0 {
			t.Errorf("got open ids %v %v after a refusal, want none", ids, err)
		}
	}},
	{"older states count as stored, newer ones replace, incomparable ones hold the watermark", func(t *testing.T, _ string, h handles) {
		const p = 5
		put := func(base, target feature.Vector, entities ...speedlayer.EntityState) speedlayer.FlushResult {
			return h.flush(t, speedlayer.Flush{Kind: feature.Device, Partition: p, Base: base, Target: target, Entities: entities})
		}
		put(feature.Vector{}, at(4, 4), speedlayer.EntityState{ID: "a", State: state(at(4, 0), "a4")},
			speedlayer.EntityState{ID: "b", State: state(at(2, 3), "b23")}, speedlayer.EntityState{ID: "c", State: state(at(3, 0), "c3")})
		r := put(at(1, 0), at(6, 1), speedlayer.EntityState{ID: "a", State: state(at(3, 0), "a3")},
			speedlayer.EntityState{ID: "b", State: state(at(5, 1), "b51")}, speedlayer.EntityState{ID: "c", State: state(at(6, 1), "c61")},
			speedlayer.EntityState{ID: "d", State: state(at(6, 0), "d6")})
		if r.Refused || r.Confirmed() || r.Written != 2 || r.Stale != 1 || !slices.Equal(r.Incomparable, []string{"b"}) {
			t.Errorf("got %+v, want c and d written, a stale, b incomparable", r)
		}
		if !r.Watermark.Vector.Equal(at(4, 4)) {
			t.Errorf("got watermark %s, want it unmoved", r.Watermark.Vector.String())
		}
		r = put(at(1, 0), at(6, 1), speedlayer.EntityState{ID: "b", State: state(at(5, 3), "b53")})
		if !r.Confirmed() || !r.Watermark.Vector.Equal(at(6, 4)) {
			t.Errorf("got %+v, want the watermark at the pointwise maximum {6,4}", r)
		}
		want := []string{"a4", "b53", "c61", "d6"}
		var refs []speedlayer.Ref
		for _, id := range []string{"a", "b", "c", "d"} {
			refs = append(refs, speedlayer.Ref{Kind: feature.Device, Partition: p, ID: id})
		}
		for i, v := range h.read(t, refs...) {
			if _, payload, _ := speedlayer.SplitEntity(v.State); string(payload) != want[i] {
				t.Errorf("%s: got %q, want %q", refs[i].ID, payload, want[i])
			}
		}
	}},
	{"the same flush twice is as once", func(t *testing.T, _ string, h handles) {
		f := speedlayer.Flush{Kind: feature.Card, Target: at(3, 3), FoldedAt: 9, OpenAdd: []string{"x"},
			Entities: []speedlayer.EntityState{{ID: "x", State: state(at(3, 0), "x")}}}
		h.flush(t, f)
		if r := h.flush(t, f); !r.Confirmed() || r.Written != 0 || r.Stale != 1 || !r.Watermark.Vector.Equal(at(3, 3)) {
			t.Errorf("got %+v, want everything stored already", r)
		}
	}},
	{"the watermark merges every byte of marks and regions, whatever the server's locale", func(t *testing.T, _ string, h handles) {
		origins := []feature.Origin{{Region: "A", Epoch: 1}, {Region: "a", Epoch: 2}, {Region: "a", Epoch: 1 << 63}, {Region: "a-", Epoch: 3},
			{Region: "a0", Epoch: 4}, {Region: "ab", Epoch: 5}, {Region: "b", Epoch: 6}, {Region: "\xc3\xa9", Epoch: 7}}
		marks := []uint64{1, 0x7f, 0x80, 0xff, 0x100, 0x7fffffff, 0x80000000, 0x800000000000}
		var stored, target, want feature.Vector
		for i, o := range origins {
			if i%3 != 0 {
				stored.Advance(o, feature.MarkOf(marks[i], i))
			}
			if i%3 != 1 {
				target.Advance(o, feature.MarkOf(marks[len(marks)-1-i], i))
			}
		}
		want.Merge(stored)
		want.Merge(target)
		h.flush(t, speedlayer.Flush{Kind: feature.Card, Partition: 9, Target: stored, FoldedAt: 0x80})
		r := h.flush(t, speedlayer.Flush{Kind: feature.Card, Partition: 9, Target: target, FoldedAt: 0x7f})
		if !r.Confirmed() || !r.Watermark.Vector.Equal(want) || r.Watermark.FoldedAt != 0x80 {
			t.Errorf("got %s at %d, want %s at 128", r.Watermark.Vector.String(), r.Watermark.FoldedAt, want.String())
		}
	}},
	{"an unreadable stored value refuses the flush by name", func(t *testing.T, url string, h handles) {
		c := raw(t, url)
		for i, garbage := range []string{"\x02\x00", "\x01\x01short", "\x01", "x", "\x01\x01" + strings.Repeat("\x00", 16) + "\x00"} {
			p := 10 + i
			entity, watermark, _ := h.KeysOf(feature.Merchant, p)
			f := speedlayer.Flush{Kind: feature.Merchant, Partition: p, Target: at(1, 0), Entities: []speedlayer.EntityState{
				{ID: "good", State: state(at(1, 0), "g")}, {ID: "bad", State: state(at(1, 0), "b")}}}
			if err := c.Set(context.Background(), entity+"bad", garbage, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if r := h.flush(t, f); !r.Refused || !errors.Is(r.Reason, speedlayer.ErrCorruptEntity) || r.Corrupt != "bad" {
				t.Errorf("entity %q: got %+v, want it refused as corrupt", garbage, r)
			}
			if v := h.read(t, speedlayer.Ref{Kind: feature.Merchant, Partition: p, ID: "good"})[0]; v.State != nil || v.Watermark != nil {
				t.Errorf("entity %q: got %+v written by a refused flush", garbage, v)
			}
			if err := c.Set(context.Background(), watermark, garbage, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if r := h.flush(t, f); !r.Refused || !errors.Is(r.Reason, speedlayer.ErrCorruptWatermark) {
				t.Errorf("watermark %q: got %+v, want it refused as corrupt", garbage, r)
			}
			if _, err := h.Watermark(context.Background(), feature.Merchant, p); !errors.Is(err, speedlayer.ErrMalformed) {
				t.Errorf("watermark %q: got %v, want ErrMalformed", garbage, err)
			}
		}
	}},
	{"a watermark with a byte too many or too few is corrupt", func(t *testing.T, url string, h handles) {
		c := raw(t, url)
		_, watermark, _ := h.KeysOf(feature.Card, 20)
		for _, garbage := range []string{"\x01\x00" + strings.Repeat("\x00", 7), "\x01\x00" + strings.Repeat("\x00", 9)} {
			if err := c.Set(context.Background(), watermark, garbage, 0).Err(); err != nil {
				t.Fatal(err)
			}
			r := h.flush(t, speedlayer.Flush{Kind: feature.Card, Partition: 20, Target: at(1, 0)})
			if !r.Refused || !errors.Is(r.Reason, speedlayer.ErrCorruptWatermark) {
				t.Errorf("%d bytes: got %+v, want it refused as corrupt", len(garbage), r)
			}
		}
	}},
	{"the open set follows the state that Redis holds", func(t *testing.T, _ string, h handles) {
		const p = 2
		open := func() []string {
			ids, err := h.OpenIDs(context.Background(), feature.Card, p)
			if err != nil {
				t.Fatalf("open ids: %v", err)
			}
			slices.Sort(ids)
			return ids
		}
		one := func(id string, v feature.Vector) []speedlayer.EntityState {
			return []speedlayer.EntityState{{ID: id, State: state(v, id)}}
		}
		steps := []struct {
			name string
			f    speedlayer.Flush
			want []string
		}{
			{"added with a written state", speedlayer.Flush{Target: at(2, 0), Entities: one("a", at(2, 0)), OpenAdd: []string{"a", "z"}},
				[]string{"a", "z"}},
			{"not removed by an older view", speedlayer.Flush{Target: at(1, 0), Entities: one("a", at(1, 0)), OpenRemove: []string{"a"}},
				[]string{"a", "z"}},
			{"not removed by an incomparable view", speedlayer.Flush{Target: at(1, 1), Entities: one("a", at(1, 1)), OpenRemove: []string{"a", "z"}},
				[]string{"a", "z"}},
			{"not removed without a state by who is behind", speedlayer.Flush{Target: at(1, 9), OpenRemove: []string{"z"}},
				[]string{"a", "z"}},
			{"removed by an equal view", speedlayer.Flush{Target: at(2, 0), Entities: one("a", at(2, 0)), OpenRemove: []string{"a"}},
				[]string{"z"}},
			{"removed without a state by who is ahead", speedlayer.Flush{Target: at(3, 9), OpenRemove: []string{"z"}}, []string{}},
		}
		for _, s := range steps {
			s.f.Kind, s.f.Partition = feature.Card, p
			h.flush(t, s.f)
			if got := open(); !slices.Equal(got, s.want) {
				t.Errorf("%s: got %v, want %v", s.name, got, s.want)
			}
		}
	}},
	{"entities expire within the jitter of the retention, watermark and open set never", func(t *testing.T, url string, h handles) {
		c := raw(t, url)
		f := speedlayer.Flush{Kind: feature.Card, Target: at(1, 0), OpenAdd: []string{"e-0"}}
		for i := range 50 {
			f.Entities = append(f.Entities, speedlayer.EntityState{ID: fmt.Sprintf("e-%d", i), State: state(at(1, 0), "")})
		}
		h.flush(t, f)
		entity, watermark, open := h.KeysOf(feature.Card, 0)
		low, high := 1000*time.Hour, time.Duration(0)
		for _, e := range f.Entities {
			ttl, err := c.PTTL(context.Background(), entity+e.ID).Result()
			if err != nil {
				t.Fatal(err)
			}
			low, high = min(low, ttl), max(high, ttl)
		}
		// The time since the flush is bounded by the read below it, generously.
		if low < time.Hour-time.Minute || high > time.Hour*11/9+time.Second || high-low < 2*time.Minute {
			t.Errorf("got times to live from %v to %v, want spread over 1h0m to 1h13m20s", low, high)
		}
		for _, key := range []string{watermark, open} {
			if ttl, err := c.PTTL(context.Background(), key).Result(); err != nil || ttl != -1 {
				t.Errorf("%s: got time to live %v %v, want none", key, ttl, err)
			}
		}
	}},
	{"ten thousand entities and open ids fit one call", func(t *testing.T, _ string, h handles) {
		f := speedlayer.Flush{Kind: feature.Card, Partition: 1, Target: at(2, 0)}
		for i := range speedlayer.MaxFlushEntities {
			id := fmt.Sprintf("c-%d", i)
			f.Entities = append(f.Entities, speedlayer.EntityState{ID: id, State: state(at(2, 0), id)})
			f.OpenAdd = append(f.OpenAdd, id)
		}
		if r := h.flush(t, f); !r.Confirmed() || r.Written != speedlayer.MaxFlushEntities {
			t.Fatalf("got %d written, want %d", r.Written, speedlayer.MaxFlushEntities)
		}
		f.OpenAdd, f.OpenRemove = nil, f.OpenAdd
		if r := h.flush(t, f); r.Stale != speedlayer.MaxFlushEntities {
			t.Errorf("again: got %d stale, want %d", r.Stale, speedlayer.MaxFlushEntities)
		}
		if ids, err := h.OpenIDs(context.Background(), feature.Card, 1); err != nil || len(ids) != 0 {
			t.Errorf("got %d open ids %v, want none", len(ids), err)
		}
		seen := map[string]bool{}
		err := h.Scan(context.Background(), func(kind feature.Kind, p int, id string, st []byte) error {
			if _, payload, err := speedlayer.SplitEntity(st); err != nil || string(payload) != id || kind != feature.Card || p != 1 {
				return fmt.Errorf("%v.%d %q: %q %w", kind, p, id, st, err)
			}
			seen[id] = true
			return nil
		})
		if err != nil || len(seen) != speedlayer.MaxFlushEntities {
			t.Errorf("scan: got %d entities %v, want %d", len(seen), err, speedlayer.MaxFlushEntities)
		}
	}},
	{"scan and watermarks cover every shard of this keyspace and no other", func(t *testing.T, _ string, h handles) {
		want := map[string]string{}
		for _, kind := range feature.Kinds {
			for p := range h.space.Partitions {
				id := fmt.Sprintf("%s:%d", kind, p)
				want[fmt.Sprintf("%s.%d.%s", kind, p, id)] = id
				h.flush(t, speedlayer.Flush{Kind: kind, Partition: p, Target: at(uint64(p)+1, 0), FoldedAt: int64(p),
					Entities: []speedlayer.EntityState{{ID: id, State: state(at(1, 0), id)}}})
			}
		}
		got := map[string]string{}
		err := h.Scan(context.Background(), func(kind feature.Kind, p int, id string, st []byte) error {
			_, payload, err := speedlayer.SplitEntity(st)
			got[fmt.Sprintf("%s.%d.%s", kind, p, id)] = string(payload)
			return err
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("scan: got %d entities %v, want %d", len(got), err, len(want))
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("scan %s: got %q, want %q", k, got[k], v)
			}
		}
		all, err := h.Watermarks(context.Background())
		if err != nil || len(all) != len(feature.Kinds)*h.space.Partitions {
			t.Fatalf("watermarks: got %d %v", len(all), err)
		}
		for _, w := range all {
			if !w.Watermark.Vector.Equal(at(uint64(w.Partition)+1, 0)) || w.Watermark.FoldedAt != int64(w.Partition) {
				t.Errorf("watermark of %v.%d: got %+v", w.Kind, w.Partition, w.Watermark)
			}
		}
		stop := errors.New("stop")
		if err := h.Scan(context.Background(), func(feature.Kind, int, string, []byte) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("scan: got %v, want the callback's error", err)
		}
	}},
	{"a server that forgot the script is told again", func(t *testing.T, url string, h handles) {
		if err := raw(t, url).ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		for p := range 8 {
			if r := h.flush(t, speedlayer.Flush{Kind: feature.Card, Partition: p, Target: at(1, 0)}); !r.Confirmed() {
				t.Errorf("got %+v, want it stored", r)
			}
		}
	}},
	{"asynchronous reads answer once", func(t *testing.T, _ string, h handles) {
		ref := h.ref(feature.Card, "c")
		h.flush(t, speedlayer.Flush{Kind: ref.Kind, Partition: ref.Partition, Target: at(1, 0),
			Entities: []speedlayer.EntityState{{ID: "c", State: state(at(1, 0), "c")}}})
		type answer struct {
			values []speedlayer.Value
			err    error
		}
		answers := make(chan answer, 2)
		if err := h.Reader.Submit([]speedlayer.Ref{ref, h.ref(feature.Device, "none"), ref},
			func(v []speedlayer.Value, err error) { answers <- answer{v, err} }); err != nil {
			t.Fatal(err)
		}
		a := <-answers
		if a.err != nil || len(a.values) != 3 || a.values[0].State == nil || a.values[1].State != nil || a.values[2].State == nil {
			t.Errorf("got %+v, want stored, missing, stored", a)
		}
	}},
}

func TestConformance(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			url := b.start(t)
			s, _ := open(t, unhurried(url))
			for _, c := range conformance {
				t.Run(c.name, func(t *testing.T) { c.test(t, url, in(t, s, space())) })
			}
		})
	}
}

func TestAFlushThatBreaksARuleIsNotSent(t *testing.T) {
	s, _ := open(t, unhurried("redis://127.0.0.1:1"))
	h := in(t, s, space())
	good := []speedlayer.EntityState{{ID: "a", State: state(at(1, 0), "")}}
	for _, c := range []struct {
		name string
		f    speedlayer.Flush
		want error
	}{
		{"target behind base", speedlayer.Flush{Base: at(2, 0), Target: at(1, 5)}, speedlayer.ErrFlush},
		{"negative time", speedlayer.Flush{FoldedAt: -1}, speedlayer.ErrFlush},
		{"entity twice", speedlayer.Flush{Entities: append(good, good...)}, speedlayer.ErrFlush},
		{"state of another version", speedlayer.Flush{Entities: []speedlayer.EntityState{{ID: "a", State: []byte("\x02\x00")}}},
			speedlayer.ErrFlush},
		{"no state", speedlayer.Flush{Entities: []speedlayer.EntityState{{ID: "a"}}}, speedlayer.ErrFlush},
		{"added and removed", speedlayer.Flush{OpenAdd: []string{"a"}, OpenRemove: []string{"a"}}, speedlayer.ErrFlush},
		{"too many", speedlayer.Flush{Entities: make([]speedlayer.EntityState, speedlayer.MaxFlushEntities+1)}, speedlayer.ErrFlush},
		{"partition out of range", speedlayer.Flush{Partition: 64}, speedlayer.ErrShard},
		{"negative partition", speedlayer.Flush{Partition: -1}, speedlayer.ErrShard},
		{"no such kind", speedlayer.Flush{Kind: 3}, speedlayer.ErrShard},
	} {
		err := h.Writer.Submit(c.f, func(speedlayer.FlushResult, error) { t.Errorf("%s: done was called", c.name) })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}
