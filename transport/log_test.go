package transport_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/transport"
	"scoremesh/transport/natstest"
)

// logConfig is a configuration with short pauses.
func logConfig() transport.LogConfig {
	cfg := transport.DefaultLogConfig()
	cfg.Region = "eu-west"
	cfg.RequestTimeout = time.Second
	cfg.RetryMin, cfg.RetryMax = 5*time.Millisecond, 50*time.Millisecond
	cfg.RegressPatience = 300 * time.Millisecond
	return cfg
}

func openLog(t testing.TB, c *transport.Conn) *transport.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := transport.OpenLog(ctx, c.JetStream(), logConfig(), zerolog.Nop(), nil)
	if err != nil {
		t.Fatalf("open log: %v", err)
	}
	return l
}

// aDecision is the n-th decision of a test.
func aDecision(n int) feature.Record {
	t := decision.Transaction{ID: fmt.Sprintf("t-%d", n), Card: fmt.Sprintf("c-%d", n%100), Device: "d-1", Merchant: "m-1",
		At: 1_700_000_000_000 + int64(n), Amount: 4599, Currency: "EUR", BaseAmount: 4599, Country: "NL", HasPosition: true, Lat: 52.37,
		Lon: 4.9, MCC: "5732", Attributes: []decision.Attribute{{Name: "channel", Value: "ecom"}}}
	return feature.Record{Decision: &decision.Decision{Transaction: t, Outcome: decision.Approve, Score: 0.25,
		Versions:  decision.Versions{Schema: "v3", Model: "fraud@7", Policy: "default@12"},
		DecidedAt: 1_700_000_000_100 + int64(n), Digest: t.Digest(), Node: "eu-west-1"}}
}

// readIDs reads the log from a sequence until the sequence to, and returns the transaction ids in order.
func readIDs(t testing.TB, l *transport.Log, from, to uint64) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var ids []string
	done := errors.New("done")
	err := l.Read(ctx, from, func(b *transport.Batch) error {
		for _, r := range b.Records {
			ids = append(ids, r.Decision.Transaction.ID)
		}
		if b.Seq >= to {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatalf("read: got %v after %d records", err, len(ids))
	}
	return ids
}

func lastOf(t testing.TB, l *transport.Log) uint64 {
	t.Helper()
	_, last, _, err := l.Bounds(context.Background())
	if err != nil {
		t.Fatalf("bounds: %v", err)
	}
	return last
}

func TestOpenLogAtOnceAgreesOnOneEpoch(t *testing.T) {
	s := natstest.Start(t)
	var wg sync.WaitGroup
	origins := make([]feature.Origin, 8)
	for i := range origins {
		c := s.Connect()
		wg.Go(func() { origins[i] = openLog(t, c).Origin() })
	}
	wg.Wait()
	for i, o := range origins {
		if o != origins[0] || o.Epoch == 0 || o.Region != "eu-west" {
			t.Errorf("opener %d: got origin %v, want %v", i, o, origins[0])
		}
	}
}

func TestAppendedRecordsAreReadInOrder(t *testing.T) {
	s := natstest.Start(t)
	l := openLog(t, s.Connect())
	a := newAppender(t, l)
	const n = 2000
	positions := make(chan feature.Position, n)
	for i := range n {
		rec := aDecision(i)
		if err := a.Append(&rec, func(p feature.Position, err error) {
			if err != nil {
				t.Errorf("append %d: %v", i, err)
			}
			positions <- p
		}); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	var last feature.Position
	for range n {
		p := <-positions
		if p.Compare(last) <= 0 && last.Mark != 0 {
			t.Fatalf("position %v came after %v", p, last)
		}
		last = p
	}
	ids := readIDs(t, l, 1, last.Mark.Seq())
	if len(ids) != n {
		t.Fatalf("got %d records, want %d", len(ids), n)
	}
	for i, id := range ids {
		if want := fmt.Sprintf("t-%d", i); id != want {
			t.Fatalf("record %d: got %s, want %s", i, id, want)
		}
	}
}

func newAppender(t testing.TB, l *transport.Log, change ...func(*transport.AppenderConfig)) *transport.Appender {
	t.Helper()
	cfg := transport.DefaultAppenderConfig()
	cfg.Node = "eu-west-1"
	cfg.AckTimeout = 500 * time.Millisecond
	for _, c := range change {
		c(&cfg)
	}
	a, err := l.NewAppender(context.Background(), cfg, nil)
	if err != nil {
		t.Fatalf("new appender: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := a.Close(ctx); err != nil {
			t.Errorf("close appender: %v", err)
		}
	})
	return a
}
