package main

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"scoremesh/decision"
)

const (
	// demoRateWindow is the number of whole seconds over which the present rate is taken.
	demoRateWindow = 5
	// demoExamples is how many of the latest refusals are kept.
	demoExamples = 6
	// demoLatencyMax bounds the latencies that are told apart.
	demoLatencyMax = time.Minute
)

// demoStats counts what became of the transactions. Times are arguments.
type demoStats struct {
	mu struct {
		sync.Mutex
		// began and ended bound the measuring; zero before it.
		began, ended time.Time
		// lacking is when an answer before the measuring last lacked something, or the settling began.
		lacking time.Time
		counts  demoCounts
		// latency is in microseconds.
		latency *hdrhistogram.Histogram
		// seconds counts the answers of the latest seconds, by Unix second modulo its length; second is the newest of them.
		seconds [demoRateWindow + 1]int64
		second  int64
	}
}

// demoCounts are the demo's figures so far. Everything but History and Labels is of transactions after the history.
type demoCounts struct {
	// Elapsed is how long was measured; PerSecond the rate of the last seconds.
	Elapsed   time.Duration
	PerSecond float64
	// History is how many transactions filled the windows before, the settling included; HistoryErrors how many of them had no decision.
	History, HistoryErrors int64
	// Decided had an outcome in the answer. Replayed are those of them that the node recognised as a retry.
	Decided, Replayed int64
	// Outcomes, Degraded and Errors are by name; a decision with two degradations counts under both.
	Outcomes, Degraded, Errors map[string]int64
	// AnyDegraded is how many decisions lacked something.
	AnyDegraded int64
	// Committed and Pending are decisions by durability.
	Committed, Pending int64
	Latency            demoLatency
	// Patterns are the frauds by kind.
	Patterns map[string]demoRecall
	// Flagged are decisions other than approve; FlaggedFrauds those that were frauds in truth. Retries do not count.
	Flagged, FlaggedFrauds int64
	// Labels were posted; LabelErrors were refused.
	Labels, LabelErrors int64
	// HeldBack is how often the sending had fallen so far behind that its timetable began anew.
	HeldBack int64
	Versions decision.Versions
	// Examples are the latest decisions other than approve, the newest first.
	Examples []demoExample
}

// demoLatency is from when a request was due until its answer had been read.
type demoLatency struct{ P50, P99, P999, Max time.Duration }

// demoRecall says how many frauds of a kind there were, and how many were flagged.
type demoRecall struct{ Frauds, Flagged int64 }

// demoExample is a refusal to show.
type demoExample struct {
	At      int64
	Card    string
	Amount  int64
	Money   string
	Country string
	Outcome string
	Score   *float64
	Reason  decision.Reason
	// Truth is the fraud's pattern, empty for a genuine transaction.
	Truth string
}

func newDemoStats() *demoStats {
	s := &demoStats{}
	s.mu.latency = hdrhistogram.New(1, demoLatencyMax.Microseconds(), 3)
	s.mu.counts = demoCounts{Outcomes: map[string]int64{}, Degraded: map[string]int64{}, Errors: map[string]int64{}, Patterns: map[string]demoRecall{}}
	return s
}

// start begins the measuring, stop ends it.
func (s *demoStats) start(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.began = now
}

func (s *demoStats) stop(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.ended = now
}

// settling begins the wait for calm; calmSince is how long no answer has lacked anything.
func (s *demoStats) settling(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.lacking = now
}

func (s *demoStats) calmSince(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.mu.lacking)
}

// heldBack counts a timetable that began anew.
func (s *demoStats) heldBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.began.IsZero() {
		s.mu.counts.HeldBack++
	}
}

func (s *demoStats) labelled(n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.mu.counts.LabelErrors += int64(n)
		return
	}
	s.mu.counts.Labels += int64(n)
}

// answered counts a transaction's answer, or why there was none.
func (s *demoStats) answered(job *demoJob, a *scoreAnswer, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.mu.counts
	if job.past {
		c.History++
		if err != nil {
			c.HistoryErrors++
		}
		if err != nil || len(a.Degraded) > 0 {
			s.mu.lacking = now
		}
		return
	}
	s.tick(now.Unix())
	if err != nil {
		c.Errors[codeOf(err)]++
		return
	}
	c.Decided++
	s.mu.seconds[now.Unix()%int64(len(s.mu.seconds))]++
	took := min(max(now.Sub(job.due), time.Microsecond), demoLatencyMax)
	if err := s.mu.latency.RecordValue(took.Microseconds()); err != nil {
		panic(err) // the value was brought into its bounds
	}
	s.decided(job, a)
}

