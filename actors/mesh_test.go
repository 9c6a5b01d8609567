package actors

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"scoremesh/decision"
	"scoremesh/feature"
)

// mesh is a model of the world around the machines: two regions, each with a log, a Redis for each shard that keeps the law, and two
// owners for each shard. Everything that takes time is an order or a message that some later action carries out, or loses.
type mesh struct {
	t       *rapid.T
	schema  *feature.Schema
	now     int64
	regions []*meshRegion
	open    []*meshAttempt
}

type meshRegion struct {
	mesh   *mesh
	origin feature.Origin
	log    [][]feature.Record // batch seq-1
	last   uint64             // of the conditional subject
	redis  map[feature.Kind]*lawRedis
	dumps  map[feature.Kind]*lawRedis
	owners []*meshOwner
}

type meshOwner struct {
	region  *meshRegion
	kind    feature.Kind
	machine *shard
	inbox   []message
	orders  []func(fault string)
	live    map[feature.Origin]uint64 // sequence up to which the live reader has sent
	slots   int                       // folds sent and not finished
}

// meshAttempt is a registered attempt in the hands of its requester.
type meshAttempt struct {
	owner   *meshOwner
	pending *pending
	t       *decision.Transaction
}

const t0 = 1_700_000_000_000

func meshConfig() Config {
	c := DefaultConfig()
	c.Partitions = 1
	c.MaxHot = 2
	c.FlushMax = 3
	c.MaxLoad = 2
	c.EmitMax = 2
	return c
}

func newMesh(t *rapid.T, schema *feature.Schema) *mesh {
	m := &mesh{t: t, schema: schema, now: t0}
	for i, name := range []string{"eu", "us"} {
		r := &meshRegion{mesh: m, origin: feature.Origin{Region: name, Epoch: uint64(i + 7)},
			redis: map[feature.Kind]*lawRedis{}, dumps: map[feature.Kind]*lawRedis{}}
		for _, kind := range []feature.Kind{feature.Card, feature.Merchant} {
			r.redis[kind], r.dumps[kind] = newLawRedis(), newLawRedis()
			for range 2 {
				o := &meshOwner{region: r, kind: kind}
				o.begin()
				r.owners = append(r.owners, o)
			}
		}
		m.regions = append(m.regions, r)
	}
	return m
}

// begin makes the owner's process new; what it had sent out is lost.
func (o *meshOwner) begin() {
	o.machine = newShard(ShardID{o.kind, 0}, meshConfig(), o.region.mesh.schema, o.region.origin)
	o.inbox, o.orders, o.slots = nil, nil, 0
	o.live = map[feature.Origin]uint64{}
	for _, r := range o.region.mesh.regions {
		o.live[r.origin] = uint64(len(r.log))
	}
	o.inbox = append(o.inbox, o.region.redis[o.kind].start())
}

func (m *mesh) owners() (all []*meshOwner) {
	for _, r := range m.regions {
		all = append(all, r.owners...)
	}
	return all
}

func (m *mesh) owner() *meshOwner {
	return m.owners()[rapid.IntRange(0, len(m.owners())-1).Draw(m.t, "owner")]
}

func (m *mesh) region() *meshRegion {
	return m.regions[rapid.IntRange(0, len(m.regions)-1).Draw(m.t, "region")]
}

// append writes a batch and returns its sequence.
func (r *meshRegion) append(records ...feature.Record) uint64 {
	r.log = append(r.log, records)
	return uint64(len(r.log))
}

// fold cuts the range (from, to] of a log out for the owner.
func (o *meshOwner) fold(r *meshRegion, from, to uint64) {
	f := &fold{origin: r.origin, from: feature.EndOf(from), to: feature.EndOf(to)}
	if from == 0 {
		f.from = 0
	}
	for seq := from + 1; seq <= to; seq++ {
		for i := range r.log[seq-1] {
			rec := &r.log[seq-1][i]
			if rec.Touches(o.kind) != "" {
				f.records = append(f.records, placed{feature.MarkOf(seq, i), rec})
			}
			if rec.Beacon != nil {
				f.beaconAt = max(f.beaconAt, rec.Beacon.At)
			}
		}
	}
	o.slots++
	o.inbox = append(o.inbox, f)
}

