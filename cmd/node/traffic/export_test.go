package traffic

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"testing"
	"time"
)

func TestExportWritesWhatTheGeneratorMakes(t *testing.T) {
	const n = 20_000
	withRetries := func(c *Config) { c.RetryShare = 0.02 }
	var transactions, labels, patterns bytes.Buffer
	if err := Export(newGenerator(t, withRetries), n, Files{&transactions, &labels, &patterns}); err != nil {
		t.Fatal(err)
	}
	rows, labelled, named := read(t, &transactions), read(t, &labels), read(t, &patterns)
	if len(rows) != n {
		t.Fatalf("got %d transactions, want %d", len(rows), n)
	}

	g := newGenerator(t, withRetries)
	known, wantNamed := map[string]Event{}, 0
	for i := range rows {
		e := g.Next()
		for e.Retry {
			e = g.Next()
		}
		x := &e.Transaction
		got, want := rows[i], map[string]string{"transaction_id": x.ID, "card_id": x.Card, "device_id": x.Device,
			"merchant_id": x.Merchant, "currency": x.Currency, "country": x.Country, "mcc": x.MCC,
			"channel": x.Attribute("channel")}
		for column, value := range want {
			if got[column] != value {
				t.Fatalf("row %d: %s is %q, want %q", i, column, got[column], value)
			}
		}
		if at := parse(t, got["timestamp"]); at != x.At {
			t.Fatalf("row %d: timestamp is %d, want %d", i, at, x.At)
		}
		if (got["lat"] != "") != x.HasPosition || (got["lon"] != "") != x.HasPosition {
			t.Fatalf("row %d: position %q, %q, want one: %v", i, got["lat"], got["lon"], x.HasPosition)
		}
		if e.Fraud {
			known[x.ID] = e
			if named[wantNamed]["transaction_id"] != x.ID || named[wantNamed]["pattern"] != e.Pattern {
				t.Fatalf("pattern %d: got %v, want %s of %s", wantNamed, named[wantNamed], e.Pattern, x.ID)
			}
			wantNamed++
		}
	}
	if len(labelled) != len(known) || len(named) != wantNamed {
		t.Fatalf("got %d labels and %d patterns, want %d", len(labelled), len(named), len(known))
	}
	last := int64(0)
	for i, l := range labelled {
		e := known[l["transaction_id"]]
		at := parse(t, l["known_at"])
		if at != e.KnownAt || l["card_id"] != e.Transaction.Card || l["fraud"] != "true" {
			t.Errorf("label %d: got %v, want %s of %s at %d", i, l, e.Transaction.ID, e.Transaction.Card, e.KnownAt)
		}
		if at < last {
			t.Errorf("label %d: known at %d, want no earlier than %d", i, at, last)
		}
		last = at
	}
}

func TestExportReportsAFailedWriter(t *testing.T) {
	full := errors.New("disk full")
	for name, to := range map[string]Files{
		"transactions": {fails{full}, io.Discard, io.Discard},
		"labels":       {io.Discard, fails{full}, io.Discard},
		"patterns":     {io.Discard, io.Discard, fails{full}},
	} {
		if err := Export(newGenerator(t, nil), 5000, to); !errors.Is(err, full) {
			t.Errorf("%s: got error %v, want %v", name, err, full)
		}
	}
}

type fails struct{ err error }

func (f fails) Write([]byte) (int, error) { return 0, f.err }

func read(t *testing.T, from io.Reader) []map[string]string {
	t.Helper()
	all, err := csv.NewReader(from).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]map[string]string, len(all)-1)
	for i, values := range all[1:] {
		rows[i] = map[string]string{}
		for j, column := range all[0] {
			rows[i][column] = values[j]
		}
	}
	return rows
}

func parse(t *testing.T, timestamp string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, timestamp)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}
