package transport

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"scoremesh/decision"
	"scoremesh/feature"
)

var testPosition = feature.Position{Origin: feature.Origin{Region: "eu-west", Epoch: 0xabc}, Mark: feature.MarkOf(17, 3)}

// parseEvent reads an event as a subscriber with the SDK does.
func parseEvent(t *testing.T, data []byte) (event.Event, map[string]any) {
	t.Helper()
	e := event.New()
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatalf("the SDK cannot read %s: %v", data, err)
	}
	if err := e.Validate(); err != nil {
		t.Fatalf("the SDK refuses %s: %v", data, err)
	}
	var fields map[string]any
	if err := e.DataAs(&fields); err != nil {
		t.Fatalf("data of %s: %v", data, err)
	}
	return e, fields
}

func TestDecisionEventIsACloudEvent(t *testing.T) {
	d := &decision.Decision{Transaction: decision.Transaction{ID: "t-81", Card: "c-77", Device: "d-3", Merchant: `m "9" ☕` + "\x01",
		At: 1795688102120, Amount: 4599, Currency: "EUR"}, Outcome: decision.StepUp, Score: 0.41,
		Reasons:  []decision.Reason{{Code: "CARD_VELOCITY_5M", Detail: "7 in 5 minutes"}, {Code: "X"}},
		Degraded: []string{"features_stale", "model_unavailable"}, DecidedAt: 1795688102155, Node: "eu-west-1",
		Versions: decision.Versions{Schema: "v3", Model: "fraud@7", Policy: "default@12"}}
	e, got := parseEvent(t, appendDecisionEvent(nil, testPosition, d))
	if e.ID() != "eu-west/0000000000000abc/17.3" || e.Source() != "/scoremesh/eu-west" || e.Type() != DecisionEvent || e.Subject() != "t-81" ||
		e.Time().UnixMilli() != d.DecidedAt || e.DataContentType() != "application/json" || e.SpecVersion() != "1.0" {
		t.Errorf("attributes: got %v", e)
	}
	want := map[string]any{"transaction_id": "t-81", "card_id": "c-77", "device_id": "d-3", "merchant_id": d.Transaction.Merchant,
		"timestamp": "2026-11-26T10:15:02.120Z", "amount": 4599.0, "currency": "EUR", "outcome": "step_up", "score": 0.41,
		"reasons":  []any{map[string]any{"code": "CARD_VELOCITY_5M", "detail": "7 in 5 minutes"}, map[string]any{"code": "X"}},
		"versions": map[string]any{"schema": "v3", "model": "fraud@7", "policy": "default@12"},
		"degraded": []any{"features_stale", "model_unavailable"}, "decided_at": "2026-11-26T10:15:02.155Z", "region": "eu-west", "node": "eu-west-1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("data differs (-want +got):\n%s", diff)
	}
}

func TestDecisionEventOfLittle(t *testing.T) {
	for name, score := range map[string]float32{"no model": float32(math.NaN()), "infinite": float32(math.Inf(1))} {
		t.Run(name, func(t *testing.T) {
			_, got := parseEvent(t, appendDecisionEvent(nil, testPosition, &decision.Decision{Outcome: decision.Approve, Score: score}))
			if v, there := got["score"]; v != nil || !there {
				t.Errorf("score: got %v, want null", v)
			}
			if _, there := got["device_id"]; there {
				t.Error("an unknown device is there")
			}
			if r, ok := got["reasons"].([]any); !ok || len(r) != 0 {
				t.Errorf("reasons: got %v, want an empty list", got["reasons"])
			}
		})
	}
	_, got := parseEvent(t, appendDecisionEvent(nil, testPosition, &decision.Decision{Outcome: decision.Approve, Score: 1e-9}))
	if got["score"] != 1e-9 {
		t.Errorf("small score: got %v, want 1e-09", got["score"])
	}
}

func TestConflictEventHoldsBothDecisions(t *testing.T) {
	r := &feature.Retraction{
		Loser:  feature.Position{Origin: feature.Origin{Region: "eu-west", Epoch: 0xabc}, Mark: feature.MarkOf(5, 1)},
		Facts:  feature.Facts{Card: "c-77", Device: "d-3", Merchant: "m-9", At: 1795688102120, BaseAmount: 4599, Outcome: decision.Approve},
		Winner: feature.Position{Origin: feature.Origin{Region: "us-east", Epoch: 2}, Mark: feature.MarkOf(9, 0)}, WinnerOutcome: decision.Decline}
	e, got := parseEvent(t, appendConflictEvent(nil, testPosition, r, "t-81", 1795688102155))
	if e.Type() != ConflictEvent || e.Subject() != "t-81" {
		t.Errorf("attributes: got %v", e)
	}
	want := map[string]any{"transaction_id": "t-81", "card_id": "c-77", "device_id": "d-3", "merchant_id": "m-9", "timestamp": "2026-11-26T10:15:02.120Z",
		"base_amount": 4599.0, "region": "eu-west",
		"winner": map[string]any{"outcome": "decline", "region": "us-east", "event_id": "us-east/0000000000000002/9.0"},
		"loser":  map[string]any{"outcome": "approve", "region": "eu-west", "event_id": "eu-west/0000000000000abc/5.1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("data differs (-want +got):\n%s", diff)
	}
	if _, got := parseEvent(t, appendConflictEvent(nil, testPosition, r, "", 1)); got["transaction_id"] != nil {
		t.Errorf("transaction id: got %v, want none", got["transaction_id"])
	}
}

func TestPositionHeaderRoundTrips(t *testing.T) {
	epoch, mark, err := parsePosition(formatPosition(testPosition))
	if err != nil || epoch != testPosition.Origin.Epoch || mark != testPosition.Mark {
		t.Errorf("got %x, %v, %v, want %v", epoch, mark, err, testPosition)
	}
	for _, bad := range []string{"", "1.2", "x.1.2", "1.x.2", "1.2.x", "1.2.70000", "1.999999999999999999.2"} {
		if _, _, err := parsePosition(bad); err == nil {
			t.Errorf("position %q was accepted", bad)
		}
	}
}

func TestAsyncPersistNeedsServer212(t *testing.T) {
	for version, want := range map[string]bool{"2.9.25": false, "2.11.9": false, "2.12.0": true, "2.15.2": true, "3.0.0": true, "": false, "x": false} {
		if got := persistsAsync(version); got != want {
			t.Errorf("%q: got %v, want %v", version, got, want)
		}
	}
}

func BenchmarkDecisionEvent(b *testing.B) {
	d := &decision.Decision{Transaction: decision.Transaction{ID: "t-81", Card: "c-77", Device: "d-3", Merchant: "m-9", At: 1795688102120, Amount: 4599, Currency: "EUR"},
		Outcome: decision.StepUp, Score: 0.41, Reasons: []decision.Reason{{Code: "CARD_VELOCITY_5M", Detail: "7 in 5 minutes"}}, DecidedAt: 1795688102155, Node: "eu-west-1"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendDecisionEvent(buf[:0], testPosition, d)
	}
}
