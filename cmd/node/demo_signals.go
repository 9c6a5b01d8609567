package main

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// demoSignals are what the node itself says on /metrics.
type demoSignals struct {
	// Defaults are features that were read as the schema's default, for want of a value.
	Defaults float64
	// Hits and Misses are entities that were asked of Redis and were stored there, or not.
	Hits, Misses float64
	// FreshnessP99 is the age of the newest beacon folded into an entity's shard when it was read, in seconds; NaN before the first read.
	FreshnessP99 float64
	// FeedLag is how many batches of the log wait to be folded.
	FeedLag float64
	// Panics, ApplyErrors and Corrupt are alarms.
	Panics, ApplyErrors, Corrupt float64
}

// demoGauge reads a registry, and counts from a mark on.
type demoGauge struct {
	registry prometheus.Gatherer
	mu       struct {
		sync.Mutex
		base readings
		// err is the last error of reading; the figures then stay as they were.
		last demoSignals
		err  error
	}
}

// readings are the raw counters.
type readings struct {
	values    map[string]float64
	freshness buckets
}

// mark begins the counting.
func (g *demoGauge) mark() {
	now, err := readRegistry(g.registry)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.base, g.mu.err = now, errors.Join(g.mu.err, err)
}

// read returns the signals since the mark, or since the start.
func (g *demoGauge) read() demoSignals {
	now, err := readRegistry(g.registry)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.mu.err = err
		return g.mu.last
	}
	since := func(name string) float64 { return now.values[name] - g.mu.base.values[name] }
	g.mu.last = demoSignals{
		Defaults: since("scoremesh_feature_defaults_total"), Hits: since("scoremesh_speedlayer_lookups_total/hit"),
		Misses:       since("scoremesh_speedlayer_lookups_total/miss"),
		FreshnessP99: now.freshness.minus(g.mu.base.freshness).quantile(0.99), FeedLag: now.values["scoremesh_log_feed_lag_batches"],
		Panics: since("scoremesh_shard_panics_total"), ApplyErrors: since("scoremesh_log_apply_errors_total"),
		Corrupt: since("scoremesh_feature_corrupt_states_total"),
	}
	return g.mu.last
}

// err is the last error of reading.
func (g *demoGauge) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.err
}

// readRegistry sums every counter and gauge over its labels, but for "result", by which it is told apart.
func readRegistry(from prometheus.Gatherer) (readings, error) {
	families, err := from.Gather()
	if err != nil {
		return readings{}, fmt.Errorf("read metrics: %w", err)
	}
	r := readings{values: map[string]float64{}}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" {
					name += "/" + l.GetValue()
				}
			}
			r.values[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if name == "scoremesh_feature_freshness_seconds" {
				r.freshness = r.freshness.plus(m.GetHistogram())
			}
		}
	}
	return r, nil
}

// buckets are a histogram: counts[i] observations are at most bounds[i], those of the buckets below included.
type buckets struct{ bounds, counts []float64 }

func (b buckets) plus(h *dto.Histogram) buckets {
	out := buckets{}
	for i, bucket := range h.GetBucket() {
		out.bounds = append(out.bounds, bucket.GetUpperBound())
		out.counts = append(out.counts, float64(bucket.GetCumulativeCount()))
		if i < len(b.counts) {
			out.counts[i] += b.counts[i]
		}
	}
	if n := len(out.bounds); n == 0 || !math.IsInf(out.bounds[n-1], 1) {
		total := float64(h.GetSampleCount())
		if n < len(b.counts) {
			total += b.counts[n]
		}
		out.bounds, out.counts = append(out.bounds, math.Inf(1)), append(out.counts, total)
	}
	return out
}

func (b buckets) minus(base buckets) buckets {
	out := buckets{bounds: b.bounds, counts: append([]float64(nil), b.counts...)}
	for i := range min(len(out.counts), len(base.counts)) {
		out.counts[i] -= base.counts[i]
	}
	return out
}

// quantile interpolates within a bucket, as Prometheus does; behind the last bound it is that bound. NaN without observations.
func (b buckets) quantile(q float64) float64 {
	if len(b.counts) == 0 || b.counts[len(b.counts)-1] == 0 {
		return math.NaN()
	}
	rank := q * b.counts[len(b.counts)-1]
	low, below := 0.0, 0.0
	for i, count := range b.counts {
		if count >= rank && count > below {
			if math.IsInf(b.bounds[i], 1) {
				return low
			}
			return low + (b.bounds[i]-low)*(rank-below)/(count-below)
		}
		low, below = b.bounds[i], count
	}
	return low
}
