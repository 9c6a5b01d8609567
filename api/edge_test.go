package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"scoremesh/decision"
	"scoremesh/feature"
)

func TestScorePassesTheTransactionOnAndAnswersAsDocumented(t *testing.T) {
	w := newWorld(t)
	rec := w.do("POST", "/v1/score", fullBody, "X-Request-Id: r-1")
	if rec.Code != 200 {
		t.Fatalf("got %d %s, want 200", rec.Code, rec.Body)
	}
	want := decision.Transaction{ID: "t-81", Card: "c-77", Device: "d-3", Merchant: "m-9", At: testNow - 380, Amount: 4599, Currency: "EUR",
		BaseAmount: 4599, Country: "NL", HasPosition: true, Lat: 52.37, Lon: 4.90, MCC: "5732",
		Attributes: []decision.Attribute{{Name: "channel", Value: "ecom"}}}
	if diff := cmp.Diff(want, *w.mu.scored[0]); diff != "" {
		t.Errorf("transaction (-want +got):\n%s", diff)
	}
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if ms, ok := got["latency_ms"].(float64); !ok || ms < 0 {
		t.Errorf("latency_ms: got %v", got["latency_ms"])
	}
	delete(got, "latency_ms")
	wantAnswer := map[string]any{"transaction_id": "t-81", "outcome": "step_up", "score": 0.41,
		"reasons":    []any{map[string]any{"code": "CARD_VELOCITY_5M", "detail": "7 in 5 minutes"}},
		"durability": "committed", "replayed": false, "degraded": []any{}, "region": "eu-west", "node": "eu-west-1",
		"versions": map[string]any{"schema": "v3", "model": "fraud@7", "policy": "default@12"}}
	if diff := cmp.Diff(wantAnswer, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if got := rec.Header().Get("X-Request-Id"); got != "r-1" {
		t.Errorf("X-Request-Id: got %q, want r-1", got)
	}
}

func TestScoreConvertsToTheBaseCurrencyAndSortsAttributes(t *testing.T) {
	w := newWorld(t)
	body := strings.Replace(fullBody, `"EUR"`, `"USD"`, 1)
	body = strings.Replace(body, `{"channel":"ecom"}`, `{"z":"\u00e9\ud83d\ude00","a":""}`, 1)
	if rec := w.do("POST", "/v1/score", body); rec.Code != 200 {
		t.Fatalf("got %d %s, want 200", rec.Code, rec.Body)
	}
	got := w.mu.scored[0]
	if got.BaseAmount != 2300 {
		t.Errorf("base amount of 45.99 USD at 0.5: got %d, want 2300 (half to even)", got.BaseAmount)
	}
	if diff := cmp.Diff([]decision.Attribute{{Name: "a"}, {Name: "z", Value: "é😀"}}, got.Attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestExplainAddsFeaturesAndContributions(t *testing.T) {
	w := newWorld(t)
	rec := w.do("POST", "/v1/score?explain=true", leastBody)
	want := `"features":[{"name":"card_count_5m","value":7},{"name":"unknown","value":null}],"contributions":[{"name":"card_count_5m","value":1.5},{"name":"bias","value":-2}]}`
	if !strings.HasSuffix(rec.Body.String(), want) {
		t.Errorf("got %s, want it to end in %s", rec.Body, want)
	}
	rec = w.do("POST", "/v1/score?explain=false", leastBody)
	if rec.Code != 200 || strings.Contains(rec.Body.String(), "contributions") {
		t.Errorf("explain=false: got %d %s", rec.Code, rec.Body)
	}
	if diff := cmp.Diff([]bool{true, false}, w.mu.explain); diff != "" {
		t.Errorf("explain (-want +got):\n%s", diff)
	}
}

func TestDegradedPendingReplayedAnswersSaySo(t *testing.T) {
	w := newWorld(t)
	w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
		a := decided(tr, decision.Decline)
		a.Durability, a.Replayed = decision.Pending, true
		a.Decision.Score, a.Decision.Reasons = float32(math.NaN()), nil
		a.Decision.Degraded = []string{decision.DegradedModel, "something_new"}
		return a, nil
	}
	body := w.do("POST", "/v1/score", leastBody).Body.String()
	for _, want := range []string{`"score":null`, `"reasons":[]`, `"durability":"pending"`, `"replayed":true`,
		`"degraded":["model_unavailable","something_new"]`, `"outcome":"decline"`} {
		if !strings.Contains(body, want) {
			t.Errorf("got %s, want it to contain %s", body, want)
		}
	}
	metrics := w.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{`scoremesh_decisions_total{outcome="decline"} 1`, `scoremesh_decisions_pending_total 1`,
		`scoremesh_decisions_replayed_total 1`, `scoremesh_decisions_degraded_total 1`,
		`scoremesh_decision_degradations_total{reason="model_unavailable"} 1`, `scoremesh_decision_degradations_total{reason="other"} 1`,
		`scoremesh_score_latency_seconds_count{outcome="decline"} 1`, `scoremesh_api_in_flight{pool="score"} 0`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// problem is what a client reads.
type problem struct {
	Type, Title, Code, Field, Detail string
	Status                           int
	RetryAfter                       float64 `json:"retry_after"`
	Committed, Line                  int
}

func problemOf(t *testing.T, rec *httptest.ResponseRecorder) problem {
	t.Helper()
	if got := rec.Header().Get("Content-Type"); got != problemType {
		t.Fatalf("content type: got %q, want %q; body %s", got, problemType, clipped(rec.Body.String()))
	}
	var p problem
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v in %s", err, rec.Body)
	}
	if p.Status != rec.Code || p.Type != problemTypePrefix+p.Code {
		t.Errorf("problem %+v does not fit status %d", p, rec.Code)
	}
	return p
}

func TestBackendRefusalsBecomeTheProblemsOfTheTable(t *testing.T) {
	for _, row := range Problems() {
		t.Run(string(row.Code), func(t *testing.T) {
			w := newWorld(t)
			w.failAll(fmt.Errorf("score in shard 7: %w", &decision.Error{Code: row.Code, Field: "amount", Detail: "so it is"}))
			method, target, body := "POST", "/v1/score", leastBody
			if row.Code == decision.CodeNotFound {
				method, target, body = "GET", "/v1/entities/card/c-77", ""
			}
			rec := w.do(method, target, body)
			p := problemOf(t, rec)
			field, detail := "amount", "so it is"
			if row.Code == CodeInternal {
				field, detail = "", errInternal.Detail
			}
			if rec.Code != row.Status || p.Code != string(row.Code) || p.Title != row.Title || p.Field != field || p.Detail != detail {
				t.Errorf("got %d %+v, want %+v", rec.Code, p, row)
			}
			later := row.Code == decision.CodeNotReady || row.Code == decision.CodeOverloaded
			if got := rec.Header().Get("Retry-After"); (got == "1") != later || (p.RetryAfter == 1) != later {
				t.Errorf("Retry-After: got %q and %v, want it only for what passes", got, p.RetryAfter)
			}
			logged := row.Code == CodeInternal || row.Code == CodeUnauthorized || row.Code == CodeForbidden
			if got := w.log.String(); (got != "") != logged {
				t.Errorf("log: got %q, want a line: %t", got, logged)
			}
		})
	}
}

func TestRetryAfterIsRoundedUpInTheHeader(t *testing.T) {
	w := newWorld(t)
	w.failAll(&decision.Error{Code: decision.CodeSaturated, RetryAfter: 1200 * time.Millisecond})
	rec := w.do("POST", "/v1/score", leastBody)
	if got, p := rec.Header().Get("Retry-After"), problemOf(t, rec); got != "2" || p.RetryAfter != 1.2 {
		t.Errorf("got %q and %v, want 2 and 1.2", got, p.RetryAfter)
	}
}

func TestUnexpectedErrorsAreLoggedWithoutIDsAndNotTold(t *testing.T) {
	for name, err := range map[string]error{
		"plain":        errors.New("read fs:v3:{card.7}:c-77 of d-3, m-9, t-81: connection refused"),
		"unknown code": &decision.Error{Code: "brand_new", Field: "c-77", Detail: "t-81"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.failAll(err)
			rec := w.do("POST", "/v1/score", fullBody)
			if p := problemOf(t, rec); rec.Code != 500 || p.Code != "internal" || strings.Contains(rec.Body.String(), "refused") {
				t.Errorf("got %d %s, want a bare internal error", rec.Code, rec.Body)
			}
			log := w.log.String()
			if !strings.Contains(log, `"message":"request failed"`) || !strings.Contains(log, `"endpoint":"score"`) {
				t.Errorf("log: got %q, want the failure", log)
			}
			for _, id := range []string{"c-77", "d-3", "m-9", "t-81"} {
				if strings.Contains(log, id) {
					t.Errorf("log contains the id %s: %s", id, log)
				}
			}
		})
	}
}

func TestAnAnswerWithoutOutcomeIsAnInternalError(t *testing.T) {
	for name, a := range map[string]*decision.Answer{"nil": nil, "no decision": {}, "undecided": {Decision: &decision.Decision{}},
		"unknown": {Decision: &decision.Decision{Outcome: 9}}} {
		w := newWorld(t)
		w.score = func(context.Context, *decision.Transaction, bool) (*decision.Answer, error) { return a, nil }
		if rec := w.do("POST", "/v1/score", leastBody); rec.Code != 500 {
			t.Errorf("%s: got %d, want 500", name, rec.Code)
		}
	}
}

func TestAPanicInTheBackendIsOneInternalError(t *testing.T) {
	w := newWorld(t)
	w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
		if tr.ID == "t-81" {
			panic("boom with " + tr.Card)
		}
		return decided(tr, decision.Approve), nil
	}
	if rec := w.do("POST", "/v1/score", fullBody); rec.Code != 500 {
		t.Errorf("got %d, want 500", rec.Code)
	}
	rec := w.do("POST", "/v1/score:batch", `{"transactions":[`+fullBody+`,`+leastBody+`]}`)
	if body := rec.Body.String(); rec.Code != 200 || strings.Count(body, `"status":500`) != 1 || strings.Count(body, `"outcome":"approve"`) != 1 {
		t.Errorf("batch: got %d %s, want one 500 and one approval", rec.Code, body)
	}
	if rec := w.do("POST", "/v1/score", leastBody); rec.Code != 200 {
		t.Errorf("afterwards: got %d, want 200", rec.Code)
	}
	if got := w.server.edge.scoring.used.Load(); got != 0 {
		t.Errorf("slots in use: got %d, want 0", got)
	}
	if !strings.Contains(w.do("GET", "/metrics", "").Body.String(), "scoremesh_api_panics_total 2\n") {
		t.Error("panics are not counted")
	}
	if log := w.log.String(); strings.Contains(log, "c-77") || !strings.Contains(log, "request panicked") {
		t.Errorf("log: got %s", log)
	}
}

func TestDeadlineOfARequest(t *testing.T) {
	for _, c := range []struct {
		name, target, body string
		headers            []string
		want               time.Duration
	}{
		{"score by default", "/v1/score", leastBody, nil, 50 * time.Millisecond},
		{"batch by default", "/v1/score:batch", `{"transactions":[` + leastBody + `]}`, nil, time.Second},
		{"smallest", "/v1/score", leastBody, []string{"X-Deadline-Ms: 1"}, time.Millisecond},
		{"largest", "/v1/score", leastBody, []string{"X-Deadline-Ms: 10000"}, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *Options) {
					o.Config.DefaultDeadline = DefaultConfig().DefaultDeadline
					o.Config.BatchDeadline = DefaultConfig().BatchDeadline
				})
				began := time.Now()
				w.score = func(ctx context.Context, _ *decision.Transaction, _ bool) (*decision.Answer, error) {
					<-ctx.Done()
					return nil, fmt.Errorf("read features: %w", ctx.Err())
				}
				rec := w.do("POST", c.target, c.body, c.headers...)
				if p := problemOf(t, rec); rec.Code != 504 || p.Code != "deadline_exceeded" {
					t.Errorf("got %d %+v, want 504", rec.Code, p)
				}
				if got := time.Since(began); got != c.want {
					t.Errorf("deadline: got %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestNothingIsAnsweredAfterItsDeadline(t *testing.T) {
	for _, target := range []string{"/v1/score", "/v1/score:batch"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
				time.Sleep(51 * time.Millisecond)
				return decided(tr, decision.Approve), nil
			}
			body := leastBody
			if target != "/v1/score" {
				body = `{"transactions":[` + leastBody + `]}`
			}
			if rec := w.do("POST", target, body, "X-Deadline-Ms: 50"); rec.Code != 504 {
				t.Errorf("%s: got %d, want 504", target, rec.Code)
			}
		})
	}
}

func TestTheDeadlineCountsTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := request("POST", "/v1/score", "", "X-Deadline-Ms: 50")
		r.ContentLength = -1
		r.Body = slowBody{strings.NewReader(leastBody), 60 * time.Millisecond}
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, r)
		if rec.Code != 504 || w.effects() != 0 {
			t.Errorf("got %d with %d effects, want 504 with none", rec.Code, w.effects())
		}
	})
}

type slowBody struct {
	*strings.Reader
	wait time.Duration
}

func (s slowBody) Read(p []byte) (int, error) {
	time.Sleep(s.wait)
	return s.Reader.Read(p)
}
func (s slowBody) Close() error { return nil }

func TestABodyOfUnknownLengthIsBoundedToo(t *testing.T) {
	w := newWorld(t)
	r := request("POST", "/v1/score", fullBody+strings.Repeat(" ", 64<<10))
	r.ContentLength = -1
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, r)
	if p := problemOf(t, rec); rec.Code != 413 || !strings.Contains(p.Detail, "65536") || w.effects() != 0 {
		t.Errorf("got %d %+v with %d effects, want 413 with none", rec.Code, p, w.effects())
	}
}

func TestAClientThatIsGoneIsCountedAndNotAnswered(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.score = func(ctx context.Context, _ *decision.Transaction, _ bool) (*decision.Answer, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, request("POST", "/v1/score", leastBody).WithContext(ctx))
	if rec.Body.Len() != 0 {
		t.Errorf("got %s, want nothing", rec.Body)
	}
	if !strings.Contains(w.do("GET", "/metrics", "").Body.String(), `scoremesh_api_errors_total{code="client_closed",endpoint="score"} 1`) {
		t.Error("not counted")
	}
}

func TestMoreThanTheBoundInFlightIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Config.MaxInFlight, o.Config.BatchFanOut = 2, 2 })
	held, release := make(chan struct{}, 2), make(chan struct{})
	w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
		held <- struct{}{}
		<-release
		return decided(tr, decision.Approve), nil
	}
	done := make(chan int, 2)
	for range 2 {
		go func() { done <- w.do("POST", "/v1/score", leastBody).Code }()
	}
	<-held
	<-held
	for target, body := range map[string]string{"/v1/score": leastBody, "/v1/score:batch": `{"transactions":[` + leastBody + `]}`} {
		rec := w.do("POST", target, body)
		if p := problemOf(t, rec); rec.Code != 429 || p.Code != "overloaded" || rec.Header().Get("Retry-After") != "1" || p.RetryAfter != 1 {
			t.Errorf("%s: got %d %+v, want 429 overloaded with Retry-After", target, rec.Code, p)
		}
	}
	metrics := w.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{`scoremesh_api_in_flight{pool="score"} 2`, `scoremesh_api_shed_total{endpoint="score"} 1`,
		`scoremesh_api_shed_total{endpoint="score_batch"} 1`, `scoremesh_api_errors_total{code="overloaded",endpoint="score"} 1`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	close(release)
	for range 2 {
		if got := <-done; got != 200 {
			t.Errorf("held request: got %d, want 200", got)
		}
	}
	if rec := w.do("POST", "/v1/score", leastBody); rec.Code != 200 {
		t.Errorf("afterwards: got %d, want 200", rec.Code)
	}
}

