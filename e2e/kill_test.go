package e2e

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// A node that is killed in mid-load and started again has lost nothing that it had promised, counts nothing twice, and holds what a fold of the
// log from zero gives. A subscriber of the decision feed misses nothing and sees nothing twice.
func TestKilledInMidLoadNothingIsLostOrTwice(t *testing.T) {
	s := newSite(t, "")
	s.patient = true
	l := newLedger()
	s.start()
	sub := subscribe(t, s)
	random := rand.New(rand.NewPCG(1, 2))
	retried, found, again := 0, 0, 0
	rounds := killRounds(t)
	for round := range rounds {
		load := newLoad(s, l, "r"+strconv.Itoa(round))
		if round%2 == 0 { // large batches: a kill likely comes amid one
			load.workers, load.every = 48, 5*time.Millisecond
		}
		before := l.size()
		traffic := load.begin(t)
		eventually(t, 30*time.Second, "the load runs", func() string {
			if l.size() < before+50 {
				return "too few requests"
			}
			return ""
		})
		time.Sleep(time.Duration(random.IntN(1200)) * time.Millisecond) // in any moment
		s.node.kill()
		traffic.end()
		if round%2 == 1 { // and once more while it comes back
			s.launch(s.redis)
			time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
			s.node.kill()
		}
		s.start()
		asked, known := load.settle(t, 30*time.Second)
		retried, found = retried+asked, found+known
		again += load.askAgain(7 * (round + 1))
		if t.Failed() {
			return
		}
	}
	s.awaitFolded()
	log := s.readLog()
	l.checkAnswers(t)
	duplicates := l.checkLog(t, log, false)
	sub.check(t, log)
	l.checkFeatures(t, s.client, log)
	stored := s.redis.entities()
	s.node.kill()
	compareStates(t, "redis after the kills, against a fold from zero", stored, s.foldFromZero())
	t.Logf("%d rounds: %s; retried for an answer %d, of which %d were in the log, asked again %d, decisions in the log %d, duplicates %d, events %d",
		rounds, l.everything(), retried, found, again, len(log.order), duplicates, sub.count())
}
