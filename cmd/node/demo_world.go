package main

import (
	"fmt"
	"strconv"
	"time"

	"scoremesh/cmd/node/traffic"
)

const (
	// demoSpeed is how much faster than the clock the demo's world lives: a day of it takes a minute. At this speed a few thousand cards,
	// each used twice a day, make hundreds of transactions a second, and the windows of a week or a month fill while one watches.
	demoSpeed = 24 * 60
	// demoPast is how far back a world begins: a little less than the horizon of the demo's schema, behind which the edge refuses.
	demoPast = 36 * 24 * time.Hour
	// demoPrelude is how long the world lives before its first transaction is sent, so that its frauds are under way.
	demoPrelude = 4 * 24 * time.Hour
	// demoLabelDelay is the median time until a fraud becomes known: shorter than in earnest, so that one sees labels arrive.
	demoLabelDelay = 6 * time.Hour
	// demoRetries is the share of transactions that the client sends twice.
	demoRetries = 0.01
)

// demoWorld makes the demo's traffic. It lives in fast motion from demoPast ago towards the present; where it would overtake the clock
// a new world begins, with other cards. It is not safe for concurrent use.
type demoWorld struct {
	seed      uint64
	rate      float64
	generator *traffic.Generator
	// from is the time of the first transaction that is sent, Unix milliseconds.
	from int64
	// tag ends the names of this world's cards, devices and merchants, so that worlds share none, and runs over one log neither.
	tag string
}

// newDemoWorld makes a world for rate transactions per second of the clock; now is Unix milliseconds.
func newDemoWorld(seed uint64, rate float64, now int64) (*demoWorld, error) {
	w := &demoWorld{seed: seed, rate: rate}
	return w, w.begin(now)
}

func (w *demoWorld) begin(now int64) error {
	config := traffic.DefaultConfig()
	config.Seed, config.Rate, config.LabelDelay, config.RetryShare = w.seed, w.rate/demoSpeed, demoLabelDelay, demoRetries
	w.from = now - demoPast.Milliseconds()
	config.Start = w.from - demoPrelude.Milliseconds()
	generator, err := traffic.New(config)
	if err != nil {
		return fmt.Errorf("begin a world: %w", err)
	}
	w.generator, w.tag = generator, "-"+strconv.FormatInt(w.from/1000, 36)
	return nil
}

// next returns the world's next event. Its time is before now, in Unix milliseconds.
func (w *demoWorld) next(now int64) (traffic.Event, error) {
	e := w.generator.Next()
	if e.Transaction.At >= now {
		w.seed++
		if err := w.begin(now); err != nil {
			return traffic.Event{}, err
		}
		e = w.generator.Next()
	}
	for e.Transaction.At < w.from {
		e = w.generator.Next()
	}
	t := &e.Transaction
	t.Card += w.tag
	t.Merchant += w.tag
	if t.Device != "" {
		t.Device += w.tag
	}
	return e, nil
}
