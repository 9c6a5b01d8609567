package region

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"scoremesh/actors"
	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/transport/wire"
)

// scoring is what one request needs; it is reused when nobody else may write to it any more.
type scoring struct {
	vector   []float64
	degraded []string
	refs     []speedlayer.Ref
	kinds    []feature.Kind
	// read has capacity 1 and gets exactly one signal for each submitted read; values and err are set before it.
	read   chan struct{}
	values []speedlayer.Value
	// done is s.loaded, made once.
	done func([]speedlayer.Value, error)
}

func newScoring(width int) *scoring {
	s := &scoring{vector: make([]float64, width), read: make(chan struct{}, 1)}
	s.done = s.loaded
	return s
}

func (s *scoring) loaded(values []speedlayer.Value, _ error) {
	s.values = append(s.values[:0], values...)
	s.read <- struct{}{}
}

// scorings is a pool of scoring for vectors of one width.
type scorings struct {
	pool  sync.Pool
	width int
}

func (p *scorings) get() *scoring {
	if s, ok := p.pool.Get().(*scoring); ok {
		return s
	}
	return newScoring(p.width)
}

// letGo gives a scoring back, unless a read still owns it.
func (p *scorings) letGo(s *scoring, reading bool) {
	if reading {
		select {
		case <-s.read:
		default:
			return
		}
	}
	p.put(s)
}

func (p *scorings) put(s *scoring) {
	s.degraded, s.refs, s.kinds = s.degraded[:0], s.refs[:0], s.kinds[:0]
	clear(s.values)
	p.pool.Put(s)
}

// Score decides a transaction: known ids are answered with their decision, others are decided and committed. The transaction was
// validated and is kept. Refusals are *decision.Error.
func (r *Region) Score(ctx context.Context, t *decision.Transaction, explain bool) (*decision.Answer, error) {
	if r.draining.Load() {
		return nil, &decision.Error{Code: decision.CodeNotReady, Detail: "the node is draining"}
	}
	rules := r.rules.Load() // once: what decides also explains
	s := r.scorings.get()
	reading := r.beginRead(s, t)
	at, err := r.router.Attempt(ctx, t, s.vector)
	if err != nil || at.Recorded != nil {
		r.scorings.letGo(s, reading)
		return recorded(at.Recorded), err
	}
	var values []speedlayer.Value
	if reading && r.awaitRead(ctx, s) {
		reading, values = false, s.values
	}
	defer r.scorings.letGo(s, reading)
	r.metrics.freshness(feature.Card, r.now(), at.FoldedAt)
	r.metrics.defaulted(feature.Card, at.Defaults)
	d, err := r.decide(ctx, rules, s, values, &at, t)
	if err != nil {
		at.Handle.Abandon(err)
		return nil, err
	}
	at.Handle.Decided(d)
	answer := &decision.Answer{Decision: d, Durability: decision.Committed}
	if explain {
		answer.Explanation = rules.Explain(s.vector)
	}
	return answer, r.commit(ctx, at.Handle, answer)
}

// recorded is the answer to a retry; nil when there is none.
func recorded(a *decision.Answer) *decision.Answer {
	if a != nil && a.Durability == decision.Pending {
		a.Decision = withDegradation(a.Decision, decision.DegradedLog)
	}
	return a
}

// awaitRead waits for the read that was begun: within its budget, but no longer than leaves the time to decide and to answer. False: it has
// not come, and s.values are still its own.
func (r *Region) awaitRead(ctx context.Context, s *scoring) bool {
	var enough <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left = max(left-r.config.Scoring.CommitMargin, left/2); left < r.config.Redis.ReadBudget {
			timer := time.NewTimer(left)
			defer timer.Stop()
			enough = timer.C
		}
	}
	select {
	case <-s.read:
		return true
	case <-enough:
	case <-ctx.Done():
	}
	return false
}

// beginRead asks for the entities that other shards own. False: nothing was asked for, or nothing will come, and the values are empty.
func (r *Region) beginRead(s *scoring, t *decision.Transaction) bool {
	for _, k := range []feature.Kind{feature.Device, feature.Merchant} {
		if id := k.Of(t); id != "" {
			s.refs = append(s.refs, speedlayer.Ref{Kind: k, Partition: feature.PartitionOf(k, id, r.config.Shards.Partitions), ID: id})
			s.kinds = append(s.kinds, k)
		}
	}
	s.values = s.values[:0]
	return r.reader.Submit(s.refs, s.done) == nil
}

