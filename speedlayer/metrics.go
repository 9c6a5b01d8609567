package speedlayer

import (
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"

	"scoremesh/feature"
)

// Label values of flushes_total and flush_entities_total.
const (
	flushStored       = "stored"
	flushRefused      = "refused"
	flushIncomparable = "incomparable"
	flushFailed       = "failed"
	flushOverloaded   = "overloaded"

	entityWritten      = "written"
	entityStale        = "stale"
	entityIncomparable = "incomparable"
)

// metrics are registered on one registerer until unregister.
type metrics struct {
	reg        prometheus.Registerer
	registered []prometheus.Collector

	readSeconds  prometheus.Histogram
	readErrors   *prometheus.CounterVec
	batchSeconds prometheus.Histogram
	batchKeys    prometheus.Histogram
	hits, misses [len(feature.Kinds)]prometheus.Counter
	breakers     *prometheus.GaugeVec
	flushSeconds prometheus.Histogram
	flushes      *prometheus.CounterVec
	entities     *prometheus.CounterVec

	up, usedBytes, maxBytes, noEviction prometheus.Gauge
	evicted                             prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	const ns, sub = "scoremesh", "speedlayer"
	seconds := []float64{.0001, .00025, .0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &metrics{
		reg:         reg,
		readSeconds: histogram("read_duration_seconds", "Time that a caller waited for its values.", seconds),
		readErrors:  counters("read_errors_total", "Reads that ended with an error, by reason.", "reason"),
		batchSeconds: histogram("read_batch_duration_seconds", "Time that a read batch took, also when its callers had left.",
			seconds),
		batchKeys:    histogram("read_batch_keys", "Distinct entity keys of a read batch.", prometheus.ExponentialBuckets(1, 2, 12)),
		flushSeconds: histogram("flush_duration_seconds", "Time that a pipeline of flushes took.", seconds),
		flushes:      counters("flushes_total", "Flushes, by result.", "result"),
		entities:     counters("flush_entities_total", "Entities of answered flushes, by result.", "result"),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "read_breakers",
			Help: "Circuit breakers of reads, by state."}, []string{"state"}),
		up:        gauge("redis_up", "Whether the last look at Redis succeeded (1) or not (0)."),
		usedBytes: gauge("redis_used_memory_bytes", "Memory that Redis uses, over all masters."),
		maxBytes:  gauge("redis_max_memory_bytes", "Memory that Redis may use, over all masters; 0 is unlimited."),
		noEviction: gauge("redis_noeviction",
			"Whether every master's maxmemory-policy is noeviction (1) or not (0)."),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "redis_evicted_keys_total",
			Help: "Keys that Redis has evicted since this process began to look. Anything but 0 is an alarm."}),
	}
	lookups := counters("lookups_total", "Values asked for and answered, by kind and whether they were stored.", "kind", "result")
	for _, k := range feature.Kinds {
		m.hits[k] = lookups.WithLabelValues(k.String(), "hit")
		m.misses[k] = lookups.WithLabelValues(k.String(), "miss")
	}
	for _, state := range []circuitbreaker.State{circuitbreaker.ClosedState, circuitbreaker.OpenState, circuitbreaker.HalfOpenState} {
		m.breakers.WithLabelValues(state.String())
	}
	for _, c := range []prometheus.Collector{m.readSeconds, m.readErrors, m.batchSeconds, m.batchKeys, lookups, m.breakers, m.flushSeconds,
		m.flushes, m.entities, m.up, m.usedBytes, m.maxBytes, m.noEviction, m.evicted} {
		if err := reg.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("register speed layer metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.reg.Unregister(c)
	}
}

func (m *metrics) observeRead(took time.Duration, err error) {
	m.readSeconds.Observe(took.Seconds())
	if err != nil {
		m.readErrors.WithLabelValues(reason(err)).Inc()
	}
}

// reason is the label of an error.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrTimeout):
		return "timeout"
	case errors.Is(err, ErrOverloaded):
		return "overloaded"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "canceled"
}

func (m *metrics) countHits(hits, misses *[len(feature.Kinds)]int) {
	for k := range hits {
		if hits[k] > 0 {
			m.hits[k].Add(float64(hits[k]))
		}
		if misses[k] > 0 {
			m.misses[k].Add(float64(misses[k]))
		}
	}
}
