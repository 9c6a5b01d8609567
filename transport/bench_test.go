package transport_test

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/transport"
)

// inProcess is a durable embedded server and a log on it.
func inProcess(b *testing.B) *transport.Log {
	b.Helper()
	cfg := transport.DefaultServerConfig()
	cfg.Dir = b.TempDir()
	s, err := transport.StartServer(cfg, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	conf := transport.DefaultConnConfig()
	conf.Name = "bench"
	c, err := s.Connect(conf, zerolog.Nop(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		if err := s.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return openLog(b, c)
}

// cpu is what the process, server included, has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportRate(b *testing.B, records int, used time.Duration) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(used.Seconds()*1e6/float64(records), "cpu-us/record")
}

// One operation is a record appended and committed (synced), with the queue always full; CPU includes the server.
func BenchmarkAppendAtLoad(b *testing.B) {
	a := newAppender(b, inProcess(b), func(c *transport.AppenderConfig) { c.QueueRecords = 4096 })
	recs := make([]feature.Record, 1024)
	for i := range recs {
		recs[i] = aDecision(i)
	}
	var wg sync.WaitGroup
	done := func(_ feature.Position, err error) {
		if err != nil {
			b.Error(err)
		}
		wg.Done()
	}
	before := cpu(b)
	b.ResetTimer()
	for i := range b.N {
		wg.Add(1)
		for errors.Is(a.Append(&recs[i%len(recs)], done), transport.ErrQueueFull) {
			time.Sleep(50 * time.Microsecond)
		}
	}
	wg.Wait()
	b.StopTimer()
	reportRate(b, b.N, cpu(b)-before)
}

// One operation is a single record appended and committed (synced) with nothing else to do: the latency without load.
func BenchmarkAppendAlone(b *testing.B) {
	a := newAppender(b, inProcess(b))
	rec := aDecision(1)
	committed := make(chan error, 1)
	b.ResetTimer()
	for range b.N {
		if err := a.Append(&rec, func(_ feature.Position, err error) { committed <- err }); err != nil {
			b.Fatal(err)
		}
		if err := <-committed; err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is a log of 200 batches of 512 records read from its beginning.
func BenchmarkReplay(b *testing.B) {
	l := inProcess(b)
	const batches, size = 200, 512
	recs := make([]feature.Record, size)
	for i := range recs {
		recs[i] = aDecision(i)
	}
	var last uint64
	for range batches {
		var err error
		if last, err = l.AppendConditional(context.Background(), 0, last, recs); err != nil {
			b.Fatal(err)
		}
	}
	before := cpu(b)
	b.ResetTimer()
	for range b.N {
		n := 0
		err := l.Read(context.Background(), 1, func(batch *transport.Batch) error {
			n += len(batch.Records)
			if batch.Seq == last {
				return errStop
			}
			return nil
		})
		if !errors.Is(err, errStop) || n != batches*size {
			b.Fatalf("got %d records, %v", n, err)
		}
	}
	b.StopTimer()
	reportRate(b, b.N*batches*size, cpu(b)-before)
}

// One operation is 20,000 decisions of a log published as events; CPU includes the server and reading the log.
func BenchmarkFeed(b *testing.B) {
	l := inProcess(b)
	const batches, size = 40, 500
	recs := make([]feature.Record, size)
	for i := range recs {
		recs[i] = aDecision(i)
	}
	b.ResetTimer()
	b.StopTimer()
	var used time.Duration
	var last, events uint64
	for range b.N {
		for range batches {
			var err error
			if last, err = l.AppendConditional(context.Background(), 0, last, recs); err != nil {
				b.Fatal(err)
			}
			events += size
		}
		before := cpu(b)
		b.StartTimer()
		f, err := transport.NewDecisionFeed(l, transport.DefaultFeedConfig(), zerolog.Nop(), nil)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		waitFor(b, "events", time.Minute, func() bool { return benchStreamEnd(b, l) == events })
		cancel()
		<-ended
		b.StopTimer()
		used += cpu(b) - before
	}
	reportRate(b, b.N*batches*size, used)
}

func benchStreamEnd(b *testing.B, l *transport.Log) uint64 {
	s, err := l.JetStream().Stream(context.Background(), "DECISIONS_eu-west")
	if err != nil {
		return 0 // not there yet
	}
	return s.CachedInfo().State.LastSeq
}
