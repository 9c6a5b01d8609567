package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test started. It is ended by its id, and awaited.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	// ended is closed once the process was awaited; err is its result then.
	ended chan struct{}
	err   error
}

// launch starts a program whose output goes to a file of its own in dir.
func launch(t *testing.T, dir, name, path string, args ...string) *process {
	t.Helper()
	file, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), log: file.Name(), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	// Whatever becomes of the test, the process does not outlive it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		p.checkLog()
	})
	return p
}

// checkLog looks for what no process may ever print: a panic, caught or not, or a data race.
func (p *process) checkLog() {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "DATA RACE") || strings.Contains(strings.ToLower(line), "panic") {
			p.t.Errorf("%s printed, into %s: %s", p.name, p.log, line)
			return
		}
	}
}

func (p *process) signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %s: %v", p.name, err)
	}
}

// kill ends the process with SIGKILL; an ended one stays ended.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// stop ends the process with SIGTERM and returns its result.
func (p *process) stop(within time.Duration) error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return p.err
	case <-time.After(within):
		p.kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM\n%s", p.name, within, p.tail())
	}
}

// alive says whether the process still runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// tail is the end of what the process printed.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// freePort returns a port on which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// awaitListener waits until somebody listens on the port.
func awaitListener(t *testing.T, p *process, port int) {
	t.Helper()
	eventually(t, 30*time.Second, p.name+" listens", func() string {
		if !p.alive() {
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.tail())
		}
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err != nil {
			return err.Error()
		}
		c.Close()
		return ""
	})
}

// testDir makes a folder for a test's processes. It is kept when the test fails.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "scoremesh-e2e-"+filepath.Base(t.Name())+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and data are kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}
