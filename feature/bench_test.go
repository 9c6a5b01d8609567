package feature

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"scoremesh/decision"
)

// benchSchema is a schema as one would run it: 30 card features, and what devices and merchants need.
const benchSchema = `
version: v3
currency: EUR
card:
  timeline_max: 5000
  groups:
    - name: velocity
      current: true
      features:
        - {name: card_count_1m, function: count, window: 1m}
        - {name: card_count_5m, function: count, window: 5m}
        - {name: card_count_1h, function: count, window: 1h}
        - {name: card_count_24h, function: count, window: 24h}
        - {name: card_count_7d, function: count, window: 7d}
        - {name: card_count_30d, function: count, window: 30d}
        - {name: card_sum_1h, function: sum, window: 1h}
        - {name: card_sum_24h, function: sum, window: 24h}
        - {name: card_sum_7d, function: sum, window: 7d}
        - {name: card_mean_24h, function: mean, window: 24h}
        - {name: card_mean_7d, function: mean, window: 7d}
        - {name: card_mean_30d, function: mean, window: 30d}
        - {name: card_min_30d, function: min, window: 30d}
        - {name: card_max_24h, function: max, window: 24h}
        - {name: card_max_30d, function: max, window: 30d}
        - {name: card_declines_1h, function: count, window: 1h, where: {outcome: [decline, step_up]}}
        - {name: card_declines_24h, function: count, window: 24h, where: {outcome: [decline, step_up]}}
        - {name: card_decline_share_7d, function: ratio, window: 7d, numerator: {outcome: [decline]}}
        - {name: card_merchants_1h, function: distinct, of: merchant, window: 1h}
        - {name: card_merchants_24h, function: distinct, of: merchant, window: 24h}
        - {name: card_countries_24h, function: distinct, of: country, window: 24h}
        - {name: card_countries_7d, function: distinct, of: country, window: 7d}
        - {name: card_devices_30d, function: distinct, of: device, window: 30d}
        - {name: card_mccs_7d, function: distinct, of: mcc, window: 7d}
    - name: fraud
      delay: 1d
      features:
        - {name: card_frauds_29d, function: count, window: 29d, where: {label: fraud}}
        - {name: card_fraud_share_29d, function: ratio, window: 29d, numerator: {label: fraud}}
    - name: last
      features:
        - {name: card_seconds_since_last, function: seconds_since_last, default: -1}
        - {name: card_seconds_since_first, function: seconds_since_first}
        - {name: card_country_changed, function: country_changed}
        - {name: card_travel_kmh, function: travel_speed}
device:
  timeline_max: 1000
  groups:
    - name: velocity
      features:
        - {name: device_count_1h, function: count, window: 1h}
        - {name: device_cards_24h, function: distinct, of: card, window: 24h}
merchant:
  groups:
    - name: tiled
      storage: tiles
      features:
        - {name: merchant_count_1h, function: count, window: 1h}
        - {name: merchant_mean_1h, function: mean, window: 1h}
        - {name: merchant_max_1h, function: max, window: 1h}
        - {name: merchant_decline_share_1h, function: ratio, window: 1h, numerator: {outcome: [decline]}}
        - {name: merchant_cards_1h, function: distinct, of: card, window: 1h}
`

// busy folds n decisions into one entity, a step apart, and returns it with the record after them.
func busy(tb testing.TB, s *Schema, k Kind, n int, step int64, others int) *Entity {
	tb.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	e := s.New(k)
	for i := range n {
		r := busyRecord(random, k, i, step, others)
		if !e.Apply(Position{testOrigins[0], MarkOf(uint64(1000+40*i), random.IntN(3))}, &r) {
			tb.Fatalf("record %d was refused", i)
		}
	}
	return e
}

func busyRecord(random *rand.Rand, k Kind, i int, step int64, others int) Record {
	r := hotRecord(random, i, testEpoch+int64(i)*step, others)
	t := &r.Decision.Transaction
	if k == Card {
		t.Card = "c-77"
	} else {
		t.Device, t.Merchant = "d-3", "m-9"
	}
	return r
}

