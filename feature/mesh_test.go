package feature

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"scoremesh/decision"
)

// mesh is some regions that decide, replicate and emit, each at its own pace.
type mesh struct {
	schema  *Schema
	regions []*meshRegion
}

type meshRegion struct {
	origin Origin
	log    []placed
	// applied[i] is how much of region i's log this one has folded.
	applied  []int
	entities map[entityID]*Entity
	// closed are former incarnations of the own log, whose debts this region pays once everything is replicated.
	closed []Origin
}

// write appends a record to the region's log and folds it, as the decision's owner would see it come back.
func (m *mesh) write(r *meshRegion, batch []Record) {
	seq := uint64(1)
	if n := len(r.log); n > 0 {
		seq = r.log[n-1].position.Mark.Seq() + 1
	}
	for i, record := range batch {
		r.log = append(r.log, placed{Position{r.origin, MarkOf(seq, i)}, record})
	}
}

// apply lets region r fold the next n records of region i's log.
func (m *mesh) apply(r *meshRegion, i, n int) {
	for ; n > 0 && r.applied[i] < len(m.regions[i].log); n-- {
		p := &m.regions[i].log[r.applied[i]]
		r.applied[i]++
		for _, id := range testEntities {
			e := r.entities[id]
			if e == nil {
				e = m.schema.New(id.kind)
				r.entities[id] = e
			}
			if p.record.Touches(id.kind) == id.id {
				e.Apply(p.position, &p.record)
			}
		}
	}
}

// emit appends what the region owes for one of its cards. Like the emitter it has applied its own log first.
func (m *mesh) emit(r *meshRegion, self int, origins []Origin) (emitted int) {
	m.apply(r, self, len(r.log))
	for _, id := range testEntities {
		e := r.entities[id]
		if e == nil || id.kind != Card {
			continue
		}
		for _, o := range origins {
			batch := e.Obligations(o, nil)
			if owes := e.Owes(o); owes != (len(batch) > 0) {
				panic(fmt.Sprintf("Owes says %v of %d obligations", owes, len(batch)))
			}
			if len(batch) > 0 {
				m.write(r, batch)
				m.apply(r, self, len(r.log))
				emitted += len(batch)
			}
		}
	}
	return emitted
}

// settle replicates and emits until nothing moves.
func (m *mesh) settle(t *rapid.T) {
	for range 20 {
		moved := 0
		for i, r := range m.regions {
			for j := range m.regions {
				before := r.applied[j]
				m.apply(r, j, len(m.regions[j].log))
				moved += r.applied[j] - before
			}
			_ = i
		}
		for i, r := range m.regions {
			moved += m.emit(r, i, append([]Origin{r.origin}, r.closed...))
		}
		if moved == 0 {
			return
		}
	}
	t.Fatal("the regions never stop emitting")
}

// meshSchema has one window that holds everything the mesh test writes.
const meshSchema = `
version: m1
currency: EUR
card:
  groups:
    - {name: tiled, window: 1h, storage: tiles, features: [
        {name: card_count, function: count}, {name: card_sum, function: sum},
        {name: card_fraud, function: count, where: {label: fraud}}, {name: card_genuine, function: count, where: {label: genuine}}]}
    - {name: exact, window: 1h, features: [
        {name: card_exact, function: count}, {name: card_exact_fraud, function: count, where: {label: fraud}}]}
device:
  groups:
    - {name: tiled, window: 1h, storage: tiles, features: [
        {name: device_count, function: count}, {name: device_sum, function: sum},
        {name: device_fraud, function: count, where: {label: fraud}}, {name: device_genuine, function: count, where: {label: genuine}}]}
    - {name: exact, window: 1h, features: [
        {name: device_exact, function: count}, {name: device_exact_fraud, function: count, where: {label: fraud}}]}
merchant:
  groups:
    - {name: tiled, window: 1h, storage: tiles, features: [
        {name: merchant_count, function: count}, {name: merchant_sum, function: sum},
        {name: merchant_fraud, function: count, where: {label: fraud}}, {name: merchant_genuine, function: count, where: {label: genuine}}]}
    - {name: exact, window: 1h, features: [
        {name: merchant_exact, function: count}, {name: merchant_exact_fraud, function: count, where: {label: fraud}}]}
`

