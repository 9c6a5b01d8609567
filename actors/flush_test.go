package actors

import (
	"errors"
	"testing"

	"scoremesh/decision"
	"scoremesh/feature"
)

// dirtied is a serving rig with one dirty card and its flush in flight.
func dirtied(t *testing.T) *rig {
	r := serving(t, nil)
	r.commit(feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)})
	r.tick(5000)
	if r.flush == nil || len(r.flush.request.Entities) != 1 {
		t.Fatalf("got flush %+v, want one of c1", r.flush)
	}
	return r
}

func TestFlushWithoutResultIsRepeatedFromTheSameBase(t *testing.T) {
	r := dirtied(t)
	f := r.flush
	r.flush = nil
	r.step(&flushed{generation: f.generation, err: errors.New("timeout")})
	r.tick(1)
	if r.flush != nil || r.machine.w0.Len() != 0 || len(r.machine.dirty) != 1 {
		t.Fatalf("got flush %+v, w0 %v, %d dirty, want no flush yet, nothing confirmed, one dirty", r.flush, &r.machine.w0, len(r.machine.dirty))
	}
	r.tick(1000)
	if r.flush == nil || !r.flush.request.Base.Equal(f.request.Base) || len(r.flush.request.Entities) != 1 {
		t.Fatalf("got flush %+v, want the same again", r.flush)
	}
}

func TestEntityTouchedDuringAFlushStaysDirty(t *testing.T) {
	r := dirtied(t)
	f := r.flush
	r.flush = nil
	r.commit(feature.Record{Decision: decided(transaction("t2", "c1", t0), decision.Approve)})
	r.step(&flushed{generation: f.generation, result: r.redis.flush(f.request)})
	if len(r.machine.dirty) != 1 || !r.machine.w0.Equal(feature.VectorOf(own, feature.EndOf(1))) {
		t.Errorf("got %d dirty, w0 %v, want one and 1", len(r.machine.dirty), &r.machine.w0)
	}
}

func TestEntityStaysDirtyUntilTheWatermarkPassesIt(t *testing.T) {
	r := newRig(t, nil)
	r.step(r.redis.start())
	e := r.schema.New(feature.Card)
	rec := feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)}
	e.Apply(feature.Position{Origin: own, Mark: feature.MarkOf(3, 0)}, &rec)
	r.step(&Restore{Entities: []EntityState{{"c1", e.Append(nil)}}}) // the watermark comes with a later part
	r.flushNow()
	if r.redis.states["c1"] == nil || len(r.machine.dirty) != 1 {
		t.Fatalf("stored %v, %d dirty, want it stored and dirty", r.redis.states["c1"] != nil, len(r.machine.dirty))
	}
	r.step(&Restore{Watermark: feature.VectorOf(own, feature.EndOf(5))})
	r.flushNow()
	if len(r.machine.dirty) != 0 {
		t.Errorf("got %d dirty after the watermark has passed, want none", len(r.machine.dirty))
	}
}

func TestIncomparableFlushMovesNothing(t *testing.T) {
	r := dirtied(t)
	f := r.flush
	r.flush = nil
	r.step(&flushed{generation: f.generation, result: FlushResult{Incomparable: []string{"c1"}}})
	if r.machine.w0.Len() != 0 || len(r.machine.dirty) != 1 || r.machine.status != statusServing {
		t.Errorf("got w0 %v, %d dirty, %v, want nothing confirmed, one dirty, serving", &r.machine.w0, len(r.machine.dirty), r.machine.status)
	}
}

func TestResultOfAnEarlierLifeIsVoid(t *testing.T) {
	r := dirtied(t)
	f := r.flush
	r.flush = nil
	r.step(r.redis.start())
	r.seq = 0
	r.commit(feature.Record{Decision: decided(transaction("t1", "c1", t0), decision.Approve)})
	r.tick(5000)
	if r.flush == nil {
		t.Fatal("no flush in the new life")
	}
	r.step(&flushed{generation: f.generation, result: FlushResult{Watermark: f.request.Target}})
	if r.machine.inFlight == nil || r.machine.w0.Len() != 0 {
		t.Errorf("got w0 %v, in flight %v, want the result ignored", &r.machine.w0, r.machine.inFlight != nil)
	}
}

func TestMovedWatermarkIsFlushedWithoutEntities(t *testing.T) {
	r := serving(t, nil)
	r.commit()
	r.flushNow()
	if !r.redis.watermark.Equal(feature.VectorOf(own, feature.EndOf(1))) {
		t.Errorf("got watermark %v, want 1", &r.redis.watermark)
	}
	r.tick(10_000)
	if r.flush != nil {
		t.Error("flushed again, and nothing had moved")
	}
}
