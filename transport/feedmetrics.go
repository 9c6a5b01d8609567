package transport

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// feedMetrics are one feed's.
type feedMetrics struct {
	events, resyncs, skipped prometheus.Counter
	// oldest is when the batch that is being confirmed was stored in the log (Unix milliseconds), 0 when nothing waits; unconfirmed
	// is the number of events in flight; behind is the number of batches behind the one that is being confirmed.
	oldest, unconfirmed, behind atomic.Int64
	unregister                  func()
}

func newFeedMetrics(reg prometheus.Registerer, region string) (*feedMetrics, error) {
	m := &feedMetrics{
		events:  counter("scoremesh_feed_events_total", "Events that were published and acknowledged."),
		resyncs: counter("scoremesh_feed_resyncs_total", "How often the feed had to look where it is."),
		skipped: counter("scoremesh_feed_skipped_batches_total", "Batches that were trimmed off the log before the feed came to them."),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	var err error
	m.unregister, err = register(reg, region, []prometheus.Collector{m.events, m.resyncs, m.skipped,
		gauge("scoremesh_feed_lag_seconds", "Age of the oldest batch of the log whose events are not all published.", m.lag),
		gauge("scoremesh_feed_lag_batches", "Batches of the log behind the last one whose events are published.", func() float64 { return float64(m.behind.Load()) }),
		gauge("scoremesh_feed_unconfirmed_events", "Events that are published and not acknowledged.",
			func() float64 { return float64(m.unconfirmed.Load()) }),
	})
	return m, err
}

func (m *feedMetrics) lag() float64 {
	at := m.oldest.Load()
	if at == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(at)).Seconds())
}

// waits notes that f is being confirmed, and how much is in flight behind it.
func (m *feedMetrics) waits(f flight, behind int) {
	m.oldest.Store(f.storedAt)
	m.unconfirmed.Store(int64(behind) + 1)
	m.behind.Store(int64(f.pending) + 1)
}

// confirmed notes that f is. With nothing behind it in flight or in the log, the feed is at the log's head.
func (m *feedMetrics) confirmed(f flight, behind int) {
	m.unconfirmed.Store(int64(behind))
	if f.number == 0 {
		m.behind.Store(int64(f.pending))
		if f.pending == 0 && behind == 0 {
			m.oldest.Store(0)
		}
	}
}
