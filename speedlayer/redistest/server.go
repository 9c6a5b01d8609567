package redistest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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

	"github.com/redis/go-redis/v9"
)

// patience is how long a server may take to do as it was told.
const patience = 20 * time.Second

// Server is one redis-server process. Its methods fail the test when they cannot do what they say.
type Server struct {
	t    testing.TB
	args []string
	dir  string
	port int
	// options are how the test itself talks to the server.
	options redis.Options
	cmd     *exec.Cmd
	exited  chan struct{}
	paused  bool
}

// Start starts a server without persistence. args are further arguments for it ("--maxmemory", "1mb").
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, append([]string{"--save", "", "--appendonly", "no"}, args...), redis.Options{})
}

// TLS names the PEM files of servers that take TLS connections only, and demand a client certificate of the same authority.
type TLS struct {
	CA, Cert, Key string
}

// StartTLS is Start with TLS.
func StartTLS(t testing.TB, files TLS, args ...string) *Server {
	t.Helper()
	return start(t, append([]string{"--save", "", "--appendonly", "no"}, append(files.args(), args...)...), files.options(t))
}

// args are the arguments of a server; without files none.
func (f TLS) args() []string {
	if f == (TLS{}) {
		return nil
	}
	return []string{"--tls-ca-cert-file", f.CA, "--tls-cert-file", f.Cert, "--tls-key-file", f.Key, "--tls-replication", "yes"}
}

// options are how the test itself talks to the server: with the server's own certificate.
func (f TLS) options(t testing.TB) redis.Options {
	t.Helper()
	if f == (TLS{}) {
		return redis.Options{}
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatalf("read authority: %v", err)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatalf("read certificate: %v", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", f.CA)
	}
	return redis.Options{TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}}}
}

// start tries again when somebody else took the free port.
func start(t testing.TB, args []string, options redis.Options) *Server {
	t.Helper()
	binary(t)
	var err error
	for range 5 {
		s := &Server{t: t, args: args, dir: t.TempDir(), port: freePort(t), options: options}
		s.options.Addr = s.Addr()
		if err = s.run(); err == nil {
			t.Cleanup(s.Stop)
			return s
		}
	}
	t.Fatalf("start redis-server: %v", err)
	return nil
}

func binary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not in PATH: apt-get install redis-server")
	}
	return path
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	log := filepath.Join(s.dir, "redis.log")
	args := append([]string{}, s.args...)
	if s.options.TLSConfig != nil {
		args = append(args, "--port", "0", "--tls-port", strconv.Itoa(s.port))
	} else {
		args = append(args, "--port", strconv.Itoa(s.port))
	}
	args = append(args, "--bind", "127.0.0.1", "--dir", s.dir, "--logfile", log)
	s.cmd = exec.Command(binary(s.t), args...)
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // that it ended is what counts
		close(exited)
	}(s.cmd, s.exited)
	for deadline := time.Now().Add(patience); ; {
		if s.answers() {
			return nil
		}
		select {
		case <-s.exited:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("ended at once: %s", text)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.Stop()
			return errors.New("does not answer")
		}
	}
}

// answers says whether this process answers, not another one that was faster to take the port.
func (s *Server) answers() bool {
	c := s.Client()
	defer c.Close()
	info, err := c.Info(context.Background(), "server").Result()
	return err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid))
}

// Client returns a client of the server, which the caller closes.
func (s *Server) Client() *redis.Client {
	o := s.options
	o.MaxRetries, o.DialTimeout, o.ReadTimeout = -1, time.Second, time.Second
	o.Protocol, o.DisableIdentity = 2, true
	return redis.NewClient(&o)
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is what speedlayer.Config.URL wants.
func (s *Server) URL() string { return s.scheme() + "://" + s.Addr() + "/0" }

func (s *Server) scheme() string {
	if s.options.TLSConfig != nil {
		return "rediss"
	}
	return "redis"
}

// Do runs one command.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("redis %v: %v", args[0], err)
	}
	return v
}

// FlushAll wipes the server.
func (s *Server) FlushAll() {
	s.t.Helper()
	s.Do("FLUSHALL")
}

// Pause stops the process (SIGSTOP): connections stay and are still accepted, nothing answers.
func (s *Server) Pause() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatalf("pause redis-server: %v", err)
	}
	s.paused = true
}

// Resume ends Pause.
func (s *Server) Resume() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		s.t.Fatalf("resume redis-server: %v", err)
	}
	s.paused = false
}

// Stop kills the process (SIGKILL) and waits for its end. Connections are refused from then on. It may be called again.
func (s *Server) Stop() {
	select {
	case <-s.exited:
		return
	default:
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.exited
	s.paused = false
}

// Restart stops the server and starts it again on the same port. What it held is lost.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.run(); err != nil {
		s.t.Fatalf("restart redis-server: %v", err)
	}
}

// await waits for a condition.
func await(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
