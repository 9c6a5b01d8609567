package speedlayer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/speedlayer/redistest"
)

// backend is a Redis that the conformance suite runs against.
type backend struct {
	name  string
	start func(t *testing.T) (url string)
}

var backends = []backend{
	{"standalone", func(t *testing.T) string { return redistest.Start(t).URL() }},
	{"cluster", func(t *testing.T) string { return redistest.StartCluster(t).URL() }},
	{"sentinel", func(t *testing.T) string { return redistest.StartSentinel(t).URL() }},
	{"miniredis", func(t *testing.T) string { return "redis://" + miniredis.RunT(t).Addr() }},
}

// unhurried has timeouts that a loaded test machine does not reach; what is about time sets its own.
func unhurried(url string) speedlayer.Config {
	c := speedlayer.DefaultConfig()
	c.URL = url
	c.ReadBudget, c.ReadTimeout, c.FlushTimeout = time.Second, 5*time.Second, 10*time.Second
	return c
}

func open(t testing.TB, cfg speedlayer.Config) (*speedlayer.Store, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := speedlayer.Open(cfg, zerolog.New(zerolog.NewTestWriter(t)), reg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, reg
}

var epochs atomic.Uint64

// space returns a keyspace that no other test uses.
func space() speedlayer.Keyspace {
	return speedlayer.Keyspace{Schema: "v3", Epoch: 0xe0000 + epochs.Add(1), Partitions: 64, Retention: time.Hour}
}

// handles are a reader and a writer of one keyspace.
type handles struct {
	*speedlayer.Reader
	*speedlayer.Writer
	space speedlayer.Keyspace
}

func in(t testing.TB, s *speedlayer.Store, k speedlayer.Keyspace) handles {
	t.Helper()
	r, err := s.Reader(k)
	if err != nil {
		t.Fatalf("reader: %v", err)
	}
	w, err := s.Writer(k)
	if err != nil {
		t.Fatalf("writer: %v", err)
	}
	return handles{r, w, k}
}

func (h handles) ref(kind feature.Kind, id string) speedlayer.Ref {
	return speedlayer.Ref{Kind: kind, Partition: feature.PartitionOf(kind, id, h.space.Partitions), ID: id}
}

// read reads until Redis serves: a lane may still be connecting.
func (h handles) read(t testing.TB, refs ...speedlayer.Ref) []speedlayer.Value {
	t.Helper()
	out := make([]speedlayer.Value, len(refs))
	if err := h.Read(context.Background(), refs, out); err != nil {
		t.Fatalf("read: %v", err)
	}
	return out
}

func (h handles) flush(t testing.TB, f speedlayer.Flush) speedlayer.FlushResult {
	t.Helper()
	r, err := h.Flush(context.Background(), f)
	if err != nil {
		t.Fatalf("flush: %v", err)
	}
	return r
}

// Two origins, and vectors over them.
var (
	west = feature.Origin{Region: "eu-west", Epoch: 0x80ff00fe00000001}
	east = feature.Origin{Region: "us-east", Epoch: 0x7f}
)

func at(w, e uint64) (v feature.Vector) {
	if w > 0 {
		v.Advance(west, feature.EndOf(w))
	}
	if e > 0 {
		v.Advance(east, feature.EndOf(e))
	}
	return v
}

func state(v feature.Vector, payload string) []byte {
	return speedlayer.AppendEntity(nil, v, []byte(payload))
}

// raw is a client beside the store, of one node or of a Cluster.
func raw(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	c, err := speedlayer.Connect(unhurried(url))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
