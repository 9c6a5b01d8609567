package speedlayer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/speedlayer/redistest"
)

// slack is what a loaded test machine may add to a budget.
const slack = 250 * time.Millisecond

// until waits for a condition.
func until(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !met(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20s", what)
		}
	}
}

// metric is the value of a counter or gauge whose labels have the values, or the count of a histogram.
func metric(t testing.TB, reg *prometheus.Registry, name string, values ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "scoremesh_speedlayer_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetValue()] = true
			}
			all := true
			for _, v := range values {
				all = all && have[v]
			}
			if all {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("no metric %s %v", name, values)
	return 0
}

// one puts an entity into Redis and returns its ref.
func one(t testing.TB, h handles, id string) speedlayer.Ref {
	t.Helper()
	ref := h.ref(feature.Card, id)
	h.flush(t, speedlayer.Flush{Kind: ref.Kind, Partition: ref.Partition, Target: at(1, 0),
		Entities: []speedlayer.EntityState{{ID: id, State: state(at(1, 0), id)}}})
	return ref
}

func TestReadsEndWithinTheBudgetWhenRedisHangsAndHealAfterwards(t *testing.T) {
	server := redistest.Start(t)
	cfg := speedlayer.DefaultConfig()
	cfg.URL, cfg.BreakerDelay = server.URL(), 50*time.Millisecond
	s, reg := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	out := make([]speedlayer.Value, 1)
	read := func() error { return h.Read(context.Background(), []speedlayer.Ref{ref}, out) }
	until(t, "first read", func() bool { return read() == nil })

	for _, fault := range []struct {
		name     string
		hit, fix func()
	}{
		{"hanging", server.Pause, server.Resume},
		{"down", server.Stop, server.Restart},
	} {
		t.Run(fault.name, func(t *testing.T) {
			fault.hit()
			var timeouts, refused int
			for refused < 100 {
				began := time.Now()
				err := read()
				if took := time.Since(began); took > cfg.ReadBudget+slack {
					t.Fatalf("read took %v, want at most %v", took, cfg.ReadBudget)
				}
				switch {
				case errors.Is(err, speedlayer.ErrTimeout):
					timeouts++
				case errors.Is(err, speedlayer.ErrUnavailable):
					refused++
				default:
					t.Fatalf("got %v, want ErrTimeout or ErrUnavailable", err)
				}
				if out[0].State != nil || out[0].Err == nil {
					t.Fatalf("got value %+v beside the error %v", out[0], err)
				}
			}
			if got := metric(t, reg, "read_breakers", "closed"); got != 0 {
				t.Errorf("got %v closed breakers, want none", got)
			}
			if got := metric(t, reg, "read_errors_total", "unavailable"); got == 0 {
				t.Error("unavailable reads are not counted")
			}
			t.Logf("%d reads timed out before the breaker", timeouts)
			fault.fix()
			until(t, "heal", func() bool { return read() == nil })
			until(t, "closed breaker", func() bool { return read() == nil && metric(t, reg, "read_breakers", "closed") == 1 })
		})
	}
	if got := metric(t, reg, "read_errors_total", "timeout"); got == 0 {
		t.Error("timeouts are not counted")
	}
}

func TestTheBreakerOpensWhileTheFirstBatchStillHangs(t *testing.T) {
	server := redistest.Start(t)
	cfg := unhurried(server.URL())
	cfg.ReadBudget, cfg.ReadTimeout, cfg.ReadsInFlight = 20*time.Millisecond, 10*time.Second, 1
	cfg.BreakerFailures, cfg.BreakerWindow, cfg.BreakerDelay = 1, 1, 10*time.Second
	s, reg := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	server.Pause()
	defer server.Resume()
	if err := h.Read(context.Background(), []speedlayer.Ref{ref}, make([]speedlayer.Value, 1)); !errors.Is(err, speedlayer.ErrTimeout) {
		t.Fatalf("got %v, want ErrTimeout", err)
	}
	if got := metric(t, reg, "read_breakers", "open"); got != 1 {
		t.Fatalf("got %v open breakers, want 1", got)
	}
	// The only worker is busy: an open breaker refuses on the caller's goroutine.
	var refused error
	if err := h.Reader.Submit([]speedlayer.Ref{ref}, func(_ []speedlayer.Value, err error) { refused = err }); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(refused, speedlayer.ErrUnavailable) {
		t.Errorf("got %v when Submit returned, want ErrUnavailable", refused)
	}
}

