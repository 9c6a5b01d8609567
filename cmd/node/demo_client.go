package main

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"scoremesh/cmd/node/traffic"
	"scoremesh/decision"
)

const (
	// demoLanes is how many requests are under way at most. A card's transactions take one lane, so that they stay in their order.
	demoLanes = 32
	// demoLaneDepth bounds what waits in a lane; then the sending waits.
	demoLaneDepth = 16
	// demoPatience ends a request to which nobody answers.
	demoPatience = 15 * time.Second
	// demoLag is how far the sending may fall behind its timetable before it begins a new one.
	demoLag = time.Second
	// demoCalm is how long no answer may lack anything before the measuring begins; demoSettle is when it begins in any case.
	demoCalm   = time.Second
	demoSettle = 10 * time.Second
	// demoLabelBatch is how many labels go into one request.
	demoLabelBatch = 100
)

// demoClient sends a world's transactions to the edge as a payment service would, and the labels when they are due.
type demoClient struct {
	url, key string
	deadline string
	http     *http.Client
	world    *demoWorld
	stats    *demoStats
	seed     maphash.Seed
	// labels are those that are not due yet, by the world's time.
	labels labelHeap
	// at is the world's time.
	at atomic.Int64
}

func newDemoClient(url, key string, deadline time.Duration, world *demoWorld) *demoClient {
	return &demoClient{
		url: url, key: key, deadline: strconv.FormatInt(deadline.Milliseconds(), 10), world: world, stats: newDemoStats(), seed: maphash.MakeSeed(),
		// A transport of its own: no proxy stands between the demo and itself.
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: demoLanes + 1, DisableCompression: true}},
	}
}

func (c *demoClient) close() { c.http.CloseIdleConnections() }

// worldNow is the world's time, Unix milliseconds.
func (c *demoClient) worldNow() int64 { return c.at.Load() }

// demoJob is a transaction on its way.
type demoJob struct {
	event traffic.Event
	due   time.Time
	// past says that it fills the windows and is not measured.
	past bool
}

