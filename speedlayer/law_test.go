package speedlayer_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"scoremesh/feature"
	"scoremesh/speedlayer"
)

// The flush laws, tried against a world of one shard: two logs, two owners that fold them in any interleaving and flush when they
// like, crashes, wiped servers and restored dumps. An entity's payload lists the records that it has applied, so that what is
// stored can be checked against the logs.

const lawEntities = 4

// entry is a record of the world: it touches one entity.
type entry struct {
	origin feature.Origin
	mark   feature.Mark
	entity string
}

type folded struct {
	vector  feature.Vector
	applied []string
}

func (f *folded) encode() []byte {
	return speedlayer.AppendEntity(nil, f.vector, []byte(strings.Join(f.applied, " ")))
}

type lawOwner struct {
	// pos is what was applied, base the last watermark confirmed. Invariant: pos dominates base.
	pos, base feature.Vector
	cache     map[string]*folded
	dirty     map[string]bool
}

type world struct {
	t      *rapid.T
	h      handles
	server *miniredis.Miniredis
	logs   map[feature.Origin][]entry
	owners [2]*lawOwner
	dump   map[string]string
	// Last seen stored vectors; forgotten when the server is wiped or restored.
	watermark feature.Vector
	stored    map[string]feature.Vector
}

func (w *world) adopt(i int) {
	m, err := w.h.Watermark(context.Background(), feature.Card, 0)
	if err != nil {
		w.t.Fatalf("watermark: %v", err)
	}
	w.owners[i] = &lawOwner{pos: m.Vector.Clone(), base: m.Vector.Clone(), cache: map[string]*folded{}, dirty: map[string]bool{}}
}

// load returns the owner's state of an entity, from Redis when it has none; false: Redis lacks the owner's base, rebuild.
func (w *world) load(o *lawOwner, id string) (*folded, bool) {
	if f := o.cache[id]; f != nil {
		return f, true
	}
	out := make([]speedlayer.Value, 1)
	if err := w.h.Read(context.Background(), []speedlayer.Ref{{Kind: feature.Card, ID: id}}, out); err != nil {
		w.t.Fatalf("read: %v", err)
	}
	m, err := speedlayer.ParseWatermark(out[0].Watermark)
	if err != nil {
		w.t.Fatalf("watermark: %v", err)
	}
	if !m.Vector.Dominates(o.base) {
		return nil, false
	}
	f := &folded{}
	if out[0].State != nil {
		v, payload, err := speedlayer.SplitEntity(out[0].State)
		if err != nil {
			w.t.Fatalf("state: %v", err)
		}
		f.vector, f.applied = v, strings.Fields(string(payload))
	}
	o.cache[id] = f
	return f, true
}

// apply folds the next record of one log.
func (w *world) apply(i int, origin feature.Origin) {
	o := w.owners[i]
	next := slices.IndexFunc(w.logs[origin], func(e entry) bool { return e.mark > o.pos.Get(origin) })
	if next < 0 {
		return
	}
	e := w.logs[origin][next]
	f, ok := w.load(o, e.entity)
	if !ok {
		w.adopt(i)
		return
	}
	if f.vector.Get(origin) < e.mark {
		f.vector.Advance(origin, e.mark)
		f.applied = append(f.applied, fmt.Sprintf("%s/%d", origin.Region, e.mark))
	}
	// Dirty also when Redis had the record already: the server may be wiped between this load and the flush.
	o.dirty[e.entity] = true
	o.pos.Advance(origin, e.mark)
}

func (w *world) flush(i int) {
	o := w.owners[i]
	f := speedlayer.Flush{Kind: feature.Card, Base: o.base.Clone(), Target: o.pos.Clone()}
	for _, id := range slices.Sorted(maps.Keys(o.dirty)) {
		f.Entities = append(f.Entities, speedlayer.EntityState{ID: id, State: o.cache[id].encode()})
	}
	r, err := w.h.Flush(context.Background(), f)
	switch {
	case err != nil:
		w.t.Fatalf("flush: %v", err)
	case r.Refused:
		w.adopt(i)
	case r.Confirmed():
		o.base = f.Target
		clear(o.dirty)
	}
}