func TestBulkWorkHasABoundOfItsOwn(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Config.MaxBulkInFlight = 1 })
	held, release := make(chan struct{}), make(chan struct{})
	w.label = func([]decision.Label) error {
		close(held)
		<-release
		return nil
	}
	done := make(chan int)
	go func() { done <- w.do("POST", "/v1/labels", labelText).Code }()
	<-held
	for _, c := range []struct{ method, target, body string }{
		{"POST", "/v1/labels", labelText}, {"POST", "/v1/features", rowText}, {"GET", "/v1/entities/card/c-77", ""}} {
		if rec := w.do(c.method, c.target, c.body); rec.Code != 429 {
			t.Errorf("%s: got %d, want 429", c.target, rec.Code)
		}
	}
	if rec := w.do("POST", "/v1/score", leastBody); rec.Code != 200 {
		t.Errorf("score beside it: got %d, want 200", rec.Code)
	}
	close(release)
	if got := <-done; got != 200 {
		t.Errorf("got %d, want 200", got)
	}
}

func TestBatchAnswersEachTransactionAtItsPlace(t *testing.T) {
	w := newWorld(t)
	w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
		if tr.ID == "t-7" {
			return nil, &decision.Error{Code: decision.CodeConflict, Field: "transaction_id", Detail: "known with another body"}
		}
		return decided(tr, decision.Approve), nil
	}
	var list []string
	for i := range 40 {
		list = append(list, strings.Replace(leastBody, "t-82", fmt.Sprintf("t-%d", i), 1))
	}
	list[3] = strings.Replace(list[3], "10:15:02", "12:15:02", 1)
	list[4] = strings.Replace(list[4], "EUR", "XOF", 1)
	list[5] = `{"transaction_id":"t-5"}`
	list[6] = strings.Replace(list[6], `"c-77"`, `"`+testPAN+`"`, 1)
	rec := w.doLoosely("POST", "/v1/score:batch", `{"transactions":[`+strings.Join(list, ",")+`]}`)
	var got struct {
		Results []struct {
			Answer *struct {
				ID string `json:"transaction_id"`
			}
			Problem *problem
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != 200 || len(got.Results) != 40 {
		t.Fatalf("got %d, %d results, %v", rec.Code, len(got.Results), err)
	}
	wantCode := map[int]string{3: "timestamp_too_new", 4: "currency_without_rate", 5: "invalid", 6: "invalid", 7: "transaction_conflict"}
	wantField := map[int]string{3: "timestamp", 4: "currency", 5: "timestamp", 6: "card_id", 7: "transaction_id"}
	for i, r := range got.Results {
		switch code, refused := wantCode[i]; {
		case refused && (r.Problem == nil || r.Problem.Code != code || r.Problem.Field != wantField[i]):
			t.Errorf("result %d: got %+v, want %s at %s", i, r.Problem, code, wantField[i])
		case !refused && (r.Answer == nil || r.Answer.ID != fmt.Sprintf("t-%d", i)):
			t.Errorf("result %d: got %+v, want the answer to t-%d", i, r, i)
		}
	}
	if len(w.mu.scored) != 36 {
		t.Errorf("scored: got %d, want 36", len(w.mu.scored))
	}
}

func TestBatchScoresSideBySideWithinTheFanOut(t *testing.T) {
	const fanOut = 3
	w := newWorld(t, func(o *Options) { o.Config.BatchFanOut = fanOut })
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
		arrived <- struct{}{}
		<-release
		return decided(tr, decision.Approve), nil
	}
	done := make(chan int)
	go func() {
		body := `{"transactions":[` + strings.Repeat(leastBody+",", 9) + leastBody + `]}`
		done <- w.do("POST", "/v1/score:batch", body).Code
	}()
	for range fanOut {
		<-arrived
	}
	if got := w.server.edge.scoring.used.Load(); got != fanOut {
		t.Errorf("slots in use: got %d, want %d", got, fanOut)
	}
	if len(arrived) != 0 {
		t.Errorf("more than %d at once", fanOut)
	}
	close(release)
	if got := <-done; got != 200 {
		t.Errorf("got %d, want 200", got)
	}
	if got := w.server.edge.scoring.used.Load(); got != 0 {
		t.Errorf("slots in use afterwards: got %d, want 0", got)
	}
}

