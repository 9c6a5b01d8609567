//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// sample is what one round has measured of one contestant.
type sample struct {
	perSecond                 float64
	serverMicros, redisMicros float64
	allocations               float64
	// p50, p99 and p999 are in milliseconds.
	p50, p99, p999 float64
	// other is everything that came back, in both phases.
	other tally
}

func (s *sample) cpuMicros() float64 { return s.serverMicros + s.redisMicros }

// percentile is the q-quantile (nearest rank) in milliseconds; it sorts.
func percentile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	rank := int(math.Ceil(q*float64(len(all)))) - 1
	return float64(all[max(rank, 0)]) / float64(time.Millisecond)
}

// figure is the median over the rounds, and how far they lie apart.
type figure struct{ median, low, high float64 }

func figureOf(samples []sample, get func(*sample) float64) figure {
	values := make([]float64, len(samples))
	for i := range samples {
		values[i] = get(&samples[i])
	}
	slices.Sort(values)
	n := len(values)
	return figure{median: (values[(n-1)/2] + values[n/2]) / 2, low: values[0], high: values[n-1]}
}

// measured is what results.json says of a contestant: medians over the rounds, and for each the lowest and the highest round.
type measured struct {
	PerSecond    float64 `json:"decisions_per_s"`
	CPUMicros    float64 `json:"cpu_us_per_decision"`
	ServerMicros float64 `json:"cpu_us_server"`
	RedisMicros  float64 `json:"cpu_us_redis"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	P999         float64 `json:"p999_ms"`
	Allocations  float64 `json:"allocs_per_decision"`

	Spread map[string][2]float64 `json:"spread"`

	Requests  int64 `json:"requests"`
	Committed int64 `json:"committed"`
	Pending   int64 `json:"pending"`
	Refused   int64 `json:"refused"`
	Degraded  int64 `json:"degraded"`
}

// results are what a run has found.
type results struct {
	Machine   string `json:"machine"`
	Model     string `json:"model"`
	Cards     int    `json:"cards"`
	Merchants int    `json:"merchants"`
	Rounds    int    `json:"rounds"`

	Naive     *measured `json:"naive,omitempty"`
	NodeHTTP  *measured `json:"node_http,omitempty"`
	NodeBatch *measured `json:"node_batch,omitempty"`
	// RatioCPU is the CPU time of a decision of the node, over HTTP, as a multiple of the naive handler's.
	RatioCPU float64 `json:"ratio_cpu,omitempty"`

	// BytesPerEntity is what the node keeps in Redis, by kind.
	BytesPerEntity map[string]stored `json:"bytes_per_entity,omitempty"`
}

// add sums a contestant's rounds up.
func (r *results) add(name string, samples []sample) {
	m := &measured{Spread: make(map[string][2]float64)}
	for _, f := range []struct {
		name string
		to   *float64
		get  func(*sample) float64
	}{
		{"decisions_per_s", &m.PerSecond, func(s *sample) float64 { return s.perSecond }},
		{"cpu_us_per_decision", &m.CPUMicros, (*sample).cpuMicros},
		{"cpu_us_server", &m.ServerMicros, func(s *sample) float64 { return s.serverMicros }},
		{"cpu_us_redis", &m.RedisMicros, func(s *sample) float64 { return s.redisMicros }},
		{"p50_ms", &m.P50, func(s *sample) float64 { return s.p50 }},
		{"p99_ms", &m.P99, func(s *sample) float64 { return s.p99 }},
		{"p999_ms", &m.P999, func(s *sample) float64 { return s.p999 }},
		{"allocs_per_decision", &m.Allocations, func(s *sample) float64 { return s.allocations }},
	} {
		got := figureOf(samples, f.get)
		*f.to, m.Spread[f.name] = got.median, [2]float64{got.low, got.high}
	}
	for i := range samples {
		t := &samples[i].other
		m.Requests, m.Committed, m.Pending = m.Requests+t.requests, m.Committed+t.committed, m.Pending+t.pending
		m.Refused, m.Degraded = m.Refused+t.refused, m.Degraded+t.degraded
	}
	switch name {
	case "naive":
		r.Naive = m
	case "node_http":
		r.NodeHTTP = m
	case "node_batch":
		r.NodeBatch = m
	}
	if r.Naive != nil && r.NodeHTTP != nil && r.Naive.CPUMicros > 0 {
		r.RatioCPU = r.NodeHTTP.CPUMicros / r.Naive.CPUMicros
	}
}

func (r *results) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// print writes the table.
func (r *results) print(w io.Writer) error {
	fmt.Fprintf(w, "%s; model: %s; %d cards, %d merchants; medians of %d rounds (lowest to highest)\n\n", r.Machine, r.Model, r.Cards, r.Merchants, r.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "contestant\tdecisions/s\tCPU us each\tserver + redis\tallocs\tp50 ms\tp99 ms\tp99.9 ms\tpending\trefused\tdegraded")
	for _, c := range []struct {
		name string
		m    *measured
	}{{"naive", r.Naive}, {"node_http", r.NodeHTTP}, {"node_batch", r.NodeBatch}} {
		if c.m == nil {
			continue
		}
		m := c.m
		share := func(n int64) string {
			return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(max(1, m.Committed+m.Pending+m.Refused)))
		}
		fmt.Fprintf(t, "%s\t%.0f (%.0f to %.0f)\t%.1f (%.1f to %.1f)\t%.1f + %.1f\t%.0f\t%.2f\t%.2f\t%.2f\t%s\t%s\t%s\n", c.name,
			m.PerSecond, m.Spread["decisions_per_s"][0], m.Spread["decisions_per_s"][1],
			m.CPUMicros, m.Spread["cpu_us_per_decision"][0], m.Spread["cpu_us_per_decision"][1],
			m.ServerMicros, m.RedisMicros, m.Allocations, m.P50, m.P99, m.P999, share(m.Pending), share(m.Refused), share(m.Degraded))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	if r.RatioCPU > 0 {
		fmt.Fprintf(w, "\nCPU of a decision, node_http to naive: %.2f\n", r.RatioCPU)
	}
	for _, kind := range []string{"card", "device", "merchant"} {
		if s, ok := r.BytesPerEntity[kind]; ok {
			fmt.Fprintf(w, "%s in Redis: %.0f bytes (largest %d), %.0f with key and overhead, mean of %d\n", kind, s.Value, s.Largest, s.Memory, s.Entities)
		}
	}
	return nil
}

// describeMachine says what it was measured on, without names.
func describeMachine() string {
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d x %s, %s %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}
