package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"scoremesh/decision"
)

// exchange is one request and its answer, with the buffers that go from request to request.
type exchange struct {
	e *edge
	w http.ResponseWriter
	r *http.Request
	// began is when the request's headers had been read.
	began     time.Time
	route     route
	requestID []string
	keyName   string
	// private says that the buffers may hold a card number: there was one, or the request was refused and might have a misplaced one.
	private  bool
	answered bool

	in          []byte
	out         []byte
	scan        scanner
	transaction transactionBody
	label       labelBody
	row         rowBody
}

// maxKeptBytes bounds the buffers that an idle exchange holds on to.
const maxKeptBytes = 256 << 10

func (x *exchange) begin(w http.ResponseWriter, r *http.Request) {
	x.w, x.r, x.began = w, r, time.Now()
	x.route, x.requestID, x.keyName, x.private, x.answered = route{}, nil, "", false, false
}

// end forgets the request.
func (x *exchange) end() {
	if x.private {
		for _, b := range [...][]byte{x.in, x.scan.text, x.transaction.number, x.label.number, x.row.number} {
			clear(b[:cap(b)])
		}
	}
	x.w, x.r = nil, nil
	x.scan.reset(nil)
	x.row = rowBody{number: x.row.number[:0]}
	if cap(x.in) > maxKeptBytes {
		x.in = nil
	}
	if cap(x.out) > maxKeptBytes {
		x.out = nil
	}
	if cap(x.scan.text) > maxKeptBytes {
		x.scan.text = nil
	}
}

// maxRequestIDBytes bounds X-Request-Id.
const maxRequestIDBytes = 64

// readRequestID accepts an id to echo: plain words only, since it goes into logs.
func (x *exchange) readRequestID() error {
	values := x.r.Header["X-Request-Id"]
	if len(values) == 0 {
		return nil
	}
	id := values[0]
	plain := func(r rune) bool {
		return r == '_' || r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if len(values) != 1 || id == "" || len(id) > maxRequestIDBytes || strings.ContainsFunc(id, func(r rune) bool { return !plain(r) }) {
		return invalid("X-Request-Id", fmt.Sprintf("want one id of 1 to %d letters, digits, _ . or -", maxRequestIDBytes))
	}
	if decision.LooksLikeCardNumber(id) {
		return invalid("X-Request-Id", "looks like a card number, which no id may be")
	}
	x.requestID = values
	return nil
}

func (e *edge) badDeadline() error {
	return invalid("X-Deadline-Ms", fmt.Sprintf("want a whole number of milliseconds from 1 to %d", e.config.MaxDeadline.Milliseconds()))
}

// withDeadline returns the context for the backend. The deadline counts from the beginning of the request.
func (x *exchange) withDeadline(standard time.Duration) (context.Context, context.CancelFunc, error) {
	d, err := x.deadlineOf(standard)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithDeadline(x.r.Context(), x.began.Add(d))
	return ctx, cancel, nil
}

// noQuery refuses parameters where there are none.
func (x *exchange) noQuery() error {
	if x.r.URL.RawQuery != "" {
		return invalid("query", "this endpoint takes no parameters")
	}
	return nil
}

// explain reads ?explain=, the only parameter there is.
func (x *exchange) explain() (bool, error) {
	switch x.r.URL.RawQuery {
	case "", "explain=false":
		return false, nil
	case "explain=true":
		return true, nil
	}
	bad := invalid("explain", `the only parameter is explain, "true" or "false"`)
	q, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil || len(q) != 1 || len(q["explain"]) != 1 {
		return false, bad
	}
	switch q["explain"][0] {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, bad
}

const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
)

// media returns the body's type, which must be one of allowed.
func (x *exchange) media(allowed ...string) (string, error) {
	refused := &decision.Error{Code: CodeMediaType, Field: "Content-Type", Detail: "want " + strings.Join(allowed, " or ")}
	if encodings := x.r.Header["Content-Encoding"]; len(encodings) > 1 || len(encodings) == 1 && !strings.EqualFold(encodings[0], "identity") {
		refused.Field, refused.Detail = "Content-Encoding", "bodies are read as they are, not compressed"
		return "", refused
	}
	types := x.r.Header["Content-Type"]
	if len(types) != 1 {
		return "", refused
	}
	if types[0] == allowed[0] {
		return allowed[0], nil
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || !slices.Contains(allowed, media) {
		return "", refused
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			refused.Detail = "the only parameter is charset=utf-8"
			return "", refused
		}
	}
	return media, nil
}

// tooLarge leaves the rest of the body unread; net/http then ends the connection, unless the rest is small.
func tooLarge(limit int) error {
	return &decision.Error{Code: CodeTooLarge, Field: "body", Detail: fmt.Sprintf("at most %d bytes are allowed", limit)}
}

// unread is the refusal of a body that ended before it should.
func (x *exchange) unread(err error) error {
	if ctx := x.r.Context(); ctx.Err() != nil {
		return ctx.Err()
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errDeadline
	}
	return invalid("body", "could not be read to its end")
}

// readBody reads the whole body into x.in.
func (x *exchange) readBody(limit int) error {
	if x.r.ContentLength > int64(limit) {
		return tooLarge(limit)
	}
	b := x.in[:0]
	if n := int(x.r.ContentLength); n >= cap(b) {
		b = make([]byte, 0, n+1)
	}
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, 1+len(b))
		}
		n, err := x.r.Body.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		x.in = b
		switch {
		case len(b) > limit:
			return tooLarge(limit)
		case err == io.EOF:
			return nil
		case err != nil:
			return x.unread(err)
		}
	}
}

