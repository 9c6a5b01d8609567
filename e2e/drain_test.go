package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A node that is told to end under load answers what it has taken. A client that turns away when the node says that it is not ready sees no
// failure at all; one that goes on sees closed doors, and nothing else. What was answered is in the log and in Redis.
func TestDrainUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.patient = true
	l := newLedger()
	s.start()
	load := newLoad(s, l, "ignores")
	load.workers = 4
	traffic := load.begin(t)
	polite := &politeLoad{load: newLoad(s, l, "polite")}
	polite.load.workers = 4
	polite.begin(t)
	time.Sleep(2 * time.Second)
	s.stop()
	polite.end()
	traffic.end()

	for _, e := range l.all() {
		for _, a := range e.answers() {
			switch {
			case a.committed():
			case a.Status != 0:
				t.Errorf("%s: got %d %s %s while the node drained, want a committed answer or a closed door", e.tx.ID, a.Status, a.Code, a.Durability)
			case polite.sent(e):
				t.Errorf("%s, sent while the node said that it was ready, got no answer: %v", e.tx.ID, a.Err)
			}
		}
	}
	stored := s.redis.entities()
	compareStates(t, "redis after the drain, against a fold from zero", stored, s.foldFromZero())
	s.start()
	load.settle(t, 30*time.Second)
	s.awaitFolded()
	if duplicates := s.checkAtRest(l); duplicates != 0 {
		t.Errorf("%d decisions are in the log twice", duplicates)
	}
	t.Logf("%s; polite requests %d", l.everything(), polite.count.Load())
}

// politeLoad sends as long as the node says that it is ready, as a load balancer does.
type politeLoad struct {
	load  *load
	count atomic.Int64
	done  sync.WaitGroup
}

// begin asks for readiness ten times in each second that a draining node gives; once it says no, no request is sent any more.
func (p *politeLoad) begin(t *testing.T) {
	ctx, turnAway := context.WithCancel(context.Background())
	p.done.Go(func() {
		defer turnAway()
		for {
			if ready, _ := p.load.site.health(); !ready {
				return
			}
			select {
			case <-t.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	for w := range p.load.workers {
		p.done.Go(func() { p.load.work(ctx, w) })
	}
}

func (p *politeLoad) end() {
	p.done.Wait()
	p.count.Store(int64(p.load.ledger.countNamed(p.load.name)))
}

// sent says whether the entry is of this load.
func (p *politeLoad) sent(e *entry) bool { return hasName(e, p.load.name) }

func hasName(e *entry, name string) bool {
	return len(e.tx.ID) > len(name) && e.tx.ID[:len(name)+1] == name+"-"
}

// countNamed counts the transactions of one load.
func (l *ledger) countNamed(name string) (n int) {
	for _, e := range l.all() {
		if hasName(e, name) {
			n++
		}
	}
	return n
}
