package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"scoremesh/transport/wire"
)

// place is where a record is in the log.
type place struct {
	sequence uint64
	index    int
}

// logged is a decision in the log.
type logged struct {
	at       place
	outcome  string
	decision *wire.Decision
}

// text is what an answer's decision() has to say.
func (d *logged) text() string {
	reasons := make([]struct{ Code, Detail string }, len(d.decision.GetReasons()))
	for i, r := range d.decision.GetReasons() {
		reasons[i].Code, reasons[i].Detail = r.GetCode(), r.GetDetail()
	}
	score := float64(d.decision.GetScore())
	pointer := &score
	if score != score { // NaN: no model scored
		pointer = nil
	}
	a := answer{Outcome: d.outcome, Score: pointer, Reasons: reasons}
	return a.decision()
}

// logView is a log from its first batch to its last, decoded from the wire.
type logView struct {
	first, last uint64
	decisions   map[string][]*logged
	// order holds all decisions as they are in the log.
	order []*logged
	// retracted holds the places of the decisions that a retraction took out.
	retracted map[place]bool
	batches   int
}

func connectNATS(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// readLog reads the region's log as it is now.
func (s *site) readLog() *logView {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	js := connectNATS(s.t, s.natsURL())
	stream, err := js.Stream(ctx, "LOG_local")
	if err != nil {
		s.t.Fatalf("open the log's stream: %v", err)
	}
	state := stream.CachedInfo().State
	v := &logView{first: state.FirstSeq, last: state.LastSeq, decisions: map[string][]*logged{}, retracted: map[place]bool{}}
	if state.Msgs == 0 {
		return v
	}
	consumer, err := js.OrderedConsumer(ctx, "LOG_local", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		s.t.Fatalf("read the log: %v", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		s.t.Fatalf("read the log: %v", err)
	}
	defer messages.Stop()
	ids := map[string]uint64{}
	for next := v.first; next <= v.last; next++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			s.t.Fatalf("read the log at %d of %d: %v", next, v.last, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			s.t.Fatal(err)
		}
		if meta.Sequence.Stream != next {
			s.t.Fatalf("the log has a hole: sequence %d follows %d", meta.Sequence.Stream, next-1)
		}
		var batch wire.RecordBatch
		if err := proto.Unmarshal(m.Data(), &batch); err != nil {
			s.t.Fatalf("decode batch %d: %v", next, err)
		}
		if before, twice := ids[string(batch.GetBatchId())]; twice {
			s.t.Errorf("batch %d was appended again as %d", before, next)
		}
		ids[string(batch.GetBatchId())] = next
		v.add(next, &batch)
	}
	return v
}

func (v *logView) add(sequence uint64, batch *wire.RecordBatch) {
	v.batches++
	for i, r := range batch.GetRecords() {
		if d := r.GetDecision(); d != nil {
			l := &logged{at: place{sequence, i}, outcome: outcomeName(d.GetOutcome()), decision: d}
			v.decisions[d.GetTransaction().GetId()] = append(v.decisions[d.GetTransaction().GetId()], l)
			v.order = append(v.order, l)
		}
		if x := r.GetRetraction(); x != nil {
			v.retracted[place{x.GetLoser().GetSequence(), int(x.GetLoser().GetIndex())}] = true
		}
	}
}

func outcomeName(o wire.Outcome) string {
	return strings.ToLower(strings.TrimPrefix(o.String(), "OUTCOME_"))
}

// canonical returns the decision of an id that counts: the first in (decided_at, place). nil: the log has none.
func (v *logView) canonical(id string) *logged {
	var best *logged
	for _, d := range v.decisions[id] {
		if best == nil || d.decision.GetDecidedAt() < best.decision.GetDecidedAt() {
			best = d
		}
	}
	return best
}

// checkLog holds the log to the ledger: what was answered as committed is in it with that decision, nothing is in it that was not asked for,
// and no id is in it twice; mayRepeat allows that for ids which a node, saying so, could not know, and then all but one are retracted.
func (l *ledger) checkLog(t *testing.T, v *logView, mayRepeat bool) (duplicates int) {
	t.Helper()
	wrong := 0
	report := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	entries := l.all()
	for _, e := range entries {
		decisions := v.decisions[e.tx.ID]
		for _, a := range e.answers() {
			if a.committed() && !isAmong(a, decisions) {
				report("%s was answered as committed with %s, which is not in the log: %s", e.tx.ID, a.decision(), texts(decisions))
			}
		}
		if len(decisions) < 2 {
			continue
		}
		duplicates += len(decisions) - 1
		if !mayRepeat || !anyUnknowing(e) {
			report("%s is in the log %d times: %s", e.tx.ID, len(decisions), texts(decisions))
		}
		for _, d := range decisions {
			if counts := d == v.canonical(e.tx.ID); counts == v.retracted[d.at] {
				report("%s: of %d decisions the one at %v counts=%v, retracted=%v", e.tx.ID, len(decisions), d.at, counts, v.retracted[d.at])
			}
		}
	}
	for id := range v.decisions {
		if _, asked := l.entries[id]; !asked {
			report("%s is in the log and was never asked for", id)
		}
	}
	if wrong > 5 {
		t.Errorf("and %d more faults in the log", wrong-5)
	}
	return duplicates
}

func isAmong(a *answer, decisions []*logged) bool {
	for _, d := range decisions {
		if d.text() == a.decision() {
			return true
		}
	}
	return false
}

func anyUnknowing(e *entry) bool {
	for _, a := range e.answers() {
		if unknowing(a) {
			return true
		}
	}
	return false
}

func texts(decisions []*logged) string {
	out := make([]string, len(decisions))
	for i, d := range decisions {
		out[i] = fmt.Sprintf("%v %s degraded %v", d.at, d.text(), d.decision.GetDegraded())
	}
	return strings.Join(out, "; ")
}