// sendLive sends the next batches of one log, unless the shard is full.
func (o *meshOwner) sendLive(r *meshRegion, n int) {
	from := o.live[r.origin]
	to := min(from+uint64(n), uint64(len(r.log)))
	if to > from && o.slots < 4 {
		o.fold(r, from, to)
		o.live[r.origin] = to
	}
}

// receive takes the first message of the inbox in.
func (o *meshOwner) receive() {
	if len(o.inbox) == 0 {
		return
	}
	msg := o.inbox[0]
	o.inbox = o.inbox[1:]
	o.carry(o.machine.step(o.region.mesh.now, msg))
}

func (o *meshOwner) carry(e *effects) {
	o.check()
	m := o.region.mesh
	for _, p := range e.panics {
		m.t.Fatalf("a step panicked: %s\n%s", p.text, p.stack)
	}
	for _, a := range e.answers {
		a.to.answer <- a.reply
		if a.reply.pending != nil {
			m.open = append(m.open, &meshAttempt{o, a.reply.pending, a.to.transaction})
		}
	}
	o.slots -= len(e.finished)
	redis := func() *lawRedis { return o.region.redis[o.kind] }
	order := func(f func(fault string)) { o.orders = append(o.orders, f) }
	send := func(msg message) { o.inbox = append(o.inbox, msg) }
	errFault := errors.New("fault")
	for _, l := range e.loads {
		order(func(fault string) {
			if fault != "" {
				send(&loaded{order: l, err: errFault})
				return
			}
			send(&loaded{order: l, result: redis().load(LoadRequest{IDs: l.ids})})
		})
	}
	if f := e.flush; f != nil {
		order(func(fault string) {
			switch fault {
			case "before":
				send(&flushed{generation: f.generation, err: errFault})
			case "after":
				redis().flush(f.request)
				send(&flushed{generation: f.generation, err: errFault})
			default:
				send(&flushed{generation: f.generation, result: redis().flush(f.request)})
			}
		})
	}
	if q := e.replay; q != nil {
		order(func(string) { o.replay(*q) })
	}
	if a := e.askLast; a != nil {
		order(func(fault string) {
			if fault != "" {
				send(&lastIs{generation: a.generation, err: errFault})
				return
			}
			send(&lastIs{generation: a.generation, seq: o.region.last})
		})
	}
	if q := e.emit; q != nil {
		order(func(fault string) {
			if fault == "before" || q.request.ExpectLast != o.region.last {
				send(&emitted{generation: q.generation, err: errFault})
				return
			}
			o.region.last = o.region.append(q.request.Records...)
			if fault == "after" {
				send(&emitted{generation: q.generation, err: errFault})
				return
			}
			send(&emitted{generation: q.generation, seq: o.region.last})
		})
	}
	if e.restart {
		order(func(string) { send(redis().start()) })
	}
}

// replay is what a Catchup does: ranges from the request to where the live reader is at least, then the end.
func (o *meshOwner) replay(q ReplayRequest) {
	var upTo feature.Vector
	for _, r := range o.region.mesh.regions {
		from, to := q.From.Get(r.origin).Seq(), uint64(len(r.log))
		for seq := from; seq < to; {
			next := min(seq+3, to)
			o.fold(r, seq, next)
			seq = next
		}
		o.live[r.origin] = max(o.live[r.origin], min(o.live[r.origin], to))
		if to > 0 {
			upTo.Advance(r.origin, feature.EndOf(to))
		}
	}
	o.inbox = append(o.inbox, &caughtUp{generation: q.Generation, upTo: upTo})
}

