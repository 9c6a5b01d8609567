package transport_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/transport"
	"scoremesh/transport/natstest"
	"scoremesh/transport/wire"
)

// ledger keeps what became of the records of one appender.
type ledger struct {
	mu        sync.Mutex
	positions map[string]feature.Position
	failed    map[string]error
	settled   atomic.Int64
	called    map[string]int
}

func newLedger() *ledger {
	return &ledger{positions: map[string]feature.Position{}, failed: map[string]error{}, called: map[string]int{}}
}

// append appends a record, and again while the queue is full.
func (l *ledger) append(t testing.TB, a *transport.Appender, rec feature.Record) {
	t.Helper()
	id := rec.Decision.Transaction.ID
	for {
		err := a.Append(&rec, func(p feature.Position, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.called[id]++
			if err != nil {
				l.failed[id] = err
			} else {
				l.positions[id] = p
			}
			l.settled.Add(1)
		})
		if err == nil {
			return
		}
		if !errors.Is(err, transport.ErrQueueFull) {
			t.Fatalf("append %s: %v", id, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func waitFor(t testing.TB, what string, within time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", within, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// checkOnce reads the whole log and demands that it holds exactly the prefix's records 0 to n-1, once each and in order, where done said.
func (l *ledger) checkOnce(t testing.TB, log *transport.Log, n int, id func(int) string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		if l.called[id(i)] != 1 {
			t.Fatalf("done of %s was called %d times, want once", id(i), l.called[id(i)])
		}
		if err := l.failed[id(i)]; err != nil {
			t.Fatalf("append of %s failed: %v", id(i), err)
		}
	}
	next := 0
	done := errors.New("done")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	last := lastOf(t, log)
	err := log.Read(ctx, 1, func(b *transport.Batch) error {
		for i, r := range b.Records {
			got := r.Decision.Transaction.ID
			at, mine := l.positions[got]
			if !mine {
				continue // another appender's
			}
			if got != id(next) {
				return fmt.Errorf("got %s at %v, want %s", got, b.Position(i), id(next))
			}
			if at != b.Position(i) {
				return fmt.Errorf("%s stands at %v, done said %v", got, b.Position(i), at)
			}
			next++
		}
		if b.Seq == last {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatalf("read: %v", err)
	}
	if next != n {
		t.Fatalf("log holds %d records, want %d", next, n)
	}
}

func decisionID(i int) string { return fmt.Sprintf("t-%d", i) }

func TestLostAcknowledgementsAppendOnce(t *testing.T) {
	s := natstest.Start(t)
	proxy := natstest.StartProxy(t, s.URL())
	direct := openLog(t, s.Connect())
	reg := prometheus.NewRegistry()
	log := openLog(t, natstest.Connect(t, proxy.URL()))
	cfg := transport.DefaultAppenderConfig()
	cfg.Node, cfg.AckTimeout, cfg.BatchRecords = "n1", 200*time.Millisecond, 16
	a, err := log.NewAppender(context.Background(), cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	n := 0
	more := func(k int) {
		for range k {
			l.append(t, a, aDecision(n))
			n++
		}
	}
	for round := range 5 {
		more(40)
		waitFor(t, "commits", 10*time.Second, func() bool { return int(l.settled.Load()) == n })
		proxy.LoseReplies(true)
		before := lastOf(t, direct)
		more(40)
		waitFor(t, "a batch that arrives unheard", 10*time.Second, func() bool { return lastOf(t, direct) > before })
		if round%2 == 0 {
			proxy.Cut()
		} else {
			waitFor(t, "the appender to notice", 10*time.Second, func() bool { return !a.State().Healthy })
			proxy.Cut()
		}
	}
	waitFor(t, "all commits", 20*time.Second, func() bool { return int(l.settled.Load()) == n })
	if s := a.State(); !s.Healthy || s.UnreachableSince != 0 || s.QueueRecords != 0 || s.QueueBytes != 0 || s.OldestWaiting != 0 {
		t.Errorf("state after recovery: got %+v, want healthy and empty", s)
	}
	if got := metric(t, reg, "scoremesh_log_append_recovered_total"); got < 1 {
		t.Errorf("recovered batches: got %v, want at least 1", got)
	}
	if err := a.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
	if n, err := testutil.GatherAndCount(reg); err != nil || n != 0 {
		t.Errorf("metrics after close: got %d, %v, want none", n, err)
	}
	l.checkOnce(t, direct, n, decisionID)
}

// metric sums a counter or gauge over its labels.
func metric(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestKilledServerLosesAndRepeatsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	s := natstest.StartProcess(t)
	log := openLog(t, natstest.Connect(t, s.URL()))
	second := openLog(t, natstest.Connect(t, s.URL()))
	appenders := []*transport.Appender{newAppender(t, log), newAppender(t, second, func(c *transport.AppenderConfig) { c.Node = "eu-west-2" })}
	const n = 6000
	ledgers := []*ledger{newLedger(), newLedger()}
	id := func(appender int) func(int) string {
		return func(i int) string { return fmt.Sprintf("a%d-%d", appender, i) }
	}
	var wg sync.WaitGroup
	for k, a := range appenders {
		wg.Go(func() {
			for i := range n {
				rec := aDecision(i)
				rec.Decision.Transaction.ID = id(k)(i)
				ledgers[k].append(t, a, rec)
				if i%20 == 0 {
					time.Sleep(time.Millisecond) // let batches be small, and the kills come in between
				}
			}
		})
	}
	for kill := range 3 {
		waitFor(t, "progress", 20*time.Second, func() bool { return ledgers[0].settled.Load() > int64(kill+1)*n/5 })
		s.Kill()
		waitFor(t, "both to notice", 20*time.Second, func() bool {
			for k, a := range appenders {
				if a.State().Healthy && ledgers[k].settled.Load() < n { // one that is done has nothing to notice it by
					return false
				}
			}
			return true
		})
		s.Restart()
	}
	waitFor(t, "progress", 20*time.Second, func() bool { return ledgers[0].settled.Load() > 4*n/5 })
	s.Suspend()
	waitFor(t, "a suspended server to be noticed", 20*time.Second, func() bool { return !appenders[0].State().Healthy })
	s.Resume()
	wg.Wait()
	for k := range appenders {
		waitFor(t, "all commits", 30*time.Second, func() bool { return ledgers[k].settled.Load() == n })
		ledgers[k].checkOnce(t, log, n, id(k))
	}
}

func TestQueueFullIsRefusedAndDrains(t *testing.T) {
	s := natstest.Start(t)
	log := openLog(t, s.Connect())
	const room = 100
	a := newAppender(t, log, func(c *transport.AppenderConfig) { c.QueueRecords = room; c.BatchRecords = 7 })
	s.Stop()
	l := newLedger()
	for i := range room {
		l.append(t, a, aDecision(i))
	}
	rec := aDecision(room)
	if err := a.Append(&rec, func(feature.Position, error) { t.Error("done of a refused record") }); !errors.Is(err, transport.ErrQueueFull) {
		t.Fatalf("append to a full queue: got %v, want ErrQueueFull", err)
	}
	waitFor(t, "the appender to notice", 10*time.Second, func() bool { return !a.State().Healthy })
	if s := a.State(); s.QueueRecords != room || s.QueueBytes == 0 || s.OldestWaiting == 0 || s.UnreachableSince == 0 || s.LastError == "" {
		t.Errorf("state: got %+v, want %d waiting records and since when", s, room)
	}
	s.Restart()
	waitFor(t, "commits", 20*time.Second, func() bool { return l.settled.Load() == room })
	l.checkOnce(t, log, room, decisionID)
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	s := natstest.Start(t)
	log := openLog(t, s.Connect())
	a := newAppender(t, log, func(c *transport.AppenderConfig) { c.QueueBytes, c.BatchBytes = 300<<10, 300<<10 })
	s.Stop()
	l := newLedger()
	n := 0
	for {
		rec := aDecision(n)
		err := a.Append(&rec, func(feature.Position, error) { l.settled.Add(1) })
		if errors.Is(err, transport.ErrQueueFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if got := a.State().QueueBytes; got > 300<<10 || got < 299<<10 {
		t.Errorf("queue bytes when full: got %d, want just under %d", got, 300<<10)
	}
	s.Restart()
	waitFor(t, "commits", 20*time.Second, func() bool { return l.settled.Load() == int64(n) })
	if got := a.State().QueueBytes; got != 0 {
		t.Errorf("queue bytes when empty: got %d, want 0", got)
	}
}

func TestCloseFailsWhatCannotBeAppended(t *testing.T) {
	s := natstest.Start(t)
	log := openLog(t, s.Connect())
	cfg := transport.DefaultAppenderConfig()
	cfg.Node, cfg.BatchRecords, cfg.AckTimeout = "n1", 3, 100*time.Millisecond
	a, err := log.NewAppender(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	l := newLedger()
	for i := range 10 {
		l.append(t, a, aDecision(i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := a.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: got %v, want deadline exceeded", err)
	}
	for i := range 10 {
		if got := l.failed[decisionID(i)]; !errors.Is(got, transport.ErrClosed) || l.called[decisionID(i)] != 1 {
			t.Errorf("record %d: got %v, called %d times, want ErrClosed once", i, got, l.called[decisionID(i)])
		}
	}
	rec := aDecision(11)
	if err := a.Append(&rec, func(feature.Position, error) {}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("append after close: got %v, want ErrClosed", err)
	}
}

func TestCloseDrains(t *testing.T) {
	s := natstest.Start(t)
	log := openLog(t, s.Connect())
	cfg := transport.DefaultAppenderConfig()
	cfg.Node, cfg.BatchRecords = "n1", 10
	a, err := log.NewAppender(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	for i := range 500 {
		l.append(t, a, aDecision(i))
	}
	if err := a.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
	l.checkOnce(t, log, 500, decisionID)
}

func TestReplacedLogIsNeverAppendedTo(t *testing.T) {
	for _, c := range []struct {
		name  string
		first int // records before the log is replaced
	}{{"before the first append", 0}, {"after an append", 3}} {
		t.Run(c.name, func(t *testing.T) {
			s := natstest.Start(t)
			conn := s.Connect()
			old := openLog(t, conn)
			a := newAppender(t, old)
			l := newLedger()
			for i := range c.first {
				l.append(t, a, aDecision(i))
			}
			waitFor(t, "commits", 5*time.Second, func() bool { return l.settled.Load() == int64(c.first) })

			if err := conn.JetStream().DeleteStream(context.Background(), "LOG_eu-west"); err != nil {
				t.Fatal(err)
			}
			fresh := openLog(t, conn)
			if fresh.Origin().Epoch == old.Origin().Epoch {
				t.Fatal("a new store has the old epoch")
			}
			l.append(t, a, aDecision(100))
			waitFor(t, "the record to fail", 5*time.Second, func() bool { return l.settled.Load() == int64(c.first)+1 })
			if got := l.failed[decisionID(100)]; !errors.Is(got, transport.ErrLogReplaced) {
				t.Errorf("append for the old epoch: got %v, want ErrLogReplaced", got)
			}
			rec := aDecision(101)
			if err := a.Append(&rec, func(feature.Position, error) {}); !errors.Is(err, transport.ErrLogReplaced) {
				t.Errorf("append after that: got %v, want ErrLogReplaced", err)
			}
			if s := a.State(); s.Healthy || !s.Replaced {
				t.Errorf("state: got %+v, want replaced", s)
			}
			if _, err := old.AppendConditional(context.Background(), 1, 0, []feature.Record{aDecision(1)}); err == nil {
				t.Error("conditional append for the old epoch was taken")
			}
			if _, err := old.LastConditional(context.Background(), 1); !errors.Is(err, transport.ErrLogReplaced) {
				t.Errorf("last conditional of the old epoch: got %v, want ErrLogReplaced", err)
			}
			if err := old.Read(context.Background(), 1, func(*transport.Batch) error { return nil }); !errors.Is(err, transport.ErrLogReplaced) {
				t.Errorf("read of the old epoch: got %v, want ErrLogReplaced", err)
			}
			if err := old.Trim(context.Background(), 1); !errors.Is(err, transport.ErrLogReplaced) {
				t.Errorf("trim of the old epoch: got %v, want ErrLogReplaced", err)
			}
			if last := lastOf(t, fresh); last != 0 {
				t.Errorf("the new log ends at %d, want it empty", last)
			}
		})
	}
}

func TestLogThatWentBackCountsAsReplaced(t *testing.T) {
	s := natstest.Start(t)
	conn := s.Connect()
	log := openLog(t, conn)
	a := newAppender(t, log)
	l := newLedger()
	l.append(t, a, aDecision(0))
	waitFor(t, "commit", 5*time.Second, func() bool { return l.settled.Load() == 1 })

	// The store is restored from before the append: the same epoch, and nothing in it.
	js := conn.JetStream()
	stream, err := js.Stream(context.Background(), "LOG_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	if err := js.DeleteStream(context.Background(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	l.append(t, a, aDecision(1))
	waitFor(t, "the record to fail", 10*time.Second, func() bool { return l.settled.Load() == 2 })
	if got := l.failed[decisionID(1)]; !errors.Is(got, transport.ErrLogReplaced) {
		t.Errorf("append: got %v, want ErrLogReplaced", got)
	}
	if err := log.Read(context.Background(), 2, func(*transport.Batch) error { return nil }); !errors.Is(err, transport.ErrLogReplaced) {
		t.Errorf("read from behind the end: got %v, want ErrLogReplaced", err)
	}
}

func TestAppenderGoesOnBehindATrimOfItsSubject(t *testing.T) {
	s := natstest.Start(t)
	log := openLog(t, s.Connect())
	reg := prometheus.NewRegistry()
	cfg := transport.DefaultAppenderConfig()
	cfg.Node = "n1"
	a, err := log.NewAppender(context.Background(), cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(context.Background())
	other := newAppender(t, log, func(c *transport.AppenderConfig) { c.Node = "n2" })
	l, m := newLedger(), newLedger()
	l.append(t, a, aDecision(0))
	waitFor(t, "commit", 5*time.Second, func() bool { return l.settled.Load() == 1 })
	for i := range 3 {
		m.append(t, other, aDecision(i))
		waitFor(t, "commit", 5*time.Second, func() bool { return m.settled.Load() == int64(i)+1 })
	}
	if err := log.Trim(context.Background(), lastOf(t, log)); err != nil {
		t.Fatal(err)
	}
	l.append(t, a, aDecision(1))
	waitFor(t, "commit", 5*time.Second, func() bool { return l.settled.Load() == 2 })
	if err := l.failed[decisionID(1)]; err != nil {
		t.Errorf("append behind a trim: %v", err)
	}
	if got := metric(t, reg, "scoremesh_log_append_uncertain_total"); got != 0 {
		t.Errorf("uncertain appends: got %v, want 0: the refusal was certain", got)
	}
}

func TestConditionalAppendRacesHaveOneWinner(t *testing.T) {
	s := natstest.Start(t)
	const racers, rounds = 4, 25
	logs := make([]*transport.Log, racers)
	for i := range logs {
		logs[i] = openLog(t, s.Connect())
	}
	ctx := context.Background()
	for round := range rounds {
		last, err := logs[0].LastConditional(ctx, 7)
		if err != nil {
			t.Fatal(err)
		}
		var wins, moved atomic.Int64
		var wg sync.WaitGroup
		for _, l := range logs {
			wg.Go(func() {
				switch seq, err := l.AppendConditional(ctx, 7, last, []feature.Record{aDecision(round)}); {
				case err == nil && seq > last:
					wins.Add(1)
				case errors.Is(err, transport.ErrMoved):
					moved.Add(1)
				default:
					t.Errorf("append: got %d, %v", seq, err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 || moved.Load() != racers-1 {
			t.Fatalf("round %d: got %d winners and %d moved, want 1 and %d", round, wins.Load(), moved.Load(), racers-1)
		}
	}
	if got := len(readIDs(t, logs[0], 1, lastOf(t, logs[0]))); got != rounds {
		t.Errorf("log holds %d records, want %d", got, rounds)
	}
	if last, err := logs[0].LastConditional(ctx, 8); err != nil || last != 0 {
		t.Errorf("untouched partition: got %d, %v, want 0", last, err)
	}
	if _, err := logs[0].AppendConditional(ctx, 8, 0, []feature.Record{{}}); !errors.Is(err, wire.ErrBounds) {
		t.Errorf("record without content: got %v, want wire.ErrBounds", err)
	}
}

func TestOpenLogRefusesAForeignStream(t *testing.T) {
	s := natstest.Start(t)
	c := s.Connect()
	if _, err := c.JetStream().CreateStream(context.Background(), jetstream.StreamConfig{Name: "LOG_eu-west", Subjects: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := transport.OpenLog(context.Background(), c.JetStream(), logConfig(), zerolog.Nop(), nil); !errors.Is(err, transport.ErrNotALog) {
		t.Errorf("got %v, want ErrNotALog", err)
	}
}

func TestOpenLogWaitsForTheServer(t *testing.T) {
	s := natstest.Start(t)
	s.Stop()
	c := s.Connect()
	if c.State().Connected {
		t.Error("connected to a stopped server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := transport.OpenLog(ctx, c.JetStream(), logConfig(), zerolog.Nop(), nil); err == nil {
		t.Error("opened a log without a server")
	}
	opened := make(chan feature.Origin, 1)
	go func() { opened <- openLog(t, c).Origin() }()
	s.Restart()
	if o := <-opened; o.Epoch == 0 {
		t.Error("no epoch")
	}
	if st := c.State(); !st.Connected || st.Server == "" {
		t.Errorf("state: got %+v, want connected", st)
	}
}

func TestBatchTrimmedBeforeItsAcknowledgementIsAppendedAgainAndCounted(t *testing.T) {
	s := natstest.Start(t)
	proxy := natstest.StartProxy(t, s.URL())
	direct := openLog(t, s.Connect())
	log := openLog(t, natstest.Connect(t, proxy.URL()))
	reg := prometheus.NewRegistry()
	cfg := transport.DefaultAppenderConfig()
	cfg.Node = "n1"
	cfg.AckTimeout = 500 * time.Millisecond
	a, err := log.NewAppender(context.Background(), cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	proxy.LoseReplies(true)
	l.append(t, a, aDecision(0))
	waitFor(t, "a batch that arrives unheard", 5*time.Second, func() bool { return lastOf(t, direct) == 1 })
	fill(t, direct, 3)
	if err := direct.Trim(context.Background(), 4); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the appender to notice", 10*time.Second, func() bool { return !a.State().Healthy })
	proxy.Cut()
	waitFor(t, "commit", 20*time.Second, func() bool { return l.settled.Load() == 1 })
	if err := l.failed[decisionID(0)]; err != nil {
		t.Errorf("append: %v", err)
	}
	if got := l.positions[decisionID(0)].Mark.Seq(); got != 5 {
		t.Errorf("appended at %d, want 5", got)
	}
	if got := metric(t, reg, "scoremesh_log_append_uncertain_total"); got != 1 {
		t.Errorf("uncertain appends: got %v, want 1", got)
	}
	if err := a.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAttemptThatArrivesLateIsRefused(t *testing.T) {
	s := natstest.Start(t)
	proxy := natstest.StartProxy(t, s.URL())
	direct := openLog(t, s.Connect())
	for _, c := range []struct {
		name   string
		before int // records that the appender committed before
	}{{"the first of its appender", 0}, {"a later one", 2}} {
		t.Run(c.name, func(t *testing.T) {
			log := openLog(t, natstest.Connect(t, proxy.URL()))
			a := newAppender(t, log)
			l := newLedger()
			start := lastOf(t, direct)
			for i := range c.before {
				l.append(t, a, aDecision(i))
				waitFor(t, "commit", 5*time.Second, func() bool { return l.settled.Load() == int64(i)+1 })
			}
			reconnect, release := proxy.Delay()
			l.append(t, a, aDecision(c.before))
			waitFor(t, "the appender to notice", 10*time.Second, func() bool { return !a.State().Healthy })
			if got := lastOf(t, direct); got != start+uint64(c.before) {
				t.Fatalf("the attempt arrived: log ends at %d", got)
			}
			reconnect()
			waitFor(t, "the commit of another attempt", 20*time.Second, func() bool { return l.settled.Load() == int64(c.before)+1 })
			release()
			l.append(t, a, aDecision(c.before+1))
			waitFor(t, "the commit behind it", 20*time.Second, func() bool { return l.settled.Load() == int64(c.before)+2 })
			if got, want := lastOf(t, direct), start+uint64(c.before)+2; got != want {
				t.Errorf("log ends at %d, want %d: each record once", got, want)
			}
		})
	}
}