func TestLateAnswersTouchNothing(t *testing.T) {
	server := redistest.Start(t)
	cfg := unhurried(server.URL())
	cfg.ReadBudget, cfg.BreakerFailures, cfg.BreakerWindow = 2*time.Millisecond, 1000, 1000
	s, _ := open(t, cfg)
	h := in(t, s, space())
	refs := []speedlayer.Ref{one(t, h, "a"), one(t, h, "b")}
	var callers sync.WaitGroup
	var stop atomic.Bool
	var good, late atomic.Int64
	for range 8 {
		callers.Go(func() {
			out := make([]speedlayer.Value, 2)
			for !stop.Load() {
				err := h.Read(context.Background(), refs, out)
				if (err == nil) != (out[0].State != nil && out[1].State != nil) {
					t.Errorf("got %v with %+v", err, out)
				}
				if err == nil {
					good.Add(1)
				} else {
					late.Add(1)
				}
				// A late write would race with these.
				out[0], out[1] = speedlayer.Value{}, speedlayer.Value{}
			}
		})
	}
	for range 5 {
		g := good.Load()
		until(t, "good reads", func() bool { return good.Load() > g })
		server.Pause()
		l := late.Load()
		until(t, "late reads", func() bool { return late.Load() > l+16 })
		server.Resume()
	}
	stop.Store(true)
	callers.Wait()
}

