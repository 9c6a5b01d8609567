package main

import (
	"strings"
	"testing"
	"time"
)

func TestAWorldStaysBetweenTheHorizonAndThePresent(t *testing.T) {
	const now = int64(1_800_000_000_000)
	w, err := newDemoWorld(1, 1, now) // the smallest world: 60 transactions a day
	if err != nil {
		t.Fatal(err)
	}
	day, ids, tags := (24 * time.Hour).Milliseconds(), map[string]bool{}, map[string]bool{}
	frauds := 0
	for i := range 6000 {
		clock := now + int64(i)*1000 // a transaction a second
		e, err := w.next(clock)
		if err != nil {
			t.Fatal(err)
		}
		x := &e.Transaction
		if x.At >= clock || x.At < clock-37*day {
			t.Fatalf("transaction %d at %d, want within 37 days before %d", i, x.At, clock)
		}
		if ids[x.ID] != e.Retry {
			t.Fatalf("transaction %s: retry is %v, seen before is %v", x.ID, e.Retry, ids[x.ID])
		}
		ids[x.ID] = true
		tag := x.Card[strings.LastIndex(x.Card, "-"):]
		if !strings.HasSuffix(x.Merchant, tag) || x.Device != "" && !strings.HasSuffix(x.Device, tag) {
			t.Fatalf("got card %s, device %s, merchant %s, want one tag", x.Card, x.Device, x.Merchant)
		}
		tags[tag] = true
		if e.Fraud {
			frauds++
			if l := e.Label(); l.Card != x.Card || l.TransactionID != x.ID {
				t.Fatalf("got label %+v, want one of %s", l, x.ID)
			}
		}
	}
	// 36 days of 60 transactions are 2,160: the third world follows the second.
	if len(tags) < 2 || len(tags) > 4 {
		t.Errorf("got %d worlds, want about three", len(tags))
	}
	if frauds == 0 {
		t.Error("got no frauds")
	}
}
