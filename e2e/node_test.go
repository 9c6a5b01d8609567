package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// site is one region: a Redis, a NATS (embedded unless nats is set) and a node that is started and ended, always at the same addresses.
type site struct {
	t     *testing.T
	dir   string
	redis *redisServer
	nats  *natsServer
	// extra is YAML that ends the node's configuration.
	extra string
	// patient gives a read of Redis a second instead of ten milliseconds, so that a busy machine makes no read late. A late read of a card's ids
	// is answered blind, and says so; then a retry may be decided again.
	patient bool

	apiPort, natsPort int
	node              *process
	client            *client
	// lives counts the node's starts.
	lives int
}

func newSite(t *testing.T, extra string) *site {
	t.Helper()
	dir := testDir(t)
	s := &site{t: t, dir: dir, redis: startRedis(t, dir), extra: extra, apiPort: freePort(t), natsPort: freePort(t)}
	s.client = newClient(fmt.Sprintf("http://127.0.0.1:%d", s.apiPort))
	t.Cleanup(s.client.close)
	return s
}

// natsURL is where the region's NATS listens.
func (s *site) natsURL() string {
	if s.nats != nil {
		return s.nats.url()
	}
	return fmt.Sprintf("nats://127.0.0.1:%d", s.natsPort)
}

// configure writes the node's configuration for a Redis and returns its path.
func (s *site) configure(redisURL string) string {
	s.t.Helper()
	nats := fmt.Sprintf("nats: {listen: \"127.0.0.1:%d\"}", s.natsPort)
	if s.nats != nil {
		nats = fmt.Sprintf("nats: {urls: [%q]}", s.nats.url())
	}
	redis := fmt.Sprintf("redis: {url: %q}", redisURL)
	if s.patient {
		redis = fmt.Sprintf("redis: {url: %q, read_budget: 1s, read_timeout: 2s}", redisURL)
	}
	rules, err := filepath.Abs("testdata")
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf(`region: local
node: n1
data_dir: %s
rules: {schema: %[2]s/schema.yaml, model: %[2]s/model.yaml, policy: %[2]s/policy.yaml}
%[3]s
%[4]s
api: {listen: "127.0.0.1:%[5]d", auth: "off"}
logging: {level: debug, format: json}
%[6]s
`, filepath.Join(s.dir, "data"), rules, redis, nats, s.apiPort, s.extra)
	path := filepath.Join(s.dir, "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// start starts the node and waits until it is ready.
func (s *site) start() { s.startOn(s.redis) }

// startOn starts the node on another Redis than the site's.
func (s *site) startOn(r *redisServer) {
	s.t.Helper()
	s.launch(r)
	s.awaitReady(60 * time.Second)
}

// launch starts the node and waits for nothing.
func (s *site) launch(r *redisServer) {
	s.t.Helper()
	path, err := nodeBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = launch(s.t, s.dir, "node", path, "run", "--config", s.configure(r.url()))
	s.lives++
}

func (s *site) awaitReady(within time.Duration) {
	s.t.Helper()
	eventually(s.t, within, "the node is ready", func() string {
		if !s.node.alive() {
			s.t.Fatalf("the node ended: %v\n%s", s.node.err, s.node.tail())
		}
		ready, h := s.health()
		if !ready {
			return fmt.Sprintf("%+v", h)
		}
		return ""
	})
}

// awaitReadyState waits until the node says that it is in a state.
func (s *site) awaitReadyState(want string) {
	s.t.Helper()
	eventually(s.t, 60*time.Second, "the node is "+want, func() string {
		if _, h := s.health(); h.State != want {
			return fmt.Sprintf("%+v", h)
		}
		return ""
	})
}

// stop ends the node with SIGTERM; it has to drain and leave with 0.
func (s *site) stop() {
	s.t.Helper()
	if err := s.node.stop(60 * time.Second); err != nil {
		s.t.Fatalf("stop the node: %v\n%s", err, s.node.tail())
	}
}

// run runs a command of the node's program and returns what it printed.
func (s *site) run(args ...string) string {
	s.t.Helper()
	path, err := nodeBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := exec.CommandContext(s.t.Context(), path, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// health is what /readyz says.
type health struct {
	OK      bool
	State   string
	Reasons []string
}

func (s *site) health() (ready bool, h health) {
	status, body, err := s.client.get("/readyz")
	if err != nil {
		return false, health{State: err.Error()}
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return false, health{State: err.Error()}
	}
	return status == http.StatusOK, h
}

// awaitFolded waits until everything that the log holds now is in Redis, and nothing is owed to the log any more.
func (s *site) awaitFolded() {
	s.t.Helper()
	s.redis.awaitFolded(time.Now().UnixMilli())
	eventually(s.t, 60*time.Second, "every decision that lost is retracted", func() string {
		open, err := s.redis.client.Keys(s.t.Context(), "fo:*").Result()
		if err != nil {
			return err.Error()
		}
		if len(open) > 0 {
			return fmt.Sprintf("%d shards have open cards", len(open))
		}
		return ""
	})
	s.redis.awaitFolded(time.Now().UnixMilli())
}

// foldFromZero starts the node on an empty Redis of its own, so that all states come from the log, and returns them. The node was ended
// before, and is ended afterwards.
func (s *site) foldFromZero() map[string]string {
	s.t.Helper()
	empty := startRedis(s.t, s.dir)
	s.startOn(empty)
	empty.awaitFolded(time.Now().UnixMilli())
	states := empty.entities()
	s.node.kill()
	empty.stop()
	return states
}

// compareStates reports where two sets of states differ. Keys hold ids of the test's own making.
func compareStates(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	missing, differ, extra := 0, 0, 0
	example := ""
	for key, w := range want {
		g, ok := got[key]
		switch {
		case !ok:
			missing++
			example = key
		case g != w:
			differ++
			example = fmt.Sprintf("%s\n got %x\nwant %x", key, g, w)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			extra++
			example = key
		}
	}
	if missing+differ+extra > 0 {
		t.Errorf("%s: of %d states %d are missing, %d differ, %d are too many; such as %s", what, len(want), missing, differ, extra, example)
	}
	if len(want) == 0 {
		t.Errorf("%s: there is nothing to compare", what)
	}
}
