package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/transport"
	"scoremesh/transport/natstest"
)

// running is a feed in a goroutine.
type running struct {
	cancel context.CancelFunc
	ended  chan error
}

func (r *running) stop() error {
	r.cancel()
	return <-r.ended
}

func startFeed(t testing.TB, l *transport.Log, reg prometheus.Registerer, change ...func(*transport.FeedConfig)) *running {
	t.Helper()
	cfg := transport.DefaultFeedConfig()
	cfg.AckTimeout = 500 * time.Millisecond
	for _, c := range change {
		c(&cfg)
	}
	f, err := transport.NewDecisionFeed(l, cfg, zerolog.New(zerolog.NewTestWriter(t)), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- f.Run(ctx) }()
	return r
}

// received is an event with the subject that it came on.
type received struct {
	subject string
	id      string
	key     string // the transaction's id
}

// subscribe reads n events as a durable consumer does.
func subscribe(t testing.TB, c *transport.Conn, n int) []received {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var consumer jetstream.Consumer
	waitFor(t, "the stream", 10*time.Second, func() bool {
		var err error
		consumer, err = c.JetStream().CreateOrUpdateConsumer(ctx, "DECISIONS_eu-west", jetstream.ConsumerConfig{Durable: "audit", AckPolicy: jetstream.AckExplicitPolicy})
		return err == nil
	})
	var out []received
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for len(out) < n {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("event %d of %d: %v", len(out), n, err)
		}
		e := event.New()
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := m.Headers().Get("Content-Type"); got != "application/cloudevents+json" {
			t.Fatalf("content type: got %q", got)
		}
		out = append(out, received{m.Subject(), e.ID(), e.Subject()})
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func streamEnd(t testing.TB, c *transport.Conn) uint64 {
	t.Helper()
	s, err := c.JetStream().Stream(context.Background(), "DECISIONS_eu-west")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0
	}
	if err != nil {
		return 0 // the server is away; callers ask again
	}
	return s.CachedInfo().State.LastSeq
}

func TestFeedPublishesDecisionsAndConflicts(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	approve, decline := aDecision(0), aDecision(1)
	decline.Decision.Outcome = decision.Decline
	at := func(seq uint64, index int) feature.Position {
		return feature.Position{Origin: l.Origin(), Mark: feature.MarkOf(seq, index)}
	}
	elsewhere := feature.Position{Origin: feature.Origin{Region: "us-east", Epoch: 9}, Mark: feature.MarkOf(4, 0)}
	retraction := func(loser feature.Position, winner decision.Outcome) feature.Record {
		return feature.Record{Retraction: &feature.Retraction{Loser: loser, Winner: elsewhere, WinnerOutcome: winner, Facts: feature.FactsOf(decline.Decision)}}
	}
	last, err := l.AppendConditional(context.Background(), 0, 0, []feature.Record{
		approve, {Beacon: &feature.Beacon{At: 1, Node: "n"}}, decline, {Label: &decision.Label{Card: "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendConditional(context.Background(), 0, last, []feature.Record{
		retraction(at(1, 2), decision.Approve), retraction(at(1, 2), decision.Decline), retraction(elsewhere, decision.StepUp)}); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	feed := startFeed(t, l, reg)
	id := func(seq, index int) string { return fmt.Sprintf("eu-west/%016x/%d.%d", l.Origin().Epoch, seq, index) }
	want := []received{{"decisions.eu-west.approve", id(1, 0), "t-0"}, {"decisions.eu-west.decline", id(1, 2), "t-1"},
		{"decisions.eu-west.conflict", id(2, 0), "t-1"}, {"decisions.eu-west.conflict", id(2, 2), ""}}
	if got := subscribe(t, c, 4); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events:\n got %v\nwant %v", got, want)
	}
	waitFor(t, "no lag", 5*time.Second, func() bool {
		return metric(t, reg, "scoremesh_feed_lag_seconds") == 0 && metric(t, reg, "scoremesh_feed_unconfirmed_events") == 0 && metric(t, reg, "scoremesh_feed_lag_batches") == 0
	})
	if got := metric(t, reg, "scoremesh_feed_events_total"); got != 4 {
		t.Errorf("events: got %v, want 4", got)
	}
	info, err := c.JetStream().Stream(context.Background(), "DECISIONS_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.CachedInfo().Config.PersistMode; got != jetstream.AsyncPersistMode {
		t.Errorf("persist mode: got %v, want async", got)
	}
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("run: got %v, want canceled", err)
	}
}

// demandSequence demands the decisions 0 to n-1, each once and in order.
func demandSequence(t testing.TB, got []received, n int) {
	t.Helper()
	for i := range n {
		if got[i].key != decisionID(i) {
			t.Fatalf("event %d: got %s, want %s", i, got[i].key, decisionID(i))
		}
	}
}

