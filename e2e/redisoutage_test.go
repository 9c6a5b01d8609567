package e2e

import (
	"testing"
	"time"
)

// outage is how long a part is away.
const outage = 10 * time.Second

// deadlineInOutage is that of every request while a part is away.
const deadlineInOutage = 500 * time.Millisecond

// Redis is away for ten seconds: answers go on within their deadline and say what they lack, and afterwards nothing is wrong.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		leave, back func(*redisServer)
	}{
		{"suspended", (*redisServer).suspend, (*redisServer).resume},
		{"ended and started empty", (*redisServer).stop, (*redisServer).start},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "")
			l := newLedger()
			s.start()
			load := newLoad(s, l, "a")
			load.every, load.deadline = 40*time.Millisecond, deadlineInOutage
			traffic := load.begin(t)
			time.Sleep(time.Second)
			away := time.Now()
			c.leave(s.redis)
			time.Sleep(outage)
			during := l.tally(away, time.Now())
			ready, h := s.health()
			c.back(s.redis)
			time.Sleep(time.Second)
			traffic.end()
			load.settle(t, 30*time.Second)
			s.awaitFolded()
			s.awaitReady(30 * time.Second)

			during.checkWithinDeadline(t)
			if during.committed == 0 || during.degraded["speed_layer_unavailable"] == 0 {
				t.Errorf("answers without redis are not committed, or not labelled: %s", during)
			}
			if !ready || h.State != "degraded" {
				t.Errorf("without redis the node has to stay ready and say that it is degraded; it says %+v", h)
			}
			duplicates := s.checkAtRest(l)
			t.Logf("without redis: %s; duplicates (labelled and retracted) %d", during, duplicates)
		})
	}
}

// checkWithinDeadline asks that requests were answered, and none late.
func (t *tally) checkWithinDeadline(tb *testing.T) {
	tb.Helper()
	if t.requests == 0 || (t.unanswered+t.refused)*50 > t.requests { // the machine may be slow: one in fifty
		tb.Errorf("requests were not answered: %s", t)
	}
	if limit := float64(deadlineInOutage.Milliseconds()); t.slowest > limit {
		tb.Errorf("an answer took %.1f ms, its deadline was %.0f ms", t.slowest, limit)
	}
}
