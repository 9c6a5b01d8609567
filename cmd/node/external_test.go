package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"scoremesh/certtest"
	"scoremesh/speedlayer/redistest"
	"scoremesh/transport/natstest"
)

// journal collects what a node logs.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

const natsSecret, redisSecret = "nats-0pen-sesame", "redis-0pen-sesame"

// ask calls the edge and returns its status and body.
func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Deadline-Ms", "5000")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func awaitEdge(t *testing.T, what string, out *journal, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s in vain until %s; the log:\n%s", what, out)
		}
	}
}

func TestRunWithExternalPartsByTLSAndCredentials(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	ca := certtest.New(t)
	server, client := ca.Good("server"), ca.Good("client")
	broker := natstest.StartProcess(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\nauthorization { user: node, password: %q }",
		server.Cert, server.Key, ca.File, natsSecret))
	cache := redistest.StartTLS(t, redistest.TLS{CA: ca.File, Cert: server.Cert, Key: server.Key})
	rules := strings.Fields("resetkeys ~fs:* ~fw:* ~fo:* resetchannels -@all +get +mget +set +sadd +srem +smembers +scan +eval +evalsha +info")
	user := []any{"ACL", "SETUSER", "scoremesh", "reset", "on", ">" + redisSecret}
	for _, r := range rules {
		user = append(user, r)
	}
	cache.Do(user...)

	dir := t.TempDir()
	demo, err := filepath.Abs("../../configs/demo")
	if err != nil {
		t.Fatal(err)
	}
	passwordFile := filepath.Join(dir, "nats-password")
	if err := os.WriteFile(passwordFile, []byte("not yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SCOREMESH_TEST_REDIS", redisSecret)
	config := filepath.Join(dir, "node.yaml")
	text := fmt.Sprintf(`
region: here
node: n1
data_dir: data
rules: {schema: %[1]s/schema.yaml, model: %[1]s/model/model.yaml, policy: %[1]s/policy.yaml}
nats: {urls: [%[2]q], ca_file: %[3]q, cert_file: %[4]q, key_file: %[5]q, user: node, password_file: nats-password}
redis: {url: %[6]q, username: scoremesh, password_env: SCOREMESH_TEST_REDIS, tls_ca_file: %[3]q, tls_cert_file: %[4]q, tls_key_file: %[5]q, read_budget: 250ms, read_timeout: 500ms}
shards: {partitions: 4}
api: {listen: "127.0.0.1:0", auth: "off"}
logging: {format: json}
drain_notice: 0s
`, demo, broker.URL(), ca.File, client.Cert, client.Key, cache.URL())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	var out journal
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"run", "--config", config}, io.Discard, &out) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if log := out.String(); strings.Contains(log, natsSecret) || strings.Contains(log, redisSecret) {
			t.Errorf("a secret is logged:\n%s", log)
		}
	}()
	address := regexp.MustCompile(`"address":"([^"]+)"`)
	awaitEdge(t, "the edge listens", &out, func() bool { return address.MatchString(out.String()) })
	edge := "http://" + address.FindStringSubmatch(out.String())[1]

	// With the wrong password the node waits, alive and not ready, and says why.
	awaitEdge(t, "the log says what is refused", &out, func() bool { return strings.Contains(out.String(), "nats.password_file") })
	awaitEdge(t, "readyz is 503 and says what is refused", &out, func() bool {
		status, body := ask(t, http.MethodGet, edge+"/readyz", "")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "nats.password_file")
	})
	if status, body := ask(t, http.MethodGet, edge+"/livez", ""); status != http.StatusOK {
		t.Errorf("livez with a wrong password: got %d %s, want 200", status, body)
	}
	if err := os.WriteFile(passwordFile, []byte(natsSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitEdge(t, "the node is ready", &out, func() bool { status, _ := ask(t, http.MethodGet, edge+"/readyz", ""); return status == http.StatusOK })

	status, body := ask(t, http.MethodPost, edge+"/v1/score", fmt.Sprintf(`{"transaction_id":"t-1","timestamp":%q,"card_id":"c-1","device_id":"d-1",
		"merchant_id":"m-1","amount":4599,"currency":"EUR","country":"NL","mcc":"5732"}`, time.Now().UTC().Format(time.RFC3339Nano)))
	var answer struct {
		Outcome    string   `json:"outcome"`
		Durability string   `json:"durability"`
		Degraded   []string `json:"degraded"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		t.Fatalf("score: got %d %s, want 200 and an answer", status, body)
	}
	if answer.Durability != "committed" || answer.Outcome == "" {
		t.Errorf("got %+v, want a committed decision", answer)
	}
	// A broker that comes back with another password degrades the node, and the reason names the key.
	broker.Configure(fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\nauthorization { user: node, password: changed }", server.Cert, server.Key, ca.File))
	broker.Restart()
	awaitEdge(t, "readyz says what is refused", &out, func() bool {
		_, body := ask(t, http.MethodGet, edge+"/readyz", "")
		return strings.Contains(body, "not connected since") && strings.Contains(body, "nats.password_file")
	})
	if err := os.WriteFile(passwordFile, []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitEdge(t, "the node serves again", &out, func() bool {
		status, body := ask(t, http.MethodGet, edge+"/readyz", "")
		return status == http.StatusOK && !strings.Contains(body, "not connected")
	})
	awaitEdge(t, "Redis holds the card", &out, func() bool {
		keys, _ := cache.Do("KEYS", "fs:*{card.*").([]any)
		return len(keys) == 1
	})
}
