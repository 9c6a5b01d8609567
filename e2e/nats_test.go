package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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

func (n *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.port) }
func (n *natsServer) kill()       { n.proc.kill() }
func (n *natsServer) suspend()    { n.proc.signal(syscall.SIGSTOP) }
func (n *natsServer) resume()     { n.proc.signal(syscall.SIGCONT) }
