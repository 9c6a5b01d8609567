package natstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Process is a nats-server in a process of its own, built from the module that go.mod names, so that it can be killed and suspended
// like a real one. It syncs always.
type Process struct {
	t      testing.TB
	binary string
	config string
	port   int
	cmd    *exec.Cmd
}

// StartProcess builds and starts a server.
func StartProcess(t testing.TB) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{t: t, binary: filepath.Join(dir, "nats-server"), config: filepath.Join(dir, "nats.conf"), port: freePort(t)}
	if out, err := exec.Command("go", "build", "-o", p.binary, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	config := fmt.Sprintf("listen: \"127.0.0.1:%d\"\njetstream { store_dir: %q, sync: always }\n", p.port, filepath.Join(dir, "store"))
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatalf("write configuration: %v", err)
	}
	t.Cleanup(p.Kill)
	p.Restart()
	return p
}

// URL is where the server listens, also while it is dead.
func (p *Process) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", p.port) }

// Restart starts the server on its folder and port, and waits until it listens; a running one is killed first.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill()
	p.cmd = exec.Command(p.binary, "-c", p.config)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start nats-server: %v", err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(p.port))
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.t.Fatal("nats-server does not listen")
}

// Kill kills the server at once (SIGKILL). Killing a dead server does nothing.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Errorf("kill nats-server: %v", err)
	}
	_ = p.cmd.Wait() // says that it was killed
	p.cmd = nil
}

// Suspend stops the server's process without ending it (SIGSTOP): connections stand, nothing answers.
func (p *Process) Suspend() { p.signal(syscall.SIGSTOP) }

// Resume lets a suspended server go on (SIGCONT).
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal nats-server: %v", err)
	}
}
