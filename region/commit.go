package region

import (
	"sync"
	"sync/atomic"
	"time"

	"scoremesh/actors"
	"scoremesh/decision"
	"scoremesh/feature"
)

// commit waits for one decision's place in the log. It is shared by the request, which may leave at its deadline, and the appender, which
// settles it some day; whoever lets go last puts it back into the pool.
type commit struct {
	pool   *commits
	handle actors.Handle
	// settled has capacity 1 and gets exactly one outcome from the appender.
	settled chan error
	// holders counts those who still hold it: request and appender.
	holders atomic.Int32
	timer   *time.Timer
	// done is c.settle, made once.
	done func(feature.Position, error)
}

// commits is a pool of commit.
type commits struct{ pool sync.Pool }

func (p *commits) get(h actors.Handle) *commit {
	c, ok := p.pool.Get().(*commit)
	if !ok {
		c = &commit{pool: p, settled: make(chan error, 1), timer: time.NewTimer(time.Hour)}
		c.timer.Stop()
		c.done = c.settle
	}
	c.handle = h
	c.holders.Store(2)
	return c
}

// settle is called by the appender once the record is in the log, or never will be.
func (c *commit) settle(p feature.Position, err error) {
	if err == nil {
		c.handle.Committed(p)
	} else {
		c.handle.Abandon(&decision.Error{Code: decision.CodeNotReady, Detail: "the log was closed before the decision was in it"})
	}
	c.settled <- err
	c.release()
}

// wait returns true once the record is in the log, false at the deadline, and an error if it never will be.
func (c *commit) wait(deadline time.Time) (committed bool, err error) {
	defer c.release()
	c.timer.Reset(time.Until(deadline))
	defer c.timer.Stop()
	select {
	case err := <-c.settled:
		return err == nil, err
	case <-c.timer.C:
		return false, nil
	}
}

func (c *commit) release() {
	if c.holders.Add(-1) > 0 {
		return
	}
	select {
	case <-c.settled: //nolint:errcheck // nobody waits for it any more
	default:
	}
	c.handle = actors.Handle{}
	c.pool.pool.Put(c)
}

// abandon gives a commit back whose record was refused: the appender will not settle it.
func (c *commit) abandon() {
	c.holders.Store(1)
	c.release()
}
