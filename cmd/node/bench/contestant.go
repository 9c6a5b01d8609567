//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contestant is one way to ask one server for decisions.
type contestant struct {
	name string
	// target is what the generator needs to know of it.
	target target
	// connections bounds those of the closed phase, where each has a request in flight at all times.
	connections int
	// perRequest is the number of decisions in one request.
	perRequest int
	// server and redis are the processes whose CPU time counts.
	server, redis *child
	// stored tells the mean size of what it keeps in Redis, by kind; nil: nobody asks.
	stored func(context.Context) (map[string]stored, error)
}

// glance is what all counters of a contestant say at one moment.
type glance struct {
	at            time.Time
	tally         tally
	server, redis time.Duration
}

// look reads the load's counters and the processes' CPU times.
func (c *contestant) look(l *load) (glance, error) {
	g := glance{at: time.Now(), tally: l.tally()}
	var err error
	if g.server, err = c.server.cpu(); err != nil {
		return g, err
	}
	g.redis, err = c.redis.cpu()
	return g, err
}

// mallocs asks the server how many heap objects it has allocated so far, and the load how many decisions it had by then.
func (c *contestant) mallocs(ctx context.Context, l *load) (float64, int64, error) {
	decided := l.tally().committed
	v, err := scrape(ctx, "http://"+c.target.address+"/metrics", "go_memstats_mallocs_total")
	return v, decided, err
}

// scrape reads one unlabelled metric of a Prometheus endpoint.
func scrape(ctx context.Context, url, metric string) (float64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("scrape %s: %w", url, err)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, fmt.Errorf("scrape %s: %w", url, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("scrape %s: %s", url, answer.Status)
	}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), metric+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("scrape %s: no %s: %w", url, metric, errorsOf(lines.Err(), errNoMetric))
}

var errNoMetric = errors.New("not among the metrics")

// errorsOf is the first error that is not the end of a phase that was asked for.
func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}
