package region

import (
	"fmt"
	"time"
)

// State is where a region's node is in its life.
type State string

// The states. A degraded node serves, and says what its answers lack.
const (
	Starting State = "starting"
	Warming  State = "warming"
	Serving  State = "serving"
	Degraded State = "degraded"
	Draining State = "draining"
)

// Health is the node's state now.
type Health struct {
	State State
	// Ready is false while a load balancer should send requests elsewhere.
	Ready bool
	// Live is false when only a restart helps.
	Live bool
	// Reasons say why the state is not "serving". They name no entity.
	Reasons []string
}

// Health looks at the parts. It is cheap.
func (r *Region) Health() Health {
	h := Health{State: Serving, Ready: true, Live: true}
	because := func(format string, args ...any) { h.Reasons = append(h.Reasons, fmt.Sprintf(format, args...)) }

	shards := r.shards.Summary()
	if n := shards.Starting + shards.Replaying; n > 0 {
		because("%d shards are loading or replaying", n)
		if !r.warmed.Load() {
			h.State, h.Ready = Warming, false
		} else {
			h.State = Degraded
		}
	} else {
		r.warmed.Store(true)
	}
	if shards.Rebuilding > 0 {
		because("%d shards are being rebuilt from the log", shards.Rebuilding)
		h.degrade()
	}
	if why := r.unrecoverable.Load(); why != nil {
		because("%s", *why)
		h.degrade()
	}
	if age := r.now() - shards.FoldedAt; r.warmed.Load() && age > r.config.Scoring.Freshness.Milliseconds() {
		if shards.FoldedAt == 0 {
			because("features: no sign of life of the log has been folded yet")
		} else {
			because("features are %s old", time.Duration(age)*time.Millisecond)
		}
		h.degrade()
	}
	if r.feed.Next() == 0 {
		because("the decision feed has not found its place in its stream")
		h.degrade()
	}
	if away := r.speedLayerAway(); away != "" {
		because("redis: %s", away)
		h.degrade()
	}
	if nats := r.conn.State(); !nats.Connected {
		because("nats: not connected since %s: %s", time.UnixMilli(nats.Since).UTC().Format(time.RFC3339), nats.LastError)
		h.degrade()
		if nats.Ended {
			because("the connection to nats has ended for good: restart the node")
			h.Ready, h.Live = false, false
		}
	}
	log := r.appender.State()
	if !log.Healthy {
		because("the log does not take appends since %s: %s", time.UnixMilli(log.UnreachableSince).UTC().Format(time.RFC3339), log.LastError)
		h.degrade()
	}
	if log.QueueRecords*10 >= r.config.Log.QueueRecords*9 || log.QueueBytes*10 >= r.config.Log.QueueBytes*9 {
		because("the queue before the log is full: %d records", log.QueueRecords)
		h.Ready = false
	}
	if log.Replaced {
		because("the log was replaced by another one: restart the node")
		h.Ready, h.Live = false, false
	}
	if r.leaving.Load() || r.draining.Load() {
		h.State, h.Ready = Draining, false
		because("the node is draining")
	}
	return h
}

// degrade makes a serving node a degraded one; other states stay.
func (h *Health) degrade() {
	if h.State == Serving {
		h.State = Degraded
	}
}
