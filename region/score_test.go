package region

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/actors"
	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/speedlayer/redistest"
)

func TestDecisionsAreCommittedAndSeenByTheNext(t *testing.T) {
	r := opened(t, testConfig(t, redistest.Start(t)))
	for i := range 5 {
		a := decide(t, r, payment(id("t", i), "c-1", 500))
		if a.Durability != decision.Committed || a.Replayed || a.Decision.Outcome != decision.Approve {
			t.Fatalf("transaction %d: got %s, replayed %v, %s; want committed, not replayed, approve", i, a.Durability, a.Replayed, a.Decision.Outcome)
		}
		if got := seen(t, a, "card_count"); got != float64(i) {
			t.Errorf("transaction %d: card_count is %v, want %d", i, got, i)
		}
		if !slices.Contains(a.Decision.Degraded, decision.DegradedModel) {
			t.Errorf("transaction %d: no model is configured, and degraded is %v", i, a.Decision.Degraded)
		}
	}
	await(t, "merchant and device have been folded", func() bool {
		return shows(t, r, feature.Merchant, "m-1", "merchant_count") == 5 && shows(t, r, feature.Device, "d-c-1", "device_count") == 5
	})
	await(t, "redis shows the merchant to the next decision", func() bool {
		return seen(t, decide(t, r, payment(id("u", int(time.Now().UnixNano())), "c-2", 500)), "merchant_count") >= 5
	})
}

// Fifty authorisations of one card with one timestamp, at once: each sees another number of those before it.
func TestSimultaneousAuthorisationsSeeEachOther(t *testing.T) {
	r := opened(t, testConfig(t, redistest.Start(t)))
	at := time.Now().UnixMilli()
	counts := make([]float64, 50)
	var all sync.WaitGroup
	for i := range counts {
		all.Go(func() {
			p := payment(id("t", i), "c-1", 500)
			p.At = at
			counts[i] = seen(t, decide(t, r, p), "card_count")
		})
	}
	all.Wait()
	slices.Sort(counts)
	for i, got := range counts {
		if got != float64(i) {
			t.Fatalf("counts are %v, want 0 to 49, each once", counts)
		}
	}
}

func TestRetriesGetTheSameDecision(t *testing.T) {
	r := opened(t, testConfig(t, redistest.Start(t)))
	p := payment("t-1", "c-1", 50_000)
	first := decide(t, r, p)
	if first.Decision.Outcome != decision.Decline || len(first.Decision.Reasons) != 1 || first.Decision.Reasons[0].Code != "OVER_LIMIT" {
		t.Fatalf("got %s for %v, want decline for OVER_LIMIT", first.Decision.Outcome, first.Decision.Reasons)
	}
	await(t, "the decision has come back through the log", func() bool { return shows(t, r, feature.Card, "c-1", "card_declined") == 1 })
	ctx := context.Background()
	again, err := r.Score(ctx, p, false)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Replayed || again.Decision.Outcome != first.Decision.Outcome || again.Decision.DecidedAt != first.Decision.DecidedAt ||
		!slices.Equal(again.Decision.Reasons, first.Decision.Reasons) || again.Decision.Transaction.ID != "t-1" {
		t.Errorf("replay: got %+v, want the first decision %+v", again.Decision, first.Decision)
	}
	other := *p
	other.Amount++
	if _, err := r.Score(ctx, &other, false); !errors.Is(err, &decision.Error{Code: decision.CodeConflict}) {
		t.Errorf("another body: got %v, want %s", err, decision.CodeConflict)
	}
	if got := shows(t, r, feature.Card, "c-1", "card_count"); got != 1 {
		t.Errorf("card_count is %v after a retry and a conflict, want 1", got)
	}
}

func TestLabelsReachTheMerchant(t *testing.T) {
	r := opened(t, testConfig(t, redistest.Start(t)))
	ctx := context.Background()
	for i := range 3 {
		decide(t, r, payment(id("t", i), "c-1", 500))
	}
	label := func(n int, fraud bool) {
		t.Helper()
		if err := r.Label(ctx, []decision.Label{{TransactionID: id("t", n), Card: "c-1", Fraud: fraud, KnownAt: time.Now().UnixMilli()}}); err != nil {
			t.Fatal(err)
		}
	}
	label(0, true)
	label(1, true)
	await(t, "two frauds are counted at card and merchant", func() bool {
		return shows(t, r, feature.Card, "c-1", "card_fraud") == 2 && shows(t, r, feature.Merchant, "m-1", "merchant_frauds") == 2
	})
	time.Sleep(2 * time.Millisecond) // the later label has a later known_at
	label(1, false)
	await(t, "a withdrawn label is taken out again", func() bool {
		return shows(t, r, feature.Card, "c-1", "card_fraud") == 1 && shows(t, r, feature.Merchant, "m-1", "merchant_frauds") == 1
	})
}

