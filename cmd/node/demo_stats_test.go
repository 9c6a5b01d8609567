package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"scoremesh/cmd/node/traffic"
	"scoremesh/decision"
)

var noon = time.Unix(1_800_000_000, 0)

// jobAt is a transaction that is due at a time.
func jobAt(due time.Time, pattern string) *demoJob {
	return &demoJob{event: traffic.Event{Fraud: pattern != "", Pattern: pattern, Transaction: decision.Transaction{Card: "c-1", Amount: 1234, Currency: "EUR",
		Country: "NL", At: noon.UnixMilli()}}, due: due}
}

func score(v float64) *float64 { return &v }

// busySecond returns statistics of a second with every kind of answer.
func busySecond() *demoStats {
	s := newDemoStats()
	past := jobAt(noon, "")
	past.past = true
	s.answered(past, &scoreAnswer{Outcome: "decline"}, nil, noon)
	s.answered(past, nil, errors.New("cut off"), noon)
	s.start(noon)
	answer := func(after time.Duration, pattern string, a scoreAnswer) {
		s.answered(jobAt(noon, pattern), &a, nil, noon.Add(after))
	}
	for range 96 {
		answer(2*time.Millisecond, "", scoreAnswer{Outcome: "approve", Durability: decision.Committed})
	}
	answer(4*time.Millisecond, traffic.PatternBustOut, scoreAnswer{Outcome: "approve", Durability: decision.Committed, Degraded: []string{"features_stale", "rebuilding"}})
	answer(4*time.Millisecond, traffic.PatternCardTesting, scoreAnswer{Outcome: "decline", Durability: decision.Committed, Score: score(0.97),
		Reasons: []decision.Reason{{Code: "CARD_VELOCITY_1M", Detail: "6 in a minute"}}})
	answer(4*time.Millisecond, traffic.PatternCardTesting, scoreAnswer{Outcome: "decline", Durability: decision.Committed, Replayed: true})
	answer(40*time.Millisecond, "", scoreAnswer{Outcome: "step_up", Durability: decision.Pending, Versions: decision.Versions{Model: "demo@1"}})
	s.answered(jobAt(noon, traffic.PatternBustOut), nil, &refusalError{Code: "deadline_exceeded"}, noon)
	s.answered(jobAt(noon, ""), nil, errors.New("connection refused"), noon)
	s.labelled(3, nil)
	s.labelled(2, errors.New("no"))
	return s
}

func TestStatisticsCountWhatWasAnswered(t *testing.T) {
	got := busySecond().counts(noon.Add(time.Second))
	got.Examples = nil // below
	want := demoCounts{
		Elapsed: time.Second, PerSecond: 100, History: 2, HistoryErrors: 1, Decided: 100, Replayed: 1,
		Outcomes:    map[string]int64{"approve": 97, "decline": 2, "step_up": 1},
		Degraded:    map[string]int64{"features_stale": 1, "rebuilding": 1},
		Errors:      map[string]int64{"deadline_exceeded": 1, "no_answer": 1},
		AnyDegraded: 1, Committed: 99, Pending: 1,
		Patterns: map[string]demoRecall{traffic.PatternBustOut: {1, 0}, traffic.PatternCardTesting: {1, 1}},
		Flagged:  2, FlaggedFrauds: 1, Labels: 3, LabelErrors: 2, Versions: decision.Versions{Model: "demo@1"},
	}
	near := cmp.Comparer(func(a, b demoLatency) bool { return true })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct{ got, want time.Duration }{
		"p50": {got.Latency.P50, 2 * time.Millisecond}, "p99": {got.Latency.P99, 4 * time.Millisecond},
		"p99.9": {got.Latency.P999, 40 * time.Millisecond}, "max": {got.Latency.Max, 40 * time.Millisecond},
	} {
		if d := c.got - c.want; d.Abs() > c.want/500 {
			t.Errorf("%s: got %s, want %s within 0.2%%", name, c.got, c.want)
		}
	}
}

