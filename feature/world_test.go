package feature

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"scoremesh/decision"
)

// spec is a windowed feature as a test knows it: the schema's text is written from it, and the oracle computes it.
type spec struct {
	kind           Kind
	name, function string
	of             string
	// window and delay in seconds.
	window, delay int64
	current       bool
	tiled         bool
	where, part   condition
}

// condition is a filter: outcomes (none is any) and a label ("" is any).
type condition struct {
	outcomes []decision.Outcome
	label    string
}

func (c condition) yaml() string {
	var names []string
	for _, o := range c.outcomes {
		names = append(names, o.String())
	}
	text := "{"
	if len(names) > 0 {
		text += "outcome: [" + strings.Join(names, ", ") + "]"
	}
	if c.label != "" {
		if len(names) > 0 {
			text += ", "
		}
		text += "label: " + c.label
	}
	return text + "}"
}

const (
	testSkew        = 10_000
	testIdempotency = 60_000
	testWindow      = 120_000
	testDelay       = 25_000
	testHorizon     = testWindow + testDelay + testSkew
	testNewest      = 4
	// testEpoch is the time around which test transactions lie.
	testEpoch = 1_700_000_000_000
)

// testSpecs are all functions over timelines and tiles, in windows with and without delay, filter and current transaction.
func testSpecs() []spec {
	var specs []spec
	conditions := []condition{{}, {outcomes: []decision.Outcome{decision.Decline, decision.StepUp}}, {label: "fraud"},
		{outcomes: []decision.Outcome{decision.Approve}, label: "genuine"}}
	for _, kind := range Kinds {
		for _, tiled := range []bool{false, true} {
			for _, window := range []int64{30, testWindow / 1000} {
				for _, delay := range []int64{0, testDelay / 1000} {
					for _, where := range conditions {
						for _, function := range []string{"count", "sum", "mean", "min", "max", "distinct", "ratio"} {
							s := spec{kind: kind, function: function, window: window, delay: delay, tiled: tiled, where: where,
								current: delay == 0 && window == 30}
							if tiled && where.label != "" && slices.Contains([]string{"min", "max", "distinct"}, function) {
								continue
							}
							switch {
							case function == "distinct" && kind == Card:
								s.of = "merchant"
							case function == "distinct":
								s.of = "card"
							case function == "ratio" && where.label == "":
								s.part = condition{label: "fraud"}
							case function == "ratio":
								s.part = condition{outcomes: []decision.Outcome{decision.Approve}}
							}
							s.name = fmt.Sprintf("%s_%d", kind, len(specs))
							specs = append(specs, s)
						}
					}
				}
			}
		}
	}
	return specs
}

func (s *spec) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "        - {name: %s, function: %s, window: %ds, delay: %ds, current: %t, where: %s, default: -7", s.name, s.function,
		s.window, s.delay, s.current, s.where.yaml())
	if s.of != "" {
		b.WriteString(", of: " + s.of)
	}
	if s.tiled {
		b.WriteString(", storage: tiles")
	}
	if s.function == "ratio" {
		b.WriteString(", numerator: " + s.part.yaml())
	}
	return b.String() + "}\n"
}

// testSchemaText writes the schema of the specs, with last-seen and profile features besides.
func testSchemaText(specs []spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: t1\ncurrency: EUR\nskew: %dms\nidempotency: %dms\n", testSkew, testIdempotency)
	for _, kind := range Kinds {
		fmt.Fprintf(&b, "%s:\n  timeline_max: %d\n  groups:\n    - name: windows\n      features:\n", kind, testNewest)
		for i := range specs {
			if specs[i].kind == kind {
				b.WriteString(specs[i].yaml())
			}
		}
		fmt.Fprintf(&b, "    - name: last\n      features:\n")
		for _, function := range []string{"seconds_since_last", "seconds_since_first", "country_changed", "travel_speed"} {
			fmt.Fprintf(&b, "        - {name: %s_%s, function: %s, default: -9}\n", kind, function, function)
		}
		fmt.Fprintf(&b, "    - name: profiles\n      ttl: 90s\n      features:\n")
		for i := range 2 {
			fmt.Fprintf(&b, "        - {name: %s_profile_%d, function: profile, default: -5}\n", kind, i)
		}
	}
	return b.String()
}

