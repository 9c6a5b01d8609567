package traffic

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"scoremesh/decision"
)

func newGenerator(t testing.TB, change func(*Config)) *Generator {
	t.Helper()
	c := DefaultConfig()
	if change != nil {
		change(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func take(g *Generator, n int) []Event {
	events := make([]Event, n)
	for i := range events {
		events[i] = g.Next()
	}
	return events
}

func TestEqualConfigurationsGiveEqualEvents(t *testing.T) {
	withRetries := func(c *Config) { c.RetryShare = 0.05 }
	a, b := take(newGenerator(t, withRetries), 20_000), take(newGenerator(t, withRetries), 20_000)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("two runs of one seed differ (-first +second):\n%.2000s", diff)
	}
}

func TestSeedOrStartChangesTheTransactionIDs(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Config){
		"default":       nil,
		"another seed":  func(c *Config) { c.Seed++ },
		"another start": func(c *Config) { c.Start++ },
	} {
		id := newGenerator(t, change).Next().Transaction.ID
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s: both got id %s, want different ones", name, other, id)
		}
		seen[id] = name
	}
}

func TestNextKeepsTimeOrderAndRate(t *testing.T) {
	const n = 100_000
	g := newGenerator(t, nil)
	last, first := int64(0), g.config.Start
	for i := range n {
		at := g.Next().Transaction.At
		if at < last || at < first {
			t.Fatalf("event %d: at %d, want no earlier than %d", i, at, max(last, first))
		}
		last = at
	}
	want := n / g.config.Rate
	if got := float64(last-first) / 1000; math.Abs(got/want-1) > 0.05 {
		t.Errorf("%d events took %.0f simulated seconds, want %.0f within 5 %%", n, got, want)
	}
}

func TestNightsAreQuieterThanDaysForHonestPeople(t *testing.T) {
	var honest, frauds [24]int
	for _, e := range take(newGenerator(t, func(c *Config) { c.FraudShare = 0.1 }), 200_000) {
		if hour := time.UnixMilli(e.Transaction.At).UTC().Hour(); e.Fraud {
			frauds[hour]++
		} else {
			honest[hour]++
		}
	}
	if honest[3]*4 > honest[12] {
		t.Errorf("got %d genuine events at 3 o'clock and %d at 12, want less than a quarter", honest[3], honest[12])
	}
	if frauds[3]*2 < frauds[12] || frauds[12]*2 < frauds[3] {
		t.Errorf("got %d frauds at 3 o'clock and %d at 12, want about as many", frauds[3], frauds[12])
	}
	sum := 0.0
	for _, f := range hourly {
		sum += f
	}
	if math.Abs(sum/24-1) > 1e-9 {
		t.Errorf("the mean of the rhythm is %v, want 1, or Rate means something else", sum/24)
	}
}

func TestNextAtUsesTheCallersTime(t *testing.T) {
	g := newGenerator(t, nil)
	at := g.config.Start
	frauds := 0
	for i := range 100_000 {
		at += 1 + int64(i%3)*5000
		e := g.NextAt(at)
		if e.Transaction.At != at {
			t.Fatalf("event %d: at %d, want %d", i, e.Transaction.At, at)
		}
		if e.Fraud {
			frauds++
		}
	}
	if share := float64(frauds) / 100_000; share < 0.01 || share > 0.02 {
		t.Errorf("got a share of frauds of %.4f, want 0.015 within a third", share)
	}
	if got := g.NextAt(at - 60_000).Transaction.At; got != at {
		t.Errorf("a time of before the last event: got an event at %d, want %d", got, at)
	}
	if got := g.Next().Transaction.At; got < at {
		t.Errorf("Next after NextAt: got %d, want no earlier than %d", got, at)
	}
}

func TestFraudHasItsShareInItsPatterns(t *testing.T) {
	const n = 400_000
	for _, share := range []float64{0, 0.015, 0.1} {
		frauds := map[string]int{}
		total := 0
		for _, e := range take(newGenerator(t, func(c *Config) { c.FraudShare = share }), n) {
			if e.Fraud != (e.Pattern != "") || e.Fraud != (e.KnownAt != 0) {
				t.Fatalf("share %v: fraud %v with pattern %q, known at %d", share, e.Fraud, e.Pattern, e.KnownAt)
			}
			if e.Fraud {
				total++
				frauds[e.Pattern]++
			}
		}
		want := share * n
		if math.Abs(float64(total)-want) > 0.12*want {
			t.Errorf("share %v: got %d frauds, want %.0f within 12 %%", share, total, want)
		}
		for i := range plots {
			p := &plots[i]
			if p.pattern == "" {
				continue
			}
			// Stories come by chance, and some are still under way at the end.
			stories := want * p.share / mean(p.least, p.most)
			allowed := want * p.share * (0.05 + 3/math.Sqrt(max(stories, 1)))
			if got := float64(frauds[p.pattern]); math.Abs(got-want*p.share) > allowed {
				t.Errorf("share %v: got %.0f of %s, want %.0f within %.0f", share, got, p.pattern, want*p.share, allowed)
			}
		}
	}
}

