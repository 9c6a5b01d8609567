package region

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/speedlayer/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is a region on a real Redis and an embedded NATS.
func testConfig(t testing.TB, redis *redistest.Server) Config {
	t.Helper()
	c := DefaultConfig()
	c.Region, c.Node, c.DataDir = "here", "n1", t.TempDir()
	c.Rules = RulesetFiles{Schema: "testdata/schema.yaml", Policy: "testdata/policy.yaml"}
	c.Redis.URL = redis.URL()
	c.Shards.Partitions = 4
	c.Shards.FlushEvery, c.Shards.TickEvery, c.Shards.WatermarkEvery = 20*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond
	c.Log.BeaconEvery = 50 * time.Millisecond
	c.Redis.ReadBudget = 250 * time.Millisecond // the race detector is slow
	c.Redis.ReadTimeout = 500 * time.Millisecond
	return c
}

// opened is a region that serves, and closes with the test.
func opened(t testing.TB, c Config) *Region {
	t.Helper()
	r, err := Open(context.Background(), c, Options{Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRegion(t, r) })
	await(t, "the region serves", func() bool { return r.Health().State == Serving })
	return r
}

// closeRegion drains and closes; closing twice does no harm.
func closeRegion(t testing.TB, r *Region) {
	t.Helper()
	if len(r.opened) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout(r))
	defer cancel()
	if err := r.Drain(ctx); err != nil && r.unrecoverable.Load() == nil {
		t.Errorf("drain: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// drainTimeout is short for a region that cannot be drained.
func drainTimeout(r *Region) time.Duration {
	if r.unrecoverable.Load() != nil {
		return 100 * time.Millisecond
	}
	return 20 * time.Second
}

func await(t testing.TB, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// payment is a valid transaction.
func payment(id, card string, amount int64) *decision.Transaction {
	return &decision.Transaction{ID: id, Card: card, Device: "d-" + card, Merchant: "m-1", At: time.Now().UnixMilli(), Amount: amount, BaseAmount: amount, Currency: "EUR"}
}

// decide scores and fails the test on a refusal.
func decide(t testing.TB, r *Region, p *decision.Transaction) *decision.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := r.Score(ctx, p, true)
	if err != nil {
		t.Fatalf("score %s: %v", p.ID, err)
	}
	return answer
}

// seen returns a feature of an answer's explanation.
func seen(t testing.TB, a *decision.Answer, name string) float64 {
	t.Helper()
	if a.Explanation == nil {
		t.Fatalf("the answer to %s explains nothing", a.Decision.Transaction.ID)
	}
	for _, f := range a.Explanation.Features {
		if f.Name == name {
			return f.Value
		}
	}
	t.Fatalf("no feature %s", name)
	return 0
}

// shows returns a feature of an entity now.
func shows(t testing.TB, r *Region, kind feature.Kind, id, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	view, err := r.Entity(ctx, kind, id)
	if err != nil {
		return -1 // not loaded yet: the caller waits
	}
	for _, f := range view.Features {
		if f.Name == name {
			return f.Value
		}
	}
	t.Fatalf("no feature %s", name)
	return 0
}

func id(prefix string, n int) string { return fmt.Sprintf("%s-%d", prefix, n) }
