package traffic

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/model"
)

const demo = "../../../configs/demo"

func TestDemoConfigurationFitsTogether(t *testing.T) {
	read := func(name string) (string, []byte) {
		path := filepath.Join(demo, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return path, data
	}
	schema, err := feature.ParseSchema(read("schema.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := decision.ParsePolicy(read("policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := file.Bind(schema.Names(), schema.Exponent())
	if err != nil {
		t.Fatal(err)
	}
	fraud, err := model.Load(filepath.Join(demo, "model", "model.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := fraud.Bind(schema.Names())
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(fraud.Inputs(), "card_refused_1h") {
		t.Error("the model reads card_refused_1h, which the policy's own outcomes make: want it left out")
	}

	vector := make([]float64, schema.Len())
	honest := newGenerator(t, nil).Next().Transaction
	if err := schema.ReadTransaction(&honest, vector); err != nil {
		t.Fatal(err)
	}
	for _, k := range feature.Kinds {
		schema.Defaults(k, vector)
	}
	ordinary := set(t, schema, vector, map[string]float64{"amount": 25, "online": 0, "card_count_7d": 9, "card_count_24h": 1,
		"card_count_1h": 1, "card_count_5m": 1, "card_count_1m": 1, "card_sum_1h": 25, "card_sum_24h": 25, "card_sum_7d": 200,
		"card_merchants_1h": 1, "card_merchants_24h": 1, "card_countries_24h": 1, "card_mean_30d": 25, "card_max_30d": 90,
		"card_seconds_since_last": 80_000, "card_seconds_since_first": 2_000_000, "merchant_count_1h": 3, "merchant_count_24h": 40,
		"merchant_cards_24h": 40, "merchant_mean_24h": 25, "merchant_count_30d": 1200, "merchant_mean_30d": 25})
	burst := set(t, schema, ordinary, map[string]float64{"amount": 2, "online": 1, "device_known": 1, "card_count_1m": 4,
		"card_count_5m": 9, "card_count_1h": 10, "card_count_24h": 10, "card_merchants_1h": 10, "card_merchants_24h": 10,
		"card_devices_24h": 1, "device_count_1h": 9, "device_count_24h": 9, "device_cards_1h": 1, "device_cards_7d": 1,
		"card_seconds_since_last": 10})
	for name, c := range map[string]struct {
		vector []float64
		want   decision.Outcome
	}{
		"an ordinary purchase": {ordinary, decision.Approve},
		"a burst":              {burst, decision.Decline},
	} {
		score := bound.Predict(c.vector).Score
		got := policy.Decide(decision.Input{Transaction: &honest, Features: c.vector, Score: score})
		if got.Outcome != c.want || got.Errors != 0 {
			t.Errorf("%s: got %v by rule %q, score %.3f, %d errors, want %v", name, got.Outcome, got.Rule, score, got.Errors, c.want)
		}
	}
}

// set returns a copy of the vector with some features changed.
func set(t *testing.T, s *feature.Schema, vector []float64, to map[string]float64) []float64 {
	t.Helper()
	names, out := s.Names(), slices.Clone(vector)
	for name, value := range to {
		i := slices.Index(names, name)
		if i < 0 {
			t.Fatalf("the schema lacks %s", name)
		}
		out[i] = value
	}
	return out
}
