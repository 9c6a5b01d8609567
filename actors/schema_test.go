package actors

import (
	"testing"

	"scoremesh/feature"
)

const testSchema = `
version: v1
currency: EUR
transaction:
  - {name: amount, expression: "amount"}
card:
  timeline_max: 100
  groups:
    - name: velocity
      window: 1h
      features:
        - {name: card_count, function: count}
        - {name: card_sum, function: sum}
        - {name: card_declines, function: count, where: {outcome: [decline]}}
        - {name: card_days, function: count, window: 48h}
    - name: tiled
      window: 1h
      storage: tiles
      features:
        - {name: card_tiled, function: count}
device:
  timeline_max: 50
  groups:
    - name: velocity
      window: 1h
      features:
        - {name: device_count, function: count}
merchant:
  timeline_max: 50
  groups:
    - name: tiled
      window: 1h
      storage: tiles
      features:
        - {name: merchant_count, function: count}
        - {name: merchant_sum, function: sum}
`

func parseSchema(t testing.TB) *feature.Schema {
	t.Helper()
	s, err := feature.ParseSchema("test.yaml", []byte(testSchema))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
