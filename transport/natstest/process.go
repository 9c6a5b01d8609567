package natstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	// common is what every configuration of the server has.
	common string
	port   int
	cmd    *exec.Cmd
}

// StartProcess builds and starts a server. settings are further lines of its configuration file: tls, authorization, accounts.
func StartProcess(t testing.TB, settings ...string) *Process {
	t.Helper()
	p := newProcess(t, build(t), "")
	p.Configure(settings...)
	p.Restart()
	return p
}

// StartCluster builds and starts servers that form one cluster.
func StartCluster(t testing.TB, servers int) []*Process {
	t.Helper()
	binary := build(t)
	ports, routes := make([]int, servers), make([]string, servers)
	for i := range ports {
		ports[i] = freePort(t)
		routes[i] = fmt.Sprintf("\"nats://127.0.0.1:%d\"", ports[i])
	}
	cluster := make([]*Process, servers)
	for i := range cluster {
		cluster[i] = newProcess(t, binary, fmt.Sprintf("server_name: s%d\ncluster { name: test, listen: \"127.0.0.1:%d\", routes: [%s] }\n",
			i+1, ports[i], strings.Join(routes, ", ")))
		cluster[i].Configure()
		cluster[i].Restart()
	}
	return cluster
}

func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "nats-server")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	return binary
}

func newProcess(t testing.TB, binary, common string) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{t: t, binary: binary, config: filepath.Join(dir, "nats.conf"), port: freePort(t)}
	p.common = fmt.Sprintf("listen: \"127.0.0.1:%d\"\njetstream { store_dir: %q, sync: always }\n%s", p.port, filepath.Join(dir, "store"), common)
	t.Cleanup(p.Kill)
	return p
}

// Configure writes the configuration file anew, with these further lines. The next Restart takes it.
func (p *Process) Configure(settings ...string) {
	p.t.Helper()
	if err := os.WriteFile(p.config, []byte(p.common+strings.Join(settings, "\n")+"\n"), 0o600); err != nil {
		p.t.Fatalf("write configuration: %v", err)
	}
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