func TestACallerLeavesAtItsOwnDeadline(t *testing.T) {
	server := redistest.Start(t)
	s, _ := open(t, unhurried(server.URL()))
	h := in(t, s, space())
	ref := one(t, h, "c")
	server.Pause()
	defer server.Resume()
	out := make([]speedlayer.Value, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := h.Read(ctx, []speedlayer.Ref{ref}, out); !errors.Is(err, speedlayer.ErrTimeout) || time.Since(began) > slack {
		t.Errorf("got %v after %v, want ErrTimeout after 5ms", err, time.Since(began))
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if err := h.Read(ctx, []speedlayer.Ref{ref}, out); !errors.Is(err, context.Canceled) || !errors.Is(out[0].Err, context.Canceled) {
		t.Errorf("got %v and %v, want context.Canceled", err, out[0].Err)
	}
}

func TestWaitingRequestsShareOneRoundTripWithEachKeyOnce(t *testing.T) {
	server := redistest.Start(t)
	cfg := unhurried(server.URL())
	cfg.ReadsInFlight = 1
	s, _ := open(t, cfg)
	h := in(t, s, space())
	// Three entities in two shards.
	entities := []speedlayer.Ref{{Kind: feature.Card, Partition: 1, ID: "a"}, {Kind: feature.Card, Partition: 1, ID: "b"},
		{Kind: feature.Merchant, Partition: 2, ID: "m"}}
	h.read(t, entities...)
	server.Do("CONFIG", "RESETSTAT")
	server.Pause()

	const callers = 50
	answers := make(chan error, callers+1)
	submit := func(refs ...speedlayer.Ref) {
		if err := h.Reader.Submit(refs, func(_ []speedlayer.Value, err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	// The first batch occupies the only connection; what comes then waits together.
	submit(entities[0])
	until(t, "first batch", func() bool { return s.InFlight() == 1 })
	for range callers {
		submit(entities...)
	}
	server.Resume()
	for range callers + 1 {
		if err := <-answers; err != nil {
			t.Errorf("got %v", err)
		}
	}
	info := server.Do("INFO", "everything").(string)
	// One MGET for the first batch, two (a shard each) for all others; of watermark + a, then watermark + a + b and watermark + m.
	if !strings.Contains(info, "cmdstat_mget:calls=3,") {
		t.Errorf("want 3 MGETs, got %s", grep(info, "cmdstat_mget"))
	}
	if !strings.Contains(info, "keyspace_misses:7\r\n") {
		t.Errorf("want 7 keys looked up, got %s", grep(info, "keyspace_misses"))
	}
}

func grep(text, what string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			return line
		}
	}
	return "nothing"
}

func TestFullQueuesRefuseByName(t *testing.T) {
	server := redistest.Start(t)
	cfg := unhurried(server.URL())
	cfg.ReadsInFlight, cfg.MaxWaitingReads, cfg.MaxWaitingFlushes, cfg.MaxBatchFlushes = 1, 4, 2, 1
	s, reg := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	server.Pause()
	var pending sync.WaitGroup
	var overloaded, timeouts atomic.Int64
	for range 6 {
		pending.Add(1)
		err := h.Reader.Submit([]speedlayer.Ref{ref}, func(_ []speedlayer.Value, err error) {
			defer pending.Done()
			switch {
			case errors.Is(err, speedlayer.ErrOverloaded):
				overloaded.Add(1)
			case errors.Is(err, speedlayer.ErrTimeout):
				timeouts.Add(1)
			default:
				t.Errorf("got %v", err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	pending.Wait()
	if overloaded.Load() != 2 || timeouts.Load() != 4 {
		t.Errorf("got %d refused and %d timeouts of 6, want 2 and 4", overloaded.Load(), timeouts.Load())
	}
	var err error
	accepted := 0
	for ; err == nil && accepted < 10; accepted++ {
		pending.Add(1)
		if err = h.Writer.Submit(speedlayer.Flush{Target: at(1, 0)}, func(speedlayer.FlushResult, error) { pending.Done() }); err != nil {
			pending.Done()
		}
	}
	if !errors.Is(err, speedlayer.ErrOverloaded) || accepted > 4 {
		t.Errorf("got %v at flush %d, want ErrOverloaded by the fourth", err, accepted)
	}
	if got := metric(t, reg, "flushes_total", "overloaded"); got != 1 {
		t.Errorf("got %v refused flushes counted, want 1", got)
	}
	server.Resume()
	pending.Wait()
}

func TestCloseAnswersEverybodyAtOnce(t *testing.T) {
	server := redistest.Start(t)
	cfg := unhurried(server.URL())
	cfg.ReadBudget, cfg.ReadTimeout, cfg.FlushTimeout, cfg.MaxBatchFlushes = time.Second, 10*time.Second, time.Minute, 1
	s, _ := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	server.Pause()
	defer server.Resume()
	const n = 10
	errs := make(chan error, 2*n)
	for range n {
		if err := h.Reader.Submit([]speedlayer.Ref{ref}, func(_ []speedlayer.Value, err error) { errs <- err }); err != nil {
			t.Fatal(err)
		}
		if err := h.Writer.Submit(speedlayer.Flush{Target: at(1, 0)}, func(_ speedlayer.FlushResult, err error) { errs <- err }); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("close took %v with a server that hangs", took)
	}
	if len(errs) != 2*n {
		t.Fatalf("got %d answers when Close returned, want %d", len(errs), 2*n)
	}
	for range 2 * n {
		if err := <-errs; !errors.Is(err, speedlayer.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
	if err := h.Read(context.Background(), []speedlayer.Ref{ref}, make([]speedlayer.Value, 1)); !errors.Is(err, speedlayer.ErrClosed) {
		t.Errorf("read after close: got %v, want ErrClosed", err)
	}
	if err := h.Writer.Submit(speedlayer.Flush{}, func(speedlayer.FlushResult, error) {}); !errors.Is(err, speedlayer.ErrClosed) {
		t.Errorf("flush after close: got %v, want ErrClosed", err)
	}
}

func TestAHangingMasterCostsOnlyItsOwnShards(t *testing.T) {
	cluster := redistest.StartCluster(t)
	cfg := unhurried(cluster.URL())
	cfg.ReadBudget, cfg.ReadTimeout, cfg.BreakerDelay = 100*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond
	cfg.PollInterval = 100 * time.Millisecond
	s, _ := open(t, cfg)
	h := in(t, s, space())
	until(t, "a lane for each master", func() bool { return s.Lanes() == 4 })
	// One entity on each master.
	var refs [3]speedlayer.Ref
	for p := range h.space.Partitions {
		refs[speedlayer.SlotOf(fmt.Sprintf("card.%d", p))/5462] = speedlayer.Ref{Kind: feature.Card, Partition: p, ID: "c"}
	}
	for _, r := range refs {
		h.flush(t, speedlayer.Flush{Kind: r.Kind, Partition: r.Partition, Target: at(1, 0),
			Entities: []speedlayer.EntityState{{ID: "c", State: state(at(1, 0), "c")}}})
	}
	out := make([]speedlayer.Value, 3)
	until(t, "connections", func() bool { return h.Read(context.Background(), refs[:], out) == nil })
	cluster.Masters[2].Pause()
	var failed, opened int
	for range 20 {
		began := time.Now()
		err := h.Read(context.Background(), refs[:], out)
		if took := time.Since(began); took > cfg.ReadBudget+slack {
			t.Errorf("read took %v, want at most %v", took, cfg.ReadBudget)
		}
		if err != nil && out[2].Err != nil && out[0].State != nil && out[1].State != nil {
			failed++
		}
		if errors.Is(err, speedlayer.ErrUnavailable) {
			opened++
		}
	}
	if failed != 20 || opened == 0 {
		t.Errorf("got %d of 20 reads with the two healthy values, %d refused by the third's breaker; want 20 and some", failed, opened)
	}
	for range 20 {
		if err := h.Read(context.Background(), refs[:2], out[:2]); err != nil {
			t.Errorf("healthy masters: got %v", err)
		}
	}
	cluster.Masters[2].Resume()
	until(t, "heal", func() bool { return h.Read(context.Background(), refs[:], out) == nil })
}

func TestASentinelFailoverIsFollowed(t *testing.T) {
	set := redistest.StartSentinel(t)
	cfg := unhurried(set.URL())
	cfg.ReadTimeout, cfg.FlushTimeout, cfg.BreakerDelay = time.Second, time.Second, 50*time.Millisecond
	s, _ := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	until(t, "replication", func() bool {
		c := set.Replica.Client()
		defer c.Close()
		n, err := c.DBSize(context.Background()).Result()
		return err == nil && n == 2
	})
	set.Master.Stop()
	out := make([]speedlayer.Value, 1)
	until(t, "reads from the new master", func() bool {
		return h.Read(context.Background(), []speedlayer.Ref{ref}, out) == nil && out[0].State != nil
	})
	until(t, "flushes to the new master", func() bool {
		r, err := h.Flush(context.Background(), speedlayer.Flush{Kind: ref.Kind, Partition: ref.Partition, Base: at(1, 0), Target: at(2, 0)})
		return err == nil && r.Confirmed()
	})
}

func TestMemoryAndEvictionsAreWatched(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
	cfg := unhurried(server.URL())
	cfg.PollInterval = 100 * time.Millisecond
	s, reg := open(t, cfg)
	until(t, "first look", func() bool { return metric(t, reg, "redis_up") == 1 })
	stats, err := s.Stats(context.Background())
	if err != nil || stats.MaxBytes != 3<<20 || stats.Policy != "allkeys-lru" || stats.UsedBytes == 0 {
		t.Errorf("got %+v %v", stats, err)
	}
	if got := metric(t, reg, "redis_noeviction"); got != 0 {
		t.Errorf("noeviction: got %v, want 0", got)
	}
	c := server.Client()
	defer c.Close()
	_, err = c.Pipelined(context.Background(), func(p redis.Pipeliner) error {
		for i := range 5000 {
			p.Set(context.Background(), fmt.Sprint(i), strings.Repeat("x", 1000), 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "evictions", func() bool { return metric(t, reg, "redis_evicted_keys_total") > 0 })
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	until(t, "policy", func() bool { return metric(t, reg, "redis_noeviction") == 1 })
	server.Stop()
	until(t, "down", func() bool { return metric(t, reg, "redis_up") == 0 })
}

func TestAFlushIntoAFullServerWritesNothing(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
	s, reg := open(t, unhurried(server.URL()))
	h := in(t, s, space())
	_, err := h.Flush(context.Background(), speedlayer.Flush{Target: at(1, 0),
		Entities: []speedlayer.EntityState{{ID: "a", State: state(at(1, 0), "a")}}})
	if !errors.Is(err, speedlayer.ErrUnavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("got %v, want ErrUnavailable for OOM", err)
	}
	if n := server.Do("DBSIZE"); n != int64(0) {
		t.Errorf("got %v keys, want none", n)
	}
	if got := metric(t, reg, "flushes_total", "failed"); got != 1 {
		t.Errorf("got %v failed flushes counted, want 1", got)
	}
}