func TestBatchGoesOnAloneWhenThereIsOneSlotOnly(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Config.MaxInFlight, o.Config.BatchFanOut = 2, 2 })
	w.server.edge.scoring.admit(1)
	if rec := w.do("POST", "/v1/score:batch", `{"transactions":[`+leastBody+`,`+leastBody+`]}`); rec.Code != 200 || len(w.mu.scored) != 2 {
		t.Errorf("got %d with %d scored, want 200 with 2", rec.Code, len(w.mu.scored))
	}
}

func TestLabelsInAllForms(t *testing.T) {
	second := `{"known_at":"2026-11-23T10:00:00.5+01:00","fraud":false,"card_number":"` + testPAN + `","transaction_id":"t-9"}`
	for name, c := range map[string]struct {
		body, media string
		want        int
	}{
		"one":                    {labelText, jsonType, 1},
		"list":                   {`{"labels":[` + labelText + `,` + second + `]}`, jsonType, 2},
		"ndjson":                 {labelText + "\n" + second + "\n", ndjsonType, 2},
		"ndjson without the end": {labelText + "\r\n\n  " + second, ndjsonType, 2},
		"no lines":               {"", ndjsonType, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			do := w.do
			if c.want == 0 {
				do = w.doLoosely
			}
			rec := do("POST", "/v1/labels", c.body, "Content-Type: "+c.media)
			if want := fmt.Sprintf(`{"committed":%d}`, c.want); rec.Code != 200 || rec.Body.String() != want {
				t.Errorf("got %d %s, want %s", rec.Code, rec.Body, want)
			}
			known := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixMilli()
			want := []decision.Label{{TransactionID: "t-81", Card: "c-77", Fraud: true, KnownAt: known},
				{TransactionID: "t-9", Card: w.hash(testPAN), KnownAt: known - 3600_000 + 500}}[:c.want]
			if diff := cmp.Diff(want, append([]decision.Label{}, w.mu.labels...)); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}

func (w *world) hash(number string) string {
	w.t.Helper()
	id, err := w.server.edge.hashCard(number)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func TestRowsInAllForms(t *testing.T) {
	w := newWorld(t)
	card := `{"values":{"card_risk":1e-3},"kind":"card","card_number":"4111-1111-1111-1111","as_of":"2026-11-23T00:00:00Z"}`
	if rec := w.do("POST", "/v1/features", rowText); rec.Code != 200 || rec.Body.String() != `{"committed":1}` {
		t.Errorf("one: got %d %s", rec.Code, rec.Body)
	}
	if rec := w.do("POST", "/v1/features", rowText+"\n"+card, "Content-Type: application/x-ndjson; charset=UTF-8"); rec.Code != 200 ||
		rec.Body.String() != `{"committed":2}` {
		t.Errorf("two lines: got %d %s", rec.Code, rec.Body)
	}
	asOf := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).UnixMilli()
	merchant := feature.Row{Kind: feature.Merchant, ID: "m-9", AsOf: asOf, Values: []feature.Value{{Name: "merchant_watchlist", Value: 0.25}}}
	want := []feature.Row{merchant, merchant,
		{Kind: feature.Card, ID: w.hash(testPAN), AsOf: asOf, Values: []feature.Value{{Name: "card_risk", Value: 0.001}}}}
	if diff := cmp.Diff(want, w.mu.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestAStreamSaysHowFarItCame(t *testing.T) {
	row := func(i int) string { return strings.Replace(rowText, "m-9", fmt.Sprintf("m-%d", i), 1) }
	lines := func(n int) []string {
		var list []string
		for i := range n {
			list = append(list, row(i))
		}
		return list
	}
	for _, c := range []struct {
		name            string
		lines           []string
		failCall        int // this call of Publish fails
		status          int
		committed, line int
		field           string
	}{
		{name: "all in several chunks", lines: lines(1300), status: 200, committed: 1300},
		{name: "bad line first", lines: append([]string{"{"}, lines(3)...), status: 400, committed: 0, line: 1},
		{name: "bad line in the middle", lines: append(append(lines(600), `{"kind":"car"}`), lines(3)...), status: 400, committed: 600, line: 601, field: "kind"},
		{name: "blank lines are counted as lines", lines: []string{"", row(1), " ", row(2), "[]"}, status: 400, committed: 2, line: 5},
		{name: "unknown feature", lines: []string{row(1), strings.Replace(row(2), "merchant_watchlist", "nope", 1)}, status: 400, committed: 1, line: 2, field: "values.nope"},
		{name: "two objects in a line", lines: []string{row(1), row(2) + row(3)}, status: 400, committed: 1, line: 2},
		{name: "second chunk fails", lines: lines(1300), failCall: 2, status: 503, committed: 512, line: 513},
		{name: "chunk fails before the bad line", lines: append(lines(600), "x"), failCall: 2, status: 503, committed: 512, line: 513},
		{name: "last chunk fails", lines: lines(700), failCall: 2, status: 503, committed: 512, line: 513},
		{name: "line too long", lines: []string{row(1), `"` + strings.Repeat("x", 70<<10) + `"`}, status: 413, committed: 1, line: 2, field: "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.publish = func([]feature.Row) error {
				if w.mu.publishs == c.failCall {
					return &decision.Error{Code: decision.CodeNotReady, Detail: "the log is full"}
				}
				return nil
			}
			rec := w.do("POST", "/v1/features", strings.Join(c.lines, "\n"), "Content-Type: "+ndjsonType)
			if rec.Code != c.status || len(w.mu.rows) != c.committed {
				t.Fatalf("got %d with %d rows, want %d with %d: %s", rec.Code, len(w.mu.rows), c.status, c.committed, rec.Body)
			}
			if c.status == 200 {
				return
			}
			if p := problemOf(t, rec); p.Committed != c.committed || p.Line != c.line || c.field != "" && p.Field != c.field {
				t.Errorf("got %+v, want committed %d, line %d, field %q", p, c.committed, c.line, c.field)
			}
		})
	}
}

func TestAStreamEndsAtItsBoundAndAtItsDeadline(t *testing.T) {
	t.Run("bound without a length", func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Config.MaxBulkBytes = 4096 })
		r := request("POST", "/v1/features", strings.Repeat(rowText+"\n", 60), "Content-Type: "+ndjsonType)
		r.ContentLength = -1
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, r)
		fit := 4096 / (len(rowText) + 1)
		if p := problemOf(t, rec); rec.Code != 413 || p.Committed != fit || p.Line != fit+1 || len(w.mu.rows) != fit {
			t.Errorf("got %d %+v with %d rows, want 413 with %d", rec.Code, p, len(w.mu.rows), fit)
		}
	})
	t.Run("bound with a length", func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Config.MaxBulkBytes = 4096 })
		rec := w.do("POST", "/v1/features", strings.Repeat(rowText+"\n", 60), "Content-Type: "+ndjsonType)
		if p := problemOf(t, rec); rec.Code != 413 || p.Committed != 0 || p.Line != 1 || w.effects() != 0 {
			t.Errorf("got %d %+v with %d effects, want 413 with none", rec.Code, p, w.effects())
		}
	})
	t.Run("deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish = func([]feature.Row) error { time.Sleep(60 * time.Millisecond); return nil }
			rec := w.do("POST", "/v1/features", strings.Repeat(rowText+"\n", 1500), "Content-Type: "+ndjsonType, "X-Deadline-Ms: 100")
			if p := problemOf(t, rec); rec.Code != 504 || p.Committed != 1024 || p.Line != 1025 || len(w.mu.rows) != 1024 {
				t.Errorf("got %d %+v with %d rows, want 504 after two chunks", rec.Code, p, len(w.mu.rows))
			}
		})
	})
	t.Run("cut off", func(t *testing.T) {
		w := newWorld(t)
		r := request("POST", "/v1/features", "", "Content-Type: "+ndjsonType)
		r.ContentLength = -1
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(rowText+"\n"+rowText), iotest.ErrReader(io.ErrUnexpectedEOF)))
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, r)
		if p := problemOf(t, rec); rec.Code != 400 || p.Committed != 1 || p.Line != 2 || len(w.mu.rows) != 1 {
			t.Errorf("got %d %+v with %d rows, want 400 with the whole line committed and not the cut one", rec.Code, p, len(w.mu.rows))
		}
	})
}

