package actors

import (
	"testing"

	"scoremesh/decision"
	"scoremesh/feature"
)

// rig is one card machine with a hand on everything it does. Its log is the own one; seq counts batches.
type rig struct {
	*testing.T
	schema  *feature.Schema
	machine *shard
	redis   *lawRedis
	now     int64
	seq     uint64

	loads   []loadOrder
	flush   *flushOrder
	replays []ReplayRequest
	asks    []*askOrder
	emits   []*emitOrder
	panics  int
	drained bool
}

var own = feature.Origin{Region: "eu", Epoch: 7}

func newRig(t *testing.T, change func(*Config)) *rig {
	c := DefaultConfig()
	c.Partitions = 1
	if change != nil {
		change(&c)
	}
	s := parseSchema(t)
	return &rig{T: t, schema: s, machine: newShard(ShardID{feature.Card, 0}, c, s, own), redis: newLawRedis(), now: t0}
}

// serving is a rig that serves an empty log.
func serving(t *testing.T, change func(*Config)) *rig {
	r := newRig(t, change)
	r.step(r.redis.start())
	r.catchUp()
	return r
}

func (r *rig) step(m message) {
	e := r.machine.step(r.now, m)
	for _, a := range e.answers {
		a.to.answer <- a.reply
	}
	for _, v := range e.views {
		v.to.answer <- v.reply
	}
	r.loads = append(r.loads, e.loads...)
	if e.flush != nil {
		r.flush = e.flush
	}
	if e.replay != nil {
		r.replays = append(r.replays, *e.replay)
	}
	if e.askLast != nil {
		r.asks = append(r.asks, e.askLast)
	}
	if e.emit != nil {
		r.emits = append(r.emits, e.emit)
	}
	r.panics += len(e.panics)
	r.drained = r.drained || len(e.drained) > 0
}

// catchUp ends the last replay with nothing more to bring.
func (r *rig) catchUp() {
	r.Helper()
	q := r.replays[len(r.replays)-1]
	r.step(&caughtUp{generation: q.Generation, upTo: r.machine.received.Clone()})
	if r.machine.status != statusServing {
		r.Fatalf("got status %v after the replay, want serving", r.machine.status)
	}
}

func (r *rig) tick(by int64) { r.now += by; r.step(theTick) }

// flushNow lets time pass until a flush is due, and confirms it.
func (r *rig) flushNow() {
	r.Helper()
	r.tick(5000)
	if r.flush == nil {
		r.Fatal("no flush was ordered")
	}
	f := r.flush
	r.flush = nil
	r.step(&flushed{generation: f.generation, result: r.redis.flush(f.request)})
}

// load answers the oldest load order from Redis.
func (r *rig) load() {
	r.Helper()
	if len(r.loads) == 0 {
		r.Fatal("no load was ordered")
	}
	o := r.loads[0]
	r.loads = r.loads[1:]
	r.step(&loaded{order: o, result: r.redis.load(LoadRequest{IDs: o.ids})})
}

// commit appends the records as the next batch and folds it.
func (r *rig) commit(records ...feature.Record) feature.Position {
	from := feature.Mark(0)
	if r.seq > 0 {
		from = feature.EndOf(r.seq)
	}
	r.seq++
	f := &fold{origin: own, from: from, to: feature.EndOf(r.seq)}
	for i := range records {
		if records[i].Touches(feature.Card) != "" {
			f.records = append(f.records, placed{feature.MarkOf(r.seq, i), &records[i]})
		}
	}
	r.step(f)
	return feature.Position{Origin: own, Mark: feature.MarkOf(r.seq, 0)}
}

func transaction(id, card string, at int64) *decision.Transaction {
	return &decision.Transaction{ID: id, Card: card, Merchant: "m1", At: at, Amount: 100, BaseAmount: 100, Currency: "EUR"}
}

func decided(t *decision.Transaction, outcome decision.Outcome) *decision.Decision {
	return &decision.Decision{Transaction: *t, Outcome: outcome, Versions: decision.Versions{Schema: "v1"}, DecidedAt: t.At, Digest: t.Digest(), Node: "eu-1"}
}

// ask sends an attempt with a deadline in 1 s.
func (r *rig) ask(t *decision.Transaction) *attempt {
	a := &attempt{transaction: t, key: t.Key(), digest: t.Digest(), deadline: r.now + 1000, values: make([]float64, len(r.schema.Names())), answer: make(chan reply, 1)}
	r.step(a)
	return a
}

// got returns the attempt's reply; there must be one.
func (r *rig) got(a *attempt) reply {
	r.Helper()
	select {
	case x := <-a.answer:
		return x
	default:
		r.Fatal("the attempt has no reply")
		return reply{}
	}
}

// waits says that the attempt has no reply yet.
func (r *rig) waits(a *attempt) {
	r.Helper()
	if len(a.answer) > 0 {
		r.Fatalf("got reply %+v, want none yet", <-a.answer)
	}
}

// registered sends an attempt that must be registered.
func (r *rig) registered(t *decision.Transaction) (*attempt, *pending) {
	r.Helper()
	a := r.ask(t)
	x := r.got(a)
	if x.err != nil || x.pending == nil {
		r.Fatalf("got %+v, want a registration", x)
	}
	return a, x.pending
}

func (r *rig) notice(kind noticeKind, p *pending, d *decision.Decision, at feature.Position) {
	r.step(&notice{kind: kind, pending: p, decision: d, position: at, err: errUndecided})
}

// value reads a card feature from what an attempt was given.
func (r *rig) value(a *attempt, name string) float64 {
	r.Helper()
	for i, n := range r.schema.Names() {
		if n == name {
			return a.values[i]
		}
	}
	r.Fatalf("no feature %q", name)
	return 0
}

func (r *rig) wantCode(x reply, want decision.Code) {
	r.Helper()
	if e, ok := x.err.(*decision.Error); !ok || e.Code != want {
		r.Fatalf("got %+v, want a refusal with %s", x, want)
	}
}