func mustParse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := ParseSchema("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse the test's schema: %v", err)
	}
	return s
}

// placed is a record in a log.
type placed struct {
	position Position
	record   Record
}

var testOrigins = []Origin{{"eu", 11}, {"eu", 12}, {"us", 5}, {"ap", 77}}

// drawTime draws a time near the edges that matter: of tiles, of the idempotency period, of the horizon.
func drawTime(t *rapid.T) int64 {
	base := rapid.SampledFrom([]int64{0, 0, 30_000, testIdempotency, testWindow, testHorizon, testHorizon + 30_000}).Draw(t, "base")
	switch rapid.IntRange(0, 2).Draw(t, "near") {
	case 0:
		return testEpoch + base + rapid.Int64Range(-2, 2).Draw(t, "edge")
	case 1:
		return testEpoch + base + 500*rapid.Int64Range(-4, 4).Draw(t, "tile")
	}
	return testEpoch + base + rapid.Int64Range(-20_000, 20_000).Draw(t, "any")
}

// drawTransaction draws the body of a transaction id: mostly the one that the id always has.
func drawTransaction(t *rapid.T, bodies map[string]decision.Transaction) decision.Transaction {
	card := rapid.SampledFrom([]string{"c0", "c1"}).Draw(t, "card")
	id := rapid.SampledFrom([]string{"t0", "t1", "t2", "t3", "t4", "t5", "t6"}).Draw(t, "id")
	if body, ok := bodies[card+id]; ok && rapid.IntRange(0, 4).Draw(t, "retry") > 0 {
		return body
	}
	body := decision.Transaction{
		ID: id, Card: card, At: drawTime(t), Currency: "EUR",
		Device:   rapid.SampledFrom([]string{"", "d0", "d1"}).Draw(t, "device"),
		Merchant: rapid.SampledFrom([]string{"m0", "m1"}).Draw(t, "merchant"),
		Amount:   rapid.Int64Range(-50, 5000).Draw(t, "amount"),
		Country:  rapid.SampledFrom([]string{"", "NL", "DE"}).Draw(t, "country"),
	}
	body.BaseAmount = body.Amount
	if rapid.Bool().Draw(t, "positioned") {
		body.HasPosition = true
		body.Lat, body.Lon = float64(rapid.IntRange(-1, 1).Draw(t, "lat")), float64(rapid.IntRange(-2, 2).Draw(t, "lon"))
	}
	bodies[card+id] = body
	return body
}

