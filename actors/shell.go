package actors

import (
	"github.com/anthdm/hollywood/actor"
	"github.com/rs/zerolog"
)

// shell is the Hollywood side of a shard: it hands messages to the machine and performs the effects. Hollywood drops a message that panics
// and ends the process after a few, so nothing panics past it.
type shell struct {
	box     *mailbox
	machine *shard
	edge    Edge
	now     func() int64
	log     zerolog.Logger
	metrics *shardMetrics
}

// Receive takes one message. What is not a shard's message is Hollywood's own.
func (sh *shell) Receive(c *actor.Context) {
	switch m := c.Message().(type) {
	case message:
		sh.box.received(m)
		sh.handle(m)
	case actor.Stopped:
		sh.stop()
	}
}

func (sh *shell) handle(m message) {
	e := sh.step(m)
	sh.settle(e)
	sh.order(e)
	if _, ok := m.(*tick); ok {
		sh.publish()
	}
}

// step runs the machine. After a panic the shard begins anew from what is stored; answers that the step had already given still go out.
func (sh *shell) step(m message) (e *effects) {
	defer func() {
		if v := recover(); v != nil {
			sh.report(panicOf(v))
			e = sh.machine.crash(sh.now())
			if f, ok := m.(*fold); ok {
				sh.machine.finish(f)
			}
		}
	}()
	return sh.machine.step(sh.now(), m)
}

// report counts and logs a panic.
func (sh *shell) report(p caughtPanic) {
	sh.metrics.panics.Inc()
	sh.log.Error().Stringer("kind", sh.box.id.Kind).Int("partition", sh.box.id.Partition).Str("panic", p.text).
		Bytes("stack", p.stack).Msg("shard panicked")
}

// stop answers what still waits.
func (sh *shell) stop() {
	sh.machine.out.reset()
	sh.machine.abandonAll()
	sh.settle(&sh.machine.out)
}

// order gives the host what a step wants done; the results come back as messages. A panic of the host's may have lost an order, which
// then would be in flight for ever, so it is treated as the shard's own.
func (sh *shell) order(e *effects) {
	defer func() {
		if v := recover(); v != nil {
			sh.report(panicOf(v))
			sh.settle(sh.machine.crash(sh.now()))
		}
	}()
	for _, o := range e.loads {
		sh.edge.Load(LoadRequest{Shard: sh.box.id, IDs: o.ids, Urgent: o.urgent}, func(r LoadResult, err error) {
			sh.box.send(&loaded{order: o, result: r, err: err})
		})
	}
	if o := e.flush; o != nil {
		generation := o.generation
		sh.edge.Flush(o.request, func(r FlushResult, err error) {
			sh.box.send(&flushed{generation: generation, result: r, err: err})
		})
	}
	if e.replay != nil {
		sh.edge.Replay(*e.replay)
	}
	if o := e.askLast; o != nil {
		generation := o.generation
		sh.edge.AskLast(sh.box.id.Partition, func(seq uint64, err error) {
			sh.box.send(&lastIs{generation: generation, seq: seq, err: err})
		})
	}
	if o := e.emit; o != nil {
		generation := o.generation
		sh.edge.Emit(o.request, func(seq uint64, err error) {
			sh.box.send(&emitted{generation: generation, seq: seq, err: err})
		})
	}
	if e.restart {
		sh.edge.Restart(sh.box.id)
	}
}

// settle gives out what others wait for, once.
func (sh *shell) settle(e *effects) {
	for _, a := range e.answers {
		select {
		case a.to.answer <- a.reply:
		default:
		}
	}
	e.answers = emptied(e.answers)
	for _, v := range e.views {
		select {
		case v.to.answer <- v.reply:
		default:
		}
	}
	e.views = emptied(e.views)
	for _, f := range e.finished {
		sh.box.release()
		recycle(f)
	}
	e.finished = emptied(e.finished)
	for _, done := range e.drained {
		close(done)
	}
	e.drained = emptied(e.drained)
	for _, p := range e.panics {
		sh.report(p)
	}
	e.panics = emptied(e.panics)
	if e.rebuild != "" {
		sh.log.Warn().Stringer("kind", sh.box.id.Kind).Int("partition", sh.box.id.Partition).Str("reason", e.rebuild).Msg("shard rebuilds")
		e.rebuild = ""
	}
	if s := uint32(sh.machine.status); s != sh.box.status.Load() {
		sh.box.status.Store(s)
	}
}

// emptied keeps a slice's memory and nothing that was in it.
func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// publish shows the shard's figures to metrics and host.
func (sh *shell) publish() {
	sh.box.foldedAt.Store(sh.machine.foldedAt)
	sh.metrics.publish(sh.machine)
}