func TestFeedResumesAnywhereWithoutLossOrRepetition(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	a := newAppender(t, l, func(c *transport.AppenderConfig) { c.BatchRecords = 37 })
	const n = 4000
	led := newLedger()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range n {
			led.append(t, a, aDecision(i))
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	rng := rand.New(rand.NewPCG(1, 2))
	feeds := 0
	for streamEnd(t, c) < n {
		feed := startFeed(t, l, nil)
		// A stop is a crash to the feed: it may come between any publish and its acknowledgement.
		goal := min(n, streamEnd(t, c)+uint64(rng.IntN(400)))
		waitFor(t, "some events", 20*time.Second, func() bool { return streamEnd(t, c) >= goal })
		if feeds%5 == 4 {
			s.Restart()
		}
		if err := feed.stop(); !errors.Is(err, context.Canceled) {
			t.Fatalf("run: %v", err)
		}
		feeds++
	}
	<-ended
	waitFor(t, "commits", 10*time.Second, func() bool { return led.settled.Load() == n })
	if got := streamEnd(t, c); got != n {
		t.Errorf("stream holds %d events, want %d (%d feeds)", got, n, feeds)
	}
	demandSequence(t, subscribe(t, c, n), n)
}

func TestTwoFeedsAtOnceMakeOneSequence(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	other := openLog(t, s.Connect())
	a := newAppender(t, l)
	feeds := []*running{startFeed(t, l, nil), startFeed(t, other, nil)}
	const n = 1500
	led := newLedger()
	for i := range n {
		led.append(t, a, aDecision(i))
		if i%50 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	waitFor(t, "all events", 20*time.Second, func() bool { return streamEnd(t, c) >= n })
	for _, f := range feeds {
		if err := f.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
	if got := streamEnd(t, c); got != n {
		t.Errorf("stream holds %d events, want %d", got, n)
	}
	demandSequence(t, subscribe(t, c, n), n)
}

func TestFeedIsNeverStalledByASmallWindowOrAForeignMessage(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	fill(t, l, 200)
	feed := startFeed(t, l, nil, func(c *transport.FeedConfig) { c.Window = 1 })
	waitFor(t, "events", 20*time.Second, func() bool { return streamEnd(t, c) == 200 })
	if _, err := c.JetStream().PublishMsg(context.Background(), &nats.Msg{Subject: "decisions.eu-west.foreign", Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 10)
	waitFor(t, "events behind the foreign one", 20*time.Second, func() bool { return streamEnd(t, c) == 211 })
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
	stream, err := c.JetStream().Stream(context.Background(), "DECISIONS_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	want := 1
	for seq := uint64(1); seq <= 211; seq++ {
		m, err := stream.GetMsg(context.Background(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "decisions.eu-west.foreign" {
			continue
		}
		if got := m.Header.Get("Scoremesh-Position"); !strings.HasSuffix(got, fmt.Sprintf(".%d.0", want)) {
			t.Fatalf("event %d: got position %s, want batch %d", seq, got, want)
		}
		want++
	}
}

func TestFeedOfATrimmedLogCountsWhatIsMissing(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	fill(t, l, 5)
	feed := startFeed(t, l, nil)
	waitFor(t, "events", 10*time.Second, func() bool { return streamEnd(t, c) == 5 })
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	fill(t, l, 5)
	if err := l.Trim(context.Background(), 9); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	feed = startFeed(t, l, reg)
	waitFor(t, "what is left", 10*time.Second, func() bool { return streamEnd(t, c) == 7 })
	if got := metric(t, reg, "scoremesh_feed_skipped_batches_total"); got != 4 {
		t.Errorf("skipped batches: got %v, want 4: 5 (in case its end was not published) to 8", got)
	}
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := subscribe(t, c, 7)
	if !strings.HasSuffix(got[5].id, "/9.0") || !strings.HasSuffix(got[6].id, "/10.0") {
		t.Errorf("last events: got %v, want those of 9 and 10", got[5:])
	}
}

func TestFeedOfANewEpochBeginsAtItsBeginning(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	fill(t, l, 5)
	feed := startFeed(t, l, nil)
	waitFor(t, "events", 10*time.Second, func() bool { return streamEnd(t, c) == 5 })
	if err := c.JetStream().DeleteStream(context.Background(), "LOG_eu-west"); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, c)
	if err := <-feed.ended; !errors.Is(err, transport.ErrLogReplaced) {
		t.Errorf("feed of the old epoch: got %v, want ErrLogReplaced", err)
	}
	fill(t, l, 2)
	feed = startFeed(t, l, nil)
	waitFor(t, "events", 10*time.Second, func() bool { return streamEnd(t, c) == 7 })
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := subscribe(t, c, 7)[5:]; !strings.HasSuffix(got[0].id, "/1.0") || !strings.HasSuffix(got[1].id, "/2.0") {
		t.Errorf("events of the new epoch: got %v, want 1 and 2", got)
	}
}

func TestFeedWhoseEventsAllExpiredDoesNotBeginAgain(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	l := openLog(t, c)
	fill(t, l, 3)
	feed := startFeed(t, l, nil)
	waitFor(t, "events", 10*time.Second, func() bool { return streamEnd(t, c) == 3 })
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	stream, err := c.JetStream().Stream(context.Background(), "DECISIONS_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	feed = startFeed(t, l, nil)
	fill(t, l, 2)
	// What the log got within the minute before the newest event is published again: 3 of them, then the 2 new ones.
	waitFor(t, "events", 10*time.Second, func() bool { return streamEnd(t, c) == 8 })
	if err := feed.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
