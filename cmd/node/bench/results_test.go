//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestPercentilesAreNearestRanks(t *testing.T) {
	all := make([]time.Duration, 1000)
	for i := range all {
		all[len(all)-1-i] = time.Duration(i+1) * time.Millisecond
	}
	for q, want := range map[float64]float64{.5: 500, .99: 990, .999: 999, 1: 1000} {
		if got := percentile(all, q); got != want {
			t.Errorf("percentile %v: got %v, want %v", q, got, want)
		}
	}
}

func TestRoundsAreSummedUpByTheirMedians(t *testing.T) {
	var r results
	r.add("naive", []sample{{perSecond: 3, serverMicros: 40, redisMicros: 10}, {perSecond: 1, serverMicros: 20, redisMicros: 10}, {perSecond: 2, serverMicros: 30, redisMicros: 10}})
	r.add("node_http", []sample{{serverMicros: 10, other: tally{committed: 2}}, {serverMicros: 30, other: tally{committed: 3}}})
	if r.Naive.PerSecond != 2 || r.Naive.CPUMicros != 40 || r.Naive.Spread["decisions_per_s"] != [2]float64{1, 3} {
		t.Errorf("naive: got %+v", *r.Naive)
	}
	if r.NodeHTTP.CPUMicros != 20 || r.NodeHTTP.Committed != 5 {
		t.Errorf("node_http: got %+v, want the mean of the two in the middle, and all that came back", *r.NodeHTTP)
	}
	if r.RatioCPU != .5 {
		t.Errorf("ratio: got %v, want 0.5", r.RatioCPU)
	}
}

func TestCPUTimeOfAProcessIsReadWhateverItsName(t *testing.T) {
	got, err := parseCPU("4321 (a b) c) S 1 2 3 4 5 6 7 8 9 10 123 45 0 0 20 0 8 0 99")
	if err != nil || got != 1680*time.Millisecond {
		t.Errorf("got %v, %v; want 1.68s", got, err)
	}
	if _, err := parseCPU("4321 (x) S 1"); !errors.Is(err, errStat) {
		t.Errorf("got %v, want %v", err, errStat)
	}
}

func TestTransactionsAreJSONThatTheNodeTakes(t *testing.T) {
	w := newWorkload(1000, 50)
	now := time.Date(2026, 11, 23, 10, 15, 2, 120e6, time.UTC)
	seen := map[string]bool{}
	merchants := map[string]int{}
	for range 2000 {
		var got struct {
			ID       string    `json:"transaction_id"`
			At       time.Time `json:"timestamp"`
			Card     string    `json:"card_id"`
			Device   string    `json:"device_id"`
			Merchant string    `json:"merchant_id"`
			Amount   int64     `json:"amount"`
			Lat      float64   `json:"lat"`
		}
		text := w.transaction(nil, now)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if seen[got.ID] || !got.At.Equal(now) || len(got.Card) != 12 || len(got.Device) != 14 || len(got.Merchant) != 14 || got.Amount < 100 || got.Lat == 0 {
			t.Fatalf("got %s", text)
		}
		seen[got.ID] = true
		merchants[got.Merchant]++
	}
	if first := merchants[merchantName(0)]; first < 200 {
		t.Errorf("the first of 50 merchants has %d of 2000 transactions; want Zipf's many", first)
	}
	if got, want := string(appendPadded(nil, 42, 7)), cardName(42)[len("card-"):]; got != want {
		t.Errorf("padded: got %s, want %s, as the naive handler's keys have it", got, want)
	}
}
