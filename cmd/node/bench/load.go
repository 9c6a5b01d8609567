//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// target is where requests go and what they are.
type target struct {
	address, path string
	// header are further header lines, each ended by \r\n.
	header string
	// body appends the body of the next request.
	body func([]byte, time.Time) []byte
	// judge counts an answer.
	judge func(status int, body []byte) tally
}

// load sends requests over keep-alive connections and counts the answers. One thread does all of it: it waits on epoll, and on a timer for
// the requests that are due.
type load struct {
	target target
	epoll  int
	timer  int
	wires  []*wire
	body   []byte

	// latencies of the requests of the open phase, in the order of their answers.
	latencies []time.Duration

	mu struct {
		sync.Mutex
		tally tally
	}
}

const (
	// drainTime is how long the open phase waits for the answers that are missing at its end.
	drainTime = 5 * time.Second
	// stopCheck is how often a phase looks whether it was stopped.
	stopCheck = 50 * time.Millisecond
	// timerEvent tells the timer from the connections, which have their index.
	timerEvent = -1
)

var errUnanswered = errors.New("requests were not answered")

// newLoad connects.
func newLoad(t target, connections int) (*load, error) {
	l := &load{target: t, epoll: -1, timer: -1}
	if err := l.connect(connections); err != nil {
		l.close()
		return nil, fmt.Errorf("connect to %s: %w", t.address, err)
	}
	return l, nil
}

func (l *load) connect(connections int) error {
	address, err := netip.ParseAddrPort(l.target.address)
	if err != nil {
		return err
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerEvent}); err != nil {
		return err
	}
	for i := range connections {
		w, err := dial(address)
		if err != nil {
			return err
		}
		l.wires = append(l.wires, w)
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, w.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) close() {
	for _, w := range l.wires {
		w.close()
	}
	for _, fd := range []int{l.timer, l.epoll} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written to it
		}
	}
}

// tally is what was counted so far. It may be called while a phase runs.
func (l *load) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.tally
}

// closed keeps a request in flight on every connection until ctx ends, which is no error.
func (l *load) closed(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, w := range l.wires {
		if err := l.send(w, time.Now()); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		if err := l.answers(func(w *wire) error { return l.send(w, time.Now()) }); err != nil {
			return err
		}
	}
	return nil
}

// open sends requests at Poisson times, on average rate a second, for so long, and waits for their answers.
func (l *load) open(ctx context.Context, length time.Duration, rate float64) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	random := rand.New(rand.NewPCG(workloadSeed, 1))
	l.latencies = make([]time.Duration, 0, int(rate*length.Seconds()*1.2)+16)
	idle := append([]*wire(nil), l.wires...)
	var backlog []time.Time // due, and no connection was idle; bounded by the phase's length
	answered := func(w *wire) error {
		l.latencies = append(l.latencies, time.Since(w.due))
		if len(backlog) == 0 {
			idle = append(idle, w)
			return nil
		}
		due := backlog[0]
		backlog = backlog[1:]
		return l.send(w, due)
	}
	began := time.Now()
	end := began.Add(length)
	sent := 0
	for due := began; due.Before(end) && ctx.Err() == nil; {
		now := time.Now()
		for ; !due.After(now) && due.Before(end); due = due.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second))) {
			sent++
			if len(idle) == 0 {
				backlog = append(backlog, due)
				continue
			}
			w := idle[len(idle)-1]
			idle = idle[:len(idle)-1]
			if err := l.send(w, due); err != nil {
				return err
			}
		}
		if err := l.alarm(max(time.Until(due), time.Microsecond)); err != nil {
			return err
		}
		if err := l.answers(answered); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(drainTime); len(l.latencies) < sent; {
		if err := l.answers(answered); err != nil {
			return err
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("%w: %d of %d", errUnanswered, sent-len(l.latencies), sent), ctx.Err())
		}
	}
	return ctx.Err()
}

// alarm makes the next answers return after d at the latest.
func (l *load) alarm(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(l.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}

// send sends the next request, which was due at a time.
func (l *load) send(w *wire, due time.Time) error {
	l.body = l.target.body(l.body[:0], time.Now())
	w.due = due
	w.out = append(w.out[:0], "POST "...)
	w.out = append(w.out, l.target.path...)
	w.out = append(w.out, " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"...)
	w.out = append(w.out, l.target.header...)
	w.out = strconv.AppendInt(append(w.out, "Content-Length: "...), int64(len(l.body)), 10)
	w.out = append(w.out, "\r\n\r\n"...)
	w.out = append(w.out, l.body...)
	return w.write()
}

// answers waits for answers, or for the alarm, counts them, and hands each connection that has its answer to then.
func (l *load) answers(then func(*wire) error) error {
	var events [128]unix.EpollEvent
	n, err := unix.EpollWait(l.epoll, events[:], int(stopCheck.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for answers: %w", err)
	}
	for i := range max(n, 0) {
		// Fd carries what was registered: the connection's index.
		if events[i].Fd == timerEvent {
			var expirations [8]byte
			_, _ = unix.Read(l.timer, expirations[:]) // only so that it is not readable any more
			continue
		}
		w := l.wires[events[i].Fd]
		whole, err := w.read()
		if err != nil {
			return err
		}
		if !whole {
			continue
		}
		t := l.target.judge(w.status, w.body())
		l.mu.Lock()
		l.mu.tally.add(t)
		l.mu.Unlock()
		if err := then(w); err != nil {
			return err
		}
	}
	return nil
}