// TestEachTransactionAndLabelCountsOnceAfterQuiescence drives regions that decide the same transactions, label them, and
// replicate at random, as far as they owe nothing; then R2 and R3 must hold.
func TestEachTransactionAndLabelCountsOnceAfterQuiescence(t *testing.T) {
	s := mustParse(t, meshSchema)
	vector := make([]float64, s.Len())
	slots := map[string]int{}
	for i, name := range s.Names() {
		slots[name] = i
	}
	rapid.Check(t, func(t *rapid.T) {
		m := &mesh{schema: s}
		origins := []Origin{{"ap", 9}, {"eu", 4}, {"us", 6}}
		for _, o := range origins {
			m.regions = append(m.regions, &meshRegion{origin: o, applied: make([]int, len(origins)+1), entities: map[entityID]*Entity{}})
		}
		// The fourth log is a closed epoch of eu: eu pays its debts, but only at the end, when it has all of it.
		old := &meshRegion{origin: Origin{"eu", 7}, applied: make([]int, len(origins)+1), entities: map[entityID]*Entity{}}
		m.regions = append(m.regions, old)
		bodies := map[string]decision.Transaction{}
		var decisions, labels []placed
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, len(m.regions)-1).Draw(t, "region")
			r := m.regions[i]
			switch rapid.SampledFrom([]int{0, 0, 0, 1, 2, 2, 3, 3}).Draw(t, "step") {
			case 0:
				tr := drawTransaction(t, bodies)
				tr.At = testEpoch + tr.At%1_000_000
				d := &decision.Decision{Transaction: tr, Digest: tr.Digest(), DecidedAt: tr.At + rapid.Int64Range(-2, 2).Draw(t, "decided"),
					Outcome: rapid.SampledFrom([]decision.Outcome{decision.Approve, decision.Decline}).Draw(t, "outcome")}
				m.write(r, []Record{{Decision: d}})
				decisions = append(decisions, r.log[len(r.log)-1])
			case 1:
				l := &decision.Label{Card: rapid.SampledFrom([]string{"c0", "c1"}).Draw(t, "card"),
					TransactionID: rapid.SampledFrom([]string{"t0", "t1", "t2", "t3"}).Draw(t, "id"),
					Fraud:         rapid.Bool().Draw(t, "fraud"), KnownAt: testEpoch + 2_000_000 + rapid.Int64Range(0, 3).Draw(t, "known")}
				m.write(r, []Record{{Label: l}})
				labels = append(labels, r.log[len(r.log)-1])
			case 2:
				j := rapid.IntRange(0, len(m.regions)-1).Draw(t, "from")
				m.apply(r, j, rapid.IntRange(1, 10).Draw(t, "records"))
			case 3:
				m.emit(r, i, []Origin{r.origin})
			}
		}
		// The old incarnation is gone: what it owes, eu owes.
		for _, r := range m.regions {
			for j := range m.regions {
				m.apply(r, j, len(m.regions[j].log))
			}
		}
		m.regions[1].closed = []Origin{old.origin}
		gone := m.regions[3]
		gone.origin = Origin{"gone", 1}
		m.settle(t)

		for _, id := range testEntities {
			first := m.regions[0].entities[id]
			if first == nil {
				continue
			}
			want := first.Append(nil)
			for _, r := range m.regions[1:] {
				if got := r.entities[id].Append(nil); !bytes.Equal(got, want) {
					t.Fatalf("%v: region %v and %v differ:\ngot  %x\nwant %x", id, r.origin, origins[0], got, want)
				}
			}
			at := int64(testEpoch + 1_000_000)
			query := &decision.Transaction{ID: "query", Card: "c0", Merchant: "m0", At: at}
			s.Read(&Query{Kind: id.kind, Entity: first, Transaction: query}, vector)
			wanted := expectMesh(id, decisions, labels)
			for _, name := range []string{"count", "sum", "fraud", "genuine", "exact", "exact_fraud"} {
				if got := vector[slots[id.kind.String()+"_"+name]]; got != wanted[name] {
					t.Fatalf("%v: %s is %v, want %v", id, name, got, wanted[name])
				}
			}
		}
		checkRetractions(t, m, decisions)
	})
}

