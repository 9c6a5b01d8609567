package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// binDir is where the binaries of a test run are.
var binDir string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "scoremesh-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	return m.Run()
}

// nodeBinary builds the node once, unless the environment names one.
var nodeBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SCOREMESH_E2E_NODE"); path != "" {
		return path, nil
	}
	if os.Getenv("SCOREMESH_E2E_RACE") != "" {
		return build("node", "-race", "../cmd/node")
	}
	return build("node", "../cmd/node")
})

// natsBinary builds the NATS server that go.mod names once.
var natsBinary = sync.OnceValues(func() (string, error) { return build("nats-server", "github.com/nats-io/nats-server/v2") })

func build(name string, args ...string) (string, error) {
	path := filepath.Join(binDir, name)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", append([]string{"build", "-o", path}, args...)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// killRounds is how often a node is killed.
func killRounds(t *testing.T) int {
	text := os.Getenv("SCOREMESH_E2E_ROUNDS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SCOREMESH_E2E_ROUNDS is %q; must be a positive number", text)
	}
	return n
}

// eventually waits until the condition holds; it is asked for what is wrong, and "" means nothing.
func eventually(t *testing.T, within time.Duration, what string, wrong func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		got := wrong()
		if got == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, within, got)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
