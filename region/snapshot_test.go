package region

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/speedlayer/redistest"
)

// states returns every state that Redis holds.
func states(t testing.TB, r *Region) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := r.reader.Scan(context.Background(), func(kind feature.Kind, _ int, id string, state []byte) error {
		out[kind.String()+" "+id] = bytes.Clone(state)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func filled(t testing.TB, r *Region, n int) {
	t.Helper()
	for i := range n {
		decide(t, r, payment(id("t", i), id("c", i%7), 500))
	}
	await(t, "everything is flushed", func() bool { return merchantInRedis(t, r) == float64(n) })
	await(t, "every entity is flushed", func() bool { return len(states(t, r)) == 7+7+1 })
}

func sameStates(t testing.TB, got, want map[string][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d states, want %d", len(got), len(want))
	}
	for name, state := range want {
		if !bytes.Equal(got[name], state) {
			t.Errorf("%s: got %x, want %x", name, got[name], state)
		}
	}
}

func TestASnapshotRestoresTheSameBytes(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	r := opened(t, c)
	filled(t, r, 21)
	closeRegion(t, r)
	path, count, err := TakeSnapshot(context.Background(), c, "", "", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if count != 15 {
		t.Errorf("the snapshot has %d entities, want 15", count)
	}
	r2 := opened(t, c)
	want := states(t, r2)
	closeRegion(t, r2)
	redis.FlushAll()
	if n, err := RestoreSnapshot(context.Background(), c, path, zerolog.Nop()); err != nil || n != 15 {
		t.Fatalf("restored %d entities: %v", n, err)
	}
	r3 := opened(t, c)
	sameStates(t, states(t, r3), want)
}

func TestABrokenSnapshotIsRefusedWhole(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	r := opened(t, c)
	filled(t, r, 7)
	closeRegion(t, r)
	path, _, err := TakeSnapshot(context.Background(), c, "", "", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	redis.FlushAll()
	for name, broken := range map[string][]byte{
		"cut":     whole[:len(whole)/2],
		"empty":   {},
		"flipped": append(append(bytes.Clone(whole[:len(whole)/2]), whole[len(whole)/2]^1), whole[len(whole)/2+1:]...),
	} {
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := RestoreSnapshot(context.Background(), c, path, zerolog.Nop()); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: got %v, want ErrSnapshot", name, err)
		}
	}
	if n := redis.Do("DBSIZE"); n != int64(0) {
		t.Errorf("a refused snapshot left %v keys", n)
	}
}

// The log is trimmed up to the oldest snapshot, and a wiped Redis is then rebuilt from snapshot and log.
func TestATrimmedLogIsRebuiltFromASnapshot(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	c.Log.MaxAge, c.Log.MaxBytes, c.Snapshots.Every, c.Snapshots.Keep = time.Millisecond, 0, 0, 1
	r := opened(t, c)
	filled(t, r, 21)
	ctx := context.Background()
	if err := r.trim(ctx); err != nil {
		t.Fatal(err)
	}
	if first, _, _, err := r.log.Bounds(ctx); err != nil || first != 1 {
		t.Fatalf("without a snapshot the log begins at %d (%v), want 1", first, err)
	}
	await(t, "the log is trimmed", func() bool {
		// Until every shard has a watermark, a snapshot reaches back to the log's beginning.
		if err := r.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
		if err := r.trim(ctx); err != nil {
			t.Fatal(err)
		}
		first, _, _, err := r.log.Bounds(ctx)
		return err == nil && first > 1
	})
	decide(t, r, payment("behind", "c-0", 500))
	if err := r.Drain(ctx); err != nil { // flushes every shard
		t.Fatal(err)
	}
	want := states(t, r)
	closeRegion(t, r)
	redis.FlushAll()
	r = opened(t, c)
	if err := r.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	sameStates(t, states(t, r), want)
}

// Without a snapshot the region says that it cannot be rebuilt, and goes on saying so.
func TestATrimmedLogWithoutSnapshotIsSaid(t *testing.T) {
	redis := redistest.Start(t)
	c := testConfig(t, redis)
	c.Snapshots.Every = 0
	r := opened(t, c)
	filled(t, r, 14)
	if err := r.log.Trim(context.Background(), 10); err != nil {
		t.Fatal(err)
	}
	redis.FlushAll()
	await(t, "health says that shards cannot be rebuilt", func() bool { return r.unrecoverable.Load() != nil })
	if h := r.Health(); h.State != Degraded || len(h.Reasons) < 2 {
		t.Errorf("got %s for %q, want degraded with reasons", h.State, h.Reasons)
	}
}