// expectMesh counts an entity's distinct transactions, by their canonical decisions and last labels.
func expectMesh(id entityID, decisions, labels []placed) map[string]float64 {
	want := map[string]float64{}
	for key, p := range canonicalOf(decisions) {
		d := p.record.Decision
		if id.kind.Of(&d.Transaction) != id.id {
			continue
		}
		want["count"]++
		want["exact"]++
		want["sum"] += float64(d.Transaction.BaseAmount)
		switch lastLabel(key, labels) {
		case "fraud":
			want["fraud"]++
			want["exact_fraud"]++
		case "genuine":
			want["genuine"]++
		}
	}
	want["sum"] /= 100
	return want
}

func canonicalOf(decisions []placed) map[uint64]placed {
	canonical := map[uint64]placed{}
	for _, p := range decisions {
		d := p.record.Decision
		best, ok := canonical[d.Transaction.Key()]
		if !ok || d.DecidedAt < best.record.Decision.DecidedAt ||
			d.DecidedAt == best.record.Decision.DecidedAt && p.position.Compare(best.position) < 0 {
			canonical[d.Transaction.Key()] = p
		}
	}
	return canonical
}

func lastLabel(key uint64, labels []placed) string {
	var last placed
	for _, p := range labels {
		l := p.record.Label
		if decision.Key(l.Card, l.TransactionID) != key {
			continue
		}
		if b := last.record.Label; b == nil || b.KnownAt < l.KnownAt || b.KnownAt == l.KnownAt && last.position.Compare(p.position) < 0 {
			last = p
		}
	}
	if last.record.Label == nil {
		return ""
	}
	return labelName(last.record.Label.Fraud)
}

// checkRetractions wants one retraction of each loser, and none of a winner.
func checkRetractions(t *rapid.T, m *mesh, decisions []placed) {
	canonical := canonicalOf(decisions)
	got := map[Position]int{}
	for _, r := range m.regions {
		for _, p := range r.log {
			if x := p.record.Retraction; x != nil {
				got[x.Loser]++
				if x.Loser.Origin != p.position.Origin && x.Loser.Origin != (Origin{"eu", 7}) {
					t.Fatalf("%v retracts %v, which stands in another region's log", p.position, x.Loser)
				}
			}
		}
	}
	for _, p := range decisions {
		want := 1
		if canonical[p.record.Decision.Transaction.Key()].position == p.position {
			want = 0
		}
		if got[p.position] != want {
			t.Fatalf("the decision at %v has %d retractions, want %d", p.position, got[p.position], want)
		}
	}
}

// TestCountsFallOnlyForACause holds R10: at one moment, with one body per id, a decision or a replica never lowers a count of
// decisions; only retractions do, and with them no count falls below the number of distinct transactions.
func TestCountsFallOnlyForACause(t *testing.T) {
	s := mustParse(t, meshSchema)
	vector := make([]float64, s.Len())
	names := s.Names()
	rapid.Check(t, func(t *rapid.T) {
		bodies := map[string]decision.Transaction{}
		var log []placed
		marks := map[Origin]Mark{}
		for range rapid.IntRange(1, 25).Draw(t, "decisions") {
			tr := drawTransaction(t, map[string]decision.Transaction{})
			if body, ok := bodies[tr.Card+tr.ID]; ok {
				tr = body
			}
			bodies[tr.Card+tr.ID] = tr
			o := rapid.SampledFrom(testOrigins).Draw(t, "origin")
			marks[o]++
			log = append(log, placed{Position{o, marks[o]}, Record{Decision: &decision.Decision{Transaction: tr, Outcome: decision.Approve,
				DecidedAt: tr.At + rapid.Int64Range(-2, 2).Draw(t, "decided")}}})
		}
		at := int64(testEpoch + 1_000_000)
		for _, id := range testEntities {
			e := s.New(id.kind)
			before := map[string]float64{}
			for _, p := range id.touching(log) {
				e.Apply(p.position, &p.record)
				query := &decision.Transaction{ID: "query", Card: "c0", At: at}
				s.Read(&Query{Kind: id.kind, Entity: e, Transaction: query}, vector)
				for _, name := range []string{"count", "exact"} {
					name = id.kind.String() + "_" + name
					got := vector[slices.Index(names, name)]
					if got < before[name] {
						t.Fatalf("%v: %s fell from %v to %v by a decision", id, name, before[name], got)
					}
					before[name] = got
				}
			}
		}
	})
}
