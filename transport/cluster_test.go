package transport_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/transport"
	"scoremesh/transport/natstest"
)

func TestReplicatedLogGoesOnWithoutOneServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	servers := natstest.StartCluster(t, 3)
	cfg := connConfig(servers[0].URL())
	for _, s := range servers[1:] {
		cfg.URLs = append(cfg.URLs, s.URL())
	}
	cfg.PingInterval = 200 * time.Millisecond
	c := connectAs(t, cfg, &lines{})
	conf := logConfig()
	conf.Replicas = 3
	conf.RegressPatience = transport.DefaultLogConfig().RegressPatience // an election takes longer than the tests' patience
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	l, err := transport.OpenLog(ctx, c.JetStream(), conf, zerolog.New(zerolog.NewTestWriter(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.JetStream().Stream(ctx, "LOG_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config.Replicas; got != 3 {
		t.Fatalf("replicas: got %d, want 3", got)
	}
	a := newAppender(t, l)
	ledger := newLedger()
	appendUpTo := func(n int) {
		t.Helper()
		for i := int(ledger.settled.Load()); i < n; i++ {
			ledger.append(t, a, aDecision(i))
		}
		waitFor(t, "the commits", 60*time.Second, func() bool { return int(ledger.settled.Load()) == n })
	}
	appendUpTo(500)
	// The worst one to lose: it leads the log.
	stream, err = c.JetStream().Stream(ctx, "LOG_eu-west")
	if err != nil {
		t.Fatal(err)
	}
	leader := stream.CachedInfo().Cluster.Leader
	index := int(leader[1] - '1') // s1, s2, s3
	servers[index].Kill()
	killed := time.Now()
	appendUpTo(501)
	t.Logf("committed again %s after the leader was killed", time.Since(killed).Round(time.Millisecond))
	appendUpTo(1000)
	if s := a.State(); !s.Healthy || s.Replaced {
		t.Errorf("state: got %+v, want healthy", s)
	}
	ledger.checkOnce(t, l, 1000, decisionID)
	servers[index].Restart()
	other := (index + 1) % 3
	waitFor(t, "the restarted server to be current", 60*time.Second, func() bool {
		stream, err := c.JetStream().Stream(ctx, "LOG_eu-west")
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		current := 0
		for _, r := range stream.CachedInfo().Cluster.Replicas {
			if r.Current {
				current++
			}
		}
		return current == 2
	})
	servers[other].Kill()
	appendUpTo(1500)
	ledger.checkOnce(t, l, 1500, decisionID)
}
