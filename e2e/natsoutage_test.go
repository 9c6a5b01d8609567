package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// NATS is away for ten seconds: answers go on as "pending", and say so; afterwards everything that was pending is in the log, once.
func TestNATSAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		leave, back func(*natsServer)
	}{
		{"suspended", (*natsServer).suspend, (*natsServer).stall},
		{"killed and started again", (*natsServer).kill, (*natsServer).stumble},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "")
			s.patient = true
			s.nats = startNATS(t, s.dir)
			l := newLedger()
			s.start()
			sub := subscribe(t, s)
			load := newLoad(s, l, "a")
			load.every, load.deadline = 40*time.Millisecond, deadlineInOutage
			traffic := load.begin(t)
			time.Sleep(time.Second)
			away := time.Now()
			c.leave(s.nats)
			time.Sleep(outage)
			during := l.tally(away, time.Now())
			c.back(s.nats)
			time.Sleep(time.Second)
			traffic.end()
			pending := onlyPending(l)
			awaitLogged(t, s, pending)
			load.askAgain(1)
			load.settle(t, 30*time.Second)
			s.awaitFolded()

			during.checkWithinDeadline(t)
			if during.pending == 0 || during.degraded["log_unavailable"] != during.pending {
				t.Errorf("answers without the log are not pending, or not labelled: %s", during)
			}
			log := s.readLog()
			sub.check(t, log)
			duplicates := s.checkAtRest(l)
			if duplicates != 0 {
				t.Errorf("%d decisions are in the log twice", duplicates)
			}
			t.Logf("without nats: %s; pending that came to the log %d, duplicates %d, events %d", during, len(pending), duplicates, sub.count())
		})
	}
}

// onlyPending returns the entries that were answered, and never as committed.
func onlyPending(l *ledger) (out []*entry) {
	for _, e := range l.all() {
		for _, a := range e.answers() {
			if a.ok() && e.committed() == nil {
				out = append(out, e)
				break
			}
		}
	}
	return out
}

// awaitLogged waits until the log has the decisions of the entries as they were answered, without anybody asking again.
func awaitLogged(t *testing.T, s *site, entries []*entry) {
	t.Helper()
	eventually(t, 30*time.Second, "what was pending is in the log", func() string {
		log := s.readLog()
		for _, e := range entries {
			for _, a := range e.answers() {
				if a.ok() && !isAmong(a, log.decisions[e.tx.ID]) {
					return e.tx.ID + " is not"
				}
			}
		}
		return ""
	})
}

// The queue before the log is full: the node says that it is not ready, and refuses by name; what it had accepted comes into the log, and it
// recovers by itself.
func TestFullQueueIsRefusedAndRecovers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "log: {queue_records: 200}")
	s.patient = true
	s.nats = startNATS(t, s.dir)
	l := newLedger()
	s.start()
	load := newLoad(s, l, "a")
	load.deadline = deadlineInOutage
	traffic := load.begin(t)
	time.Sleep(500 * time.Millisecond)
	s.nats.suspend()
	away := time.Now()
	eventually(t, 20*time.Second, "the node is not ready", func() string {
		ready, h := s.health()
		if ready || !strings.Contains(strings.Join(h.Reasons, " "), "queue") {
			return fmt.Sprintf("%+v", h)
		}
		return ""
	})
	eventually(t, 20*time.Second, "requests are refused", func() string {
		if during := l.tally(away, time.Now()); during.codes["not_ready"] == 0 {
			return during.String()
		}
		return ""
	})
	during := l.tally(away, time.Now())
	s.nats.resume()
	s.awaitReady(30 * time.Second)
	traffic.end()
	for _, e := range l.all() {
		for _, a := range e.answers() {
			if a.Code == "not_ready" && a.Status != http.StatusServiceUnavailable {
				t.Fatalf("%s was refused as %s with status %d", e.tx.ID, a.Code, a.Status)
			}
		}
	}
	awaitLogged(t, s, onlyPending(l))
	load.settle(t, 30*time.Second)
	s.awaitFolded()
	if duplicates := s.checkAtRest(l); duplicates != 0 {
		t.Errorf("%d decisions are in the log twice", duplicates)
	}
	t.Logf("with the log away: %s", during)
}
