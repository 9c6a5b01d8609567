package redistest

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// Cluster is a Redis Cluster of three masters without replicas.
type Cluster struct {
	// Masters are the nodes, in the order of their slots: a third each.
	Masters []*Server
}

// StartCluster starts a Cluster and waits until every node sees it complete.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	return StartClusterTLS(t, TLS{})
}

// StartClusterTLS is StartCluster with TLS, between the nodes too; without files it is without.
func StartClusterTLS(t testing.TB, files TLS) *Cluster {
	t.Helper()
	secured := files.args()
	if secured != nil {
		secured = append(secured, "--tls-cluster", "yes")
	}
	const nodes, slots = 3, 16384
	c := &Cluster{}
	for i := range nodes {
		s := start(t, append([]string{"--save", "", "--appendonly", "no", "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
			"--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no",
			"--cluster-port", strconv.Itoa(freePort(t))}, secured...), files.options(t))
		s.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/nodes, (i+1)*slots/nodes-1)
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		c.Masters = append(c.Masters, s)
	}
	for _, s := range c.Masters[1:] {
		s.Do("CLUSTER", "MEET", "127.0.0.1", c.Masters[0].port, clusterPort(c.Masters[0]))
	}
	for _, s := range c.Masters {
		await(t, "cluster", func() bool {
			info, _ := s.Do("CLUSTER", "INFO").(string)
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") &&
				strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return c
}

// clusterPort is the bus port that the node was given.
func clusterPort(of *Server) int {
	for i, a := range of.args {
		if a == "--cluster-port" {
			n, err := strconv.Atoi(of.args[i+1])
			if err == nil {
				return n
			}
		}
	}
	of.t.Fatal("a cluster node has no bus port")
	return 0
}

// URL is what speedlayer.Config.URL wants.
func (c *Cluster) URL() string {
	q := url.Values{}
	for _, s := range c.Masters[1:] {
		q.Add("addr", s.Addr())
	}
	return c.Masters[0].scheme() + "+cluster://" + c.Masters[0].Addr() + "?" + q.Encode()
}

// FlushAll wipes every master.
func (c *Cluster) FlushAll() {
	for _, s := range c.Masters {
		s.FlushAll()
	}
}