// check holds the machine to its invariants.
func (o *meshOwner) check() {
	s, t := o.machine, o.region.mesh.t
	if !s.applied.Dominates(s.w0) || !s.received.Dominates(s.applied) {
		t.Fatalf("want w0 <= applied <= received, got %v, %v, %v", &s.w0, &s.applied, &s.received)
	}
	if len(s.queue) == 0 && !s.applied.Equal(s.received) {
		t.Fatalf("nothing waits, but applied %v is not received %v", &s.applied, &s.received)
	}
	listed := 0
	for h := s.recency.root.next; h != &s.recency.root; h = h.next {
		listed++
	}
	if listed != len(s.hot) {
		t.Fatalf("%d entities by recency, %d by id", listed, len(s.hot))
	}
	dirty, pending, waiting := 0, 0, len(s.lobby)
	for _, h := range s.hot {
		if h.dirty {
			dirty++
		}
		if h.entity != nil && !h.dirty && !s.w0.Dominates(*h.entity.Vector()) && o.trailsRedis(h) {
			t.Fatalf("an entity that w0 %v does not cover is clean: %v", &s.w0, h.entity.Vector())
		}
		pending += len(h.pending)
		waiting += len(h.waiting)
		for _, p := range h.pending {
			waiting += len(p.waiters)
		}
	}
	if dirty != len(s.dirty) || pending != s.pendings || waiting != s.waiting {
		t.Fatalf("counted %d dirty, %d pending, %d waiting; the shard says %d, %d, %d", dirty, pending, waiting, len(s.dirty), s.pendings, s.waiting)
	}
}

// trailsRedis says that the state was not just read from Redis, ahead of this owner, by another owner's doing.
func (o *meshOwner) trailsRedis(h *hot) bool {
	applied := o.machine.applied.Clone()
	return applied.Dominates(*h.entity.Vector())
}

// attempt asks an owner for a transaction from a small set, so that retries and duplicates are frequent.
func (m *mesh) attempt() *meshOwner {
	o := m.region().owners[rapid.IntRange(0, 1).Draw(m.t, "card owner")]
	n := rapid.IntRange(0, 11).Draw(m.t, "transaction")
	tx := &decision.Transaction{ID: fmt.Sprint("t", n), Card: fmt.Sprint("c", n%4), Merchant: fmt.Sprint("m", n%3), At: t0 + int64(n), Amount: int64(n + 1), BaseAmount: int64(n + 1), Currency: "EUR"}
	a := &attempt{transaction: tx, key: tx.Key(), digest: tx.Digest(), deadline: m.now + 5000, values: make([]float64, len(m.schema.Names())), answer: make(chan reply, 1)}
	o.inbox = append(o.inbox, a)
	return o
}

// decide lets a requester go on: commit, commit and lose the notice, abandon, or die.
func (m *mesh) decide() {
	if len(m.open) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.open)-1).Draw(m.t, "open")
	what := rapid.SampledFrom([]string{"commit", "commit", "commit", "pend", "abandon", "die"}).Draw(m.t, "fate")
	m.end(i, what)
}

func (m *mesh) end(i int, what string) {
	a := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	send := func(n *notice) { a.owner.inbox = append(a.owner.inbox, n) }
	switch what {
	case "abandon":
		send(&notice{kind: noticeAbandoned, pending: a.pending, err: errUndecided})
	case "die":
	default:
		d := &decision.Decision{Transaction: *a.t, Outcome: decision.Approve, Versions: decision.Versions{Schema: "v1"}, DecidedAt: m.now + int64(len(m.open)%3), Digest: a.t.Digest(), Node: a.owner.region.origin.Region}
		send(&notice{kind: noticeDecided, pending: a.pending, decision: d})
		if what == "pend" {
			send(&notice{kind: noticePended, pending: a.pending})
		}
		seq := a.owner.region.append(feature.Record{Decision: d})
		send(&notice{kind: noticeCommitted, pending: a.pending, position: feature.Position{Origin: a.owner.region.origin, Mark: feature.MarkOf(seq, 0)}})
	}
}

func (m *mesh) tick(by int64) {
	m.now += by
	for _, o := range m.owners() {
		o.inbox = append(o.inbox, theTick)
	}
}

// order carries one order out, perhaps with a fault.
func (o *meshOwner) order(i int, fault string) {
	f := o.orders[i]
	o.orders = slices.Delete(o.orders, i, i+1)
	f(fault)
}

// settle gives the owner some time; the first order of it meets the fault.
func (o *meshOwner) settle(fault string) {
	for range 20 {
		for len(o.orders) > 0 {
			o.order(0, fault)
			fault = ""
		}
		o.receive()
	}
}