func TestPublishedRowsReachTheNextDecision(t *testing.T) {
	r := opened(t, testConfig(t, redistest.Start(t)))
	row := feature.Row{Kind: feature.Card, ID: "c-1", AsOf: time.Now().UnixMilli(), Values: []feature.Value{{Name: "card_limit", Value: 1000}}}
	if err := r.CheckRow(&row); err != nil {
		t.Fatal(err)
	}
	if err := r.CheckRow(&feature.Row{Kind: feature.Device, Values: row.Values}); !errors.Is(err, &decision.Error{Code: decision.CodeInvalid}) {
		t.Errorf("a name that the schema does not publish for the kind: got %v, want %s", err, decision.CodeInvalid)
	}
	if err := r.Publish(context.Background(), []feature.Row{row}); err != nil {
		t.Fatal(err)
	}
	await(t, "the row is folded", func() bool { return shows(t, r, feature.Card, "c-1", "card_limit") == 1000 })
	if a := decide(t, r, payment("t-1", "c-1", 50_000)); a.Decision.Outcome != decision.Approve {
		t.Errorf("got %s below the published limit, want approve", a.Decision.Outcome)
	}
}

func TestRedisDownIsLabelledAndNothingIsLost(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	c.Redis.ReadBudget = 20 * time.Millisecond
	r := opened(t, c)
	decide(t, r, payment("t-1", "c-1", 500))
	redis.Pause()
	a := decide(t, r, payment("t-2", "c-1", 500))
	if a.Durability != decision.Committed || !slices.Contains(a.Decision.Degraded, decision.DegradedSpeedLayer) {
		t.Errorf("while redis hangs: got %s, degraded %v; want committed and %s", a.Durability, a.Decision.Degraded, decision.DegradedSpeedLayer)
	}
	if got := seen(t, a, "card_count"); got != 1 {
		t.Errorf("while redis hangs: card_count is %v, want 1: the card is hot", got)
	}
	redis.Resume()
	await(t, "the merchant has both", func() bool { return shows(t, r, feature.Merchant, "m-1", "merchant_count") == 2 })
}

func TestAWipedRedisIsRebuilt(t *testing.T) {
	redis := redistest.Start(t)
	r := opened(t, testConfig(t, redis))
	for i := range 20 {
		decide(t, r, payment(id("t", i), id("c", i%4), 500))
	}
	await(t, "everything is flushed", func() bool { return merchantInRedis(t, r) == 20 })
	redis.FlushAll()
	await(t, "the merchant is in redis again", func() bool { return merchantInRedis(t, r) == 20 })
	if got := seen(t, decide(t, r, payment("last", "c-0", 500)), "card_count"); got != 5 {
		t.Errorf("card_count is %v after the wipe, want 5", got)
	}
}

// merchantInRedis reads m-1's count from Redis itself; -1 when it is not there.
func merchantInRedis(t testing.TB, r *Region) float64 {
	t.Helper()
	s := newScoring(r.Schema().Len())
	p := payment("probe", "probe", 1)
	p.At += 1000
	if !r.beginRead(s, p) {
		return -1
	}
	<-s.read
	entity, why := r.stored(r.Schema(), s.values, 1, feature.Merchant, r.now())
	if entity == nil || why == decision.DegradedSpeedLayer {
		return -1
	}
	r.Schema().Read(&feature.Query{Kind: feature.Merchant, Entity: entity, Transaction: p}, s.vector)
	lo, _ := r.Schema().Range(feature.Merchant)
	return s.vector[lo]
}

// A card whose shard lags is labelled, and so is the node's health.
func TestOldFeaturesAreSaid(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	ahead := &atomic.Int64{}
	r, err := Open(context.Background(), c, Options{Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
		Now: func() int64 { return time.Now().UnixMilli() + ahead.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRegion(t, r) })
	await(t, "the region serves", func() bool { return r.Health().State == Serving })
	s := newScoring(r.Schema().Len())
	p := payment("t-1", "c-1", 500)
	at := actors.Attempted{FoldedAt: r.now() - c.Scoring.Freshness.Milliseconds() - 1}
	d, err := r.decide(context.Background(), r.rules.Load(), s, nil, &at, p)
	if err != nil || !slices.Contains(d.Degraded, decision.DegradedStale) {
		t.Errorf("got %+v, error %v; want a decision that says %s", d, err, decision.DegradedStale)
	}
	ahead.Store(time.Hour.Milliseconds())
	if h := r.Health(); h.State != Degraded || !h.Ready || len(h.Reasons) != 1 {
		t.Errorf("got %+v, want ready, degraded, and why", h)
	}
}
