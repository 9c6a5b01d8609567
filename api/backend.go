package api

import (
	"context"
	"errors"
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
)

// Backend is the node behind the edge. All funcs are required and are called from many goroutines at once.
//
// A func that takes a context returns soon after the context ends. An error that is, or wraps, a *decision.Error goes to the client with
// its code, field and detail; a context's error becomes CodeDeadline; any other error becomes CodeInternal, and only the log sees its text.
type Backend struct {
	// Score decides one valid transaction. The transaction is the backend's to keep; its strings share one allocation.
	Score func(ctx context.Context, t *decision.Transaction, explain bool) (*decision.Answer, error)
	// Label commits labels. A call is all or nothing: nil means that every one is committed, an error that none is confirmed; sending
	// them again is harmless. The slice is the backend's to keep.
	Label func(ctx context.Context, labels []decision.Label) error
	// CheckRow refuses a row that the schema has no place for. The error's Field is relative to the row: "values.avg_amount_30d".
	CheckRow func(row *feature.Row) error
	// Publish commits feature rows, all or nothing like Label. Every row passed CheckRow. The slice is the backend's to keep.
	Publish func(ctx context.Context, rows []feature.Row) error
	// Entity shows the features of one entity now. An entity that nothing is known of has defaults; it is not an error.
	Entity func(ctx context.Context, kind feature.Kind, id string) (*EntityView, error)
	// Health is the node's state now. It must be cheap: load balancers ask often.
	Health func() Health
	// Convert turns an amount of a currency, in minor units, into minor units of the base currency (decision.Rates.Convert).
	Convert func(amount int64, currency string) (int64, error)
	// Bounds says which timestamps are accepted now.
	Bounds func() Bounds
	// Now is the clock against which timestamps are judged, in Unix milliseconds.
	Now func() int64
}

func (b *Backend) validate() error {
	missing := func(name string) error { return errors.New("backend: " + name + " is nil") }
	switch {
	case b.Score == nil:
		return missing("Score")
	case b.Label == nil:
		return missing("Label")
	case b.CheckRow == nil:
		return missing("CheckRow")
	case b.Publish == nil:
		return missing("Publish")
	case b.Entity == nil:
		return missing("Entity")
	case b.Health == nil:
		return missing("Health")
	case b.Convert == nil:
		return missing("Convert")
	case b.Bounds == nil:
		return missing("Bounds")
	case b.Now == nil:
		return missing("Now")
	}
	return nil
}

// Bounds of accepted timestamps.
type Bounds struct {
	// Skew is how far ahead of Now a timestamp may be.
	Skew time.Duration
	// Horizon is how far back of Now a transaction's timestamp may be.
	Horizon time.Duration
}

// Health is what /livez and /readyz report.
type Health struct {
	// Live is false when only a restart helps.
	Live bool
	// Ready is false while a load balancer should send traffic elsewhere.
	Ready bool
	// State is one word: "starting", "warming", "serving", "draining".
	State string
	// Reasons say why the node is not ready or not live; empty otherwise. They name no entities.
	Reasons []string
}

// EntityView is the state of one entity as its owner sees it.
type EntityView struct {
	// At is the time at which the features were read, Unix milliseconds.
	At int64
	// Degraded names what was missing; see decision's Degraded constants.
	Degraded []string
	// Features are all features of the entity's kind, in the schema's order.
	Features []EntityFeature
}

// EntityFeature is one feature of an entity now.
type EntityFeature struct {
	Name string
	// Value is NaN when there is none.
	Value float64
	// AsOf is the time of the newest fact behind the value, Unix milliseconds; 0 when there is none.
	AsOf int64
	// Source says where the value comes from: "timeline", "tiles", "profile", "derived" or "default".
	Source string
}
