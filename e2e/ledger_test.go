package e2e

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"
)

// entry is one transaction and every answer to it, in the order in which the answers came.
type entry struct {
	tx transaction
	mu struct {
		sync.Mutex
		answers []*answer
	}
}

// note adds an answer.
func (e *entry) note(a *answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.answers = append(e.mu.answers, a)
}

// answers returns those that have come.
func (e *entry) answers() []*answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.mu.answers)
}

// committed returns the first answer that promised that the decision is in the log; nil when there was none.
func (e *entry) committed() *answer {
	for _, a := range e.answers() {
		if a.committed() {
			return a
		}
	}
	return nil
}

// ledger holds every request that was sent and every answer that came. Transaction ids are unique in it.
type ledger struct {
	mu      sync.Mutex
	entries map[string]*entry
	order   []string
}

func newLedger() *ledger { return &ledger{entries: map[string]*entry{}} }

// open notes a transaction before it is sent.
func (l *ledger) open(tx *transaction) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{tx: *tx}
	l.entries[tx.ID] = e
	l.order = append(l.order, tx.ID)
	return e
}

// all returns the entries in the order in which they were opened.
func (l *ledger) all() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*entry, len(l.order))
	for i, id := range l.order {
		out[i] = l.entries[id]
	}
	return out
}

// size is the number of transactions.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.order)
}

// tally counts a ledger.
type tally struct {
	transactions, requests, committed, pending, refused, unanswered, replayed int
	// degraded counts answers by what they lacked; codes refusals by their code.
	degraded, codes map[string]int
	// slowest is the largest time that a node said it took, latencies are those at the client of 200s, sorted.
	slowest   float64
	latencies []time.Duration
}

func (t *tally) String() string {
	return fmt.Sprintf("transactions %d, requests %d, committed %d, pending %d, replayed %d, refused %d %v, unanswered %d, degraded %v, p50 %v, p99 %v",
		t.transactions, t.requests, t.committed, t.pending, t.replayed, t.refused, t.codes, t.unanswered, t.degraded, t.quantile(0.5), t.quantile(0.99))
}

func (t *tally) quantile(q float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[min(int(q*float64(len(t.latencies))), len(t.latencies)-1)].Round(100 * time.Microsecond)
}

// tally counts the answers to requests that were sent within [from, to].
func (l *ledger) tally(from, to time.Time) *tally {
	t := &tally{degraded: map[string]int{}, codes: map[string]int{}}
	for _, e := range l.all() {
		seen := false
		for _, a := range e.answers() {
			if a.Sent.Before(from) || a.Sent.After(to) {
				continue
			}
			seen = true
			t.add(a)
		}
		if seen {
			t.transactions++
		}
	}
	slices.Sort(t.latencies)
	return t
}

func (t *tally) add(a *answer) {
	t.requests++
	switch {
	case a.Status == 0:
		t.unanswered++
		return
	case !a.ok():
		t.refused++
		t.codes[a.Code]++
		return
	case a.committed():
		t.committed++
	default:
		t.pending++
	}
	if a.Replayed {
		t.replayed++
	}
	for _, d := range a.Degraded {
		t.degraded[d]++
	}
	t.slowest = max(t.slowest, a.LatencyMs)
	t.latencies = append(t.latencies, a.Got.Sub(a.Sent))
}

// everything is a tally of the whole ledger.
func (l *ledger) everything() *tally { return l.tally(time.Time{}, time.Now().Add(time.Hour)) }

// unknowing says that the node could not tell whether it knew the id, and said so.
func unknowing(a *answer) bool { return slices.Contains(a.Degraded, "idempotency_unknown") }

// checkAnswers holds the answers to each other: an id has one decision. What was only pending may be decided anew by the node's next life, and an
// answer that says that the node could not know may differ.
func (l *ledger) checkAnswers(t *testing.T) {
	t.Helper()
	wrong := 0
	report := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	for _, e := range l.all() {
		answers := e.answers()
		for i, a := range answers {
			if !a.ok() {
				continue
			}
			if a.TransactionID != e.tx.ID {
				report("%s was answered with the decision of %s", e.tx.ID, a.TransactionID)
			}
			for _, b := range answers[i+1:] {
				binding := a.committed() || a.Life == b.Life
				if !b.ok() || !binding || unknowing(a) || unknowing(b) {
					continue
				}
				if a.decision() != b.decision() {
					report("%s: answered %s (%s, life %d), later %s (%s, life %d)", e.tx.ID, a.decision(), a.Durability, a.Life, b.decision(), b.Durability, b.Life)
				}
				if b.Sent.After(a.Got) && !b.Replayed {
					report("%s: asked again after it had been answered (%s, life %d), the answer is not marked as replayed (life %d)", e.tx.ID, a.Durability, a.Life, b.Life)
				}
			}
		}
	}
	if wrong > 5 {
		t.Errorf("and %d more answers that contradict each other", wrong-5)
	}
}

// expected are the features that the ledger gives an entity, when each transaction in it counts once.
type expected map[string]float64

func (x expected) add(name string, v float64) { x[name] += v }

// features computes what the node's features have to be: by kind and id, by name. Outcomes are those that the log gives.
func (l *ledger) features(t *testing.T, lv *logView) map[[2]string]expected {
	t.Helper()
	out := map[[2]string]expected{}
	of := func(kind, id string) expected {
		key := [2]string{kind, id}
		if out[key] == nil {
			out[key] = expected{}
		}
		return out[key]
	}
	seen := map[[4]string]bool{}
	distinct := func(kind, id, name, value string) {
		key := [4]string{kind, id, name, value}
		if seen[key] {
			return
		}
		seen[key] = true
		of(kind, id).add(name, 1)
	}
	for _, e := range l.all() {
		d := lv.canonical(e.tx.ID)
		if d == nil {
			continue
		}
		amount := float64(e.tx.Amount) / 100
		declined := 0.0
		if d.outcome == "decline" {
			declined = 1
		}
		card, merchant := of("card", e.tx.Card), of("merchant", e.tx.Merchant)
		card.add("card_before", 1)
		card.add("card_sum", amount)
		card.add("card_declined", declined)
		distinct("card", e.tx.Card, "card_merchants", e.tx.Merchant)
		merchant.add("merchant_count", 1)
		merchant.add("merchant_sum", amount)
		merchant.add("merchant_declined", declined)
		if e.tx.Device != "" {
			device := of("device", e.tx.Device)
			device.add("device_count", 1)
			device.add("device_sum", amount)
			distinct("device", e.tx.Device, "device_cards", e.tx.Card)
		}
	}
	return out
}

// checkFeatures asks the node for the features of every entity of the ledger.
func (l *ledger) checkFeatures(t *testing.T, c *client, lv *logView) {
	t.Helper()
	wrong := 0
	all := l.features(t, lv)
	for key, want := range all {
		got, degraded, err := c.features(key[0], key[1])
		if err != nil {
			t.Fatal(err)
		}
		if len(degraded) > 0 {
			t.Errorf("%s: features are degraded at rest: %v", key, degraded)
		}
		for name, w := range want {
			if g, ok := got[name]; !ok || math.Abs(g-w) > 1e-6 {
				if wrong++; wrong <= 5 {
					t.Errorf("%s of %s: got %v, want %v", name, key, g, w)
				}
			}
		}
	}
	if wrong > 5 {
		t.Errorf("and %d more features that are wrong", wrong-5)
	}
	if len(all) == 0 {
		t.Error("there are no features to compare")
	}
}