// BenchmarkApply folds decisions into entities that stay as large as they are: the card and the device by the horizon.
func BenchmarkApply(b *testing.B) {
	run := func(name string, k Kind, text string, held int, step int64) {
		b.Run(name, func(b *testing.B) {
			s := mustParse(b, text)
			e := busy(b, s, k, 2*held, step, 50)
			random := rand.New(rand.NewPCG(3, 4))
			records := make([]Record, 4096)
			for i := range records {
				records[i] = busyRecord(random, k, i, step, 50)
			}
			at, i := e.Newest(), 0
			b.ReportAllocs()
			for b.Loop() {
				r := &records[i%len(records)]
				at += step
				i++
				r.Decision.Transaction.At, r.Decision.DecidedAt = at, at+9
				r.Decision.Transaction.ID = ids[i%len(ids)]
				e.Apply(Position{testOrigins[0], MarkOf(uint64(1_000_000+i), 0)}, r)
			}
			if k != Merchant && (e.Len() < held*9/10 || e.Len() > held*11/10) {
				b.Fatalf("the timeline holds %d, want %d", e.Len(), held)
			}
		})
	}
	horizon := mustParse(b, benchSchema).Horizon().Milliseconds()
	for _, n := range []int{20, 200, 1000} {
		run(fmt.Sprintf("card/timeline=%d", n), Card, benchSchema, n, horizon/int64(n))
		run(fmt.Sprintf("device/timeline=%d", n), Device, strings.Replace(benchSchema, "timeline_max: 1000", fmt.Sprintf("timeline_max: %d", n), 1), n, 100)
	}
	run("merchant/tiles", Merchant, benchSchema, 5000, 100)
}

// ids are transaction ids that repeat only after every timeline has forgotten them.
var ids = func() []string {
	out := make([]string, 1<<14)
	for i := range out {
		out[i] = fmt.Sprintf("t-%d", i)
	}
	return out
}()

func BenchmarkRead(b *testing.B) {
	s := mustParse(b, benchSchema)
	for _, n := range []int{20, 200, 1000} {
		b.Run(fmt.Sprintf("card/timeline=%d", n), func(b *testing.B) {
			e := busy(b, s, Card, n, s.Horizon().Milliseconds()/int64(n), 50)
			benchmarkRead(b, s, Card, e)
		})
	}
	b.Run("merchant/tiles", func(b *testing.B) { benchmarkRead(b, s, Merchant, busy(b, s, Merchant, 20_000, 250, 5000)) })
}

func benchmarkRead(b *testing.B, s *Schema, k Kind, e *Entity) {
	q := readQuery(s, k, e)
	vector := make([]float64, s.Len())
	b.ReportAllocs()
	for b.Loop() {
		s.Read(q, vector)
	}
}

// readQuery asks with one pending transaction for cards.
func readQuery(s *Schema, k Kind, e *Entity) *Query {
	pending := &decision.Transaction{ID: "p", Card: "c-77", Merchant: "m-8", At: e.Newest(), BaseAmount: 7}
	t := &decision.Transaction{ID: "q", Card: "c-77", Device: "d-3", Merchant: "m-9", Country: "NL", At: e.Newest() + 1000, BaseAmount: 1200}
	return &Query{Kind: k, Entity: e, Transaction: t, Pending: []*Pending{s.PendingOf(pending)}}
}

func TestReadDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools allocate")
	}
	s := mustParse(t, benchSchema)
	vector := make([]float64, s.Len())
	for _, k := range Kinds {
		q := readQuery(s, k, busy(t, s, k, 200, 60_000, 50))
		if got := testing.AllocsPerRun(100, func() { s.Read(q, vector) }); got >= 1 {
			t.Errorf("%v: %v allocations a read, want 0", k, got)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	s := mustParse(b, benchSchema)
	for _, n := range []int{20, 200, 1000} {
		for _, k := range []Kind{Card, Device} {
			e := busy(b, s, k, n, 60_000, 1<<30)
			b.Run(fmt.Sprintf("append/%v/timeline=%d", k, n), func(b *testing.B) {
				var buf []byte
				b.ReportAllocs()
				for b.Loop() {
					buf = e.Append(buf[:0])
				}
				b.ReportMetric(float64(len(buf)), "bytes")
			})
			value := e.Append(nil)
			b.Run(fmt.Sprintf("decode/%v/timeline=%d", k, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Decode(k, value); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	e := busy(b, s, Merchant, 20_000, 250, 5000)
	value := e.Append(nil)
	b.Run("append/merchant/tiles", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = e.Append(buf[:0])
		}
		b.ReportMetric(float64(len(buf)), "bytes")
	})
	b.Run("decode/merchant/tiles", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Decode(Merchant, value); err != nil {
				b.Fatal(err)
			}
		}
	})
}
