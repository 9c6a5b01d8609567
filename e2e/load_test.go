package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// load is traffic: some workers, each of which sends one transaction after the other, and some of them again.
type load struct {
	site   *site
	ledger *ledger
	// name is part of every id. Loads of one ledger have different names.
	name string
	// workers send one request at a time each, every tells how often.
	workers int
	every   time.Duration
	// deadline is that of each request.
	deadline time.Duration
	// cards, devices and merchants are how many there are of each.
	cards, devices, merchants int
}

func newLoad(s *site, l *ledger, name string) *load {
	return &load{site: s, ledger: l, name: name, workers: 8, every: 10 * time.Millisecond, deadline: 2 * time.Second, cards: 200, devices: 80, merchants: 10}
}

// running is a load that runs.
type running struct {
	stop    context.CancelFunc
	workers sync.WaitGroup
}

// begin starts the workers; end ends them. A request that is on its way at the end is waited for.
func (l *load) begin(t *testing.T) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel}
	for w := range l.workers {
		r.workers.Go(func() { l.work(ctx, w) })
	}
	t.Cleanup(r.end)
	return r
}

func (r *running) end() {
	r.stop()
	r.workers.Wait()
}

func (l *load) work(ctx context.Context, worker int) {
	random := rand.New(rand.NewPCG(uint64(worker), uint64(len(l.name))))
	ticker := time.NewTicker(l.every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		e := l.ledger.open(l.transaction(random, fmt.Sprintf("%s-%d-%d", l.name, worker, n)))
		switch chance := random.IntN(100); {
		case chance < 4: // again, once it was answered
			l.send(e)
			l.send(e)
		case chance < 8: // at once
			var twins sync.WaitGroup
			twins.Go(func() { l.send(e) })
			twins.Go(func() { l.send(e) })
			twins.Wait()
		default:
			l.send(e)
		}
	}
}

func (l *load) transaction(random *rand.Rand, id string) *transaction {
	tx := &transaction{ID: id, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), Card: fmt.Sprintf("card-%d", random.IntN(l.cards)),
		Merchant: fmt.Sprintf("merchant-%d", random.IntN(l.merchants)), Amount: 1 + random.Int64N(25_000), Currency: "EUR"}
	if random.IntN(10) > 0 {
		tx.Device = fmt.Sprintf("device-%d", random.IntN(l.devices))
	}
	return tx
}

// send sends a transaction and notes the answer.
func (l *load) send(e *entry) *answer {
	life := l.site.lives
	a := l.site.client.score(context.Background(), &e.tx, l.deadline, false)
	a.Life = life
	e.note(a)
	return a
}

// settle asks for every transaction again that has no committed answer yet, until it has one. It returns how many these were, and how many of them
// had been decided.
func (l *load) settle(t *testing.T, within time.Duration) (asked, known int) {
	t.Helper()
	deadline := time.Now().Add(within)
	for _, e := range l.ledger.all() {
		if e.committed() != nil {
			continue
		}
		asked++
		for {
			a := l.send(e)
			if a.committed() {
				if a.Replayed {
					known++
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has no committed answer: %+v", e.tx.ID, a)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return asked, known
}

// askAgain asks for every n-th transaction that was answered as committed once more.
func (l *load) askAgain(n int) (asked int) {
	for i, e := range l.ledger.all() {
		if i%n == 0 && e.committed() != nil {
			asked++
			l.send(e)
		}
	}
	return asked
}