func TestTheRateIsThatOfTheLastSeconds(t *testing.T) {
	s := newDemoStats()
	s.start(noon)
	for i := range 20 {
		perSecond := 100
		if i >= 10 {
			perSecond = 30
		}
		for range perSecond {
			at := noon.Add(time.Duration(i) * time.Second)
			s.answered(jobAt(at, ""), &scoreAnswer{Outcome: "approve"}, nil, at)
		}
	}
	// In the order of time, because seconds are forgotten.
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{20 * time.Second, 30}, {23 * time.Second, 12}, {time.Hour, 0}} {
		if got := s.counts(noon.Add(c.after)).PerSecond; got != c.want {
			t.Errorf("after %s: got %v/s, want %v/s", c.after, got, c.want)
		}
	}
}

func TestStatisticsKeepTheLatestRefusals(t *testing.T) {
	s := busySecond()
	got := s.counts(noon).Examples
	if len(got) != 2 || got[0].Outcome != "step_up" || got[1].Reason.Code != "CARD_VELOCITY_1M" || got[1].Truth != traffic.PatternCardTesting {
		t.Errorf("got %+v, want the step-up before the decline", got)
	}
	for range 3 * demoExamples {
		s.answered(jobAt(noon, ""), &scoreAnswer{Outcome: "decline"}, nil, noon)
	}
	if got := s.counts(noon).Examples; len(got) != demoExamples {
		t.Errorf("got %d, want %d", len(got), demoExamples)
	}
}

func TestItIsCalmOnceNoAnswerLacksAnything(t *testing.T) {
	s := newDemoStats()
	s.settling(noon)
	job := jobAt(noon, "")
	job.past = true
	s.answered(job, &scoreAnswer{Degraded: []string{"features_stale"}}, nil, noon.Add(time.Second))
	s.answered(job, &scoreAnswer{}, nil, noon.Add(2*time.Second))
	if got := s.calmSince(noon.Add(3 * time.Second)); got != 2*time.Second {
		t.Errorf("got %s, want 2s since the last answer that lacked something", got)
	}
}

func figuresOfASecond() *demoFigures {
	return &demoFigures{demoCounts: busySecond().counts(noon.Add(time.Second)), World: noon.UnixMilli(), Asked: 100, Seed: 7,
		Signals: demoSignals{Defaults: 1234567, Hits: 10, Misses: 5, FreshnessP99: 0.25}}
}

func TestTheTableShowsTheFiguresWithinItsWidth(t *testing.T) {
	f := figuresOfASecond()
	whole := strings.Join(demoTable(f, 500), "\n")
	for _, want := range []string{"rate       100/s of 100/s   100 decided in 1s   1 retries recognised", "approve 97 (97.0%)   step_up 1 (1.0%)   decline 2 (2.0%)",
		"committed 99   pending 1", "p50 2.0ms", "p99.9 40.0ms", "fresh to 0.25s at p99   redis hits 10, misses 5   defaults 1,234,567",
		"flagged 50.0% of all, 50.0% of the flagged are frauds   3 labels known", "bust out 0 of 1   card testing 1 of 1",
		"degraded   1: features_stale=1 rebuilding=1", "errors     2: deadline_exceeded=1 no_answer=1",
		"decline 0.97       12.34 EUR NL  c-1             card testing      CARD_VELOCITY_1M 6 in a minute"} {
		if !strings.Contains(whole, want) {
			t.Errorf("the table lacks %q:\n%s", want, whole)
		}
	}
	if strings.Contains(whole, "ALARM") || strings.Contains(whole, "warning") || strings.Contains(whole, "behind   ") {
		t.Errorf("the table alarms without a reason:\n%s", whole)
	}
	f.Signals.Panics, f.Notice, f.HeldBack = 1, "it smells", 2
	if loud := strings.Join(demoTable(f, 500), "\n"); !strings.Contains(loud, "panics 1") || !strings.Contains(loud, "it smells") || !strings.Contains(loud, "anew 2 times") {
		t.Errorf("the table keeps quiet:\n%s", loud)
	}
	for _, width := range []int{20, 40, 80} {
		for _, line := range demoTable(f, width) {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("width %d: got a line of %d: %q", width, n, line)
			}
		}
	}
}

