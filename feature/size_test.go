package feature

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"scoremesh/decision"
)

// idleCard folds 20 transactions over 30 days: one device, a handful of merchants, a log that moves on by some batches a second.
func idleCard(s *Schema, transactions, merchants int) *Entity {
	random := rand.New(rand.NewPCG(5, 6))
	e := s.New(Card)
	const period = 30 * 24 * 3600 * 1000
	at := int64(testEpoch)
	for i := range transactions {
		at += period/int64(transactions)/2 + random.Int64N(period/int64(transactions)-period/int64(10*transactions))
		tr := decision.Transaction{ID: fmt.Sprintf("t-%d", i), Card: "c-4711", Device: "d-3", Merchant: fmt.Sprintf("m-%d", 100+random.IntN(merchants)),
			At: at, BaseAmount: int64(100 + random.ExpFloat64()*4000), Currency: "EUR", Country: "NL"}
		d := &decision.Decision{Transaction: tr, Outcome: decision.Approve, Score: 0.02, Digest: tr.Digest(), DecidedAt: at + 3 + random.Int64N(60),
			Node: "eu-west-1", Versions: decision.Versions{Schema: "v3", Model: "fraud@7", Policy: "default@12"}}
		e.Apply(Position{Origin{"eu-west", 0x1234567890abcdef}, MarkOf(uint64((at-testEpoch)/250+1), 0)}, &Record{Decision: d})
	}
	return e
}

// handbookLike is a card schema that needs no more than the timeline.
const handbookLike = head + `
card:
  groups:
    - name: spending
      current: true
      features:
        - {name: count_30d, function: count, window: 30d}
        - {name: mean_30d, function: mean, window: 30d}
`

func TestIdleCardIsSmall(t *testing.T) {
	s := mustParse(t, handbookLike)
	empty := s.New(Card)
	row := Record{Row: &Row{Kind: Card, ID: "c-4711"}}
	empty.Apply(Position{Origin{"eu-west", 0x1234567890abcdef}, MarkOf(1, 0)}, &row)
	none := len(empty.Append(nil))
	for _, tt := range []struct{ transactions, merchants, most int }{{20, 1, 520}, {20, 8, 570}, {20, 1000, 640}} {
		e := idleCard(s, tt.transactions, tt.merchants)
		size := len(e.Append(nil))
		answered := 0
		for i := range e.timeline.elements {
			if e.timeline.elements[i].answer != nil {
				answered++
			}
		}
		for i := range e.timeline.elements {
			e.timeline.elements[i].answer = nil
		}
		bare := len(e.Append(nil))
		answers := size - bare
		t.Logf("%d transactions at up to %d merchants: %d bytes = %d of vector, id and frame + %d of %d answers + %.1f a transaction",
			e.Len(), tt.merchants, size, none, answers, answered, float64(bare-none)/float64(e.Len()))
		if size > tt.most {
			t.Errorf("%d transactions at up to %d merchants take %d bytes, want at most %d", tt.transactions, tt.merchants, size, tt.most)
		}
	}
}

func TestHotMerchantTilesAreSmall(t *testing.T) {
	all := `
    - name: tiled
      storage: tiles
      window: 1h
      delay: %s
      features:
        - {name: count_1h, function: count}
        - {name: sum_1h, function: sum}
        - {name: mean_1h, function: mean}
        - {name: fraud_share_1h, function: ratio, numerator: {label: fraud}}
        - {name: cards_1h, function: distinct, of: card}
`
	for _, tt := range []struct {
		delay string
		most  int
	}{{"0s", 2048}, {"1h", 12_000}, {"8h", 110_000}} {
		s := mustParse(t, head+"merchant:\n  groups:"+fmt.Sprintf(all, tt.delay))
		e := s.New(Merchant)
		random := rand.New(rand.NewPCG(7, 8))
		largest := 0
		ks := &s.kinds[Merchant]
		const step = 600 // 100 decisions a tile
		for i := range int(3 * ks.groups[0].behind * ks.groups[0].width / 2 / step) {
			r := busyRecord(random, Merchant, i, step, 5000)
			e.Apply(Position{testOrigins[0], MarkOf(uint64(i+1), 0)}, &r)
			if i%997 == 0 {
				largest = max(largest, len(e.Append(nil)))
			}
		}
		t.Logf("delay %s: at most %d bytes, %d tiles, %d pairs of the sketch", tt.delay, largest, len(e.tiles[0].index), len(e.tiles[0].sketches[0].pairs))
		if largest > tt.most {
			t.Errorf("delay %s: %d bytes, want at most %d", tt.delay, largest, tt.most)
		}
	}
}

