package region

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"scoremesh/decision"
	"scoremesh/speedlayer/redistest"
)

// A request whose deadline is shorter than the read budget gets a marked decision in time, not a refusal too late.
func TestASlowReadCostsNoMoreThanTheDeadline(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	c.Redis.ReadBudget, c.Redis.ReadTimeout, c.Scoring.CommitMargin = time.Second, 2*time.Second, 100*time.Millisecond
	r := opened(t, c)
	decide(t, r, payment("t-1", "c-1", 500))
	redis.Pause()
	ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
	defer cancel()
	a, err := r.Score(ctx, payment("t-2", "c-1", 500), true)
	if err != nil || !slices.Contains(a.Decision.Degraded, decision.DegradedSpeedLayer) {
		t.Errorf("got %+v, error %v; want a decision that says %s", a, err, decision.DegradedSpeedLayer)
	}
	if ctx.Err() != nil {
		t.Error("the answer came after its deadline")
	}
	began := time.Now()
	other := payment("t-2", "c-1", 501)
	if _, err := r.Score(context.Background(), other, false); !errors.Is(err, &decision.Error{Code: decision.CodeConflict}) {
		t.Errorf("another body: got %v, want %s", err, decision.CodeConflict)
	}
	if took := time.Since(began); took > 700*time.Millisecond {
		t.Errorf("a refusal that needs no read took %s", took)
	}
	redis.Resume()
}

// single returns the files of a ruleset with a model.
func single(t *testing.T) RulesetFiles {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("../model/testdata/single_leaf.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	manifest := "name: leaf\nversion: 1\nformat: xgboost-json\nfile: model.json\ninputs: [amount, card_count, card_limit, card_declined, card_fraud]\n"
	if err := os.WriteFile(filepath.Join(dir, "model.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return RulesetFiles{Schema: "testdata/schema.yaml", Policy: "testdata/policy.yaml", Model: filepath.Join(dir, "model.yaml")}
}

// The explanation is of the model that made the decision, also while models are swapped.
func TestAnExplanationIsOfTheModelThatDecided(t *testing.T) {
	c := testConfig(t, redistest.Start(t))
	r := opened(t, c)
	without := r.rules.Load()
	with, err := r.Prepare(single(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for ctx.Err() == nil {
			r.rules.Store(with)
			r.rules.Store(without)
		}
	})
	for i := range 400 {
		a := decide(t, r, payment(id("t", i), id("c", i), 50))
		if modelled := a.Decision.Versions.Model != "none"; modelled != (len(a.Explanation.Contributions) > 0) {
			t.Errorf("decision %d is of model %s, and explained by %d contributions", i, a.Decision.Versions.Model, len(a.Explanation.Contributions))
			break
		}
	}
	stop()
	swapping.Wait()
}
