//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// wire is one keep-alive connection with at most one request in flight. It knows as much of HTTP/1.1 as its own requests need.
type wire struct {
	fd int
	// due is when the request in flight was to be sent.
	due time.Time
	out []byte
	// in holds the answer so far; head is the length of its head, 0 while that is not whole; length is that of the body, or -1: chunked.
	in     []byte
	head   int
	length int
	status int
}

// wireBuffer holds any single answer; batches make it grow.
const wireBuffer = 4096

var (
	errClosedByServer = errors.New("the server closed the connection")
	errBadAnswer      = errors.New("the answer is not the HTTP/1.1 that is expected")
	errBlocked        = errors.New("a request does not fit into the socket's buffer")
)

// dial connects a socket; afterwards it does not block.
func dial(address netip.AddrPort) (*wire, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	w := &wire{fd: fd, in: make([]byte, 0, wireBuffer)}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *wire) close() { _ = unix.Close(w.fd) } // what it carried was answered or is not waited for

// write sends out. Requests are far smaller than a socket's buffer, which is empty before each.
func (w *wire) write() error {
	w.in, w.head = w.in[:0], 0
	for rest := w.out; len(rest) > 0; {
		n, err := unix.Write(w.fd, rest)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return errBlocked
		case err != nil:
			return fmt.Errorf("send request: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

// read takes what has come, and says whether the answer is whole.
func (w *wire) read() (whole bool, err error) {
	if len(w.in) == cap(w.in) {
		w.in = append(w.in, make([]byte, cap(w.in))...)[:len(w.in)]
	}
	n, err := unix.Read(w.fd, w.in[len(w.in):cap(w.in)])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read answer: %w", err)
	case n == 0:
		return false, errClosedByServer
	}
	w.in = w.in[:len(w.in)+n]
	if w.head == 0 {
		end := bytes.Index(w.in, []byte("\r\n\r\n"))
		if end < 0 {
			return false, nil
		}
		w.head = end + 4
		if err := w.parseHead(w.in[:end+2]); err != nil {
			return false, err
		}
	}
	if w.length < 0 {
		// One answer at a time, so its last chunk ends what has come.
		return bytes.HasSuffix(w.in[w.head:], []byte("0\r\n\r\n")), nil
	}
	return len(w.in) >= w.head+w.length, nil
}

// body is the body of a whole answer.
func (w *wire) body() []byte {
	if w.length < 0 {
		return joinChunks(w.in[w.head:])
	}
	return w.in[w.head:]
}

// joinChunks takes the sizes out of a chunked body, in place. What is not chunked ends it.
func joinChunks(in []byte) []byte {
	out := in[:0]
	for {
		end := bytes.Index(in, []byte("\r\n"))
		if end < 0 {
			return out
		}
		size, err := strconv.ParseUint(string(in[:end]), 16, 31)
		if in = in[end+2:]; err != nil || size == 0 || len(in) < int(size)+2 {
			return out
		}
		out = append(out, in[:size]...)
		in = in[size+2:]
	}
}

// parseHead reads the status and how long the body is.
func (w *wire) parseHead(head []byte) error {
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("%w: %.40q", errBadAnswer, head)
	}
	var err error
	if w.status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return fmt.Errorf("%w: status %q", errBadAnswer, head[9:12])
	}
	if value, ok := header(head, "\r\nContent-Length: "); ok {
		if w.length, err = strconv.Atoi(string(value)); err != nil || w.length < 0 {
			return fmt.Errorf("%w: length %q", errBadAnswer, value)
		}
		return nil
	}
	if _, ok := header(head, "\r\nTransfer-Encoding: chunked"); !ok {
		return fmt.Errorf("%w: neither length nor chunks: %.200q", errBadAnswer, head)
	}
	w.length = -1
	return nil
}

// header finds a header line that begins with key.
func header(head []byte, key string) ([]byte, bool) {
	at := bytes.Index(head, []byte(key))
	if at < 0 {
		return nil, false
	}
	value := head[at+len(key):]
	end := bytes.IndexByte(value, '\r')
	return value[:max(end, 0)], end >= 0
}
