package actors

import (
	"scoremesh/decision"
	"scoremesh/feature"
)

// View is what a shard knows of an entity now.
type View struct {
	// Features are those of the kind, in the schema's order; pending attempts count.
	Features []feature.Shown
	// Contributions is how many transactions the timeline holds, and Newest the time of the newest one, Unix milliseconds; 0 when
	// the entity is not known.
	Contributions int
	Newest        int64
	// FoldedAt is the time of the newest beacon that the shard has folded, Unix milliseconds.
	FoldedAt int64
	// Status of the shard: "starting", "replaying", "rebuilding" or "serving".
	Status string
	// Vector is up to where the entity's own records have been folded.
	Vector feature.Vector
}

// viewing answers, or lets the request wait for the load.
func (s *shard) viewing(now int64, v *viewing) {
	h := s.use(now, v.id)
	switch s.fetch(h) {
	case awaited:
		if len(h.views) >= s.config.MaxWaiters {
			s.out.views = append(s.out.views, viewAnswer{v, viewReply{err: s.overloaded()}})
			return
		}
		h.views = append(h.views, v)
		s.hurry(h)
	case absent:
		s.out.views = append(s.out.views, viewAnswer{v, viewReply{err: errCold}})
	case present:
		s.show(now, h, v)
	}
}

// show reads the entity's features as a transaction at now would see them.
func (s *shard) show(now int64, h *hot, v *viewing) {
	s.showing = v
	defer s.guard()
	t := &decision.Transaction{At: now}
	switch s.id.Kind {
	case feature.Card:
		t.Card = h.id
	case feature.Device:
		t.Device = h.id
	case feature.Merchant:
		t.Merchant = h.id
	}
	s.query = feature.Query{Kind: s.id.Kind, Entity: h.entity, Transaction: t, Pending: h.overlay}
	view := View{Features: s.schema.Show(&s.query), Contributions: h.entity.Len(), Newest: max(h.entity.Newest(), 0),
		FoldedAt: s.foldedAt, Status: s.status.String(), Vector: h.entity.Vector().Clone()}
	s.showing = nil
	s.out.views = append(s.out.views, viewAnswer{v, viewReply{view: view}})
}
