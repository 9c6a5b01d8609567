//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startPatience is how long a process may take until it serves, stopPatience until it has ended by itself.
	startPatience = time.Minute
	stopPatience  = 20 * time.Second
	// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every architecture that Go runs on.
	clockTick = 10 * time.Millisecond
)

// child is a process that the run has started, in a process group of its own so that an interrupt reaches it through the run only.
type child struct {
	name   string
	log    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startChild starts a process that writes its log into dir.
func startChild(dir, name string, env []string, path string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()                   // the process has its own copy
	c.cmd = exec.Command(path, args...) //nolint:noctx // stop ends it, gently at first
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Env = log, log, append(os.Environ(), env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = c.cmd.Wait() // that it ended is what counts
		close(c.exited)
	}()
	return c, nil
}

// stop ends the process, by force if it takes its time, and waits for its end.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-c.exited:
	case <-time.After(stopPatience):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
}

// await waits until the process does as it should.
func (c *child) await(ctx context.Context, serves func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := serves(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("%s ended: %s", c.name, c.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w: %s", c.name, err, c.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastWords is the end of its log.
func (c *child) lastWords() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// cpu is the user and system time that the process has used.
func (c *child) cpu() (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("cpu time of %s: %w", c.name, err)
	}
	d, err := parseCPU(string(text))
	if err != nil {
		return 0, fmt.Errorf("cpu time of %s: %w", c.name, err)
	}
	return d, nil
}

var errStat = errors.New("/proc/pid/stat has not the fields of proc(5)")

// parseCPU reads utime and stime, the fields 14 and 15 of proc_pid_stat(5). Field 2, the name, may hold anything, but ends at the last ')'.
func parseCPU(stat string) (time.Duration, error) {
	_, rest, ok := strings.Cut(stat[max(0, strings.LastIndexByte(stat, ')')):], " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errStat
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: utime: %w", errStat, err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: stime: %w", errStat, err)
	}
	return time.Duration(user+system) * clockTick, nil
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready asks an HTTP endpoint for a 200.
func ready(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, answer.Status)
		}
		return nil
	}
}
