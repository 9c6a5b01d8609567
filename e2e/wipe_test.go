package e2e

import (
	"sync"
	"testing"
	"time"
)

// Redis loses everything in mid-load, again and again: answers go on, those that lack something say so, and the states come back to the same
// bytes. Cards leave memory at once, so that a rebuild forgets ids too: a retry then may be decided anew, and says that it could not know.
func TestRedisWipedInMidLoadIsRebuilt(t *testing.T) {
	t.Parallel()
	s := newSite(t, "shards: {max_hot: 1}")
	l := newLedger()
	s.start()
	load := newLoad(s, l, "a")
	load.cards = 1000
	traffic := load.begin(t)
	time.Sleep(2 * time.Second) // something to lose
	traffic.end()

	load.name = "b"
	traffic = load.begin(t)
	wiped := time.Now()
	var retries sync.WaitGroup
	retries.Go(func() { load.askAgain(2) })
	for range 10 { // often while it is being rebuilt
		s.redis.flushAll()
		time.Sleep(250 * time.Millisecond)
	}
	traffic.end()
	retries.Wait()
	after := l.tally(wiped, time.Now())
	load.settle(t, 30*time.Second)
	s.awaitFolded()

	if after.committed == 0 || (after.unanswered+after.refused)*50 > after.requests {
		t.Errorf("answers did not go on while redis was wiped: %s", after)
	}
	if after.degraded["rebuilding"] == 0 || after.degraded["idempotency_unknown"] == 0 {
		t.Errorf("no answer said that something is being rebuilt, or that its id cannot be known: %s", after)
	}
	duplicates := s.checkAtRest(l)
	t.Logf("after the wipes: %s; decided again (labelled, and retracted) %d", after, duplicates)
}

// checkAtRest holds the ledger, the log, the features and Redis to each other and to a fold from zero. The node runs, serves, and is ended. Ids
// that it said it could not know may have been decided twice, and then all but one are retracted.
func (s *site) checkAtRest(l *ledger) (duplicates int) {
	s.t.Helper()
	log := s.readLog()
	l.checkAnswers(s.t)
	duplicates = l.checkLog(s.t, log, true)
	l.checkFeatures(s.t, s.client, log)
	stored := s.redis.entities()
	s.node.kill()
	compareStates(s.t, "redis, against a fold from zero", stored, s.foldFromZero())
	return duplicates
}
