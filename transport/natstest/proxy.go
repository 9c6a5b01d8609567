package natstest

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands between clients and a server, and loses what the server answers, or delays what clients send, on demand.
type Proxy struct {
	t        testing.TB
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu struct {
		sync.Mutex
		deaf  bool
		links map[*link]bool
	}
}

// link is one client's connection.
type link struct {
	client, server net.Conn
	// pongs counts the server's answers to pings while the link is holding.
	pongs chan int

	mu struct {
		sync.Mutex
		// holding keeps what the client sends in held; then the server's side stays open when the client goes.
		holding bool
		held    []byte
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
	p.mu.links = map[*link]bool{}
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
	for l := range p.mu.links {
		l.client.Close()
		l.server.Close()
	}
	clear(p.mu.links)
}

// Delay holds back what the connected clients send from now on. Reconnect cuts them off, so that they connect anew and
// unhindered, and release lets the server have what was held: it arrives late, from connections that their clients gave up. Release
// returns when the server has taken it in.
func (p *Proxy) Delay() (reconnect, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var delayed []*link
	for l := range p.mu.links {
		l.mu.Lock()
		l.mu.holding = true
		l.mu.Unlock()
		delayed = append(delayed, l)
	}
	reconnect = func() {
		for _, l := range delayed {
			l.client.Close()
		}
	}
	release = func() {
		for _, l := range delayed {
			if err := l.release(); err != nil {
				p.t.Errorf("release what was held: %v", err)
			}
			l.server.Close()
			p.mu.Lock()
			delete(p.mu.links, l)
			p.mu.Unlock()
		}
	}
	return reconnect, release
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
		l := &link{client: client, server: server, pongs: make(chan int, 64)}
		p.mu.Lock()
		p.mu.links[l] = true
		p.mu.Unlock()
		p.wg.Go(func() { l.requests(); p.forget(l) })
		p.wg.Go(func() { l.replies(p.lost) })
	}
}

// forget drops a link whose client is gone, unless something is held for its server.
func (p *Proxy) forget(l *link) {
	if l.delayed() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.links, l)
}

func (p *Proxy) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.deaf
}

// requests copies from the client to the server.
func (l *link) requests() {
	defer l.client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buf)
		if !l.forward(buf[:n]) || err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.holding {
		l.server.Close()
	}
}

// forward sends to the server, or holds, and says whether to go on.
func (l *link) forward(b []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.holding {
		l.mu.held = append(l.mu.held, b...)
		return true
	}
	_, err := l.server.Write(b)
	return err == nil
}

// release sends what was held, and a ping behind it: the server answers in order.
func (l *link) release() error {
	l.mu.Lock()
	held := append(l.mu.held, "PING\r\n"...)
	l.mu.held = nil
	l.mu.Unlock()
	if _, err := l.server.Write(held); err != nil {
		return err
	}
	late := time.After(5 * time.Second)
	for want := bytes.Count(held, []byte("PING\r\n")); want > 0; {
		select {
		case n := <-l.pongs:
			want -= n
		case <-late:
			return errors.New("no answer")
		}
	}
	return nil
}

// replies copies from the server to the client; when the client is gone, they are read and dropped.
func (l *link) replies(lost func() bool) {
	defer l.server.Close()
	defer l.client.Close()
	buf := make([]byte, 64<<10)
	gone := false
	for {
		n, err := l.server.Read(buf)
		if err != nil {
			return
		}
		if l.delayed() {
			if pongs := bytes.Count(buf[:n], []byte("PONG\r\n")); pongs > 0 {
				l.pongs <- pongs
			}
		}
		if gone || lost() {
			continue
		}
		_, err = l.client.Write(buf[:n])
		gone = err != nil
	}
}

func (l *link) delayed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.holding
}
