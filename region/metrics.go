package region

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"scoremesh/feature"
	"scoremesh/transport"
)

// metrics are the region's own signals; log, speed layer, shards and edge have theirs.
type metrics struct {
	read    [len(feature.Kinds)]prometheus.Observer
	missing [len(feature.Kinds)]prometheus.Counter

	derivedErrors prometheus.Counter
	corrupt       prometheus.Counter
	refused       prometheus.Counter
	modelInFlight prometheus.Gauge
	modelLatency  prometheus.Histogram

	// feedBatches are behind the last batch that was dispatched, which was stored at feedStored; feedMean is the mean size of the
	// last batches in records (float bits).
	feedBatches atomic.Uint64
	feedStored  atomic.Int64
	feedMean    atomic.Uint64
	feedAge     prometheus.Histogram
	records     prometheus.Counter
	undecodable prometheus.Counter

	snapshotFailures prometheus.Counter
	snapshotSeconds  prometheus.Gauge
	lastSnapshot     atomic.Int64

	registered []prometheus.Collector
	registerer prometheus.Registerer
}

// ageBuckets are for ages of features and records, in seconds.
var ageBuckets = []float64{.05, .1, .25, .5, .75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300}

// modelBuckets are for the time of one prediction, in seconds.
var modelBuckets = []float64{1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2}

func newMetrics(reg prometheus.Registerer, region string, now func() int64) (*metrics, error) {
	m := &metrics{registerer: reg}
	m.lastSnapshot.Store(now())
	labels := prometheus.Labels{"region": region}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
		m.registered = append(m.registered, c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: labels, Buckets: buckets})
		m.registered = append(m.registered, h)
		return h
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
		m.registered = append(m.registered, g)
		return g
	}
	function := func(name, help string, f func() float64) {
		m.registered = append(m.registered, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
	}
	freshness := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "scoremesh_feature_freshness_seconds",
		Help: "Age of the newest beacon folded into an entity's shard, when its features are read.", ConstLabels: labels, Buckets: ageBuckets}, []string{"kind"})
	missing := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "scoremesh_feature_defaults_total",
		Help: "Features that were read as the schema's default, for want of a value.", ConstLabels: labels}, []string{"kind"})
	m.registered = append(m.registered, freshness, missing)
	for _, k := range feature.Kinds {
		m.read[k], m.missing[k] = freshness.WithLabelValues(k.String()), missing.WithLabelValues(k.String())
	}
	m.derivedErrors = counter("scoremesh_feature_derived_errors_total", "Derived features whose expression failed; the model takes them as missing.")
	m.corrupt = counter("scoremesh_feature_corrupt_states_total", "Stored states or watermarks that could not be decoded.")
	m.refused = counter("scoremesh_appends_refused_total", "Requests refused because the queue before the log was full or closed.")
	m.modelInFlight = gauge("scoremesh_model_in_flight", "Predictions under way.")
	m.modelLatency = histogram("scoremesh_model_latency_seconds", "Time of one prediction; its count is the model's throughput.", modelBuckets)
	m.feedAge = histogram("scoremesh_log_feed_age_seconds", "Time from the storing of a batch to its dispatch to the shards.", ageBuckets)
	m.records = counter("scoremesh_log_feed_records_total", "Records read from the log and dispatched to the shards.")
	m.undecodable = counter("scoremesh_log_apply_errors_total", "Batches without a record that could be decoded: skipped, everywhere alike.")
	m.snapshotFailures = counter("scoremesh_snapshot_failures_total", "Snapshots that could not be taken.")
	m.snapshotSeconds = gauge("scoremesh_snapshot_duration_seconds", "How long the last snapshot took.")
	function("scoremesh_snapshot_age_seconds", "Time since the last snapshot, or since the start.",
		func() float64 { return float64(now()-m.lastSnapshot.Load()) / 1000 })
	function("scoremesh_log_feed_lag_batches", "Batches in the log behind the last one that was dispatched, as the server last said.",
		func() float64 { return float64(m.feedBatches.Load()) })
	function("scoremesh_log_feed_lag_records", "The same in records, estimated from the mean size of the last batches.",
		func() float64 {
			return math.Round(float64(m.feedBatches.Load()) * math.Float64frombits(m.feedMean.Load()))
		})
	m.feedStored.Store(now())
	function("scoremesh_log_feed_lag_seconds", "Age of the newest batch that was dispatched. Beacons keep it below beacon_every when nothing lags.",
		func() float64 { return float64(max(now()-m.feedStored.Load(), 0)) / 1000 })
	for i, c := range m.registered {
		if err := reg.Register(c); err != nil {
			m.registered = m.registered[:i]
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}

// freshness observes the age of what was read. A shard that has folded no beacon has no age.
func (m *metrics) freshness(k feature.Kind, now, foldedAt int64) {
	if foldedAt > 0 {
		m.read[k].Observe(float64(max(now-foldedAt, 0)) / 1000)
	}
}

func (m *metrics) defaulted(k feature.Kind, n int) {
	if n > 0 {
		m.missing[k].Add(float64(n))
	}
}

// batch observes a batch that was dispatched.
func (m *metrics) batch(b *transport.Batch, now int64) {
	m.feedBatches.Store(b.Pending)
	m.feedStored.Store(b.StoredAt)
	const weight = 1.0 / 64
	mean := math.Float64frombits(m.feedMean.Load())
	m.feedMean.Store(math.Float64bits(mean + weight*(float64(len(b.Records))-mean))) // one goroutine dispatches
	m.feedAge.Observe(float64(now-b.StoredAt) / 1000)
	m.records.Add(float64(len(b.Records)))
	if len(b.Records) == 0 {
		m.undecodable.Inc()
	}
}

func (m *metrics) snapshotTaken(now int64, took time.Duration) {
	m.lastSnapshot.Store(now)
	m.snapshotSeconds.Set(took.Seconds())
}