func TestFraudBecomesKnownAfterIt(t *testing.T) {
	g := newGenerator(t, nil)
	within, frauds := 0, 0
	for _, e := range take(g, 200_000) {
		if !e.Fraud {
			continue
		}
		frauds++
		delay := time.Duration(e.KnownAt-e.Transaction.At) * time.Millisecond
		if delay < g.config.LabelDelay/20 {
			t.Fatalf("%s: known %v after the transaction, want at least %v", e.Transaction.ID, delay, g.config.LabelDelay/20)
		}
		if delay <= 7*24*time.Hour {
			within++
		}
	}
	if share := float64(within) / float64(frauds); share < 0.85 || share > 0.99 {
		t.Errorf("%.3f of the frauds are known within seven days, want most, not all", share)
	}
}

func TestRetriesRepeatAnEarlierTransaction(t *testing.T) {
	g := newGenerator(t, func(c *Config) { c.RetryShare = 0.05 })
	sent := map[string]Event{}
	retries := 0
	for i, e := range take(g, 100_000) {
		before, known := sent[e.Transaction.ID]
		if known != e.Retry {
			t.Fatalf("event %d: id %s known: %v, retry: %v, want both alike", i, e.Transaction.ID, known, e.Retry)
		}
		if !e.Retry {
			sent[e.Transaction.ID] = e
			continue
		}
		retries++
		e.Retry = false
		if diff := cmp.Diff(before, e); diff != "" {
			t.Fatalf("a retry differs (-first +retry):\n%s", diff)
		}
	}
	if share := float64(retries) / float64(len(sent)); math.Abs(share-0.05) > 0.005 {
		t.Errorf("got a share of retries of %.4f, want 0.05", share)
	}
}

func TestTransactionsAreWhatTheEdgeAccepts(t *testing.T) {
	rates, err := decision.NewRates("EUR", Rates())
	if err != nil {
		t.Fatal(err)
	}
	currencies := map[string]bool{}
	for i, e := range take(newGenerator(t, func(c *Config) { c.FraudShare = 0.1 }), 200_000) {
		x := &e.Transaction
		if err := x.Validate(x.At, time.Minute, time.Hour); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if e.Fraud {
			label := e.Label()
			if err := label.Validate(label.KnownAt, time.Minute); err != nil {
				t.Fatalf("event %d: label: %v", i, err)
			}
		}
		base, err := rates.Convert(x.Amount, x.Currency)
		if err != nil || base > maxEuros*100 {
			t.Fatalf("event %d: %d %s is %d in minor units of EUR (%v), want at most %d euros", i, x.Amount, x.Currency, base, err, maxEuros)
		}
		currencies[x.Currency] = true
		for field, id := range map[string]string{"id": x.ID, "card": x.Card, "merchant": x.Merchant, "device": x.Device} {
			if digits := longestRun(id); digits >= 12 {
				t.Fatalf("event %d: %s %q has %d digits in a row, want fewer than a card number", i, field, id, digits)
			}
		}
		if x.Amount < 1 || x.BaseAmount != 0 {
			t.Fatalf("event %d: amount %d, base amount %d, want a positive and a zero one", i, x.Amount, x.BaseAmount)
		}
		if x.Country == "" || x.MCC == "" || x.HasPosition != (x.Attribute("channel") != "ecom") {
			t.Fatalf("event %d: country %q, mcc %q, position %v on channel %q", i, x.Country, x.MCC, x.HasPosition, x.Attribute("channel"))
		}
	}
	if got, want := len(currencies), len(Rates())+1; got != want {
		t.Errorf("%d currencies were used, want %d", got, want)
	}
}

// longestRun is the largest number of digits in a row, spaces and dashes not counted.
func longestRun(id string) int {
	longest, run := 0, 0
	for _, r := range id {
		switch {
		case unicode.IsDigit(r):
			run++
			longest = max(longest, run)
		case r != ' ' && r != '-':
			run = 0
		}
	}
	return longest
}

func TestPopularMerchantsFollowZipf(t *testing.T) {
	g := newGenerator(t, nil)
	var counts [100]int
	const n = 200_000
	for range n {
		counts[zipf(g.rnd, len(counts))]++
	}
	for _, rank := range []int{0, 1, 9, 99} {
		want := n * math.Log(float64(rank+2)/float64(rank+1)) / math.Log(101)
		if got := float64(counts[rank]); math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("rank %d: drawn %.0f times, want %.0f", rank, got, want)
		}
	}
}

