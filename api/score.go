package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"scoremesh/decision"
)

// score serves POST /v1/score.
func (x *exchange) score() error {
	explain, err := x.explain()
	if err != nil {
		return err
	}
	if _, err := x.media(mediaJSON); err != nil {
		return err
	}
	ctx, cancel, err := x.withDeadline(x.e.config.DefaultDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	// A slow body holds no slot.
	if err := x.readBody(x.e.config.MaxScoreBytes); err != nil {
		return err
	}
	answer, err := x.admitAndScore(ctx, explain)
	if err != nil {
		return err
	}
	took := time.Since(x.began)
	// The context's timer may be late where the processor is busy; the clock is not.
	if deadline, bounded := ctx.Deadline(); bounded && x.began.Add(took).After(deadline) {
		return context.DeadlineExceeded
	}
	x.e.metrics.decided(answer, took)
	x.out = appendAnswer(x.out[:0], answer, x.e.region, took)
	x.write(http.StatusOK, typeJSON)
	return nil
}

// admitAndScore scores the transaction in x.in. It holds its slot until the decision is there, not while the answer is written.
func (x *exchange) admitAndScore(ctx context.Context, explain bool) (*decision.Answer, error) {
	e := x.e
	if !e.scoring.admit(1) {
		e.metrics.shed[endpointScore].Inc()
		return nil, e.overloaded
	}
	defer e.scoring.release(1)
	x.private = true
	x.scan.reset(x.in)
	if err := x.transaction.read(&x.scan); err != nil {
		return nil, err
	}
	if err := x.scan.end(); err != nil {
		return nil, err
	}
	t, err := e.judge(&x.transaction, &x.scan, e.judgement())
	if err != nil {
		return nil, err
	}
	x.private = x.transaction.has(fieldCardNumber)
	return e.decide(ctx, t, explain)
}

func (e *edge) judgement() judgement { return judgement{e.backend.Now(), e.backend.Bounds()} }

// decide asks the backend. An answer that comes after the deadline is none.
func (e *edge) decide(ctx context.Context, t *decision.Transaction, explain bool) (*decision.Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a, err := e.backend.Score(ctx, t, explain)
	if err != nil {
		return nil, withoutIDs(err, t)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a == nil || a.Decision == nil || a.Decision.Outcome == decision.Undecided || a.Decision.Outcome > decision.StepUp {
		return nil, errors.New("the backend answered without an outcome")
	}
	return a, nil
}

// withoutIDs takes the transaction's ids out of the text of an error that will be logged.
func withoutIDs(err error, t *decision.Transaction) error {
	if _, understood := refusal(err); understood {
		return err
	}
	text := err.Error()
	for _, id := range [...]string{t.ID, t.Card, t.Device, t.Merchant} {
		if id != "" {
			text = strings.ReplaceAll(text, id, "…")
		}
	}
	return errors.New(text)
}

// batchItem is one transaction of a batch and what became of it: first t or err, then answer or err.
type batchItem struct {
	t      *decision.Transaction
	answer *decision.Answer
	took   time.Duration
	err    error
}

// scoreBatch serves POST /v1/score:batch. A body that is not right in shape is refused whole, before anything is scored; after
// that each transaction has its own result.
func (x *exchange) scoreBatch() error {
	explain, err := x.explain()
	if err != nil {
		return err
	}
	if _, err := x.media(mediaJSON); err != nil {
		return err
	}
	ctx, cancel, err := x.withDeadline(x.e.config.BatchDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if err := x.readBody(x.e.config.MaxBatchBytes); err != nil {
		return err
	}
	items, err := x.admitAndScoreBatch(ctx, explain)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	x.out = append(x.out[:0], `{"results":[`...)
	for i := range items {
		item := &items[i]
		if i > 0 {
			x.out = append(x.out, ',')
		}
		if item.err != nil {
			told := x.e.tell(endpointBatch, x.keyName, item.err)
			x.e.metrics.latency[decision.Undecided].Observe(item.took.Seconds())
			x.out = append(x.out, `{"problem":`...)
			x.out = appendProblem(x.out, told, nil)
		} else {
			x.e.metrics.decided(item.answer, item.took)
			x.out = append(x.out, `{"answer":`...)
			x.out = appendAnswer(x.out, item.answer, x.e.region, item.took)
		}
		x.out = append(x.out, '}')
	}
	x.out = append(x.out, "]}"...)
	x.write(http.StatusOK, typeJSON)
	return nil
}

// admitAndScoreBatch reads the batch in x.in and scores it, as many transactions at once as it got slots for.
func (x *exchange) admitAndScoreBatch(ctx context.Context, explain bool) ([]batchItem, error) {
	e := x.e
	// Decoding costs, so it is admitted as well: with one slot, that the fan-out then adds to.
	if !e.scoring.admit(1) {
		e.metrics.shed[endpointBatch].Inc()
		return nil, e.overloaded
	}
	defer e.scoring.release(1)
	items, err := x.readBatch()
	if err != nil {
		return nil, err
	}
	workers := min(e.config.BatchFanOut, len(items))
	if more := workers - 1; !e.scoring.admit(more) {
		workers = 1
	} else {
		defer e.scoring.release(more)
	}

	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(items) {
				return
			}
			e.scoreItem(ctx, &items[i], explain)
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return items, nil
}

// scoreItem scores one transaction of a batch. A panic ends that transaction only: it is not on the server's goroutine.
func (e *edge) scoreItem(ctx context.Context, item *batchItem, explain bool) {
	if item.err != nil {
		return
	}
	began := time.Now()
	defer func() {
		item.took = time.Since(began)
		if p := recover(); p != nil {
			e.panicked(endpointBatch, p)
			item.answer, item.err = nil, errInternal
		}
	}()
	item.answer, item.err = e.decide(ctx, item.t, explain)
}

// readBatch reads {"transactions": [...]}.
func (x *exchange) readBatch() ([]batchItem, error) {
	const key = "transactions"
	s := &x.scan
	s.reset(x.in)
	x.private = true
	var items []batchItem
	if err := s.open('{'); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		name, more, err := s.key(first)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if string(name) != key {
			return nil, unknownKey(name)
		}
		if !first {
			return nil, repeatedKey(key)
		}
		if items, err = x.readBatchItems(); err != nil {
			return nil, within(key, err)
		}
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, invalid(key, fmt.Sprintf("required: 1 to %d transactions", x.e.config.MaxBatchItems))
	}
	return items, nil
}

func (x *exchange) readBatchItems() ([]batchItem, error) {
	s, limit := &x.scan, x.e.config.MaxBatchItems
	if err := s.open('['); err != nil {
		return nil, err
	}
	var items []batchItem
	j := x.e.judgement()
	for first := true; ; first = false {
		more, err := s.element(first)
		if err != nil || !more {
			return items, err
		}
		if len(items) == limit {
			return nil, &decision.Error{Code: CodeTooLarge, Detail: fmt.Sprintf("at most %d are allowed", limit)}
		}
		if err := x.transaction.read(s); err != nil {
			return nil, within(fmt.Sprintf("[%d]", len(items)), err)
		}
		t, err := x.e.judge(&x.transaction, s, j)
		items = append(items, batchItem{t: t, err: err})
	}
}