func TestThePlainLineIsOneLine(t *testing.T) {
	got := demoLine(figuresOfASecond())
	want := "1s 100/s decided=100 approve=97 step_up=1 decline=2 pending=1 replayed=1 degraded=1 errors=2 p50=2.0ms p99=4.0ms p99.9=40.0ms defaults=1234567 redis_misses=5 " +
		"freshness_p99=0.25s precision=50.0% recall=50.0% labels=3 degraded: features_stale=1 rebuilding=1 errors: deadline_exceeded=1 no_answer=1"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := demoLine(&demoFigures{demoCounts: demoCounts{History: 5}}); got != "filling the windows: 5 sent, 0 errors" {
		t.Errorf("before the measuring: got %q", got)
	}
}

func TestTheSummaryHasNullWhereThereIsNothingToDivideBy(t *testing.T) {
	got := summarize(&demoFigures{Signals: demoSignals{FreshnessP99: math.NaN()}})
	if got.Quality.Precision != nil || got.Quality.Recall != nil || got.Features.FreshnessP99Seconds != nil || got.RateReached != 0 {
		t.Errorf("of nothing: got %+v, want nulls", got)
	}
	got = summarize(figuresOfASecond())
	if *got.Quality.Precision != 0.5 || *got.Quality.Recall != 0.5 || got.RateReached != 100 || got.Errors != 2 || *got.Features.FreshnessP99Seconds != 0.25 ||
		*got.Quality.Patterns[traffic.PatternCardTesting].Recall != 1 || got.Latency.P50 < 1.99 || got.Latency.P50 > 2.01 {
		t.Errorf("got %+v", got)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -999: "-999"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestSignalsCountFromTheMarkOn(t *testing.T) {
	registry := prometheus.NewRegistry()
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "scoremesh_speedlayer_lookups_total"}, []string{"kind", "result"})
	freshness := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "scoremesh_feature_freshness_seconds", Buckets: []float64{0.1, 0.2, 1}}, []string{"kind"})
	registry.MustRegister(lookups, freshness)
	g := &demoGauge{registry: registry}
	if got := g.read().FreshnessP99; !math.IsNaN(got) {
		t.Errorf("without reads: got freshness %v, want none", got)
	}
	lookups.WithLabelValues("card", "hit").Add(5)
	freshness.WithLabelValues("card").Observe(0.9)
	g.mark()
	lookups.WithLabelValues("card", "hit").Add(2)
	lookups.WithLabelValues("device", "hit").Add(1)
	lookups.WithLabelValues("device", "miss").Add(4)
	for range 100 {
		freshness.WithLabelValues("card").Observe(0.05)
		freshness.WithLabelValues("device").Observe(0.15)
	}
	got := g.read()
	if got.Hits != 3 || got.Misses != 4 {
		t.Errorf("got %v hits and %v misses, want 3 and 4", got.Hits, got.Misses)
	}
	// The 198th of 200: the 98th of the hundred between 0.1 and 0.2.
	if want := 0.198; math.Abs(got.FreshnessP99-want) > 1e-9 {
		t.Errorf("got freshness %v, want %v", got.FreshnessP99, want)
	}
	freshness.WithLabelValues("card").Observe(100)
	if got := g.read(); got.FreshnessP99 > 1 {
		t.Errorf("got freshness %v, want none behind the last bound", got.FreshnessP99)
	}
	if err := g.err(); err != nil {
		t.Error(err)
	}
}
