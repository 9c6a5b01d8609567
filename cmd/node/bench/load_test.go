//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// server answers every score request with what the handler writes, and tells the target of it.
func server(t *testing.T, handler http.HandlerFunc) target {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	w := newWorkload(100, 10)
	return target{address: strings.TrimPrefix(s.URL, "http://"), path: "/v1/score", header: "X-Deadline-Ms: 7\r\n", body: w.transaction, judge: judgeNode}
}

func connected(t *testing.T, to target, connections int) *load {
	t.Helper()
	l, err := newLoad(to, connections)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func TestClosedPhaseCountsEveryAnswerOnce(t *testing.T) {
	var mu sync.Mutex
	served := int64(0)
	ids := map[string]bool{}
	l := connected(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			ID string `json:"transaction_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("X-Deadline-Ms") != "7" || r.URL.Path != "/v1/score" {
			t.Errorf("request %s %v: %v", r.URL, r.Header, err)
		}
		mu.Lock()
		served++
		ids[body.ID] = true
		mu.Unlock()
		_, _ = io.WriteString(w, `{"durability":"committed","degraded":[]}`)
	}), 8)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := l.closed(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	got := l.tally()
	if got.committed < 8 || got.committed < served-8 || got.committed > served || got.refused != 0 || got.degraded != 0 {
		t.Errorf("got %v of %d served; want all but those in flight", got, served)
	}
	if int64(len(ids)) != served {
		t.Errorf("%d ids for %d requests", len(ids), served)
	}
}

func TestOpenPhaseChargesAStallToEveryRequestThatItDelays(t *testing.T) {
	const stall = 300 * time.Millisecond
	var once sync.Once
	l := connected(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		once.Do(func() { time.Sleep(stall) })
		_, _ = io.WriteString(w, `{"durability":"committed","degraded":[]}`)
	}), 1)
	if err := l.open(context.Background(), 600*time.Millisecond, 200); err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, d := range l.latencies {
		if d > stall/3 {
			late++
		}
	}
	// 60 requests become due during the stall; those of its first 200 ms wait 100 ms or more.
	if len(l.latencies) < 80 || late < 20 {
		t.Errorf("got %d late of %d, want at least 20 of about 120", late, len(l.latencies))
	}
	if got := l.tally().committed; got != int64(len(l.latencies)) {
		t.Errorf("counted %d, timed %d", got, len(l.latencies))
	}
}

func TestAnswersOfEveryShapeAreRead(t *testing.T) {
	long := `{"results":[` + strings.Repeat(`{"answer":{"durability":"committed","degraded":[]}},`, 400) + `{"problem":{}}]}`
	for name, tc := range map[string]struct {
		status int
		body   string
		want   tally
	}{
		"one decision":     {200, `{"durability":"committed","degraded":[]}`, tally{requests: 1, committed: 1}},
		"pending":          {200, `{"durability":"pending","degraded":["log_unavailable"]}`, tally{requests: 1, pending: 1, degraded: 1}},
		"refused":          {429, `{"code":"overloaded"}`, tally{requests: 1, refused: 1}},
		"chunks":           {200, long, tally{requests: 1, committed: 400, refused: 1}},
		"committed by 503": {503, `{"durability":"committed"}`, tally{requests: 1, refused: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := connected(t, server(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}), 1)
			if err := l.send(l.wires[0], time.Now()); err != nil {
				t.Fatal(err)
			}
			for done := false; !done; {
				if err := l.answers(func(*wire) error { done = true; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.tally(); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAServerThatClosesIsAnError(t *testing.T) {
	l := connected(t, server(t, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }), 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.closed(ctx); !errors.Is(err, errClosedByServer) {
		t.Errorf("got %v, want %v", err, errClosedByServer)
	}
}
