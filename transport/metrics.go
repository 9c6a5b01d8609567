package transport

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// register registers all collectors, or none. A nil registerer keeps them to themselves.
func register(reg prometheus.Registerer, region string, collectors []prometheus.Collector) (unregister func(), err error) {
	if reg == nil {
		return func() {}, nil
	}
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"region": region}, reg)
	undo := func(n int) {
		for _, c := range collectors[:n] {
			reg.Unregister(c)
		}
	}
	for i, c := range collectors {
		if err := reg.Register(c); err != nil {
			undo(i)
			return nil, fmt.Errorf("register metrics of log %s: %w", region, err)
		}
	}
	return func() { undo(len(collectors)) }, nil
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// readMetrics count what all readers of a log do.
type readMetrics struct {
	batches, records, malformed, resubscribes prometheus.Counter
}

// newReadMetrics takes the counters that are registered already when a log is opened again.
func newReadMetrics(reg prometheus.Registerer, region string) (*readMetrics, error) {
	m := &readMetrics{}
	for _, c := range []struct {
		field      *prometheus.Counter
		name, help string
	}{
		{&m.batches, "scoremesh_log_read_batches_total", "Batches that readers of the log got."},
		{&m.records, "scoremesh_log_read_records_total", "Records that readers of the log got."},
		{&m.malformed, "scoremesh_log_read_malformed_batches_total", "Batches that could not be decoded and were skipped."},
		{&m.resubscribes, "scoremesh_log_read_resubscribes_total", "How often a reader had to subscribe again."},
	} {
		*c.field = counter(c.name, c.help)
		if reg == nil {
			continue
		}
		err := prometheus.WrapRegistererWith(prometheus.Labels{"region": region}, reg).Register(*c.field)
		var known prometheus.AlreadyRegisteredError
		if errors.As(err, &known) {
			var ok bool
			if *c.field, ok = known.ExistingCollector.(prometheus.Counter); ok {
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("register metrics of log %s: %w", region, err)
		}
	}
	return m, nil
}

// appendMetrics are one Appender's.
type appendMetrics struct {
	latency, commit, batch                 prometheus.Histogram
	retries, recovered, uncertain, refused prometheus.Counter
	unregister                             func()
}

func newAppendMetrics(reg prometheus.Registerer, region string, q *queue) (*appendMetrics, error) {
	times := prometheus.ExponentialBuckets(0.0001, 2, 16)
	m := &appendMetrics{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "scoremesh_log_append_seconds", Buckets: times,
			Help: "From Append to the commit of a record."}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "scoremesh_log_commit_seconds", Buckets: times,
			Help: "From the first publish to the commit of a batch."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "scoremesh_log_batch_records",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11), Help: "Records in a committed batch."}),
		retries:   counter("scoremesh_log_append_retries_total", "Attempts to append a batch that failed or got no acknowledgement."),
		recovered: counter("scoremesh_log_append_recovered_total", "Batches that were in the log though their acknowledgement was lost."),
		uncertain: counter("scoremesh_log_append_uncertain_total", "Batches appended again though the log was trimmed past them."),
		refused:   counter("scoremesh_log_append_refused_total", "Records refused because the queue was full."),
	}
	depth := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "scoremesh_log_queue_records", Help: "Records that are not yet committed."},
		func() float64 { records, _, _ := q.depth(); return float64(records) })
	bytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "scoremesh_log_queue_bytes", Help: "Bytes that are not yet committed."},
		func() float64 { _, bytes, _ := q.depth(); return float64(bytes) })
	var err error
	m.unregister, err = register(reg, region, []prometheus.Collector{m.latency, m.commit, m.batch, m.retries, m.recovered,
		m.uncertain, m.refused, depth, bytes})
	return m, err
}
