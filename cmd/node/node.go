package main

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"scoremesh/api"
	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/region"
)

// node is the seam between the edge, which serves from the first moment, and the region, which has to open first.
type node struct {
	region atomic.Pointer[region.Region]
	// waiting says what the region waits for while it opens.
	waiting atomic.Pointer[string]
	now     func() int64
}

func newNode() *node { return &node{now: func() int64 { return time.Now().UnixMilli() }} }

var errStarting = &decision.Error{Code: decision.CodeNotReady, Detail: "the node is starting", RetryAfter: time.Second}

// opened returns the region, or a refusal while it opens.
func (n *node) opened() (*region.Region, error) {
	if r := n.region.Load(); r != nil {
		return r, nil
	}
	return nil, errStarting
}

// backend is what the edge calls.
func (n *node) backend() api.Backend {
	return api.Backend{
		Score: func(ctx context.Context, t *decision.Transaction, explain bool) (*decision.Answer, error) {
			r, err := n.opened()
			if err != nil {
				return nil, err
			}
			return r.Score(ctx, t, explain)
		},
		Label: func(ctx context.Context, labels []decision.Label) error {
			r, err := n.opened()
			if err != nil {
				return err
			}
			return r.Label(ctx, labels)
		},
		CheckRow: func(row *feature.Row) error {
			r, err := n.opened()
			if err != nil {
				return err
			}
			return r.CheckRow(row)
		},
		Publish: func(ctx context.Context, rows []feature.Row) error {
			r, err := n.opened()
			if err != nil {
				return err
			}
			return r.Publish(ctx, rows)
		},
		Entity: n.entity,
		Health: n.health,
		Convert: func(amount int64, currency string) (int64, error) {
			r, err := n.opened()
			if err != nil {
				return 0, err
			}
			return r.Convert(amount, currency)
		},
		Bounds: n.bounds,
		Now:    n.now,
	}
}

func (n *node) entity(ctx context.Context, kind feature.Kind, id string) (*api.EntityView, error) {
	r, err := n.opened()
	if err != nil {
		return nil, err
	}
	got, err := r.Entity(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	view := &api.EntityView{At: got.At, Degraded: got.Degraded}
	for _, f := range got.Features {
		view.Features = append(view.Features, api.EntityFeature(f))
	}
	return view, nil
}

func (n *node) health() api.Health {
	r := n.region.Load()
	if r == nil {
		reasons := []string{"the region is opening: NATS cannot be reached yet, or the log is being recovered"}
		if why := n.waiting.Load(); why != nil {
			reasons = append(reasons, *why)
		}
		return api.Health{Live: true, State: string(region.Starting), Reasons: reasons}
	}
	h := r.Health()
	return api.Health{Live: h.Live, Ready: h.Ready, State: string(h.State), Reasons: h.Reasons}
}

// bounds says which timestamps are accepted. While the region opens all are: then nothing else is.
func (n *node) bounds() api.Bounds {
	r := n.region.Load()
	if r == nil {
		return api.Bounds{Skew: math.MaxInt64 / 4, Horizon: math.MaxInt64 / 4}
	}
	return api.Bounds{Skew: r.Schema().Skew(), Horizon: r.Schema().Horizon()}
}
