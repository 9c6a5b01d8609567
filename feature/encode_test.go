package feature

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"scoremesh/decision"
)

// FuzzDecode holds that no bytes panic, and that what decodes is a state like any other: it can be encoded, and that decodes to the same.
func FuzzDecode(f *testing.F) {
	s, err := ParseSchema("test.yaml", []byte(testSchemaText(testSpecs())))
	if err != nil {
		f.Fatal(err)
	}
	for _, k := range Kinds {
		f.Add(uint8(k), s.New(k).Append(nil))
		random := rand.New(rand.NewPCG(1, uint64(k)))
		e := s.New(k)
		for i := range 12 {
			r := hotRecord(random, i, testEpoch+int64(i)*9000, 3)
			e.Apply(Position{testOrigins[i%3], Mark(i + 1)}, &r)
			f.Add(uint8(k), e.Append(nil))
		}
		d := Facts{Key: 7, Card: e.ID(), Device: e.ID(), Merchant: e.ID(), At: testEpoch + 100_000, Outcome: decision.Approve}
		e.Apply(Position{testOrigins[3], 1}, &Record{Posting: &Posting{Label: Position{testOrigins[1], 9}, Decision: Position{testOrigins[2], 9}, Sign: 1, Facts: d}})
		e.Apply(Position{testOrigins[3], 2}, &Record{Retraction: &Retraction{Loser: Position{testOrigins[2], 9}, Facts: d}})
		e.Apply(Position{testOrigins[3], 3}, &Record{Label: &decision.Label{Card: e.ID(), TransactionID: "1", KnownAt: testEpoch + 100_000}})
		f.Add(uint8(k), e.Append(nil))
	}
	vector := make([]float64, s.Len())
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		k := Kinds[int(kind)%len(Kinds)]
		e, err := s.Decode(k, data)
		if err != nil {
			if !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrVector) {
				t.Fatalf("got %v, want ErrEncoding or ErrVector", err)
			}
			return
		}
		b := e.Append(nil)
		d, err := s.Decode(k, b)
		if err != nil {
			t.Fatalf("decode what a decoded state encodes to: %v", err)
		}
		if again := d.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("got  %x\nwant %x", again, b)
		}
		query := &decision.Transaction{ID: "q", Card: e.ID(), Merchant: "m", At: max(e.Newest(), testEpoch)}
		s.Read(&Query{Kind: k, Entity: e, Transaction: query}, vector)
		for _, o := range testOrigins {
			if e.Owes(o) != (len(e.Obligations(o, nil)) > 0) {
				t.Fatal("Owes and Obligations disagree")
			}
		}
		r := hotRecord(rand.New(rand.NewPCG(1, 2)), 1, query.At, 3)
		e.Apply(Position{Origin{"new", 1}, 1}, &r)
		if _, err := s.Decode(k, e.Append(nil)); err != nil {
			t.Fatalf("a record on a decoded state: %v", err)
		}
	})
}

