package region

import (
	"context"
	"sync/atomic"
	"time"

	"scoremesh/feature"
)

// beacons writes a sign of life into the log at every interval. One is in flight: while the log is away none collect. It also watches
// whether the log takes appends, so that answers do not wait for one that does not.
func (r *Region) beacons(ctx context.Context) {
	ticker := time.NewTicker(r.config.Log.BeaconEvery)
	defer ticker.Stop()
	watch := time.NewTicker(25 * time.Millisecond)
	defer watch.Stop()
	var inFlight atomic.Bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-watch.C:
			r.logAway.Store(!r.appender.State().Healthy)
		case <-ticker.C:
			if !inFlight.CompareAndSwap(false, true) {
				continue
			}
			beacon := &feature.Record{Beacon: &feature.Beacon{At: r.now(), Node: r.config.Node}}
			if r.appender.Append(beacon, func(feature.Position, error) { inFlight.Store(false) }) != nil {
				inFlight.Store(false) // the queue is full: health says so
			}
		}
	}
}
