package region

import (
	"context"
	"fmt"
	"sync"

	"scoremesh/decision"
	"scoremesh/feature"
)

// Label commits labels, all or nothing: an error says that none is confirmed, and sending them again is harmless.
func (r *Region) Label(ctx context.Context, labels []decision.Label) error {
	records := make([]feature.Record, len(labels))
	for i := range labels {
		records[i] = feature.Record{Label: &labels[i]}
	}
	return r.appendAll(ctx, records)
}

// CheckRow refuses a row that names a feature which the schema does not publish for its kind.
func (r *Region) CheckRow(row *feature.Row) error {
	for _, v := range row.Values {
		if !r.rules.Load().schema.Published(row.Kind, v.Name) {
			return &decision.Error{Code: decision.CodeInvalid, Field: "values." + v.Name,
				Detail: fmt.Sprintf("schema %s has no profile feature of this name for a %s", r.rules.Load().schema.Version(), row.Kind)}
		}
	}
	return nil
}

// Publish commits feature rows, all or nothing like Label.
func (r *Region) Publish(ctx context.Context, rows []feature.Row) error {
	records := make([]feature.Record, len(rows))
	for i := range rows {
		records[i] = feature.Record{Row: &rows[i]}
	}
	return r.appendAll(ctx, records)
}

// appendAll waits until every record is in the log.
func (r *Region) appendAll(ctx context.Context, records []feature.Record) error {
	if r.draining.Load() {
		return &decision.Error{Code: decision.CodeNotReady, Detail: "the node is draining"}
	}
	all := newTogether(len(records))
	for i := range records {
		if err := r.appender.Append(&records[i], all.one); err != nil {
			return r.refusal(err)
		}
	}
	select {
	case <-all.done:
		if err := all.failure(); err != nil {
			return r.refusal(err)
		}
		return nil
	case <-ctx.Done():
		return &decision.Error{Code: decision.CodeDeadline, Detail: "the log did not confirm in time; sending the same again is harmless"}
	}
}

// together waits for several records. A record that was refused is never counted, so done may stay open: nobody waits then.
type together struct {
	done chan struct{}
	mu   struct {
		sync.Mutex
		missing int
		err     error
	}
}

func newTogether(n int) *together {
	t := &together{done: make(chan struct{})}
	t.mu.missing = n
	if n == 0 {
		close(t.done)
	}
	return t
}

func (t *together) one(_ feature.Position, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.mu.err = err
	}
	if t.mu.missing--; t.mu.missing == 0 {
		close(t.done)
	}
}

func (t *together) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.err
}