// quiesce heals everything and lets the mesh come to rest.
func (m *mesh) quiesce() {
	for len(m.open) > 0 {
		m.end(0, "commit")
	}
	for round := range 400 {
		resting := true
		for _, o := range m.owners() {
			for _, r := range m.regions {
				for o.live[r.origin] < uint64(len(r.log)) && o.slots < 4 {
					o.sendLive(r, 3)
				}
			}
			for len(o.inbox) > 0 || len(o.orders) > 0 {
				for len(o.orders) > 0 {
					o.order(0, "")
				}
				o.receive()
			}
			// A retry that was never asked before the faults may have been registered.
			for len(m.open) > 0 {
				m.end(0, "abandon")
			}
			resting = resting && o.resting()
		}
		if resting && round > 3 {
			return
		}
		// Beacons never stop, so a watermark that was wiped or restored is noticed at the next flush at the latest.
		if round < 2 {
			for _, r := range m.regions {
				r.append(feature.Record{Beacon: &feature.Beacon{At: m.now}})
			}
		}
		m.tick(1100)
	}
	for _, o := range m.owners() {
		s := o.machine
		m.t.Logf("%s %s: %v applied %v received %v w0 %v dirty %d queue %d open %d pendings %d catching %v goal %v want %v emitter %v", o.region.origin.Region, o.kind, s.status, &s.applied,
			&s.received, &s.w0, len(s.dirty), len(s.queue), len(s.open.cards), s.pendings, s.catching, s.goal, s.wantReplay, s.emitter)
	}
	m.t.Fatal("the mesh does not come to rest")
}

func (o *meshOwner) resting() bool {
	s := o.machine
	for _, r := range o.region.mesh.regions {
		if s.applied.Get(r.origin).Seq() != uint64(len(r.log)) {
			return false
		}
	}
	return s.status == statusServing && len(s.dirty) == 0 && s.w0.Dominates(s.applied) && len(s.open.cards) == 0 && !s.open.changed() &&
		len(s.queue) == 0 && s.pendings == 0 && s.waiting == 0 && !s.catching && len(o.inbox) == 0 && len(o.orders) == 0
}

// plain folds both logs from zero, one after the other.
func (m *mesh) plain(kind feature.Kind) map[string]*feature.Entity {
	all := map[string]*feature.Entity{}
	for _, r := range m.regions {
		for i, batch := range r.log {
			for j := range batch {
				id := batch[j].Touches(kind)
				if id == "" {
					continue
				}
				if all[id] == nil {
					all[id] = m.schema.New(kind)
				}
				all[id].Apply(feature.Position{Origin: r.origin, Mark: feature.MarkOf(uint64(i+1), j)}, &batch[j])
			}
		}
	}
	return all
}

// verify holds the resting mesh to R2, R3 and R5, and to one retraction for each loser.
func (m *mesh) verify() {
	for _, kind := range []feature.Kind{feature.Card, feature.Merchant} {
		want := m.plain(kind)
		for _, r := range m.regions {
			for _, id := range slices.Sorted(maps.Keys(want)) {
				bytesWant := want[id].Append(nil)
				if got := r.redis[kind].states[id]; !bytes.Equal(got, bytesWant) {
					m.t.Fatalf("%s: Redis of %s holds another %s %s than a fold of the logs from zero", r.origin.Region, r.origin.Region, kind, id)
				}
				for _, o := range r.owners {
					if h := o.machine.hot[id]; o.kind == kind && h != nil && h.entity != nil && !bytes.Equal(h.entity.Append(nil), bytesWant) {
						m.t.Fatalf("%s: an owner holds another %s %s than a fold of the logs from zero", r.origin.Region, kind, id)
					}
				}
			}
		}
	}
	m.verifyOnce()
}