func TestDecodeRefusesWhatIsNotAState(t *testing.T) {
	s := mustParse(t, testSchemaText(testSpecs()))
	e := s.New(Card)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 6 {
		r := hotRecord(random, i, testEpoch+int64(i)*1000, 3)
		e.Apply(Position{testOrigins[0], Mark(i + 1)}, &r)
	}
	whole := e.Append(nil)
	if _, err := s.Decode(Card, whole); err != nil {
		t.Fatalf("the whole state: %v", err)
	}
	for n := range whole {
		if _, err := s.Decode(Card, whole[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: decoded", n, len(whole))
		}
	}
	tests := []struct {
		name  string
		value []byte
		want  error
	}{
		{"another version", append([]byte{2}, whole[1:]...), ErrEncoding},
		{"bytes behind the end", append(bytes.Clone(whole), 0), ErrEncoding},
		{"too large", make([]byte, maxEntityBytes+1), ErrEncoding},
		{"a vector with epoch 0", []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 'a'}, ErrVector},
	}
	for _, tt := range tests {
		if _, err := s.Decode(Card, tt.value); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestHostileRecordsLeaveAStateThatDecodes feeds the fold what no edge lets through.
func TestHostileRecordsLeaveAStateThatDecodes(t *testing.T) {
	s := mustParse(t, testSchemaText(testSpecs()))
	for _, k := range Kinds {
		e := s.New(k)
		mark := Mark(0)
		apply := func(r Record) bool {
			mark++
			return e.Apply(Position{Origin{"eu", 1}, mark}, &r)
		}
		for _, at := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, testEpoch, math.MaxInt64} {
			for _, amount := range []int64{math.MinInt64, 0, math.MaxInt64} {
				for _, outcome := range []decision.Outcome{decision.Undecided, decision.Decline, 9, 255} {
					tr := decision.Transaction{ID: "t", Card: "x", Device: "x", Merchant: "x", At: at, BaseAmount: amount, Lat: math.NaN(), HasPosition: true}
					d := &decision.Decision{Transaction: tr, Outcome: outcome, DecidedAt: amount, Score: float32(math.NaN())}
					apply(Record{Decision: d})
					apply(Record{Retraction: &Retraction{Loser: Position{Origin{string(make([]byte, 300)), 0}, math.MaxUint64}, Facts: FactsOf(d)}})
					apply(Record{Posting: &Posting{Facts: FactsOf(d), Sign: -128}})
				}
			}
			apply(Record{Label: &decision.Label{Card: "x", KnownAt: at}})
			apply(Record{Row: &Row{Kind: k, ID: "x", AsOf: at, Values: []Value{{k.String() + "_profile_0", math.NaN()}}}})
		}
		if e.Newest() != testEpoch {
			t.Errorf("%v: the newest time is %d, want %d: others cannot be calculated with", k, e.Newest(), int64(testEpoch))
		}
		if e.Apply(Position{Origin{string(make([]byte, 256)), 1}, 1}, &Record{Row: &Row{Kind: k, ID: "x"}}) {
			t.Errorf("%v: applied a record of a region whose name cannot be encoded", k)
		}
		for i := range 400 {
			got := e.Apply(Position{Origin{"eu", uint64(i + 1000)}, 1}, &Record{Row: &Row{Kind: k, ID: "x"}})
			if want := i < maxOrigins-1; got != want {
				t.Fatalf("%v: record of origin %d: applied %v, want %v", k, i+2, got, want)
			}
		}
		b := e.Append(nil)
		d, err := s.Decode(k, b)
		if err != nil {
			t.Fatalf("%v: %v", k, err)
		}
		if !bytes.Equal(d.Append(nil), b) {
			t.Errorf("%v: encoded again, it differs", k)
		}
		query := &decision.Transaction{ID: "q", Card: "x", At: testEpoch}
		s.Read(&Query{Kind: k, Entity: d, Transaction: query}, make([]float64, s.Len()))
	}
}

// TestFoldTakesEqualExtremesInAnyOrder: -0 and 0, and the least of all amounts, compare like nothing else.
func TestFoldTakesEqualExtremesInAnyOrder(t *testing.T) {
	s := mustParse(t, testSchemaText(testSpecs()))
	records := []Record{}
	for _, lat := range []float64{0, math.Copysign(0, -1)} {
		for _, amount := range []int64{math.MinInt64, 5} {
			records = append(records, Record{Decision: &decision.Decision{Outcome: decision.Approve, Transaction: decision.Transaction{
				ID: "t", Card: "x", Merchant: "m", At: testEpoch, BaseAmount: amount, HasPosition: true, Lat: lat}}})
		}
	}
	forward, backward := s.New(Merchant), s.New(Merchant)
	for i := range records {
		at := func(i int) Position { return Position{Origin{"eu", uint64(i + 1)}, 1} }
		forward.Apply(at(i), &records[i])
		backward.Apply(at(len(records)-1-i), &records[len(records)-1-i])
	}
	if got, want := backward.Append(nil), forward.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// hotRecord makes a decision on one card, device and merchant of few or many.
func hotRecord(random *rand.Rand, i int, at int64, others int) Record {
	tr := decision.Transaction{ID: fmt.Sprint(i), Card: fmt.Sprintf("c-%d", random.IntN(others)), Device: "d-3", Merchant: fmt.Sprintf("m-%d", random.IntN(others)),
		At: at, Amount: int64(100 + random.IntN(20_000)), Currency: "EUR", Country: "NL", HasPosition: true, Lat: 52.1, Lon: 4.9, MCC: "5732"}
	tr.BaseAmount = tr.Amount
	return Record{Decision: &decision.Decision{Transaction: tr, Outcome: decision.Approve, Score: 0.01, Digest: tr.Digest(),
		DecidedAt: at + int64(5+random.IntN(100)), Node: "eu-west-1", Versions: decision.Versions{Schema: "v3", Model: "fraud@7", Policy: "default@12"}}}
}