var (
	typeJSON    = []string{mediaJSON}
	typeProblem = []string{"application/problem+json"}
	typeYAML    = []string{"application/yaml"}
	noStore     = []string{"no-store"}
)

// write answers with x.out. It may be called once.
func (x *exchange) write(status int, contentType []string) {
	h := x.w.Header()
	h["Content-Type"] = contentType
	h["Cache-Control"] = noStore
	if x.requestID != nil {
		h["X-Request-Id"] = x.requestID
	}
	x.answered = true
	x.w.WriteHeader(status)
	// The only error is that the client is gone, which is the client's own business.
	_, _ = x.w.Write(x.out)
}

// refuse answers with the problem that err is.
func (x *exchange) refuse(err error, p *progress) {
	e := x.e
	if errors.Is(err, context.Canceled) && x.r.Context().Err() != nil {
		e.metrics.errors[x.route.endpoint][len(problems)].Inc()
		if x.route.endpoint == endpointScore {
			e.metrics.latency[decision.Undecided].Observe(time.Since(x.began).Seconds())
		}
		return
	}
	told := e.tell(x.route.endpoint, x.keyName, err)
	if x.route.endpoint == endpointScore {
		e.metrics.latency[decision.Undecided].Observe(time.Since(x.began).Seconds())
	}
	if told.RetryAfter > 0 {
		x.w.Header()["Retry-After"] = []string{retryAfterSeconds(told.RetryAfter)}
	}
	if told.Code == CodeUnauthorized {
		x.w.Header()["Www-Authenticate"] = []string{"Bearer"}
	}
	x.out = appendProblem(x.out[:0], told, p)
	x.write(problems[problemIndex[told.Code]].Status, typeProblem)
}

// tell turns an error into what the client is told, counts it, and logs it when the fault is ours.
func (e *edge) tell(at endpoint, keyName string, err error) *decision.Error {
	told, understood := refusal(err)
	if told.RetryAfter == 0 && (told.Code == decision.CodeNotReady || told.Code == decision.CodeOverloaded) {
		c := *told
		c.RetryAfter = e.config.RetryAfter
		told = &c
	}
	e.metrics.failed(at, told.Code)
	switch {
	case !understood:
		e.log.Error().Str("endpoint", endpointNames[at]).Err(err).Msg("request failed")
	case told.Code == CodeUnauthorized || told.Code == CodeForbidden:
		e.log.Warn().Str("endpoint", endpointNames[at]).Str("key", keyName).Str("code", string(told.Code)).Msg("request not allowed")
	}
	return told
}