// decided counts a decision. The caller holds the lock.
func (s *demoStats) decided(job *demoJob, a *scoreAnswer) {
	c := &s.mu.counts
	c.Outcomes[a.Outcome]++
	c.Versions = a.Versions
	switch a.Durability {
	case decision.Committed:
		c.Committed++
	case decision.Pending:
		c.Pending++
	}
	for _, why := range a.Degraded {
		c.Degraded[why]++
	}
	if len(a.Degraded) > 0 {
		c.AnyDegraded++
	}
	if a.Replayed {
		c.Replayed++
		return // it was judged before
	}
	flagged := a.Outcome != decision.Approve.String()
	if job.event.Fraud {
		p := c.Patterns[job.event.Pattern]
		p.Frauds++
		if flagged {
			p.Flagged++
			c.FlaggedFrauds++
		}
		c.Patterns[job.event.Pattern] = p
	}
	if flagged {
		c.Flagged++
		s.example(job, a)
	}
}

func (s *demoStats) example(job *demoJob, a *scoreAnswer) {
	t := &job.event.Transaction
	e := demoExample{At: t.At, Card: t.Card, Amount: t.Amount, Money: t.Currency, Country: t.Country, Outcome: a.Outcome, Score: a.Score, Truth: job.event.Pattern}
	if len(a.Reasons) > 0 {
		e.Reason = a.Reasons[0]
	}
	kept := s.mu.counts.Examples
	s.mu.counts.Examples = append([]demoExample{e}, kept[:min(len(kept), demoExamples-1)]...)
}

// tick forgets the seconds that have passed. The caller holds the lock.
func (s *demoStats) tick(second int64) {
	for n := int64(len(s.mu.seconds)); s.mu.second < second; s.mu.second++ {
		s.mu.second = max(s.mu.second, second-n) // what is older is forgotten as well
		s.mu.seconds[(s.mu.second+1)%n] = 0
	}
}

// counts returns the figures at a time.
func (s *demoStats) counts(now time.Time) demoCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.mu.counts
	c.Outcomes, c.Degraded, c.Errors, c.Patterns = maps.Clone(c.Outcomes), maps.Clone(c.Degraded), maps.Clone(c.Errors), maps.Clone(c.Patterns)
	c.Examples = slices.Clone(c.Examples)
	if !s.mu.ended.IsZero() {
		now = s.mu.ended
	}
	if s.mu.began.IsZero() {
		return c
	}
	c.Elapsed = now.Sub(s.mu.began)
	c.PerSecond = s.perSecond(now, c.Elapsed)
	at := func(percentile float64) time.Duration {
		return time.Duration(s.mu.latency.ValueAtPercentile(percentile)) * time.Microsecond
	}
	c.Latency = demoLatency{P50: at(50), P99: at(99), P999: at(99.9), Max: time.Duration(s.mu.latency.Max()) * time.Microsecond}
	return c
}

// perSecond is the rate of the last whole seconds, as far as they were measured. The caller holds the lock.
func (s *demoStats) perSecond(now time.Time, elapsed time.Duration) float64 {
	s.tick(now.Unix())
	var sum int64
	for i, n := range s.mu.seconds {
		if int64(i) != now.Unix()%int64(len(s.mu.seconds)) { // the present second is not whole
			sum += n
		}
	}
	whole := min(now.Truncate(time.Second).Sub(now.Add(-elapsed)).Seconds(), demoRateWindow)
	if whole <= 0 {
		return 0
	}
	return float64(sum) / whole
}

// errorsTotal is how many transactions had no decision.
func (c *demoCounts) errorsTotal() int64 {
	var n int64
	for _, of := range c.Errors {
		n += of
	}
	return n
}

// frauds is how many frauds were decided.
func (c *demoCounts) frauds() int64 {
	var n int64
	for _, p := range c.Patterns {
		n += p.Frauds
	}
	return n
}
