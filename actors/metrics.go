package actors

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"scoremesh/feature"
)

// metrics are the figures of a System's shards, by kind.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector
	registered int // of collectors
	kinds      [len(feature.Kinds)]kindMetrics
}

// kindMetrics are shared by the shards of a kind: counters grow, and gauges move, by what each shard's figures have changed since it last published.
type kindMetrics struct {
	panics prometheus.Counter
	counts []prometheus.Counter
	gauges []prometheus.Gauge
}

// counters and gauges name the figures in the order of shard.countValues and shard.gaugeValues.
var (
	counterNames = [...][2]string{
		{"folds_total", "Log ranges folded."},
		{"folded_records_total", "Records given to the fold; what an entity has already counts too."},
		{"fold_gaps_total", "Log ranges refused because one before them was missing."},
		{"apply_errors_total", "Records whose fold panicked; they are skipped."},
		{"rebuilds_total", "Rebuilds because Redis was wiped, restored or unreadable."},
		{"flush_failures_total", "Flushes without a result; they are repeated."},
		{"flush_incomparable_total", "Flushes that could not move the watermark because another owner wrote what this one has not folded."},
		{"evictions_total", "Entities evicted from memory."},
		{"decode_errors_total", "Stored entities that could not be read."},
		{"load_failures_total", "Loads without a result."},
		{"shed_waiting_total", "Attempts refused because too many wait in their shard."},
	}
	gaugeNames = [...][2]string{
		{"hot_entities", "Entities in memory."},
		{"dirty_entities", "Entities that Redis does not reflect yet."},
		{"pending_attempts", "Attempts registered and not yet come back through the log."},
		{"waiting_attempts", "Attempts that wait for a load, a replay or the answer to another one."},
		{"waiting_folds", "Log ranges that wait for a load or a flush."},
		{"loading_entities", "Entities being loaded."},
		{"open_obligations", "Cards that owe retractions or postings."},
		{"serving_shards", "Shards that serve."},
	}
)

func (s *shard) countValues() [len(counterNames)]uint64 {
	c := &s.counts
	return [...]uint64{c.folds, c.records, c.gaps, c.applyErrors, c.rebuilds, c.flushFailures, c.incomparable, c.evictions, c.decodeErrors,
		c.loadFailures, c.shed}
}

func (s *shard) gaugeValues() [len(gaugeNames)]int {
	serving := 0
	if s.status == statusServing {
		serving = 1
	}
	return [...]int{len(s.hot), len(s.dirty), s.pendings, s.waiting, len(s.queue), s.loading, len(s.open.cards), serving}
}

func newMetrics(r prometheus.Registerer, s *System) *metrics {
	m := &metrics{registerer: r}
	for _, kind := range feature.Kinds {
		labels := prometheus.Labels{"kind": kind.String(), "schema": s.schema.Version()}
		k := &m.kinds[kind]
		k.panics = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "scoremesh", Subsystem: "shard", Name: "panics_total",
			Help: "Panics caught in shards. Alert on any.", ConstLabels: labels})
		m.collectors = append(m.collectors, k.panics)
		for _, n := range counterNames {
			c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "scoremesh", Subsystem: "shard", Name: n[0], Help: n[1], ConstLabels: labels})
			k.counts = append(k.counts, c)
			m.collectors = append(m.collectors, c)
		}
		for _, n := range gaugeNames {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "scoremesh", Subsystem: "shard", Name: n[0], Help: n[1], ConstLabels: labels})
			k.gauges = append(k.gauges, g)
			m.collectors = append(m.collectors, g)
		}
		m.collectors = append(m.collectors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "scoremesh", Subsystem: "shard", Name: "mailbox_requests",
				Help: "Attempts and views in the mailboxes of shards.", ConstLabels: labels}, s.sum(kind, func(b *mailbox) float64 { return float64(b.requests.Load()) })),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "scoremesh", Subsystem: "shard", Name: "mailbox_folds",
				Help: "Log ranges sent to shards and not finished.", ConstLabels: labels}, s.sum(kind, func(b *mailbox) float64 { return float64(len(b.slots)) })),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "scoremesh", Subsystem: "shard", Name: "shed_mailbox_total",
				Help: "Requests refused because the mailbox of their shard was full.", ConstLabels: labels}, s.sum(kind, func(b *mailbox) float64 { return float64(b.shed.Load()) })),
		)
	}
	return m
}

// register shows the figures; the mailboxes must be there.
func (m *metrics) register() error {
	for _, c := range m.collectors {
		if err := m.registerer.Register(c); err != nil {
			return fmt.Errorf("register shard metrics: %w", err)
		}
		m.registered++
	}
	return nil
}

// sum adds up a figure over the mailboxes of a kind.
func (s *System) sum(kind feature.Kind, of func(*mailbox) float64) func() float64 {
	return func() (total float64) {
		for partition := range s.config.Partitions {
			total += of(s.shard(ShardID{kind, partition}))
		}
		return total
	}
}

func (m *metrics) unregister() {
	for _, c := range m.collectors[:m.registered] {
		m.registerer.Unregister(c)
	}
	m.registered = 0
}

// of returns the publisher of one shard of the kind.
func (m *metrics) of(kind feature.Kind) *shardMetrics {
	return &shardMetrics{kindMetrics: &m.kinds[kind]}
}

// shardMetrics remembers what a shard has published.
type shardMetrics struct {
	*kindMetrics
	counted [len(counterNames)]uint64
	gauged  [len(gaugeNames)]int
}

func (m *shardMetrics) publish(s *shard) {
	counted, gauged := s.countValues(), s.gaugeValues()
	for i, v := range counted {
		if v != m.counted[i] {
			m.counts[i].Add(float64(v - m.counted[i]))
		}
	}
	for i, v := range gauged {
		if v != m.gauged[i] {
			m.gauges[i].Add(float64(v - m.gauged[i]))
		}
	}
	m.counted, m.gauged = counted, gauged
}
