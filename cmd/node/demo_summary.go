package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"scoremesh/decision"
)

// demoFigures is everything that the demo knows at a moment.
type demoFigures struct {
	demoCounts
	Signals demoSignals
	// World is the world's time, Unix milliseconds; 0 before its first transaction.
	World int64
	// Asked is the rate that was asked for, in transactions per second.
	Asked float64
	Seed  uint64
	// Notice is the last warning of the node's log.
	Notice string
}

// demoSummary is what --summary writes. Names and units are stable; a share that has nothing to divide by is null.
type demoSummary struct {
	Version string `json:"version"`
	Seed    uint64 `json:"seed"`
	// Seconds is how long was measured. Everything below is of that time, but for history and labels.
	Seconds float64 `json:"seconds"`
	// RateAsked and RateReached are transactions per second; HeldBack is how often the sending fell more than a second behind.
	RateAsked   float64 `json:"rate_asked"`
	RateReached float64 `json:"rate_reached"`
	HeldBack    int64   `json:"held_back"`
	// History is what was sent before the measuring.
	History       int64 `json:"history"`
	HistoryErrors int64 `json:"history_errors"`
	// Decisions counts answers with an outcome: committed and pending ones; replayed ones were recognised as retries.
	Decisions int64            `json:"decisions"`
	Committed int64            `json:"committed"`
	Pending   int64            `json:"pending"`
	Replayed  int64            `json:"replayed"`
	Outcomes  map[string]int64 `json:"outcomes"`
	// Degraded counts decisions that lacked something, and by what; one may lack several things.
	Degraded   int64            `json:"degraded"`
	DegradedBy map[string]int64 `json:"degraded_by"`
	// Errors counts transactions without a decision, and by the problem's code ("no_answer": there was none).
	Errors   int64            `json:"errors"`
	ErrorsBy map[string]int64 `json:"errors_by"`
	// Latency is seen by the client, from when the request was due, in milliseconds.
	Latency struct {
		P50  float64 `json:"p50"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p999"`
		Max  float64 `json:"max"`
	} `json:"latency_ms"`
	// Features is what the node says of its reads: entities found in Redis or not, features defaulted, and the age of what was read.
	Features struct {
		Hits                float64  `json:"hits"`
		Misses              float64  `json:"misses"`
		Defaults            float64  `json:"defaults"`
		FreshnessP99Seconds *float64 `json:"freshness_p99_seconds"`
	} `json:"features"`
	// Quality compares outcomes with the generator's truth; flagged is any outcome but approve. Retries do not count.
	Quality struct {
		Frauds    int64                      `json:"frauds"`
		Flagged   int64                      `json:"flagged"`
		Precision *float64                   `json:"precision"`
		Recall    *float64                   `json:"recall"`
		Patterns  map[string]demoPatternLine `json:"patterns"`
	} `json:"quality"`
	// Labels are the frauds that became known and were posted.
	Labels      int64 `json:"labels"`
	LabelErrors int64 `json:"label_errors"`
	// Alarms must be 0: panics caught in shards, batches of the log that could not be read, states that could not be decoded.
	Alarms struct {
		Panics      float64 `json:"panics"`
		ApplyErrors float64 `json:"apply_errors"`
		Corrupt     float64 `json:"corrupt_states"`
	} `json:"alarms"`
	Versions decision.Versions `json:"versions"`
}

// demoPatternLine is one kind of fraud.
type demoPatternLine struct {
	Frauds  int64    `json:"frauds"`
	Flagged int64    `json:"flagged"`
	Recall  *float64 `json:"recall"`
}

func summarize(f *demoFigures) demoSummary {
	s := demoSummary{Version: version, Seed: f.Seed, Seconds: f.Elapsed.Seconds(), RateAsked: f.Asked, HeldBack: f.HeldBack, History: f.History,
		HistoryErrors: f.HistoryErrors, Decisions: f.Decided, Committed: f.Committed, Pending: f.Pending, Replayed: f.Replayed, Outcomes: f.Outcomes,
		Degraded: f.AnyDegraded, DegradedBy: f.Degraded, Errors: f.errorsTotal(), ErrorsBy: f.Errors, Labels: f.Labels, LabelErrors: f.LabelErrors,
		Versions: f.Versions}
	if f.Elapsed > 0 {
		s.RateReached = float64(f.Decided) / f.Elapsed.Seconds()
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	s.Latency.P50, s.Latency.P99, s.Latency.P999, s.Latency.Max = ms(f.Latency.P50), ms(f.Latency.P99), ms(f.Latency.P999), ms(f.Latency.Max)
	s.Features.Hits, s.Features.Misses, s.Features.Defaults = f.Signals.Hits, f.Signals.Misses, f.Signals.Defaults
	if !math.IsNaN(f.Signals.FreshnessP99) {
		s.Features.FreshnessP99Seconds = &f.Signals.FreshnessP99
	}
	s.Quality.Frauds, s.Quality.Flagged = f.frauds(), f.Flagged
	s.Quality.Precision, s.Quality.Recall = share(f.FlaggedFrauds, f.Flagged), share(f.FlaggedFrauds, f.frauds())
	s.Quality.Patterns = map[string]demoPatternLine{}
	for name, p := range f.Patterns {
		s.Quality.Patterns[name] = demoPatternLine{p.Frauds, p.Flagged, share(p.Flagged, p.Frauds)}
	}
	s.Alarms.Panics, s.Alarms.ApplyErrors, s.Alarms.Corrupt = f.Signals.Panics, f.Signals.ApplyErrors, f.Signals.Corrupt
	return s
}

// share is nil when there is nothing to divide by.
func share(part, whole int64) *float64 {
	if whole == 0 {
		return nil
	}
	v := float64(part) / float64(whole)
	return &v
}

func writeDemoSummary(path string, f *demoFigures) error {
	text, err := json.MarshalIndent(summarize(f), "", "  ")
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}
