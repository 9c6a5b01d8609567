package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/decision"
	"scoremesh/feature"
)

// testNow is the clock of every test: a moment after testTime.
var (
	testTime = "2026-11-23T10:15:02.120Z"
	testNow  = time.Date(2026, 11, 23, 10, 15, 2, 500e6, time.UTC).UnixMilli()
)

const (
	testPAN     = "4111111111111111"
	leastBody   = `{"transaction_id":"t-82","timestamp":"2026-11-23T10:15:02.120Z","card_id":"c-77","merchant_id":"m-9","amount":100,"currency":"EUR"}`
	fullBody    = `{"transaction_id":"t-81","timestamp":"2026-11-23T10:15:02.120Z","card_id":"c-77","device_id":"d-3","merchant_id":"m-9","amount":4599,"currency":"EUR","country":"NL","lat":52.37,"lon":4.90,"mcc":"5732","attributes":{"channel":"ecom"}}`
	panBody     = `{"transaction_id":"t-83","timestamp":"2026-11-23T10:15:02.120Z","card_number":"4111 1111 1111 1111","merchant_id":"m-9","amount":100,"currency":"EUR"}`
	labelText   = `{"transaction_id":"t-81","card_id":"c-77","fraud":true,"known_at":"2026-11-23T10:00:00Z"}`
	rowText     = `{"kind":"merchant","id":"m-9","as_of":"2026-11-23T00:00:00Z","values":{"merchant_watchlist":0.25}}`
	scoreKey    = "key-for-scores"
	labelKey    = "key-for-labels"
	publishKey  = "key-for-rows"
	adminKey    = "key-for-admins"
	jsonType    = "application/json"
	ndjsonType  = "application/x-ndjson"
	problemType = "application/problem+json"
)

// world is an edge with a backend that records what reaches it, and a description that every exchange is held to.
type world struct {
	t      testing.TB
	server *Server
	reg    *prometheus.Registry
	log    lockedBuffer

	mu struct {
		sync.Mutex
		scored   []*decision.Transaction
		explain  []bool
		labels   []decision.Label
		rows     []feature.Row
		entities []string
		publishs int
	}
	// What the backend does; nil is the ordinary answer.
	score   func(ctx context.Context, t *decision.Transaction, explain bool) (*decision.Answer, error)
	label   func(labels []decision.Label) error
	publish func(rows []feature.Row) error
	view    func() (*EntityView, error)
	health  Health
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testKeys() []Key {
	return []Key{
		{Name: "shop", SHA256: HashKey(scoreKey), Scopes: []Scope{ScopeScore}},
		{Name: "disputes", SHA256: HashKey(labelKey), Scopes: []Scope{ScopeLabel}},
		{Name: "batch", SHA256: HashKey(publishKey), Scopes: []Scope{ScopePublish}},
		{Name: "sre", SHA256: HashKey(adminKey), Scopes: []Scope{ScopeAdmin}},
	}
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, reg: prometheus.NewRegistry(), health: Health{Live: true, Ready: true, State: "serving"}}
	rates, err := decision.NewRates("EUR", map[string]string{"USD": "0.5"})
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := decision.NewCardHasher([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Config: DefaultConfig(), Region: "eu-west", HashCard: hasher.Hash, Log: zerolog.New(&w.log), Registerer: w.reg,
		Gatherer: w.reg, Backend: Backend{
			Score: w.backendScore, Label: w.backendLabel, CheckRow: checkRow, Publish: w.backendPublish, Entity: w.backendEntity,
			Health: func() Health { return w.health }, Convert: rates.Convert,
			Bounds: func() Bounds { return Bounds{Skew: 5 * time.Minute, Horizon: 24 * time.Hour} },
			Now:    func() int64 { return testNow },
		}}
	o.Config.Keys = testKeys()
	// Tests of the deadline set their own; no other may depend on how busy the machine is.
	o.Config.DefaultDeadline = 10 * time.Second
	o.Config.BatchDeadline = 10 * time.Second
	for _, c := range change {
		c(&o)
	}
	if w.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func decided(t *decision.Transaction, outcome decision.Outcome) *decision.Answer {
	return &decision.Answer{Durability: decision.Committed, Decision: &decision.Decision{Transaction: *t, Outcome: outcome, Score: 0.41,
		Reasons: []decision.Reason{{Code: "CARD_VELOCITY_5M", Detail: "7 in 5 minutes"}}, Node: "eu-west-1",
		Versions: decision.Versions{Schema: "v3", Model: "fraud@7", Policy: "default@12"}}}
}

func (w *world) backendScore(ctx context.Context, t *decision.Transaction, explain bool) (*decision.Answer, error) {
	w.mu.Lock()
	w.mu.scored = append(w.mu.scored, t)
	w.mu.explain = append(w.mu.explain, explain)
	w.mu.Unlock()
	if w.score != nil {
		return w.score(ctx, t, explain)
	}
	a := decided(t, decision.StepUp)
	if explain {
		a.Explanation = &decision.Explanation{
			Features:      []decision.FeatureValue{{Name: "card_count_5m", Value: 7}, {Name: "unknown", Value: math.NaN()}},
			Contributions: []decision.FeatureValue{{Name: "card_count_5m", Value: 1.5}, {Name: "bias", Value: -2}}}
	}
	return a, nil
}

func (w *world) backendLabel(_ context.Context, labels []decision.Label) error {
	if w.label != nil {
		if err := w.label(labels); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.labels = append(w.mu.labels, labels...)
	return nil
}

func checkRow(row *feature.Row) error {
	for _, v := range row.Values {
		if v.Name != "merchant_watchlist" && v.Name != "card_risk" {
			return &decision.Error{Code: decision.CodeInvalid, Field: "values." + v.Name, Detail: "the schema has no such feature"}
		}
	}
	return nil
}

func (w *world) backendPublish(_ context.Context, rows []feature.Row) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.publishs++
	if w.publish != nil {
		if err := w.publish(rows); err != nil {
			return err
		}
	}
	w.mu.rows = append(w.mu.rows, rows...)
	return nil
}

func (w *world) backendEntity(_ context.Context, kind feature.Kind, id string) (*EntityView, error) {
	w.mu.Lock()
	w.mu.entities = append(w.mu.entities, kind.String()+"/"+id)
	w.mu.Unlock()
	if w.view != nil {
		return w.view()
	}
	return &EntityView{At: testNow, Features: []EntityFeature{
		{Name: "card_count_5m", Value: 7, AsOf: testNow - 412, Source: "timeline"},
		{Name: "profile", Value: math.NaN(), Source: "default"}}}, nil
}

// effects counts what reached the backend.
func (w *world) effects() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.scored) + len(w.mu.labels) + w.mu.publishs + len(w.mu.entities)
}

