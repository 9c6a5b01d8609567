package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"scoremesh/decision"
	"scoremesh/speedlayer/redistest"
	"scoremesh/transport/natstest"
)

// screen is an output that is read while it is written.
type screen struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write is for io.Writer.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(s.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %q; got:\n%s", patience, text, s.String())
		}
	}
}

// quietly are flags for a machine that has other things to do: what is late there is no error.
func quietly(more ...string) []string {
	return append([]string{"demo", "--listen", "127.0.0.1:0", "--rate", "50", "--history", "100", "--deadline", "10s"}, more...)
}

func TestTheDemoDecidesAndSumsUp(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "summary.json")
	stdout, stderr, err := command(t, quietly("--for", "3s", "--summary", file)...)
	if err != nil {
		t.Fatalf("got error %v; output:\n%s%s", err, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s demoSummary
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	if s.Decisions < 75 || s.Committed != s.Decisions || s.Pending != 0 || s.Errors != 0 || s.HistoryErrors != 0 || s.LabelErrors != 0 {
		t.Errorf("got %s\nwant about 150 decisions, all committed, and no errors", text)
	}
	sum := int64(0)
	for _, n := range s.Outcomes {
		sum += n
	}
	if sum != s.Decisions || s.Outcomes["approve"] == 0 {
		t.Errorf("got outcomes %v, want %d in all, most approved", s.Outcomes, s.Decisions)
	}
	if s.Seconds < 3 || s.Seconds > 20 || s.History < 100 || s.Latency.P50 <= 0 || s.Latency.Max < s.Latency.P50 || s.Versions.Model != "demo@1" {
		t.Errorf("got %s\nwant three seconds, a history of 100, latencies, and the model demo@1", text)
	}
	if s.Features.Hits+s.Features.Misses == 0 || s.Features.FreshnessP99Seconds == nil {
		t.Errorf("got features %+v, want lookups and a freshness", s.Features)
	}
	if s.Alarms.Panics+s.Alarms.ApplyErrors+s.Alarms.Corrupt != 0 {
		t.Errorf("got alarms %+v, want none", s.Alarms)
	}
	for _, want := range []string{"\ncurl -s 'http://127.0.0.1:", "\n2s ", " decided=", "ended after 3"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the output lacks %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "\x1b") {
		t.Errorf("the plain output has control sequences:\n%q", stdout)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

func TestCtrlCEndsTheDemoCleanlyAndTheCurlLineWorks(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	keep := filepath.Join(t.TempDir(), "kept")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs screen
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, quietly("--listen", taken.Addr().String(), "--keep", keep), &out, &errs) }()
	out.waitFor(t, " decided=")
	if want := taken.Addr().String() + " is taken: the demo listens on 127.0.0.1:"; !strings.Contains(out.String(), want) {
		t.Errorf("the output lacks %q:\n%s", want, out.String())
	}

	t.Run("curl", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("curl is not installed: the printed line is not tried")
		}
		line := regexp.MustCompile(`(?m)^curl .*$`).FindString(out.String())
		answer, err := exec.CommandContext(t.Context(), "sh", "-c", line+" -H 'X-Deadline-Ms: 10000'").CombinedOutput()
		var a scoreAnswer
		if err != nil || json.Unmarshal(answer, &a) != nil || a.Durability != decision.Committed || len(a.Versions.Model) == 0 {
			t.Errorf("%s\ngot %s, error %v, want a committed decision", line, answer, err)
		}
	})

	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got error %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the demo did not end")
	}
	if !strings.Contains(out.String(), "ended after ") {
		t.Errorf("the output lacks a last line:\n%s", out.String())
	}
	if _, err := os.Stat(filepath.Join(keep, "data", "nats")); err != nil {
		t.Errorf("the folder was to be kept: %v", err)
	}
}

func TestTheDemoEndsDuringItsHistory(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs screen
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, quietly("--history", "1000000"), &out, &errs) }()
	out.waitFor(t, "filling the windows: ")
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got error %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the demo did not end")
	}
}

func TestTheDemoTakesARealRedisAndNATS(t *testing.T) {
	redis, nats := redistest.Start(t), natstest.Start(t)
	file := filepath.Join(t.TempDir(), "summary.json")
	stdout, stderr, err := command(t, quietly("--for", "1s", "--redis", "redis://"+redis.Addr(), "--nats", nats.URL(), "--summary", file)...)
	if err != nil {
		t.Fatalf("got error %v; output:\n%s%s", err, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s demoSummary
	if err := json.Unmarshal(text, &s); err != nil || s.Decisions == 0 || s.Committed != s.Decisions {
		t.Errorf("got %s, error %v, want committed decisions", text, err)
	}
	client := redis.Client()
	defer client.Close()
	if n, err := client.DBSize(t.Context()).Result(); err != nil || n == 0 {
		t.Errorf("got %d keys in Redis, error %v, want some", n, err)
	}
	if _, err := natstest.Connect(t, nats.URL()).JetStream().Stream(t.Context(), "LOG_demo"); err != nil {
		t.Errorf("the log is not on the NATS named: %v", err)
	}
}

func TestTheDemoSaysWhenItsNodeCannotStart(t *testing.T) {
	keep := t.TempDir()
	if err := os.WriteFile(filepath.Join(keep, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := command(t, quietly("--keep", keep)...); err == nil || !strings.Contains(err.Error(), "open the region: make folder") {
		t.Errorf("got error %v, want one of opening the region", err)
	}
	if _, _, err := command(t, quietly("--redis", "http://nowhere")...); err == nil || !strings.Contains(err.Error(), "redis: url") {
		t.Errorf("got error %v, want one of the Redis URL", err)
	}
}