// replay sends the first n transactions as fast as they are answered. It returns nil when all are answered, or ctx's error.
func (c *demoClient) replay(ctx context.Context, n int) error {
	left := n
	err := c.run(ctx, func() (time.Time, bool) {
		left--
		return time.Now(), left >= 0
	}, true)
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// settle goes on at rate, unmeasured, until the node has digested what was replayed: until for demoCalm no answer lacked anything, or
// for demoSettle at most. It returns ctx's error when that ends first.
func (c *demoClient) settle(ctx context.Context, rate float64) error {
	c.stats.settling(time.Now())
	bounded, cancel := context.WithTimeout(ctx, demoSettle)
	defer cancel()
	next := c.timetable(bounded, rate)
	err := c.run(bounded, func() (time.Time, bool) {
		if c.stats.calmSince(time.Now()) >= demoCalm {
			return time.Time{}, false
		}
		return next()
	}, true)
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// send keeps to a timetable of rate transactions per second until ctx ends. Latency counts from the timetable, so that a node that
// cannot keep up shows.
func (c *demoClient) send(ctx context.Context, rate float64) error {
	c.stats.start(time.Now())
	err := c.run(ctx, c.timetable(ctx, rate), false)
	c.stats.stop(time.Now())
	return err
}

// timetable returns a function that waits until the next transaction is due, and returns when that was; false when ctx ends.
func (c *demoClient) timetable(ctx context.Context, rate float64) func() (time.Time, bool) {
	pace, due := time.Duration(float64(time.Second)/rate), time.Now()
	return func() (time.Time, bool) {
		if due = due.Add(pace); time.Since(due) > demoLag {
			due = time.Now()
			c.stats.heldBack()
		}
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		select {
		case <-timer.C:
			return due, true
		case <-ctx.Done():
			return due, false
		}
	}
}

// run sends a transaction for each time that next returns, and waits until all are answered. When ctx ends, what waits is dropped and
// what is under way is waited for.
func (c *demoClient) run(ctx context.Context, next func() (time.Time, bool), past bool) error {
	var working sync.WaitGroup
	lanes := make([]chan demoJob, demoLanes)
	for i := range lanes {
		lanes[i] = make(chan demoJob, demoLaneDepth)
		working.Go(func() {
			for job := range lanes[i] {
				if ctx.Err() == nil {
					c.score(&job)
				}
			}
		})
	}
	due := make(chan []decision.Label, 1)
	working.Go(func() {
		for labels := range due {
			if ctx.Err() == nil {
				c.label(labels)
			}
		}
	})
	defer working.Wait()
	defer close(due)
	defer func() {
		for _, lane := range lanes {
			close(lane)
		}
	}()
	for {
		at, more := next()
		if !more {
			return nil
		}
		event, err := c.world.next(time.Now().UnixMilli())
		if err != nil {
			return err
		}
		c.at.Store(event.Transaction.At)
		if event.Fraud && !event.Retry {
			heap.Push(&c.labels, event.Label())
		}
		c.takeLabels(event.Transaction.At, due)
		select {
		case lanes[maphash.String(c.seed, event.Transaction.Card)%demoLanes] <- demoJob{event, at, past}:
		case <-ctx.Done():
			return nil
		}
	}
}

// takeLabels hands over what is due; what finds the way taken is due the next time.
func (c *demoClient) takeLabels(now int64, to chan<- []decision.Label) {
	if len(c.labels) == 0 || c.labels[0].KnownAt > now || len(to) == cap(to) {
		return
	}
	var due []decision.Label
	for len(c.labels) > 0 && c.labels[0].KnownAt <= now && len(due) < demoLabelBatch {
		due = append(due, heap.Pop(&c.labels).(decision.Label))
	}
	to <- due // nobody else sends, and there was room
}

// scoreBody is a score request.
type scoreBody struct {
	TransactionID string            `json:"transaction_id"`
	Timestamp     string            `json:"timestamp"`
	CardID        string            `json:"card_id"`
	DeviceID      string            `json:"device_id,omitempty"`
	MerchantID    string            `json:"merchant_id"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Country       string            `json:"country,omitempty"`
	Lat           *float64          `json:"lat,omitempty"`
	Lon           *float64          `json:"lon,omitempty"`
	MCC           string            `json:"mcc,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
}

// scoreAnswer is what the demo reads of an answer.
type scoreAnswer struct {
	Outcome    string              `json:"outcome"`
	Score      *float64            `json:"score"`
	Reasons    []decision.Reason   `json:"reasons"`
	Durability decision.Durability `json:"durability"`
	Replayed   bool                `json:"replayed"`
	Degraded   []string            `json:"degraded"`
	Versions   decision.Versions   `json:"versions"`
}

const timestampLayout = "2006-01-02T15:04:05.000Z"

func bodyOf(t *decision.Transaction) scoreBody {
	b := scoreBody{TransactionID: t.ID, Timestamp: time.UnixMilli(t.At).UTC().Format(timestampLayout), CardID: t.Card, DeviceID: t.Device,
		MerchantID: t.Merchant, Amount: t.Amount, Currency: t.Currency, Country: t.Country, MCC: t.MCC, Attributes: map[string]string{}}
	if t.HasPosition {
		b.Lat, b.Lon = &t.Lat, &t.Lon
	}
	for _, a := range t.Attributes {
		b.Attributes[a.Name] = a.Value
	}
	return b
}

func (c *demoClient) score(job *demoJob) {
	deadline := c.deadline
	if job.past {
		deadline = "10000" // it competes with nothing that is measured
	}
	var answer scoreAnswer
	err := c.post("/v1/score", deadline, bodyOf(&job.event.Transaction), &answer)
	c.stats.answered(job, &answer, err, time.Now())
}

func (c *demoClient) label(labels []decision.Label) {
	type label struct {
		TransactionID string `json:"transaction_id"`
		CardID        string `json:"card_id"`
		Fraud         bool   `json:"fraud"`
		KnownAt       string `json:"known_at"`
	}
	var body struct {
		Labels []label `json:"labels"`
	}
	for _, l := range labels {
		body.Labels = append(body.Labels, label{l.TransactionID, l.Card, l.Fraud, time.UnixMilli(l.KnownAt).UTC().Format(timestampLayout)})
	}
	c.stats.labelled(len(labels), c.post("/v1/labels", "10000", body, nil))
}

// refusalError is a refusal by the edge.
type refusalError struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error returns the code and the detail.
func (e *refusalError) Error() string { return e.Code + ": " + e.Detail }

// post sends one request. The error is a *refusalError when the edge answered.
func (c *demoClient) post(path, deadlineMs string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	// The end of the demo does not cut off what is under way.
	ctx, cancel := context.WithTimeout(context.Background(), demoPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Deadline-Ms", deadlineMs)
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("post %s: %w", path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		refusal := &refusalError{}
		if json.Unmarshal(answer, refusal) != nil || refusal.Code == "" {
			refusal = &refusalError{Code: "http_" + strconv.Itoa(response.StatusCode), Detail: string(answer)}
		}
		return refusal
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

// codeOf names an error in few words, so that they can be counted.
func codeOf(err error) string {
	var refusal *refusalError
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return "no_answer"
}

// labelHeap orders labels by the time at which they become known.
type labelHeap []decision.Label

func (h labelHeap) Len() int           { return len(h) }
func (h labelHeap) Less(i, j int) bool { return h[i].KnownAt < h[j].KnownAt }
func (h labelHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *labelHeap) Push(l any) { *h = append(*h, l.(decision.Label)) }

// Pop is for container/heap.
func (h *labelHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
