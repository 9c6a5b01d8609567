package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// natsServer is a nats-server process of its own that syncs always.
type natsServer struct {
	t      *testing.T
	dir    string
	port   int
	config string
	proc   *process
}

func startNATS(t *testing.T, dir string) *natsServer {
	t.Helper()
	n := &natsServer{t: t, dir: dir, port: freePort(t), config: filepath.Join(dir, "nats.conf")}
	text := fmt.Sprintf("listen: \"127.0.0.1:%d\"\njetstream { store_dir: %q, sync: always }\n", n.port, filepath.Join(dir, "nats"))
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	return n
}

// start starts the server on its port and its store.
func (n *natsServer) start() {
	n.t.Helper()
	path, err := natsBinary()
	if err != nil {
		n.t.Fatal(err)
	}
	n.proc = launch(n.t, n.dir, "nats", path, "-c", n.config)
	awaitListener(n.t, n.proc, n.port)
}

// stall resumes the server and suspends it again for less than a client takes to give its connection up: it stores what was sent meanwhile, and
// its acknowledgement comes too late.
func (n *natsServer) stall() {
	n.resume()
	for range 2 {
		time.Sleep(500 * time.Millisecond)
		n.suspend()
		time.Sleep(2500 * time.Millisecond)
		n.resume()
	}
}

// stumble starts the server and kills it some more times, while what has waited for it comes in.
func (n *natsServer) stumble() {
	n.t.Helper()
	for pause := 150 * time.Millisecond; pause < 600*time.Millisecond; pause += 50 * time.Millisecond {
		n.start()
		time.Sleep(pause)
		n.kill()
	}
	n.start()
}

func (n *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.port) }
func (n *natsServer) kill()       { n.proc.kill() }
func (n *natsServer) suspend()    { n.proc.signal(syscall.SIGSTOP) }
func (n *natsServer) resume()     { n.proc.signal(syscall.SIGCONT) }
