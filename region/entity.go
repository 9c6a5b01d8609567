package region

import (
	"context"

	"scoremesh/decision"
	"scoremesh/feature"
)

// EntityView is what is known of one entity now.
type EntityView struct {
	// At is when it was read, Unix milliseconds.
	At       int64
	Degraded []string
	Features []feature.Shown
}

// Entity asks the entity's shard for its features now.
func (r *Region) Entity(ctx context.Context, kind feature.Kind, id string) (*EntityView, error) {
	got, err := r.router.View(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	v := &EntityView{At: r.now(), Features: got.Features}
	if got.Status != "serving" {
		v.Degraded = append(v.Degraded, decision.DegradedRebuilding)
	}
	if got.FoldedAt < v.At-r.config.Scoring.Freshness.Milliseconds() {
		v.Degraded = append(v.Degraded, decision.DegradedStale)
	}
	return v, nil
}