// drawLog draws the records of several logs, in one possible order of their writing. What refers to a decision or to a label may
// stand before it.
func drawLog(t *rapid.T) []placed {
	n := rapid.IntRange(1, 40).Draw(t, "records")
	log := make([]placed, n)
	kinds := make([]int, n)
	marks := map[Origin]Mark{}
	bodies := map[string]decision.Transaction{}
	var decisions, labelled []int
	for i := range log {
		o := rapid.SampledFrom(testOrigins).Draw(t, "origin")
		step := rapid.SampledFrom([]Mark{1, 1 << 16, 3<<16 | 2}).Draw(t, "step")
		marks[o] += step
		log[i].position = Position{o, marks[o]}
		kinds[i] = rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 3, 3, 4}).Draw(t, "record")
		switch kinds[i] {
		case 0:
			tr := drawTransaction(t, bodies)
			d := &decision.Decision{Transaction: tr, Digest: tr.Digest(),
				Outcome:   rapid.SampledFrom([]decision.Outcome{decision.Approve, decision.Decline, decision.StepUp}).Draw(t, "outcome"),
				Score:     0.25,
				DecidedAt: tr.At + rapid.Int64Range(-1, 2).Draw(t, "decided"),
				Versions:  decision.Versions{Schema: "t1", Model: "m@1", Policy: "p@1"}, Node: "n-" + o.Region}
			if d.Outcome != decision.Approve {
				d.Reasons = []decision.Reason{{Code: "R", Detail: tr.ID}}
				d.Degraded = []string{decision.DegradedModel}
			}
			log[i].record.Decision = d
			decisions = append(decisions, i)
		case 1:
			log[i].record.Label = &decision.Label{Card: rapid.SampledFrom([]string{"c0", "c1"}).Draw(t, "card"),
				TransactionID: rapid.SampledFrom([]string{"t0", "t1", "t2", "t3"}).Draw(t, "id"),
				Fraud:         rapid.Bool().Draw(t, "fraud"), KnownAt: drawTime(t)}
			labelled = append(labelled, i)
		case 4:
			k := rapid.SampledFrom(Kinds[:]).Draw(t, "kind")
			id := map[Kind]string{Card: "c0", Device: "d0", Merchant: "m0"}[k]
			log[i].record.Row = &Row{Kind: k, ID: id, AsOf: drawTime(t), Values: []Value{
				{fmt.Sprintf("%s_profile_%d", k, rapid.IntRange(0, 1).Draw(t, "profile")), float64(rapid.IntRange(0, 9).Draw(t, "value"))},
				{"profile_of_another_schema", 1}}}
		}
	}
	for i := range log {
		if kinds[i] != 2 && kinds[i] != 3 {
			continue
		}
		if len(decisions) == 0 || kinds[i] == 3 && len(labelled) == 0 {
			log[i].record.Beacon = &Beacon{At: testEpoch}
			continue
		}
		d := log[rapid.SampledFrom(decisions).Draw(t, "decision")]
		if kinds[i] == 2 {
			log[i].record.Retraction = &Retraction{Loser: d.position, Facts: FactsOf(d.record.Decision)}
			continue
		}
		l := log[rapid.SampledFrom(labelled).Draw(t, "label")]
		log[i].record.Posting = &Posting{Label: l.position, Decision: d.position, Fraud: l.record.Label.Fraud,
			Sign: rapid.SampledFrom([]int8{1, 1, -1}).Draw(t, "sign"), Facts: FactsOf(d.record.Decision)}
	}
	return log
}

// interleave draws an order of the log's records that keeps the order of each origin.
func interleave(t *rapid.T, log []placed) []placed {
	queues := map[Origin][]placed{}
	for _, p := range log {
		queues[p.position.Origin] = append(queues[p.position.Origin], p)
	}
	out := make([]placed, 0, len(log))
	for len(out) < len(log) {
		var ready []Origin
		for _, o := range testOrigins {
			if len(queues[o]) > 0 {
				ready = append(ready, o)
			}
		}
		o := rapid.SampledFrom(ready).Draw(t, "next")
		run := rapid.IntRange(1, len(queues[o])).Draw(t, "run")
		out, queues[o] = append(out, queues[o][:run]...), queues[o][run:]
	}
	return out
}

// entityID names an entity.
type entityID struct {
	kind Kind
	id   string
}

var testEntities = []entityID{{Card, "c0"}, {Card, "c1"}, {Device, "d0"}, {Device, "d1"}, {Merchant, "m0"}, {Merchant, "m1"}}

// touching returns the records that touch the entity.
func (e entityID) touching(log []placed) []placed {
	return slices.DeleteFunc(slices.Clone(log), func(p placed) bool { return p.record.Touches(e.kind) != e.id })
}

func fold(s *Schema, kind Kind, log []placed) *Entity {
	e := s.New(kind)
	for i := range log {
		e.Apply(log[i].position, &log[i].record)
	}
	return e
}
