package natstest

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy stands between a client and a server and loses what the server answers, on demand.
type Proxy struct {
	t        testing.TB
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu struct {
		sync.Mutex
		deaf  bool
		conns map[net.Conn]bool
	}
}

// StartProxy starts a proxy to the server at a nats:// URL.
func StartProxy(t testing.TB, url string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	p := &Proxy{t: t, target: strings.TrimPrefix(url, "nats://"), listener: l}
	p.mu.conns = map[net.Conn]bool{}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// URL is where clients connect to.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// LoseReplies drops what the server sends from now on, while what clients send still arrives.
func (p *Proxy) LoseReplies(lose bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.deaf = lose
}

// Cut ends all connections; clients may connect again. Replies are passed on again.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.deaf = false
	for c := range p.mu.conns {
		c.Close()
	}
	clear(p.mu.conns)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.mu.conns[client], p.mu.conns[server] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { pipe(server, client, func() bool { return false }) })
		p.wg.Go(func() { pipe(client, server, p.lost) })
	}
}

func (p *Proxy) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.deaf
}

// pipe copies until one of the two ends, then ends both.
func pipe(to, from net.Conn, lose func() bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !lose() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
