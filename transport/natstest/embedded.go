package natstest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/transport"
)

// Embedded is an embedded server on a loopback port and a folder of its own.
type Embedded struct {
	t      testing.TB
	cfg    transport.ServerConfig
	server *transport.Server
}

// Start starts a server. change may change its configuration.
func Start(t testing.TB, change ...func(*transport.ServerConfig)) *Embedded {
	t.Helper()
	cfg := transport.DefaultServerConfig()
	cfg.Dir = t.TempDir()
	cfg.Listen = true
	cfg.Port = freePort(t)
	for _, c := range change {
		c(&cfg)
	}
	e := &Embedded{t: t, cfg: cfg}
	t.Cleanup(e.Stop)
	e.Restart()
	return e
}

// Server is the running server, nil while it is stopped.
func (e *Embedded) Server() *transport.Server { return e.server }

// URL is where the server listens, also while it is stopped.
func (e *Embedded) URL() string { return fmt.Sprintf("nats://%s:%d", e.cfg.Host, e.cfg.Port) }

// Dir is the folder of its streams.
func (e *Embedded) Dir() string { return e.cfg.Dir }

// Stop shuts the server down and waits for it. Stopping a stopped server does nothing.
func (e *Embedded) Stop() {
	if e.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := e.server.Shutdown(ctx); err != nil {
		e.t.Errorf("stop nats server: %v", err)
	}
	e.server = nil
}

// Restart starts the server on its folder and port; a running one is stopped first.
func (e *Embedded) Restart() {
	e.t.Helper()
	e.Stop()
	s, err := transport.StartServer(e.cfg, zerolog.Nop())
	if err != nil {
		e.t.Fatalf("start nats server: %v", err)
	}
	e.server = s
}

// Connect connects over TCP. The connection is closed with the test, before the server.
func (e *Embedded) Connect() *transport.Conn {
	e.t.Helper()
	return Connect(e.t, e.URL())
}

// Connect connects to a server by URL, with quick reconnects. The connection is closed with the test.
func Connect(t testing.TB, url string) *transport.Conn {
	t.Helper()
	cfg := transport.DefaultConnConfig()
	cfg.URLs = []string{url}
	cfg.Name = "test"
	cfg.ReconnectWait = 10 * time.Millisecond
	cfg.PingInterval = 200 * time.Millisecond
	c, err := transport.Connect(cfg, zerolog.Nop(), nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(c.Close)
	return c
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
