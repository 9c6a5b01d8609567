package api

import (
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/decision"
)

// edge is the handler: it routes, authenticates, and answers with what an endpoint's function returned.
type edge struct {
	config   Config
	backend  Backend
	region   string
	hashCard HashCard
	log      zerolog.Logger
	guard    guard
	// scoring bounds transactions, bulk all other work.
	scoring, bulk admission
	metrics       *metrics
	scrape        http.Handler
	// overloaded is what a request that was not admitted is told.
	overloaded *decision.Error
	exchanges  sync.Pool
}

// route says what a path is for and who may go there.
type route struct {
	endpoint endpoint
	// method is POST, or GET, which includes HEAD.
	method string
	// scope is empty where no key is asked for.
	scope Scope
	serve func(x *exchange) error
}

const entitiesPrefix = "/v1/entities/"

func (e *edge) route(u *url.URL) route {
	adminIf := func(closed bool) Scope {
		if closed {
			return ScopeAdmin
		}
		return ""
	}
	switch u.Path {
	case "/v1/score":
		return route{endpointScore, http.MethodPost, ScopeScore, (*exchange).score}
	case "/v1/score:batch":
		return route{endpointBatch, http.MethodPost, ScopeScore, (*exchange).scoreBatch}
	case "/v1/labels":
		return route{endpointLabels, http.MethodPost, ScopeLabel, (*exchange).labels}
	case "/v1/features":
		return route{endpointFeatures, http.MethodPost, ScopePublish, (*exchange).features}
	case "/livez":
		return route{endpointLivez, http.MethodGet, "", (*exchange).livez}
	case "/readyz":
		return route{endpointReadyz, http.MethodGet, "", (*exchange).readyz}
	case "/metrics":
		return route{endpointMetrics, http.MethodGet, adminIf(e.config.MetricsNeedsAdmin), (*exchange).scrapeMetrics}
	case "/openapi.yaml":
		return route{endpointOpenAPI, http.MethodGet, adminIf(e.config.OpenAPINeedsAdmin), (*exchange).openAPI}
	}
	if strings.HasPrefix(u.Path, entitiesPrefix) {
		return route{endpointEntities, http.MethodGet, ScopeAdmin, (*exchange).entity}
	}
	return route{}
}

var (
	errNoEndpoint = &decision.Error{Code: decision.CodeNotFound, Detail: "no such endpoint; /openapi.yaml lists them"}
	errOnlyPost   = &decision.Error{Code: CodeMethod, Detail: "this endpoint takes POST"}
	errOnlyGet    = &decision.Error{Code: CodeMethod, Detail: "this endpoint takes GET"}
)

// ServeHTTP answers one request.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := e.exchanges.Get().(*exchange)
	x.begin(w, r)
	// After a panic the exchange may be half used: it is not put back.
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // it is what was panicked with
				panic(p)
			}
			e.panicked(x.route.endpoint, p)
			if !x.answered {
				x.refuse(errInternal, nil)
			}
		}
	}()
	if err := x.serve(); err != nil {
		x.refuse(err, nil)
	}
	x.end()
	e.exchanges.Put(x)
}

func (x *exchange) serve() error {
	x.route = x.e.route(x.r.URL)
	x.e.metrics.requests[x.route.endpoint].Inc()
	if err := x.readRequestID(); err != nil {
		return err
	}
	if x.route.serve == nil {
		return errNoEndpoint
	}
	if x.r.Method != x.route.method {
		switch {
		case x.route.method == http.MethodPost:
			x.w.Header()["Allow"] = []string{"POST"}
			return errOnlyPost
		case x.r.Method != http.MethodHead:
			x.w.Header()["Allow"] = []string{"GET, HEAD"}
			return errOnlyGet
		}
	}
	if x.route.scope != "" {
		name, err := x.e.guard.check(x.r.Header, x.route.scope)
		x.keyName = name
		if err != nil {
			return err
		}
	}
	return x.route.serve(x)
}

// panicked reports a panic. Its value could repeat what a client sent, so only the stack is logged.
func (e *edge) panicked(at endpoint, _ any) {
	e.metrics.panics.Inc()
	e.log.Error().Str("endpoint", endpointNames[at]).Bytes("stack", debug.Stack()).Msg("request panicked")
}

// deadlineOf reads X-Deadline-Ms.
func (x *exchange) deadlineOf(standard time.Duration) (time.Duration, error) {
	values := x.r.Header["X-Deadline-Ms"]
	if len(values) == 0 {
		return standard, nil
	}
	ms, ok := digits([]byte(values[0]))
	if len(values) != 1 || len(values[0]) == 0 || len(values[0]) > 6 || !ok || ms < 1 ||
		time.Duration(ms)*time.Millisecond > x.e.config.MaxDeadline {
		return 0, x.e.badDeadline()
	}
	return time.Duration(ms) * time.Millisecond, nil
}
