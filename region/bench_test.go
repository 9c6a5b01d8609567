package region

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"scoremesh/decision"
	"scoremesh/speedlayer/redistest"
)

// BenchmarkScore is everything behind the edge for one decision: shards, Redis, the demo's features, model and policy, the log synced to
// disk, and what comes back from it: folds, flushes, the feed of decisions. Its profile is where a decision's CPU goes.
func BenchmarkScore(b *testing.B) {
	const inFlight = 128 // per processor
	c := DefaultConfig()
	c.Region, c.Node, c.DataDir = "here", "n1", b.TempDir()
	c.Rules = RulesetFiles{Schema: "../configs/demo/schema.yaml", Model: "../configs/demo/model/model.yaml", Policy: "../configs/demo/policy.yaml"}
	c.Redis.URL = redistest.Start(b).URL()
	// A machine that does other things besides must not turn the benchmark into one of the breaker.
	c.Redis.ReadBudget, c.Redis.ReadTimeout = time.Second, 2*time.Second
	r := opened(b, c)
	var made, pending atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(inFlight)
	b.RunParallel(func(p *testing.PB) {
		random := rand.New(rand.NewPCG(1, uint64(made.Add(1)))) //nolint:gosec // a workload, no secret
		for p.Next() {
			n := made.Add(1)
			card := random.IntN(20_000)
			id := strconv.Itoa(card)
			t := &decision.Transaction{ID: "t-" + strconv.FormatInt(n, 10), Card: "card-" + id, Device: "device-" + strconv.Itoa(card/2),
				Merchant: "merchant-" + strconv.Itoa(int(math.Pow(1000, random.Float64()))), At: time.Now().UnixMilli(), Amount: 4599, BaseAmount: 4599,
				Currency: "EUR", Country: "NL", HasPosition: true, Lat: 52.37, Lon: 4.9, MCC: "5411",
				Attributes: []decision.Attribute{{Name: "channel", Value: "ecom"}}}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			answer, err := r.Score(ctx, t, false)
			cancel()
			if err != nil {
				b.Error(err)
				return
			}
			if answer.Durability != decision.Committed {
				pending.Add(1)
			}
		}
	})
	if n := pending.Load(); n > 0 {
		b.Errorf("%d decisions were not committed in 10 s", n)
	}
}
