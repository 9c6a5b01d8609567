package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// client is an HTTP client of a node.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: base, http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 128}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) get(path string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	return c.do(request)
}

func (c *client) do(request *http.Request) (status int, body []byte, err error) {
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// transaction is the body of a score request.
type transaction struct {
	ID        string `json:"transaction_id"`
	Timestamp string `json:"timestamp"`
	Card      string `json:"card_id"`
	Device    string `json:"device_id,omitempty"`
	Merchant  string `json:"merchant_id"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
}

// named is a feature's value.
type named struct {
	Name  string
	Value float64
}

// answer is what a score request got.
type answer struct {
	// Status is the HTTP status; 0 when there was no answer, and then Err says why.
	Status int   `json:"-"`
	Err    error `json:"-"`
	// Sent and Got are when the request left and when its answer was there; Life is the node's life that was meant to answer.
	Sent time.Time `json:"-"`
	Got  time.Time `json:"-"`
	Life int       `json:"-"`

	TransactionID string `json:"transaction_id"`
	Outcome       string
	Score         *float64
	Reasons       []struct{ Code, Detail string }
	Durability    string
	Replayed      bool
	Degraded      []string
	LatencyMs     float64 `json:"latency_ms"`
	Features      []named

	// Code is a refusal's.
	Code string
}

func (a *answer) ok() bool        { return a.Status == http.StatusOK }
func (a *answer) committed() bool { return a.ok() && a.Durability == "committed" }

// decision is what has to be the same whenever the id is asked for again.
func (a *answer) decision() string {
	return fmt.Sprint(a.Outcome, " ", scoreText(a.Score), " ", a.Reasons)
}

func scoreText(score *float64) string {
	if score == nil {
		return "none"
	}
	return strconv.FormatFloat(float64(float32(*score)), 'g', -1, 32)
}

// feature returns a feature of an explained answer.
func (a *answer) feature(name string) (float64, bool) {
	for _, f := range a.Features {
		if f.Name == name {
			return f.Value, true
		}
	}
	return 0, false
}

// score sends a transaction.
func (c *client) score(ctx context.Context, tx *transaction, deadline time.Duration, explain bool) *answer {
	body, err := json.Marshal(tx)
	if err != nil {
		return &answer{Err: err}
	}
	path := "/v1/score"
	if explain {
		path += "?explain=true"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return &answer{Err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Deadline-Ms", strconv.FormatInt(deadline.Milliseconds(), 10))
	a := &answer{Sent: time.Now()}
	status, text, err := c.do(request)
	a.Got = time.Now()
	if err == nil {
		err = json.Unmarshal(text, a)
	}
	if err != nil {
		a.Err = err
		return a
	}
	a.Status = status
	return a
}

// features returns an entity's features by name, and what they lack. A node that cannot read them in time is asked again.
func (c *client) features(kind, id string) (map[string]float64, []string, error) {
	var status int
	var body []byte
	for range 100 {
		var err error
		if status, body, err = c.get("/v1/entities/" + kind + "/" + url.PathEscape(id)); err != nil {
			return nil, nil, err
		}
		if status != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if status != http.StatusOK {
		return nil, nil, fmt.Errorf("features of a %s: status %d: %s", kind, status, body)
	}
	var view struct {
		Degraded []string
		Features []named
	}
	if err := json.Unmarshal(body, &view); err != nil {
		return nil, nil, fmt.Errorf("features of a %s: %w", kind, err)
	}
	values := make(map[string]float64, len(view.Features))
	for _, f := range view.Features {
		values[f.Name] = f.Value
	}
	return values, view.Degraded, nil
}
