package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/api"
	"scoremesh/configs"
	"scoremesh/decision"
	"scoremesh/speedlayer/redistest"
)

// patience is how long a node may take to do as it was told.
const patience = 30 * time.Second

// site is a node under test, with its configuration in a folder.
type site struct {
	t       *testing.T
	dir     string
	file    string
	service *service
	url     string
	stop    func() error
	// scored numbers the transactions.
	scored int
}

// newSite writes a configuration with the key "first", and starts the node by it on real Redis.
func newSite(t *testing.T) *site {
	t.Helper()
	redis := redistest.Start(t)
	s := &site{t: t, dir: t.TempDir()}
	s.file = filepath.Join(s.dir, "node.yaml")
	for _, name := range []string{"schema.yaml", "policy.yaml", "model/model.yaml", "model/model.json"} {
		text, err := configs.Demo.ReadFile("demo/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s.write(name, string(text))
	}
	s.write("node.yaml", s.configuration("first", "redis://"+redis.Addr()))
	config, err := LoadConfig(s.file, noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	if s.service, err = newService(config, newLogger(t.Output(), zerolog.WarnLevel)); err != nil {
		t.Fatal(err)
	}
	listener, err := s.service.edge.Listen()
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.service.serve(ctx, listener, s.file) }()
	s.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(patience):
			return fmt.Errorf("the node did not end within %s", patience)
		}
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.stop(); err != nil {
			t.Errorf("end of the node: got error %v", err)
		}
	})
	s.until("the node is ready", func() bool { return s.get("/readyz") == http.StatusOK })
	return s
}

func (s *site) configuration(key, redis string) string {
	return fmt.Sprintf(`{region: r, node: n, data_dir: data, rules: {schema: schema.yaml, policy: policy.yaml, model: model/model.yaml},
redis: {url: %q}, nats: {sync: false}, shards: {partitions: 4}, drain_notice: 0s,
api: {listen: "127.0.0.1:0", keys: [{name: n, sha256: %s, scopes: [score]}]}}`, redis, api.HashKey(key))
}

func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// change replaces a part of a file in the site's folder.
func (s *site) change(name, old, to string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		s.t.Fatalf("%s lacks %q", name, old)
	}
	s.write(name, strings.Replace(string(text), old, to, 1))
}

func (s *site) until(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

func (s *site) get(path string) (status int) {
	response, err := http.Get(s.url + path)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// score scores a new transaction with a key.
func (s *site) score(key string) (status int, answer scoreAnswer) {
	s.t.Helper()
	s.scored++
	body := fmt.Sprintf(`{"transaction_id":"t-%d","timestamp":%q,"card_id":"c-1","merchant_id":"m-1","amount":1000,"currency":"EUR"}`, s.scored,
		time.Now().UTC().Format(time.RFC3339))
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/v1/score", bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Deadline-Ms", "10000")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, &answer); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
	}
	return response.StatusCode, answer
}

func TestANodeServesAndEndsCleanly(t *testing.T) {
	s := newSite(t)
	status, answer := s.score("first")
	if status != http.StatusOK || answer.Durability != decision.Committed || answer.Outcome == "" {
		t.Errorf("got status %d, answer %+v, want a committed decision", status, answer)
	}
	if status, _ := s.score("other"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong key: got status %d, want 401", status)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.stop(); err != nil {
		t.Fatalf("end: got error %v", err)
	}
	if got := s.get("/livez"); got != 0 {
		t.Errorf("after the end: got status %d, want no answer", got)
	}
}

func TestAReloadSwapsPolicyAndKeysTogether(t *testing.T) {
	s := newSite(t)
	s.change("policy.yaml", "version: 1", "version: 2")
	s.change("node.yaml", api.HashKey("first"), api.HashKey("second"))
	if err := s.service.reload(s.file); err != nil {
		t.Fatal(err)
	}
	if status, _ := s.score("first"); status != http.StatusUnauthorized {
		t.Errorf("the old key: got status %d, want 401", status)
	}
	if status, answer := s.score("second"); status != http.StatusOK || answer.Versions.Policy != "demo@2" {
		t.Errorf("the new key: got status %d, policy %s, want 200 by demo@2", status, answer.Versions.Policy)
	}
}

func TestAReloadThatIsRefusedChangesNothing(t *testing.T) {
	s := newSite(t)
	original := map[string]string{}
	for _, name := range []string{"policy.yaml", "node.yaml", "model/model.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		original[name] = string(text)
	}
	first := api.HashKey("first")
	for name, c := range map[string]struct {
		change func()
		want   string
	}{
		"a bad policy beside good keys": {func() {
			s.change("policy.yaml", "version: 1", "version: 2\nno_such_key: 1")
			s.change("node.yaml", first, api.HashKey("second"))
		}, "parse policy"},
		"a missing model beside a good policy": {func() {
			s.change("policy.yaml", "version: 1", "version: 2")
			s.change("node.yaml", "model/model.yaml", "model/none.yaml")
		}, "load model"},
		"an input that the schema lacks": {func() {
			s.change("policy.yaml", "version: 1", "version: 2")
			s.change("model/model.yaml", "- night", "- nights")
		}, "nights"},
		"bad keys beside a good policy": {func() {
			s.change("policy.yaml", "version: 1", "version: 2")
			s.change("node.yaml", first, "beef")
		}, "keys[0].sha256"},
		"no auth any more": {func() {
			s.change("policy.yaml", "version: 1", "version: 2")
			s.change("node.yaml", "keys: [{name: n, sha256: "+first+", scopes: [score]}]", `auth: "off"`)
		}, "api.auth"},
		"a configuration that is none": {func() { s.write("node.yaml", "region: [") }, "node.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			c.change()
			if err := s.service.reload(s.file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if status, answer := s.score("first"); status != http.StatusOK || answer.Versions.Policy != "demo@1" {
				t.Errorf("afterwards: got status %d, policy %q, want 200 by demo@1", status, answer.Versions.Policy)
			}
			if status, _ := s.score("second"); status != http.StatusUnauthorized {
				t.Errorf("the new key: got status %d, want 401", status)
			}
			for name, text := range original {
				s.write(name, text)
			}
		})
	}
}

func TestSIGHUPReloads(t *testing.T) {
	// While the node does not listen yet, the signal must not end the test.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	s := newSite(t)
	s.change("policy.yaml", "version: 1", "version: 2")
	s.until("the policy is the new one", func() bool {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_, answer := s.score("first")
		return answer.Versions.Policy == "demo@2"
	})
}

func TestANodeEndsWhenItsRegionCannotOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SCOREMESH_DATA_DIR", filepath.Join(dir, "data")) // a file stands where the folder has to be
	t.Setenv("SCOREMESH_API_LISTEN", "127.0.0.1:0")
	if _, _, err := command(t, "run", "--config", example); err == nil || !strings.Contains(err.Error(), "open the region: make folder") {
		t.Errorf("got error %v, want one of opening the region", err)
	}
}