func TestAFailedLabelCommitsNothing(t *testing.T) {
	w := newWorld(t)
	w.failAll(&decision.Error{Code: decision.CodeNotReady})
	rec := w.do("POST", "/v1/labels", `{"labels":[`+labelText+`]}`)
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), `"committed":0`) {
		t.Errorf("got %d %s, want 503 with nothing committed", rec.Code, rec.Body)
	}
}

func TestEntityShowsFeaturesWithAgeAndSource(t *testing.T) {
	w := newWorld(t)
	rec := w.do("GET", "/v1/entities/card/c%2F77%20x", "")
	want := `{"kind":"card","id":"c/77 x","at":"2026-11-23T10:15:02.500Z","degraded":[],"features":[` +
		`{"name":"card_count_5m","value":7,"age_ms":412,"source":"timeline"},{"name":"profile","value":null,"age_ms":null,"source":"default"}]}`
	if rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("got %d %s, want %s", rec.Code, rec.Body, want)
	}
	if diff := cmp.Diff([]string{"card/c/77 x"}, w.mu.entities); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

func TestHealthForSupervisorsAndLoadBalancers(t *testing.T) {
	for _, c := range []struct {
		name        string
		health      Health
		live, ready int
	}{
		{"serving", Health{Live: true, Ready: true, State: "serving"}, 200, 200},
		{"warming", Health{Live: true, State: "warming", Reasons: []string{"12 of 64 shards are behind the log"}}, 200, 503},
		{"stuck", Health{Ready: true, State: "serving", Reasons: []string{"the shards do not answer"}}, 503, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.health = c.health
			for path, want := range map[string]int{"/livez": c.live, "/readyz": c.ready} {
				rec := w.do("GET", path, "", "Authorization:")
				if rec.Code != want || !strings.Contains(rec.Body.String(), `"state":"`+c.health.State+`"`) {
					t.Errorf("%s: got %d %s, want %d", path, rec.Code, rec.Body, want)
				}
				for _, reason := range c.health.Reasons {
					if !strings.Contains(rec.Body.String(), reason) {
						t.Errorf("%s: got %s, want the reason %q", path, rec.Body, reason)
					}
				}
			}
		})
	}
}

func TestOpenEndpointsCanBeClosed(t *testing.T) {
	open := newWorld(t)
	closed := newWorld(t, func(o *Options) { o.Config.MetricsNeedsAdmin, o.Config.OpenAPINeedsAdmin = true, true })
	for _, path := range []string{"/metrics", "/openapi.yaml"} {
		for name, c := range map[string]struct {
			w      *world
			header string
			want   int
		}{
			"open":                   {open, "Authorization:", 200},
			"closed without a key":   {closed, "Authorization:", 401},
			"closed, other scope":    {closed, "Authorization: Bearer " + scoreKey, 403},
			"closed, with the scope": {closed, "Authorization: Bearer " + adminKey, 200},
		} {
			if rec := c.w.do("GET", path, "", c.header); rec.Code != c.want {
				t.Errorf("%s %s: got %d, want %d", path, name, rec.Code, c.want)
			}
		}
	}
	if rec := open.do("HEAD", "/livez", ""); rec.Code != http.StatusOK {
		t.Errorf("HEAD /livez: got %d, want 200", rec.Code)
	}
}
