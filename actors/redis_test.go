package actors

import (
	"maps"
	"slices"

	"scoremesh/feature"
)

// lawRedis holds one shard as the speed layer does: the law of a flush, in Go.
type lawRedis struct {
	states    map[string][]byte
	watermark feature.Vector
	foldedAt  int64
	open      map[string]bool
}

func newLawRedis() *lawRedis {
	return &lawRedis{states: map[string][]byte{}, open: map[string]bool{}}
}

// dump is a copy, as a backup would be.
func (r *lawRedis) dump() *lawRedis {
	return &lawRedis{maps.Clone(r.states), r.watermark.Clone(), r.foldedAt, maps.Clone(r.open)}
}

func vectorOf(state []byte) feature.Vector {
	v, _, err := feature.DecodeVector(state[1:])
	if err != nil {
		panic(err)
	}
	return v
}

func (r *lawRedis) load(q LoadRequest) LoadResult {
	res := LoadResult{Watermark: r.watermark.Clone()}
	for _, id := range q.IDs {
		res.States = append(res.States, slices.Clone(r.states[id]))
	}
	return res
}

func (r *lawRedis) flush(q FlushRequest) FlushResult {
	if !r.watermark.Dominates(q.Base) {
		return FlushResult{Refused: true, Reason: "watermark lags", Watermark: r.watermark.Clone()}
	}
	var res FlushResult
	exact := map[string]bool{}
	in := map[string]bool{}
	for _, e := range q.Entities {
		in[e.ID] = true
		incoming := vectorOf(e.State)
		old, found := r.states[e.ID]
		if !found {
			r.states[e.ID] = e.State
			exact[e.ID] = true
			continue
		}
		had := vectorOf(old)
		newer, older := incoming.Dominates(had), had.Dominates(incoming)
		switch {
		case older:
			exact[e.ID] = newer
		case newer:
			r.states[e.ID] = e.State
			exact[e.ID] = true
		default:
			res.Incomparable = append(res.Incomparable, e.ID)
		}
	}
	ahead := len(res.Incomparable) == 0 && q.Target.Dominates(r.watermark)
	for _, id := range q.OpenAdd {
		r.open[id] = true
	}
	for _, id := range q.OpenRemove {
		if exact[id] || !in[id] && ahead {
			delete(r.open, id)
		}
	}
	if len(res.Incomparable) == 0 {
		r.watermark.Merge(q.Target)
		r.foldedAt = max(r.foldedAt, q.FoldedAt)
	}
	res.Watermark = r.watermark.Clone()
	return res
}

func (r *lawRedis) start() *Start {
	return &Start{Watermark: r.watermark.Clone(), FoldedAt: r.foldedAt, Open: slices.Sorted(maps.Keys(r.open))}
}
