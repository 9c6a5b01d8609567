package redistest

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// sentinelName is the name of the master in the set.
const sentinelName = "speed"

// Sentinel is a master, its replica, and three sentinels that watch them with a quorum of two.
type Sentinel struct {
	// Master is the first master; after a failover it is Replica that serves.
	Master, Replica *Server
	Sentinels       []*Server
}

// StartSentinel starts a set and waits until every sentinel knows the replica and the other sentinels.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	return StartSentinelTLS(t, TLS{})
}

// StartSentinelTLS is StartSentinel with TLS everywhere; without files it is without.
func StartSentinelTLS(t testing.TB, files TLS) *Sentinel {
	t.Helper()
	options := files.options(t)
	plain := append([]string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}, files.args()...)
	set := &Sentinel{Master: start(t, plain, options)}
	master := strconv.Itoa(set.Master.port)
	set.Replica = start(t, append([]string{"--replicaof", "127.0.0.1 " + master}, plain...), options)
	await(t, "replica", func() bool {
		role, _ := set.Replica.Do("ROLE").([]any)
		return len(role) > 3 && role[3] == "connected"
	})
	conf := "sentinel monitor " + sentinelName + " 127.0.0.1 " + master + " 2\n" +
		"sentinel down-after-milliseconds " + sentinelName + " 500\n" +
		"sentinel failover-timeout " + sentinelName + " 3000\n"
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatalf("write the sentinel's configuration: %v", err)
		}
		set.Sentinels = append(set.Sentinels, start(t, append([]string{file, "--sentinel"}, files.args()...), options))
	}
	for _, s := range set.Sentinels {
		c := redis.NewSentinelClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, TLSConfig: options.TLSConfig})
		await(t, "sentinel", func() bool {
			m, err := c.Master(context.Background(), sentinelName).Result()
			return err == nil && m["num-slaves"] == "1" && m["num-other-sentinels"] == "2"
		})
		if err := c.Close(); err != nil {
			t.Errorf("close sentinel client: %v", err)
		}
	}
	return set
}

// URL is what speedlayer.Config.URL wants.
func (s *Sentinel) URL() string {
	q := url.Values{"master_name": {sentinelName}}
	for _, o := range s.Sentinels[1:] {
		q.Add("addr", o.Addr())
	}
	return s.Master.scheme() + "+sentinel://" + s.Sentinels[0].Addr() + "/0?" + q.Encode()
}