// check holds what is stored against the logs and against what was stored before.
func (w *world) check() {
	m, err := w.h.Watermark(context.Background(), feature.Card, 0)
	if err != nil {
		w.t.Fatalf("watermark: %v", err)
	}
	if !m.Vector.Dominates(w.watermark) {
		w.t.Fatalf("watermark went back from %s to %s", w.watermark.String(), m.Vector.String())
	}
	w.watermark = m.Vector
	for n := range lawEntities {
		id := fmt.Sprint(n)
		entity, _, _ := w.h.KeysOf(feature.Card, 0)
		v, payload := feature.Vector{}, []byte(nil)
		if s, err := w.server.Get(entity + id); err == nil {
			if v, payload, err = speedlayer.SplitEntity([]byte(s)); err != nil {
				w.t.Fatalf("entity %s: %v", id, err)
			}
		}
		if before := w.stored[id]; !v.Dominates(before) {
			w.t.Fatalf("entity %s went back from %s to %s", id, before.String(), v.String())
		}
		w.stored[id] = v
		have := map[string]int{}
		for _, a := range strings.Fields(string(payload)) {
			have[a]++
		}
		for origin, log := range w.logs {
			for _, e := range log {
				name := fmt.Sprintf("%s/%d", origin.Region, e.mark)
				covered := e.entity == id && v.Get(origin) >= e.mark
				if covered != (have[name] == 1) || have[name] > 1 {
					w.t.Fatalf("entity %s at %s: record %s is there %d times", id, v.String(), name, have[name])
				}
				if e.entity == id && m.Vector.Get(origin) >= e.mark && !covered {
					w.t.Fatalf("entity %s at %s lacks record %s, which the watermark %s covers", id, v.String(), name, m.Vector.String())
				}
			}
		}
	}
}

func (w *world) forget() {
	w.watermark, w.stored = feature.Vector{}, map[string]feature.Vector{}
}

func TestFlushLawsHoldUnderTwoOwnersWipesAndOldDumps(t *testing.T) {
	server := miniredis.RunT(t)
	s, _ := open(t, unhurried("redis://"+server.Addr()))
	rapid.Check(t, func(rt *rapid.T) {
		server.FlushAll()
		w := &world{t: rt, h: in(t, s, space()), server: server, logs: map[feature.Origin][]entry{}, dump: map[string]string{}}
		w.forget()
		w.adopt(0)
		w.adopt(1)
		either := rapid.SampledFrom([]int{0, 1})
		origin := rapid.SampledFrom([]feature.Origin{west, east})
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				o := origin.Draw(rt, "origin")
				e := entry{origin: o, mark: feature.EndOf(uint64(len(w.logs[o]) + 1)), entity: fmt.Sprint(rapid.IntRange(0, lawEntities-1).Draw(rt, "entity"))}
				w.logs[o] = append(w.logs[o], e)
			},
			"apply": func(rt *rapid.T) {
				i, o := either.Draw(rt, "owner"), origin.Draw(rt, "origin")
				for range rapid.IntRange(1, 4).Draw(rt, "records") {
					w.apply(i, o)
				}
			},
			"flush": func(rt *rapid.T) { w.flush(either.Draw(rt, "owner")) },
			"evict": func(rt *rapid.T) {
				o := w.owners[either.Draw(rt, "owner")]
				maps.DeleteFunc(o.cache, func(id string, _ *folded) bool { return !o.dirty[id] })
			},
			"crash": func(rt *rapid.T) { w.adopt(either.Draw(rt, "owner")) },
			"wipe": func(rt *rapid.T) {
				if rapid.IntRange(0, 3).Draw(rt, "seldom") > 0 {
					return
				}
				server.FlushAll()
				w.forget()
			},
			"dump": func(*rapid.T) {
				clear(w.dump)
				for _, k := range server.Keys() {
					w.dump[k], _ = server.Get(k)
				}
			},
			"restore": func(rt *rapid.T) {
				if rapid.IntRange(0, 3).Draw(rt, "seldom") > 0 {
					return
				}
				server.FlushAll()
				for k, v := range w.dump {
					if err := server.Set(k, v); err != nil {
						rt.Fatal(err)
					}
				}
				w.forget()
			},
			"": func(*rapid.T) { w.check() },
		})
		// Left alone, one owner brings Redis to the heads of both logs.
		var heads feature.Vector
		for o, log := range w.logs {
			heads.Advance(o, feature.EndOf(uint64(len(log))))
		}
		for round := 0; !w.watermark.Dominates(heads); round++ {
			if round > 3 {
				rt.Fatalf("watermark %s does not reach the heads %s", w.watermark.String(), heads.String())
			}
			for o, log := range w.logs {
				for range log {
					w.apply(0, o)
				}
			}
			w.flush(0)
			w.check()
		}
	})
}
