package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// together sends requests at the same moment and returns their answers.
func together(n int, send func(i int) *answer) []*answer {
	out := make([]*answer, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			out[i] = send(i)
		})
	}
	close(start)
	all.Wait()
	return out
}

func simple(id, card string) *transaction {
	return &transaction{ID: id, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), Card: card, Device: "device", Merchant: "merchant", Amount: 1000, Currency: "EUR"}
}

// Fifty authorisations of one card at once, with one timestamp, see each other: 0 to 49 before them, each number once.
func TestAuthorisationsAtOnceSeeEachOther(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.patient = true
	s.start()
	for card := range 5 {
		first := simple("", fmt.Sprintf("card-%d", card))
		answers := together(50, func(i int) *answer {
			tx := *first
			tx.ID = fmt.Sprintf("t-%d-%d", card, i)
			return s.client.score(context.Background(), &tx, 5*time.Second, true)
		})
		seen := map[float64]int{}
		for _, a := range answers {
			if !a.committed() || a.Replayed {
				t.Fatalf("want a fresh committed answer, got %+v", a)
			}
			n, ok := a.feature("card_before")
			if !ok {
				t.Fatalf("the answer has no feature card_before: %+v", a.Features)
			}
			seen[n]++
		}
		for n := range 50 {
			if seen[float64(n)] != 1 {
				t.Errorf("card %d: %d transactions saw %d before them, want 1", card, seen[float64(n)], n)
			}
		}
	}
	if log := s.readLog(); len(log.order) != 250 {
		t.Errorf("the log has %d decisions, want 250", len(log.order))
	}
}

// A retry gets the same decision, also while the first request is in flight; another body under the same id is refused.
func TestRetriesGetTheSameDecision(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.patient = true
	s.nats = startNATS(t, s.dir)
	s.start()
	for round := range 20 {
		tx := simple(fmt.Sprintf("t-%d", round), fmt.Sprintf("card-%d", round%3))
		tx.Amount = int64(round) * 1500
		answers := together(8, func(int) *answer { return s.client.score(context.Background(), tx, 5*time.Second, false) })
		fresh := 0
		for _, a := range append(answers, s.client.score(context.Background(), tx, 5*time.Second, false)) {
			if !a.committed() || a.decision() != answers[0].decision() {
				t.Fatalf("want one committed decision for all, got %+v and %+v", answers[0], a)
			}
			if !a.Replayed {
				fresh++
			}
		}
		if fresh != 1 {
			t.Errorf("%d answers are not marked as replayed, want 1", fresh)
		}
		other := *tx
		other.Amount++
		if a := s.client.score(context.Background(), &other, 5*time.Second, false); a.Status != http.StatusConflict || a.Code != "transaction_conflict" {
			t.Errorf("another body under the same id: got %d %s, want 409 transaction_conflict", a.Status, a.Code)
		}
	}
	s.checkRetryInFlight()
	log := s.readLog()
	for id, decisions := range log.decisions {
		if len(decisions) != 1 {
			t.Errorf("%s is in the log %d times", id, len(decisions))
		}
	}
	if len(log.decisions) != 21 {
		t.Errorf("the log has %d transactions, want 21", len(log.decisions))
	}
}

// checkRetryInFlight holds the first request in flight by suspending the log, and sends retries and another body meanwhile.
func (s *site) checkRetryInFlight() {
	t := s.t
	t.Helper()
	tx := simple("t-held", "card-held")
	s.nats.suspend()
	defer s.nats.resume()
	// Which of them comes first is open. All wait for the log, which does not answer, so each is there before the first answer is.
	const deadline = 1500 * time.Millisecond
	answers := together(6, func(int) *answer { return s.client.score(context.Background(), tx, deadline, false) })
	lastSent, firstGot, fresh := answers[0].Sent, answers[0].Got, 0
	for _, a := range answers {
		if !a.ok() || a.decision() != answers[0].decision() {
			t.Fatalf("want one decision for all that were in flight together, got %+v and %+v", answers[0], a)
		}
		if a.Sent.After(lastSent) {
			lastSent = a.Sent
		}
		if a.Got.Before(firstGot) {
			firstGot = a.Got
		}
		if !a.Replayed {
			fresh++
		}
	}
	if firstGot.Before(lastSent) {
		t.Errorf("an answer was there %v before the last request was sent; the requests were not in flight together", lastSent.Sub(firstGot))
	}
	if fresh != 1 {
		t.Errorf("%d answers are not marked as replayed, want 1", fresh)
	}
	other := *tx
	other.Amount++
	if a := s.client.score(context.Background(), &other, deadline, false); a.Status != http.StatusConflict || a.Code != "transaction_conflict" {
		t.Errorf("another body while the first waits for the log: got %d %s, want 409 transaction_conflict", a.Status, a.Code)
	}
	s.nats.resume()
	eventually(t, 30*time.Second, "the decision is committed", func() string {
		if again := s.client.score(context.Background(), tx, time.Second, false); !again.committed() || again.decision() != answers[0].decision() {
			return fmt.Sprintf("%+v", again)
		}
		return ""
	})
}
