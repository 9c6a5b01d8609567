package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"scoremesh/decision"
)

// endpoint numbers what can be asked for.
type endpoint uint8

const (
	noEndpoint endpoint = iota
	endpointScore
	endpointBatch
	endpointLabels
	endpointFeatures
	endpointEntities
	endpointLivez
	endpointReadyz
	endpointMetrics
	endpointOpenAPI
	endpoints
)

var endpointNames = [endpoints]string{"none", "score", "score_batch", "labels", "features", "entities", "livez", "readyz", "metrics", "openapi"}

// codeClosed counts, beside the codes of the table, requests whose client was gone before the answer.
const codeClosed = "client_closed"

// knownDegradations have a counter of their own; any other counts as "other", so that the label stays bounded.
var knownDegradations = [...]string{decision.DegradedOwnerUnreachable, decision.DegradedSpeedLayer, decision.DegradedRebuilding,
	decision.DegradedIdempotency, decision.DegradedStale, decision.DegradedModel, decision.DegradedPolicy, decision.DegradedLog}

// metrics of the edge. Children are resolved once, so that counting on the path of a request is one atomic add.
type metrics struct {
	// latency and decisions are indexed by decision.Outcome; latency at Undecided holds the requests that failed.
	latency   [decision.StepUp + 1]prometheus.Observer
	decisions [decision.StepUp + 1]prometheus.Counter
	requests  [endpoints]prometheus.Counter
	// errors are indexed by endpoint and by the row of problems, codeClosed last.
	errors        [endpoints][len(problems) + 1]prometheus.Counter
	shed          [endpoints]prometheus.Counter
	degraded      map[string]prometheus.Counter
	degradedOther prometheus.Counter
	anyDegraded   prometheus.Counter
	replayed      prometheus.Counter
	pending       prometheus.Counter
	labels        prometheus.Counter
	rows          prometheus.Counter
	panics        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, scoring, bulk *admission) (*metrics, error) {
	var err error
	register := func(c prometheus.Collector) {
		if err == nil {
			err = reg.Register(c)
		}
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		register(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		register(c)
		return c
	}
	m := &metrics{degraded: make(map[string]prometheus.Counter, len(knownDegradations))}

	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "scoremesh_score_latency_seconds",
		Help: "Time from the end of a score request's headers to its answer, by outcome; of a batch, each transaction by itself.",
		Buckets: []float64{.0002, .0005, .001, .0015, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .25, .5, 1, 2.5,
			10},
	}, []string{"outcome"})
	register(latency)
	decisions := counters("scoremesh_decisions_total", "Decisions answered, by outcome.", "outcome")
	for _, o := range [...]decision.Outcome{decision.Approve, decision.Decline, decision.StepUp} {
		m.latency[o] = latency.WithLabelValues(o.String())
		m.decisions[o] = decisions.WithLabelValues(o.String())
	}
	m.latency[decision.Undecided] = latency.WithLabelValues("error")

	requests := counters("scoremesh_api_requests_total", "Requests, by endpoint.", "endpoint")
	failures := counters("scoremesh_api_errors_total", "Requests, and transactions of a batch, that were refused or failed, by code.",
		"endpoint", "code")
	shed := counters("scoremesh_api_shed_total", "Requests refused at the edge because too many were in flight.", "endpoint")
	for i, name := range endpointNames {
		m.requests[i] = requests.WithLabelValues(name)
		m.shed[i] = shed.WithLabelValues(name)
		for j, p := range problems {
			m.errors[i][j] = failures.WithLabelValues(name, string(p.Code))
		}
		m.errors[i][len(problems)] = failures.WithLabelValues(name, codeClosed)
	}

	m.anyDegraded = counter("scoremesh_decisions_degraded_total", "Decisions answered with at least one degradation.")
	degraded := counters("scoremesh_decision_degradations_total", "Degradations of answered decisions, by reason.", "reason")
	for _, reason := range knownDegradations {
		m.degraded[reason] = degraded.WithLabelValues(reason)
	}
	m.degradedOther = degraded.WithLabelValues("other")
	m.replayed = counter("scoremesh_decisions_replayed_total", "Decisions answered again for a known transaction id.")
	m.pending = counter("scoremesh_decisions_pending_total", "Decisions answered before the log confirmed them.")
	m.labels = counter("scoremesh_labels_committed_total", "Labels committed.")
	m.rows = counter("scoremesh_feature_rows_committed_total", "Published feature rows committed.")
	m.panics = counter("scoremesh_api_panics_total", "Panics while serving a request; each was answered with an internal error.")

	inFlight := func(pool string, a *admission) {
		register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "scoremesh_api_in_flight", Help: "Admitted and not yet answered, by pool.", ConstLabels: prometheus.Labels{"pool": pool},
		}, func() float64 { return float64(a.used.Load()) }))
	}
	inFlight("score", scoring)
	inFlight("bulk", bulk)
	return m, err
}

// decided counts one answered decision.
func (m *metrics) decided(a *decision.Answer, took time.Duration) {
	d := a.Decision
	m.latency[d.Outcome].Observe(took.Seconds())
	m.decisions[d.Outcome].Inc()
	if a.Replayed {
		m.replayed.Inc()
	}
	if a.Durability == decision.Pending {
		m.pending.Inc()
	}
	if len(d.Degraded) == 0 {
		return
	}
	m.anyDegraded.Inc()
	for _, reason := range d.Degraded {
		if c := m.degraded[reason]; c != nil {
			c.Inc()
		} else {
			m.degradedOther.Inc()
		}
	}
}

// failed counts one refusal.
func (m *metrics) failed(at endpoint, code decision.Code) { m.errors[at][problemIndex[code]].Inc() }