// decide completes the vector and asks model and policy, looking at the deadline before each.
func (r *Region) decide(ctx context.Context, rules *Ruleset, s *scoring, values []speedlayer.Value, at *actors.Attempted, t *decision.Transaction) (*decision.Decision, error) {
	now := r.now()
	s.degraded = append(s.degraded, at.Degraded...)
	if at.FoldedAt < now-r.config.Scoring.Freshness.Milliseconds() {
		s.degraded = append(s.degraded, decision.DegradedStale)
	}
	r.readOthers(rules.schema, s, values, t, now)
	if err := rules.schema.ReadTransaction(t, s.vector); err != nil {
		r.metrics.derivedErrors.Inc()
	}
	if ctx.Err() != nil {
		return nil, errDeadline
	}
	score := r.score(rules, s.vector)
	d := &decision.Decision{Transaction: *t, DecidedAt: now, Digest: t.Digest(), Node: r.config.Node}
	rules.Judge(d, s.vector, score, s.degraded, nil)
	if ctx.Err() != nil {
		return nil, errDeadline
	}
	return d, nil
}

var errDeadline = &decision.Error{Code: decision.CodeDeadline, Detail: "the deadline passed before there was a decision; nothing was decided"}

// score asks the model and measures it.
func (r *Region) score(rules *Ruleset, vector []float64) float32 {
	r.metrics.modelInFlight.Inc()
	start := time.Now()
	score := rules.Score(vector)
	r.metrics.modelLatency.Observe(time.Since(start).Seconds())
	r.metrics.modelInFlight.Dec()
	return score
}

// readOthers fills the slots of device and merchant from what Redis answered, and says what is missing or old.
func (r *Region) readOthers(schema *feature.Schema, s *scoring, values []speedlayer.Value, t *decision.Transaction, now int64) {
	if t.Device == "" {
		schema.Read(&feature.Query{Kind: feature.Device, Transaction: t}, s.vector)
	}
	for i, k := range s.kinds {
		entity, why := r.stored(schema, values, i, k, now)
		if why != "" && !slices.Contains(s.degraded, why) {
			s.degraded = append(s.degraded, why)
		}
		if why == decision.DegradedSpeedLayer {
			schema.Defaults(k, s.vector)
			continue
		}
		defaults := schema.Read(&feature.Query{Kind: k, Entity: entity, Transaction: t}, s.vector)
		r.metrics.defaulted(k, defaults)
	}
}

// stored decodes the i-th value of a read, and says what is wrong with it, if anything is.
func (r *Region) stored(schema *feature.Schema, values []speedlayer.Value, i int, k feature.Kind, now int64) (*feature.Entity, string) {
	if i >= len(values) || values[i].Err != nil {
		return nil, decision.DegradedSpeedLayer
	}
	v := &values[i]
	watermark, err := speedlayer.ParseWatermark(v.Watermark)
	if err != nil {
		r.metrics.corrupt.Inc()
		return nil, decision.DegradedSpeedLayer
	}
	why := ""
	switch {
	case watermark.Vector.Len() == 0:
		why = decision.DegradedRebuilding
	case watermark.FoldedAt < now-r.config.Scoring.Freshness.Milliseconds():
		why = decision.DegradedStale
	}
	r.metrics.freshness(k, now, watermark.FoldedAt)
	if v.State == nil {
		return nil, why
	}
	entity, err := schema.Decode(k, v.State)
	if err != nil {
		r.metrics.corrupt.Inc()
		return nil, decision.DegradedSpeedLayer
	}
	return entity, why
}

// commit appends the decision and waits for it until shortly before the deadline. An answer that cannot wait is "pending".
func (r *Region) commit(ctx context.Context, handle handle, answer *decision.Answer) error {
	c := r.commits.get(handle)
	if err := r.appender.Append(&feature.Record{Decision: answer.Decision}, c.done); err != nil {
		c.abandon()
		refusal := r.refusal(err)
		handle.Abandon(refusal)
		return refusal
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(r.longestCommit)
	}
	if deadline = deadline.Add(-r.config.Scoring.CommitMargin); r.logAway.Load() {
		deadline = time.Now() // it would wait in vain
	}
	committed, err := c.wait(deadline)
	if err != nil {
		return r.refusal(err)
	}
	if !committed {
		handle.Pended()
		answer.Durability = decision.Pending
		answer.Decision = withDegradation(answer.Decision, decision.DegradedLog)
	}
	return nil
}

// withDegradation returns a copy of the decision with one more degradation: the decision itself is being written.
func withDegradation(d *decision.Decision, name string) *decision.Decision {
	c := *d
	c.Degraded = append(slices.Clone(d.Degraded), name)
	slices.Sort(c.Degraded)
	return &c
}

// refusal turns an error of the appender into what a client may act on.
func (r *Region) refusal(err error) error {
	var refusal *decision.Error
	if errors.As(err, &refusal) {
		return refusal
	}
	if errors.Is(err, wire.ErrBounds) {
		return fmt.Errorf("append to the log: %w", err) // to come again would not help
	}
	r.metrics.refused.Inc()
	return &decision.Error{Code: decision.CodeNotReady, Detail: "the log cannot be reached and the queue before it is full", RetryAfter: time.Second}
}
