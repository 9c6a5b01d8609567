package feature

import (
	"fmt"
	"reflect"
	"testing"

	"scoremesh/decision"
)

func TestKnownAnswersFromTheCanonicalDecision(t *testing.T) {
	s := mustParse(t, testSchemaText(testSpecs()))
	decided := func(id string, at, decidedAt int64, outcome decision.Outcome) *decision.Decision {
		tr := decision.Transaction{ID: id, Card: "c", Device: "d", Merchant: "m", At: at, BaseAmount: 5}
		return &decision.Decision{Transaction: tr, Outcome: outcome, DecidedAt: decidedAt, Digest: tr.Digest(), Score: 0.5, Node: "n",
			Reasons: []decision.Reason{{Code: "A", Detail: "b"}}, Degraded: []string{"x"}, Versions: decision.Versions{Schema: "1", Model: "2", Policy: "3"}}
	}
	eu, us := Position{Origin{"eu", 1}, 1}, Position{Origin{"us", 2}, 1}
	first := decided("t", testEpoch, testEpoch+10, decision.Approve)
	second := decided("t", testEpoch, testEpoch+20, decision.Decline)
	later := decided("u", testEpoch+testIdempotency+1, testEpoch, decision.Approve)
	known := func(d *decision.Decision, p Position) Known {
		return Known{true, d.Outcome, d.Score, d.Reasons, d.Degraded, d.Versions, d.DecidedAt, d.Digest, d.Node, p}
	}
	tests := []struct {
		name  string
		log   []placed
		want  Known
		knows bool
	}{
		{"nothing", nil, Known{}, false},
		{"another id", []placed{{eu, Record{Decision: later}}}, Known{}, false},
		{"one decision", []placed{{eu, Record{Decision: first}}}, known(first, eu), true},
		{"the earlier of two, come last", []placed{{eu, Record{Decision: second}}, {us, Record{Decision: first}}}, known(first, us), true},
		{"the other one once the first is retracted",
			[]placed{{eu, Record{Decision: first}}, {us, Record{Decision: second}}, {Position{eu.Origin, 2}, Record{Retraction: &Retraction{Loser: eu, Facts: FactsOf(first)}}}},
			known(second, us), true},
		{"only a retraction", []placed{{us, Record{Retraction: &Retraction{Loser: eu, Facts: FactsOf(first)}}}}, Known{}, true},
		{"past the idempotency period", []placed{{eu, Record{Decision: first}}, {us, Record{Decision: later}}},
			Known{Outcome: decision.Approve, DecidedAt: first.DecidedAt, Position: eu}, true},
		{"come past the idempotency period", []placed{{us, Record{Decision: later}}, {eu, Record{Decision: first}}},
			Known{Outcome: decision.Approve, DecidedAt: first.DecidedAt, Position: eu}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := fold(s, Card, tt.log)
			again, err := s.Decode(Card, e.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []*Entity{e, again} {
				got, knows := e.Known(first.Transaction.Key())
				if knows != tt.knows || !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got  %+v %v\nwant %+v %v", got, knows, tt.want, tt.knows)
				}
			}
		})
	}
}

// TestPostingOfARetractedDecisionIsWithdrawnWithoutItsWinner: the winner has another time and is trimmed first.
func TestPostingOfARetractedDecisionIsWithdrawnWithoutItsWinner(t *testing.T) {
	s := mustParse(t, testSchemaText(testSpecs()))
	o := Origin{"eu", 1}
	body := func(at, decidedAt int64, id string) *decision.Decision {
		return &decision.Decision{Transaction: decision.Transaction{ID: id, Card: "c", Merchant: "m", At: at}, Outcome: decision.Approve, DecidedAt: decidedAt}
	}
	winner, loser := body(testEpoch, 1, "t"), body(testEpoch+60_000, 2, "t")
	at := func(m Mark) Position { return Position{o, m} }
	posting := Posting{Label: at(3), Decision: at(2), Fraud: true, Sign: 1, Facts: FactsOf(loser)}
	e := fold(s, Card, []placed{
		{at(1), Record{Decision: winner}}, {at(2), Record{Decision: loser}},
		{at(3), Record{Label: &decision.Label{Card: "c", TransactionID: "t", Fraud: true, KnownAt: testEpoch + testHorizon}}},
		{at(4), Record{Posting: &posting}}, {at(5), Record{Retraction: &Retraction{Loser: at(2), Facts: FactsOf(loser)}}},
		{at(6), Record{Decision: body(testEpoch+testHorizon+1, 3, "u")}},
	})
	withdrawal := posting
	withdrawal.Sign = -1
	got := e.Obligations(o, nil)
	if len(got) != 1 || got[0].Posting == nil || *got[0].Posting != withdrawal {
		t.Errorf("got %+v, want the withdrawal of the posting on the loser", got)
	}
}

func TestElementsOfOneFingerprintAreToldApart(t *testing.T) {
	s := mustParse(t, meshSchema)
	e := s.New(Card)
	const n = 600 // more than there are fingerprints
	for i := range n {
		tr := decision.Transaction{ID: fmt.Sprint(i), Card: "c", Merchant: "m", At: testEpoch + int64(i)}
		e.Apply(Position{Origin{"eu", 1}, Mark(i + 1)}, &Record{Decision: &decision.Decision{Transaction: tr, Outcome: decision.Approve, DecidedAt: tr.At}})
	}
	for i := range n {
		k, known := e.Known(decision.Key("c", fmt.Sprint(i)))
		if !known || k.DecidedAt != testEpoch+int64(i) {
			t.Fatalf("transaction %d: got %+v %v", i, k, known)
		}
	}
	if _, known := e.Known(decision.Key("c", "none")); known {
		t.Error("a transaction that never was is known")
	}
}