func TestAHolderIsTheSameEachTime(t *testing.T) {
	p := newPeople(7)
	first := make([]holder, 100)
	for card := range first {
		first[card] = p.holder(card)
	}
	for card := range first {
		if diff := cmp.Diff(first[card], p.holder(card), cmp.AllowUnexported(holder{})); diff != "" {
			t.Fatalf("holder %d changed (-first +second):\n%s", card, diff)
		}
	}
	at := DefaultConfig().Start
	away := 0
	const cards = 2000
	for card := range cards {
		h := p.holder(card)
		if where, _ := p.whereabouts(&h, at); where != h.home {
			away++
			if cities[where].country == cities[h.home].country {
				t.Errorf("card %d travels from %d to %d, want another country", card, h.home, where)
			}
		}
	}
	if share := float64(away) / cards; share < 0.02 || share > 0.06 {
		t.Errorf("a share of %.3f is abroad, want about %v", share, journeyShare)
	}
}

// Each pattern has to show the mark that it is named for, or the demo shows nothing.
func TestPatternsShowTheirMarks(t *testing.T) {
	const n = 300_000
	burst := map[string]map[string]bool{} // merchants by card, in card testing
	cards := map[string]map[string]bool{} // cards by device, in hijacked devices
	bust := map[string]int{}              // frauds by merchant, in bust-outs
	stolen, abroad := 0, 0
	lastCountry := map[string]string{}
	genuineAt := map[string]int{}
	add := func(to map[string]map[string]bool, key, value string) {
		if to[key] == nil {
			to[key] = map[string]bool{}
		}
		to[key][value] = true
	}
	for _, e := range take(newGenerator(t, nil), n) {
		x := &e.Transaction
		switch e.Pattern {
		case PatternCardTesting:
			add(burst, x.Device, x.Merchant)
		case PatternHijackedDevice:
			add(cards, x.Device, x.Card)
		case PatternBustOut:
			bust[x.Merchant]++
		case PatternStolenCard:
			if x.HasPosition {
				stolen++
				if lastCountry[x.Card] != "" && lastCountry[x.Card] != x.Country {
					abroad++
				}
			}
		default:
			genuineAt[x.Merchant]++
			if x.HasPosition {
				lastCountry[x.Card] = x.Country
			}
		}
	}
	if got := meanSize(burst); got < 6 {
		t.Errorf("card testing touches %.1f merchants, want many", got)
	}
	if got := meanSize(cards); got < 8 {
		t.Errorf("a hijacked device pays with %.1f cards, want many", got)
	}
	if share := float64(abroad) / float64(stolen); share < 0.5 {
		t.Errorf("%.2f of the stolen cards' positions are in another country than the holder's last, want two in three", share)
	}
	for id, frauds := range bust {
		if genuineAt[id] > 24 || frauds > 60 {
			t.Errorf("bust-out %s: %d frauds, %d genuine ones, want at most 60 and 24", id, frauds, genuineAt[id])
		}
	}
	if len(bust) == 0 {
		t.Error("got no bust-out, want some")
	}
}

func meanSize(sets map[string]map[string]bool) float64 {
	sum := 0
	for _, s := range sets {
		sum += len(s)
	}
	return float64(sum) / float64(len(sets))
}

func TestConfigNamesTheFieldThatIsOutOfBounds(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"Start":      func(c *Config) { c.Start = 0 },
		"Rate":       func(c *Config) { c.Rate = math.NaN() },
		"Cards":      func(c *Config) { c.Cards = 99 },
		"Merchants":  func(c *Config) { c.Merchants = -1 },
		"FraudShare": func(c *Config) { c.FraudShare = 0.21 },
		"RetryShare": func(c *Config) { c.RetryShare = -0.1 },
		"LabelDelay": func(c *Config) { c.LabelDelay = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s out of bounds: got error %v, want one that names it", field, err)
		}
	}
}

func TestMemoryDoesNotGrowWithCards(t *testing.T) {
	g := newGenerator(t, func(c *Config) { c.Cards, c.Merchants, c.Rate = maxCards, minMerchants, 1e5 })
	take(g, 200_000)
	// A story lives for days at most, and 3 to 4 transactions in a hundred are part of one.
	if got := len(g.stories); got > 20_000 {
		t.Errorf("%d stories are under way after 200,000 events, want few", got)
	}
}

var sink decision.Transaction

func BenchmarkNext(b *testing.B) {
	g := newGenerator(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		sink = g.Next().Transaction
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
