package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"scoremesh/decision"
	"scoremesh/feature"
)

// equal compares bit for bit: NaN equals the same NaN, and 0 is not -0.
var equal = []cmp.Option{
	cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
	cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }),
}

func anID() *rapid.Generator[string] {
	return rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9-]{1,12}`), rapid.StringN(0, 32, feature.MaxIDBytes))
}

func anInt() *rapid.Generator[int64] { return rapid.Int64() }

func aFloat() *rapid.Generator[float64] {
	return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1)}))
}

func anOutcome() *rapid.Generator[decision.Outcome] {
	return rapid.SampledFrom([]decision.Outcome{decision.Approve, decision.Decline, decision.StepUp})
}

func aPosition() *rapid.Generator[feature.Position] {
	return rapid.Custom(func(t *rapid.T) feature.Position {
		return feature.Position{Origin: feature.Origin{Region: rapid.StringMatching(`[a-z-]{1,12}`).Draw(t, "region"), Epoch: rapid.Uint64Min(1).Draw(t, "epoch")},
			Mark: feature.MarkOf(rapid.Uint64Range(1, feature.MaxSequence).Draw(t, "seq"), rapid.IntRange(0, feature.MaxBatch-1).Draw(t, "index"))}
	})
}

func someFacts() *rapid.Generator[feature.Facts] {
	return rapid.Custom(func(t *rapid.T) feature.Facts {
		return feature.Facts{Key: rapid.Uint64().Draw(t, "key"), Card: anID().Draw(t, "card"), Device: anID().Draw(t, "device"),
			Merchant: anID().Draw(t, "merchant"), At: anInt().Draw(t, "at"), BaseAmount: anInt().Draw(t, "amount"), Outcome: anOutcome().Draw(t, "outcome")}
	})
}

func aTransaction() *rapid.Generator[decision.Transaction] {
	attribute := rapid.Custom(func(t *rapid.T) decision.Attribute {
		return decision.Attribute{Name: anID().Draw(t, "name"), Value: rapid.StringN(0, 64, MaxTextBytes).Draw(t, "value")}
	})
	return rapid.Custom(func(t *rapid.T) decision.Transaction {
		n := decision.Transaction{ID: anID().Draw(t, "id"), Card: anID().Draw(t, "card"), Device: anID().Draw(t, "device"),
			Merchant: anID().Draw(t, "merchant"), At: anInt().Draw(t, "at"), Amount: anInt().Draw(t, "amount"), Currency: anID().Draw(t, "currency"),
			BaseAmount: anInt().Draw(t, "base"), Country: anID().Draw(t, "country"), HasPosition: rapid.Bool().Draw(t, "has"), MCC: anID().Draw(t, "mcc"),
			Attributes: some(rapid.SliceOfN(attribute, 0, 9).Draw(t, "attributes"))}
		if n.HasPosition {
			n.Lat, n.Lon = aFloat().Draw(t, "lat"), aFloat().Draw(t, "lon")
		}
		return n
	})
}

// some makes an empty list nil, as a decoder gives it.
func some[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

func aRecord() *rapid.Generator[feature.Record] {
	reason := rapid.Custom(func(t *rapid.T) decision.Reason {
		return decision.Reason{Code: anID().Draw(t, "code"), Detail: rapid.StringN(0, 64, MaxTextBytes).Draw(t, "detail")}
	})
	value := rapid.Custom(func(t *rapid.T) feature.Value {
		return feature.Value{Name: anID().Draw(t, "name"), Value: aFloat().Draw(t, "value")}
	})
	return rapid.Custom(func(t *rapid.T) feature.Record {
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		default:
			return feature.Record{Decision: &decision.Decision{Transaction: aTransaction().Draw(t, "transaction"), Outcome: anOutcome().Draw(t, "outcome"),
				Score:   rapid.OneOf(rapid.Float32(), rapid.Just(float32(math.NaN()))).Draw(t, "score"),
				Reasons: some(rapid.SliceOfN(reason, 0, 5).Draw(t, "reasons")), Degraded: some(rapid.SliceOfN(anID(), 0, 5).Draw(t, "degraded")),
				Versions:  decision.Versions{Schema: anID().Draw(t, "schema"), Model: anID().Draw(t, "model"), Policy: anID().Draw(t, "policy")},
				DecidedAt: anInt().Draw(t, "decided"), Digest: rapid.Uint64().Draw(t, "digest"), Node: anID().Draw(t, "node")}}
		case 2:
			return feature.Record{Label: &decision.Label{TransactionID: anID().Draw(t, "id"), Card: anID().Draw(t, "card"),
				Fraud: rapid.Bool().Draw(t, "fraud"), KnownAt: anInt().Draw(t, "known")}}
		case 3:
			return feature.Record{Row: &feature.Row{Kind: rapid.SampledFrom(feature.Kinds[:]).Draw(t, "kind"), ID: anID().Draw(t, "id"),
				AsOf: anInt().Draw(t, "as of"), Values: some(rapid.SliceOfN(value, 0, 9).Draw(t, "values"))}}
		case 4:
			return feature.Record{Retraction: &feature.Retraction{Loser: aPosition().Draw(t, "loser"), Facts: someFacts().Draw(t, "facts"),
				Winner: aPosition().Draw(t, "winner"), WinnerOutcome: anOutcome().Draw(t, "outcome")}}
		case 5:
			return feature.Record{Posting: &feature.Posting{Label: aPosition().Draw(t, "label"), Decision: aPosition().Draw(t, "decision"),
				Fraud: rapid.Bool().Draw(t, "fraud"), Sign: rapid.SampledFrom([]int8{1, -1}).Draw(t, "sign"), Facts: someFacts().Draw(t, "facts")}}
		case 6:
			return feature.Record{Beacon: &feature.Beacon{At: anInt().Draw(t, "at"), Node: anID().Draw(t, "node")}}
		}
	})
}

// The codec and the generated code give the same bytes, and each reads what the other wrote.
func TestCodecEqualsGeneratedCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SliceOfN(rapid.Byte(), 1, MaxBatchIDBytes).Draw(t, "batch id")
		records := rapid.SliceOfN(aRecord(), 0, 8).Draw(t, "records")
		message := &RecordBatch{BatchId: id}
		for i := range records {
			message.Records = append(message.Records, toProto(&records[i]))
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		got, err := AppendBatch([]byte("before"), id, records)
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		if !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Fatalf("bytes differ:\n got %x\nwant %x", got, want)
		}
		batch, err := DecodeBatch(want)
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if diff := cmp.Diff(records, some(batch.Records), append(equal, emptyAsNil)...); diff != "" {
			t.Fatalf("decoded records differ (-want +got):\n%s", diff)
		}
		if !bytes.Equal(batch.ID, id) {
			t.Fatalf("batch id: got %x, want %x", batch.ID, id)
		}
		if only, err := BatchID(want); err != nil || !bytes.Equal(only, id) {
			t.Fatalf("BatchID: got %x, %v, want %x", only, err, id)
		}
	})
}

var emptyAsNil = cmp.Transformer("emptyAsNil", func(r []feature.Record) struct{ R []*feature.Record } {
	out := struct{ R []*feature.Record }{}
	for i := range r {
		out.R = append(out.R, &r[i])
	}
	return out
})

func aBatch(n int) []feature.Record {
	records := make([]feature.Record, n)
	for i := range records {
		t := decision.Transaction{ID: fmt.Sprintf("0190b6f0-7c1e-7d10-8000-%012d", i), Card: fmt.Sprintf("card-%020d", i), Device: fmt.Sprintf("device-%d", i), Merchant: "merchant-12345",
			At: 1_700_000_000_000, Amount: 4599, Currency: "EUR", BaseAmount: 4599, Country: "NL", HasPosition: true, Lat: 52.37, Lon: 4.9, MCC: "5732",
			Attributes: []decision.Attribute{{Name: "channel", Value: "ecom"}}}
		records[i] = feature.Record{Decision: &decision.Decision{Transaction: t, Outcome: decision.StepUp, Score: 0.41,
			Reasons:  []decision.Reason{{Code: "CARD_VELOCITY_5M", Detail: "7 in 5 minutes"}},
			Versions: decision.Versions{Schema: "v3", Model: "fraud@7", Policy: "default@12"}, DecidedAt: 1_700_000_000_100, Digest: 7 << 60, Node: "eu-west-1"}}
	}
	return records
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	// A newer writer adds a field of every wire type to every level, and a record of a new kind.
	unknown := protowire.AppendTag(nil, 100, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 1<<40)
	unknown = protowire.AppendTag(unknown, 101, protowire.BytesType)
	unknown = protowire.AppendString(unknown, "new")
	unknown = protowire.AppendTag(unknown, 102, protowire.Fixed64Type)
	unknown = protowire.AppendFixed64(unknown, 3)
	unknown = protowire.AppendTag(unknown, 103, protowire.Fixed32Type)
	unknown = protowire.AppendFixed32(unknown, 3)
	unknown = protowire.AppendTag(unknown, 104, protowire.StartGroupType)
	unknown = protowire.AppendTag(unknown, 104, protowire.EndGroupType)

	records := aBatch(2)
	first, second := toProto(&records[0]), toProto(&records[1])
	first.ProtoReflect().SetUnknown(unknown)
	first.GetDecision().ProtoReflect().SetUnknown(unknown)
	first.GetDecision().Transaction.ProtoReflect().SetUnknown(unknown)
	first.GetDecision().Versions.ProtoReflect().SetUnknown(unknown)
	newKind := &Record{}
	newKind.ProtoReflect().SetUnknown(unknown)
	message := &RecordBatch{BatchId: []byte("id"), Records: []*Record{first, newKind, second}}
	message.ProtoReflect().SetUnknown(unknown)
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := DecodeBatch(data)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	want := []feature.Record{records[0], {}, records[1]}
	if diff := cmp.Diff(want, batch.Records, equal...); diff != "" {
		t.Errorf("records differ (-want +got):\n%s", diff)
	}
}

func TestBoundsHoldInBothDirections(t *testing.T) {
	long := strings.Repeat("x", feature.MaxIDBytes+1)
	at := feature.Position{Origin: feature.Origin{Region: "a", Epoch: 1}, Mark: feature.MarkOf(1, 0)}
	facts := feature.Facts{Outcome: decision.Approve}
	decided := func(change func(d *decision.Decision)) feature.Record {
		d := *aBatch(1)[0].Decision
		change(&d)
		return feature.Record{Decision: &d}
	}
	for name, r := range map[string]feature.Record{
		"transaction id too long": decided(func(d *decision.Decision) { d.Transaction.ID = long }),
		"card too long":           decided(func(d *decision.Decision) { d.Transaction.Card = long }),
		"currency too long":       decided(func(d *decision.Decision) { d.Transaction.Currency = long }),
		"node not UTF-8":          decided(func(d *decision.Decision) { d.Node = "\xff" }),
		"undecided":               decided(func(d *decision.Decision) { d.Outcome = decision.Undecided }),
		"unknown outcome":         decided(func(d *decision.Decision) { d.Outcome = 4 }),
		"too many reasons":        decided(func(d *decision.Decision) { d.Reasons = make([]decision.Reason, MaxReasons+1) }),
		"detail too long": decided(func(d *decision.Decision) {
			d.Reasons = []decision.Reason{{Detail: strings.Repeat("x", MaxTextBytes+1)}}
		}),
		"too many degradations":  decided(func(d *decision.Decision) { d.Degraded = make([]string, MaxReasons+1) }),
		"too many attributes":    decided(func(d *decision.Decision) { d.Transaction.Attributes = make([]decision.Attribute, MaxAttributes+1) }),
		"label's card too long":  {Label: &decision.Label{Card: long}},
		"row of unknown kind":    {Row: &feature.Row{Kind: 3}},
		"too many values":        {Row: &feature.Row{Values: make([]feature.Value, MaxValues+1)}},
		"value's name too long":  {Row: &feature.Row{Values: []feature.Value{{Name: long}}}},
		"loser without epoch":    {Retraction: &feature.Retraction{Loser: feature.Position{Origin: feature.Origin{Region: "a"}, Mark: at.Mark}, Winner: at, WinnerOutcome: 1, Facts: facts}},
		"winner is a batch end":  {Retraction: &feature.Retraction{Loser: at, Winner: feature.Position{Origin: at.Origin, Mark: feature.EndOf(1)}, WinnerOutcome: 1, Facts: facts}},
		"winner without outcome": {Retraction: &feature.Retraction{Loser: at, Winner: at, Facts: facts}},
		"sign of 0":              {Posting: &feature.Posting{Label: at, Decision: at, Facts: facts}},
		"sign of 2":              {Posting: &feature.Posting{Label: at, Decision: at, Sign: 2, Facts: facts}},
		"facts without outcome":  {Posting: &feature.Posting{Label: at, Decision: at, Sign: 1}},
		"node too long":          {Beacon: &feature.Beacon{Node: long}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := AppendRecord([]byte("kept"), &r)
			if !errors.Is(err, ErrBounds) || string(b) != "kept" {
				t.Errorf("AppendRecord: got %q, %v, want ErrBounds and nothing appended", b, err)
			}
			// The generated code refuses what is not UTF-8 on its own.
			data, err := proto.Marshal(&RecordBatch{BatchId: []byte("id"), Records: []*Record{toProto(&r)}})
			if err != nil {
				return
			}
			if _, err := DecodeBatch(data); !errors.Is(err, ErrBounds) {
				t.Errorf("DecodeBatch: got %v, want ErrBounds", err)
			}
		})
	}
	if _, err := AppendRecord(nil, &feature.Record{}); !errors.Is(err, ErrBounds) {
		t.Errorf("record without content: got %v, want ErrBounds", err)
	}
	for _, id := range [][]byte{nil, make([]byte, MaxBatchIDBytes+1)} {
		if _, err := AppendBatch(nil, id, nil); !errors.Is(err, ErrBounds) {
			t.Errorf("append batch with id of %d bytes: got %v, want ErrBounds", len(id), err)
		}
		if _, err := DecodeBatch(AppendBatchID(nil, id)); !errors.Is(err, ErrBounds) {
			t.Errorf("decode batch with id of %d bytes: got %v, want ErrBounds", len(id), err)
		}
	}
	if _, err := DecodeBatch(make([]byte, MaxBatchBytes+1)); !errors.Is(err, ErrBounds) {
		t.Errorf("large batch: got %v, want ErrBounds", err)
	}
	many := AppendBatchID(nil, []byte("id"))
	for range feature.MaxBatch + 1 {
		many = append(many, 2<<3|2, 0)
	}
	if _, err := DecodeBatch(many); !errors.Is(err, ErrBounds) {
		t.Errorf("many records: got %v, want ErrBounds", err)
	}
}

func TestErrorsShowNoIDs(t *testing.T) {
	r := feature.Record{Label: &decision.Label{Card: "4111111111111111" + strings.Repeat("1", feature.MaxIDBytes)}}
	if _, err := AppendRecord(nil, &r); err == nil || strings.Contains(err.Error(), "4111") {
		t.Errorf("got %v, want an error without the card", err)
	}
}

func TestEveryTruncationIsRefusedOrShorter(t *testing.T) {
	data, err := AppendBatch(nil, []byte("id"), aBatch(3))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(data) {
		batch, err := DecodeBatch(data[:n])
		if err == nil && len(batch.Records) >= 3 {
			t.Fatalf("first %d of %d bytes: got %d records", n, len(data), len(batch.Records))
		}
	}
}

func TestRecordsDoNotReferToTheBytes(t *testing.T) {
	records := aBatch(3)
	data, err := AppendBatch(nil, []byte("id"), records)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if diff := cmp.Diff(records, batch.Records, equal...); diff != "" {
		t.Errorf("records changed with the bytes (-want +got):\n%s", diff)
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	records := aBatch(1)
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := AppendRecord(buf, &records[0]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// Whatever the bytes are: no panic; what is accepted is what the generated code reads; and it survives another round.
func FuzzDecodeBatch(f *testing.F) {
	data, err := AppendBatch(nil, []byte("id"), append(aBatch(1),
		feature.Record{Label: &decision.Label{Card: "c", TransactionID: "t", Fraud: true, KnownAt: 5}},
		feature.Record{Row: &feature.Row{Kind: feature.Device, ID: "d", Values: []feature.Value{{Name: "n", Value: 1}}}},
		feature.Record{Posting: &feature.Posting{Label: feature.Position{Origin: feature.Origin{Region: "a", Epoch: 1}, Mark: 1 << 17},
			Decision: feature.Position{Origin: feature.Origin{Region: "a", Epoch: 1}, Mark: 1 << 16}, Sign: -1, Facts: feature.Facts{Outcome: 1}}},
		feature.Record{Beacon: &feature.Beacon{At: 1, Node: "n"}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := DecodeBatch(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrBounds) {
				t.Fatalf("unnamed error: %v", err)
			}
			return
		}
		var message RecordBatch
		if err := proto.Unmarshal(data, &message); err == nil {
			if len(message.Records) != len(batch.Records) {
				t.Fatalf("got %d records, generated code %d", len(batch.Records), len(message.Records))
			}
			for i := range batch.Records {
				if diff := cmp.Diff(fromProto(message.Records[i]), batch.Records[i], equal...); diff != "" {
					t.Fatalf("record %d differs from generated code (-generated +got):\n%s", i, diff)
				}
			}
		}
		for i := range batch.Records {
			if batch.Records[i] == (feature.Record{}) {
				continue
			}
			if _, err := AppendRecord(nil, &batch.Records[i]); err != nil {
				t.Fatalf("record %d was accepted and cannot be written: %v", i, err)
			}
		}
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	records := aBatch(512)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out, err := AppendRecord(buf[:0], &records[i%len(records)])
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(out)))
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	const n = 512
	data, err := AppendBatch(nil, []byte("0123456789abcdef"), aBatch(n))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBatch(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
	b.ReportMetric(float64(len(data))/n, "B/record")
}

func BenchmarkGeneratedDecode(b *testing.B) {
	const n = 512
	data, err := AppendBatch(nil, []byte("0123456789abcdef"), aBatch(n))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var m RecordBatch
		if err := proto.Unmarshal(data, &m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