// verifyOnce counts in the logs: every id counts once at its merchant, every loser is retracted once.
func (m *mesh) verifyOnce() {
	decisions := map[uint64]int{}
	merchants := map[string]map[uint64]bool{}
	retractions := map[feature.Position]int{}
	for _, r := range m.regions {
		for i, batch := range r.log {
			for j, rec := range batch {
				if d := rec.Decision; d != nil {
					decisions[d.Transaction.Key()]++
					if merchants[d.Transaction.Merchant] == nil {
						merchants[d.Transaction.Merchant] = map[uint64]bool{}
					}
					merchants[d.Transaction.Merchant][d.Transaction.Key()] = true
				}
				if x := rec.Retraction; x != nil {
					retractions[x.Loser]++
					if x.Loser.Origin != r.origin {
						m.t.Fatalf("batch %d.%d of %v retracts a record of %v", i, j, r.origin, x.Loser.Origin)
					}
				}
			}
		}
	}
	losers := 0
	for _, n := range decisions {
		losers += n - 1
	}
	if len(retractions) != losers {
		m.t.Fatalf("got %d records retracted, want %d", len(retractions), losers)
	}
	for p, n := range retractions {
		if n != 1 {
			m.t.Fatalf("the loser at %v was retracted %d times", p, n)
		}
	}
	low, _ := m.schema.Range(feature.Merchant)
	for id, keys := range merchants {
		for _, r := range m.regions {
			e, err := m.schema.Decode(feature.Merchant, r.redis[feature.Merchant].states[id])
			if err != nil {
				m.t.Fatal(err)
			}
			values := make([]float64, len(m.schema.Names()))
			m.schema.Read(&feature.Query{Kind: feature.Merchant, Entity: e, Transaction: &decision.Transaction{ID: "now", Merchant: id, At: t0 + 60_000}}, values)
			if got := values[low]; got != float64(len(keys)) {
				m.t.Fatalf("%s: merchant counts %v transactions, want %d", r.origin.Region, got, len(keys))
			}
		}
	}
}

func TestMeshComesToRestAtTheFoldOfItsLogs(t *testing.T) {
	schema := parseSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newMesh(t, schema)
		faults := rapid.SampledFrom([]string{"", "", "", "before", "after"})
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { m.t = t },
			"receive": func(t *rapid.T) {
				m.t = t
				o := m.owner()
				for range rapid.IntRange(1, 8).Draw(t, "n") {
					o.receive()
				}
			},
			"order": func(t *rapid.T) {
				m.t = t
				if o := m.owner(); len(o.orders) > 0 {
					o.order(rapid.IntRange(0, len(o.orders)-1).Draw(t, "order"), faults.Draw(t, "fault"))
				}
			},
			"settle": func(t *rapid.T) { // an owner gets some quiet
				m.t = t
				m.owner().settle(faults.Draw(t, "fault"))
			},
			"traffic": func(t *rapid.T) {
				m.t = t
				for range rapid.IntRange(1, 6).Draw(t, "n") {
					o := m.attempt()
					o.settle("")
					if len(m.open) > 0 {
						m.end(len(m.open)-1, "commit")
					}
					m.now++
				}
				for _, o := range m.owners() {
					for _, r := range m.regions {
						o.sendLive(r, 4)
					}
					o.settle(faults.Draw(t, "fault"))
				}
			},
			"live": func(t *rapid.T) {
				m.t = t
				m.owner().sendLive(m.region(), rapid.IntRange(1, 3).Draw(t, "n"))
			},
			"attempt": func(t *rapid.T) { m.t = t; _ = m.attempt() },
			"decide":  func(t *rapid.T) { m.t = t; m.decide() },
			"tick":    func(t *rapid.T) { m.t = t; m.tick(rapid.Int64Range(1, 700).Draw(t, "ms")) },
			"beacon": func(t *rapid.T) {
				m.t = t
				m.region().append(feature.Record{Beacon: &feature.Beacon{At: m.now}})
			},
			"wipe": func(t *rapid.T) {
				m.t = t
				o := m.owner()
				o.region.redis[o.kind] = newLawRedis()
			},
			"dump": func(t *rapid.T) {
				m.t = t
				o := m.owner()
				o.region.dumps[o.kind] = o.region.redis[o.kind].dump()
			},
			"restore": func(t *rapid.T) {
				m.t = t
				o := m.owner()
				o.region.redis[o.kind] = o.region.dumps[o.kind].dump()
			},
			"kill": func(t *rapid.T) {
				m.t = t
				o := m.owner()
				o.begin()
				m.open = slices.DeleteFunc(m.open, func(a *meshAttempt) bool { return a.owner == o })
			},
			"panic": func(t *rapid.T) {
				m.t = t
				o := m.owner()
				o.machine.out.reset()
				o.carry(o.machine.crash(m.now))
			},
		})
		m.t = t
		m.quiesce()
		m.verify()
	})
}
