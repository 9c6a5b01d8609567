package transport_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/transport"
	"scoremesh/transport/natstest"
)

// fill appends n batches of one record each, at sequences last+1 to last+n.
func fill(t testing.TB, l *transport.Log, n int) {
	t.Helper()
	last, err := l.LastConditional(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if last, err = l.AppendConditional(context.Background(), 0, last, []feature.Record{aDecision(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

var errStop = errors.New("stop")

func TestReadBeginsWhereAskedAndSaysWhatIsBehind(t *testing.T) {
	s := natstest.Start(t)
	l := openLog(t, s.Connect())
	fill(t, l, 5)
	next := uint64(3)
	before := time.Now().Add(-time.Minute).UnixMilli()
	err := l.Read(context.Background(), 3, func(b *transport.Batch) error {
		if b.Seq != next || b.Origin != l.Origin() || len(b.Records) != 1 || b.Pending != 5-b.Seq || b.StoredAt < before {
			t.Errorf("got %+v, want sequence %d with %d pending", b, next, 5-next)
		}
		next++
		if b.Pending == 0 {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) {
		t.Errorf("got %v, want the function's error", err)
	}
	if next != 6 {
		t.Errorf("read up to %d, want 5", next-1)
	}
}

func TestReadWaitsAtTheHeadAndEndsWithItsContext(t *testing.T) {
	s := natstest.Start(t)
	l := openLog(t, s.Connect())
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan uint64)
	ended := make(chan error, 1)
	go func() {
		ended <- l.Read(ctx, 0, func(b *transport.Batch) error { got <- b.Seq; return nil })
	}()
	for want := uint64(1); want <= 3; want++ {
		fill(t, l, 1)
		if seq := <-got; seq != want {
			t.Fatalf("got sequence %d, want %d", seq, want)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestReadGoesOnOverRestartsOfTheServer(t *testing.T) {
	s := natstest.Start(t)
	l := openLog(t, s.Connect())
	a := newAppender(t, l)
	const n = 3000
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	seen := 0
	progress := make(chan int, n)
	ended := make(chan error, 1)
	go func() {
		ended <- l.Read(ctx, 1, func(b *transport.Batch) error {
			for i, r := range b.Records {
				if got, want := r.Decision.Transaction.ID, decisionID(seen); got != want {
					return fmt.Errorf("got %s at %v, want %s", got, b.Position(i), want)
				}
				seen++
			}
			progress <- seen
			if seen == n {
				return errStop
			}
			return nil
		})
	}()
	led := newLedger()
	go func() {
		for i := range n {
			led.append(t, a, aDecision(i))
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for restart := range 3 {
		for got := range progress {
			if got > (restart+1)*n/5 {
				break
			}
		}
		s.Restart()
	}
	if err := <-ended; !errors.Is(err, errStop) {
		t.Fatalf("after %d records: %v", seen, err)
	}
	waitFor(t, "commits", 10*time.Second, func() bool { return led.settled.Load() == n })
}

func TestReadOfATrimmedPlaceNamesTheFirstAvailable(t *testing.T) {
	s := natstest.Start(t)
	l := openLog(t, s.Connect())
	fill(t, l, 10)
	ctx := context.Background()
	if err := l.Trim(ctx, 12); err == nil {
		t.Error("trim beyond the end was accepted")
	}
	for _, before := range []uint64{0, 1} {
		if err := l.Trim(ctx, before); err != nil {
			t.Errorf("trim before %d: %v", before, err)
		}
		if first, last, _, err := l.Bounds(ctx); err != nil || first != 1 || last != 10 {
			t.Fatalf("bounds after trim before %d: got %d to %d, %v, want 1 to 10", before, first, last, err)
		}
	}
	if err := l.Trim(ctx, 6); err != nil {
		t.Fatal(err)
	}
	if first, last, bytes, err := l.Bounds(ctx); err != nil || first != 6 || last != 10 || bytes == 0 {
		t.Errorf("bounds: got %d to %d, %d bytes, %v, want 6 to 10", first, last, bytes, err)
	}
	var trimmed *transport.TrimmedError
	if err := l.Read(ctx, 3, func(*transport.Batch) error { return nil }); !errors.As(err, &trimmed) || trimmed.Wanted != 3 || trimmed.First != 6 {
		t.Errorf("read: got %v, want trimmed at 3, first 6", err)
	}
	if got := len(readIDs(t, l, 6, 10)); got != 5 {
		t.Errorf("read from 6: got %d records, want 5", got)
	}
	// All of it: the newest stays, so that the log knows where it is, also after a restart.
	if err := l.Trim(ctx, 11); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	waitFor(t, "reconnect", 5*time.Second, func() bool { _, _, _, err := l.Bounds(ctx); return err == nil })
	if first, last, _, err := l.Bounds(ctx); err != nil || first != 10 || last != 10 {
		t.Errorf("bounds after trimming all: got %d to %d, %v, want 10 to 10", first, last, err)
	}
}

func TestReadRefusesAGap(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	fill(t, l, 5)
	js := c.JetStream()
	stream, err := js.Stream(context.Background(), "LOG_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(context.Background(), 3); err == nil {
		t.Error("the log lets single batches be deleted")
	}
	// A server keeps that from happening, so stand-in for a store that lost a block: the same stream without the protection.
	cfg := stream.CachedInfo().Config
	cfg.DenyDelete = false
	if err := js.DeleteStream(context.Background(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	if stream, err = js.CreateStream(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 5)
	if err := stream.DeleteMsg(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	var seen []uint64
	var gap *transport.GapError
	err = l.Read(context.Background(), 1, func(b *transport.Batch) error { seen = append(seen, b.Seq); return nil })
	if !errors.As(err, &gap) || gap.Wanted != 3 || gap.Got != 4 {
		t.Errorf("got %v, want a gap at 3", err)
	}
	if len(seen) != 2 {
		t.Errorf("delivered %v, want 1 and 2", seen)
	}
}

func TestBatchThatCannotBeDecodedIsSkippedAndCounted(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	reg := prometheus.NewRegistry()
	l, err := transport.OpenLog(context.Background(), c.JetStream(), logConfig(), zerolog.Nop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.OpenLog(context.Background(), c.JetStream(), logConfig(), zerolog.Nop(), reg); err != nil {
		t.Errorf("open the log again: %v", err)
	}
	fill(t, l, 1)
	hostile := &nats.Msg{Subject: fmt.Sprintf("log.eu-west.%016x.x", l.Origin().Epoch), Data: []byte("\xff\xff\xff\xff")}
	if _, err := c.JetStream().PublishMsg(context.Background(), hostile); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	var got []int
	err = l.Read(context.Background(), 1, func(b *transport.Batch) error {
		got = append(got, len(b.Records))
		if b.Seq == 3 {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) || fmt.Sprint(got) != "[1 0 1]" {
		t.Errorf("got %v records a batch, %v, want [1 0 1]", got, err)
	}
	if n := metric(t, reg, "scoremesh_log_read_malformed_batches_total"); n != 1 {
		t.Errorf("malformed batches: got %v, want 1", n)
	}
}