// failAll makes every func of the backend return err.
func (w *world) failAll(err error) {
	w.score = func(context.Context, *decision.Transaction, bool) (*decision.Answer, error) { return nil, err }
	w.label = func([]decision.Label) error { return err }
	w.publish = func([]feature.Row) error { return err }
	w.view = func() (*EntityView, error) { return nil, err }
}

var keyOf = map[string]string{"/v1/score": scoreKey, "/v1/score:batch": scoreKey, "/v1/labels": labelKey, "/v1/features": publishKey}

// request makes a request with the right key and the content type of JSON; headers are "Name: value" and replace these, "Name:" removes.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	path, _, _ := strings.Cut(target, "?")
	key := keyOf[path]
	if key == "" {
		key = adminKey
	}
	r.Header.Set("Authorization", "Bearer "+key)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", jsonType)
	}
	seen := map[string]bool{}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		if value = strings.TrimSpace(value); value == "" {
			r.Header.Del(name)
		} else if seen[name] {
			r.Header.Add(name, value)
		} else {
			r.Header.Set(name, value)
		}
		seen[name] = true
	}
	return r
}

// do sends a request and holds request and answer to openapi.yaml.
func (w *world) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, request(method, target, body, headers...))
	w.hold(request(method, target, body, headers...), rec)
	return rec
}

// doLoosely is do for requests that openapi.yaml does not allow and that are not refused whole; the answer is held all the same.
func (w *world) doLoosely(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, request(method, target, body, headers...))
	if err := holdToDescription(request(method, target, body, headers...), rec, false); err != nil {
		w.t.Errorf("%s %s answered %d, which openapi.yaml does not allow: %v", method, target, rec.Code, err)
	}
	return rec
}

var described = sync.OnceValues(func() (routers.Router, error) {
	openapi3filter.RegisterBodyDecoder(ndjsonType, func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
		b, err := io.ReadAll(body)
		return string(b), err
	})
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI())
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// documentedMethod is the one method of a path.
func documentedMethod(path string) string {
	if _, post := keyOf[path]; post {
		return http.MethodPost
	}
	return http.MethodGet
}

// hold fails the test when the description does not allow the answer, or when a request was accepted that it does not allow.
func (w *world) hold(r *http.Request, rec *httptest.ResponseRecorder) {
	w.t.Helper()
	if err := holdToDescription(r, rec, true); err != nil {
		w.t.Errorf("%s %s answered %d, which openapi.yaml does not allow: %v\nanswer: %s", r.Method, r.URL, rec.Code, err, clipped(rec.Body.String()))
	}
}

func clipped(s string) string { return s[:min(len(s), 600)] }

func holdToDescription(r *http.Request, rec *httptest.ResponseRecorder, withRequest bool) error {
	router, err := described()
	if err != nil {
		return fmt.Errorf("read openapi.yaml: %w", err)
	}
	find := r.Clone(r.Context())
	find.Method = documentedMethod(r.URL.Path)
	route, params, err := router.FindRoute(find)
	if err != nil {
		if rec.Code == http.StatusNotFound || rec.Code == http.StatusBadRequest {
			return nil
		}
		return err
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	out := (&openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: options}).
		SetBodyBytes(rec.Body.Bytes())
	if r.Method == http.MethodHead {
		out.Options = &openapi3filter.Options{ExcludeResponseBody: true, IncludeResponseStatus: true}
	}
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		return err
	}
	if withRequest && rec.Code < 300 && r.Method == find.Method {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return fmt.Errorf("the request: %w", err)
		}
	}
	return nil
}

func scoreUntilDeadline(ctx context.Context, _ *decision.Transaction, _ bool) (*decision.Answer, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