// TestSketchKeepsWithinItsError compares estimates with exact counts over sliding windows: 128 registers have a standard error of 9.2 %, and
// few values less.
func TestSketchKeepsWithinItsError(t *testing.T) {
	text := head + "merchant:\n  groups:\n    - {name: tiled, storage: tiles, window: 1h, features: [{name: cards, function: distinct, of: card}]}\n"
	s := mustParse(t, text)
	vector := make([]float64, 1)
	var squares float64
	samples := 0
	for seed := range uint64(12) {
		for _, others := range []int{10, 100, 1000, 20_000} {
			random := rand.New(rand.NewPCG(seed, uint64(others)))
			e := s.New(Merchant)
			const step = 500
			seen := map[string]int64{}
			prefix := fmt.Sprintf("%d/", seed)
			for i := range 10_000 {
				r := busyRecord(random, Merchant, i, step, others)
				tr := &r.Decision.Transaction
				tr.Card = prefix + tr.Card
				seen[tr.Card] = tr.At
				e.Apply(Position{testOrigins[0], MarkOf(uint64(i+1), 0)}, &r)
			}
			at := e.Newest() + 1
			width := int64(60_000)
			exact := 0
			for _, last := range seen {
				if last/width > (at-3_600_000)/width {
					exact++
				}
			}
			s.Read(&Query{Kind: Merchant, Entity: e, Transaction: &decision.Transaction{ID: "q", Card: "c", At: at}}, vector)
			off := (vector[0] - float64(exact)) / float64(exact)
			sigma := 1.04 / math.Sqrt(registers)
			// With few values the error is that of linear counting (Whang et al., 1990), never above the sketch's own.
			if n := float64(exact); n < 2*registers {
				sigma = max(math.Sqrt(registers*(math.Exp(n/registers)-n/registers-1))/n, 0.6/n)
			}
			if math.Abs(off) > 4*sigma {
				t.Errorf("seed %d: %v estimated for %d values: off by %.1f sigma", seed, vector[0], exact, math.Abs(off)/sigma)
			}
			squares += off * off / sigma / sigma
			samples++
		}
	}
	rms := math.Sqrt(squares / float64(samples))
	t.Logf("%d windows: root mean square error %.2f sigma", samples, rms)
	if rms > 1.5 {
		t.Errorf("root mean square error %.2f sigma, want about 1", rms)
	}
}

func TestReadingLateUpToTheSkewSeesWholeTiles(t *testing.T) {
	s := mustParse(t, strings.Replace(meshSchema, "currency: EUR", "currency: EUR\nskew: 5m", 1))
	e := s.New(Merchant)
	newest := int64(testEpoch + 7_200_000)
	for i, at := range []int64{newest - 300_000 - 3_540_000, newest - 300_000, newest} {
		r := Record{Decision: &decision.Decision{Outcome: decision.Approve,
			Transaction: decision.Transaction{ID: fmt.Sprint(i), Card: "c0", Merchant: "m0", At: at}}}
		e.Apply(Position{testOrigins[0], Mark(i + 1)}, &r)
	}
	vector := make([]float64, s.Len())
	s.Read(&Query{Kind: Merchant, Entity: e, Transaction: &decision.Transaction{ID: "q", Card: "c0", At: newest - 300_000}}, vector)
	lo, _ := s.Range(Merchant)
	if got := vector[lo]; got != 2 {
		t.Errorf("read five minutes late: %v transactions in the hour before, want 2", got)
	}
}
