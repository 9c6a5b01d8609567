package region

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/actors"
	"scoremesh/feature"
	"scoremesh/speedlayer"
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

// trimmedRegion is a region whose log begins behind 10, with a snapshot outside of its folder and none within. Its Redis is wiped by the
// caller.
func trimmedRegion(t *testing.T, redis *redistest.Server) (r *Region, snapshot string) {
	t.Helper()
	c := testConfig(t, redis)
	c.Snapshots.Every, c.Snapshots.Keep = 0, 1
	r = opened(t, c)
	filled(t, r, 14)
	ctx := context.Background()
	if err := r.log.Trim(ctx, 10); err != nil {
		t.Fatal(err)
	}
	await(t, "every watermark is behind what was trimmed", func() bool {
		var err error
		if snapshot, _, err = TakeSnapshot(ctx, c, t.TempDir(), "", zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
		s, err := openSnapshot(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		reach, err := s.header.reach()
		return err == nil && reach >= 10
	})
	return r, snapshot
}

// What an operator restores by hand is taken up by the running node.
func TestARestoreByHandIsTakenUp(t *testing.T) {
	redis := redistest.Start(t)
	r, snapshot := trimmedRegion(t, redis)
	redis.FlushAll()
	await(t, "health says that shards cannot be rebuilt", func() bool { return r.unrecoverable.Load() != nil })
	if _, err := RestoreSnapshot(context.Background(), r.config, snapshot, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	await(t, "the region serves again", func() bool { return r.Health().State == Serving })
	if got := seen(t, decide(t, r, payment("last", "c-0", 500)), "card_count"); got != 2 {
		t.Errorf("card_count is %v after the restore, want 2", got)
	}
}

// Shards that nothing helps keep nobody else from a replay.
func TestALostShardKeepsNobodyWaiting(t *testing.T) {
	redis := redistest.Start(t)
	r, _ := trimmedRegion(t, redis)
	ctx := context.Background()
	_, last, _, err := r.log.Bounds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fine := actors.ReplayRequest{Shard: actors.ShardID{Kind: feature.Card}, From: feature.VectorOf(r.log.Origin(), feature.EndOf(last))}
	gone := actors.ReplayRequest{Shard: actors.ShardID{Kind: feature.Device}}
	redis.FlushAll()
	again, lost, err := r.replay(ctx, []actors.ReplayRequest{gone, fine})
	if err != nil || len(again) != 0 || len(lost) != 1 || lost[0].Shard != gone.Shard {
		t.Errorf("got again %v, lost %v, error %v; want the device's shard to be lost, and the card's to be served", again, lost, err)
	}
	await(t, "health says that shards cannot be rebuilt", func() bool { return r.unrecoverable.Load() != nil })
}

// A snapshot of a wiped Redis never takes the place of one that is of use.
func TestASnapshotOfAWipedRedisIsNotKept(t *testing.T) {
	redis := redistest.Start(t)
	r, _ := trimmedRegion(t, redis)
	ctx := context.Background()
	if err := r.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	good, err := listSnapshots(r.config.snapshotDir(), r.Schema().Version(), r.log.Origin().Epoch)
	if err != nil || len(good) != 1 {
		t.Fatalf("got snapshots %v, error %v, want one", good, err)
	}
	redis.FlushAll()
	if err := r.Snapshot(ctx); err == nil {
		t.Error("a snapshot of a wiped redis was taken")
	}
	left, err := listSnapshots(r.config.snapshotDir(), r.Schema().Version(), r.log.Origin().Epoch)
	if err != nil || !slices.Equal(left, good) {
		t.Errorf("got snapshots %v, error %v, want %v", left, err, good)
	}
	await(t, "the region is rebuilt from it", func() bool { return r.Health().State == Serving && merchantInRedis(t, r) == 14 })
}

// The log is trimmed behind what any snapshot needs, not only the oldest.
func TestNeededIsWhatAnySnapshotBuildsOn(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, redistest.Start(t))
	r := opened(t, c)
	var paths []string
	for i, mark := range []uint64{30, 20, 5} {
		header := SnapshotHeader{Region: "here", Epoch: 1, Schema: "t1", Partitions: 1, TakenAt: int64(i)}
		w := speedlayer.Watermark{Vector: feature.VectorOf(feature.Origin{Region: "here", Epoch: 1}, feature.EndOf(mark))}
		header.Watermarks = []snapshotWatermark{{feature.Card, 0, w.Append(nil)}}
		file, err := os.Create(filepath.Join(dir, snapshotName(&header)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writeSnapshot(context.Background(), file, &header, r.reader); err != nil {
			t.Fatal(err)
		}
		file.Close()
		paths = append(paths, file.Name())
	}
	if got, err := needed(paths, 10); err != nil || got != 21 {
		t.Errorf("got %d, error %v; want 21, behind the second: the third cannot be completed by a log from 10 on", got, err)
	}
	if got, err := needed(paths[2:], 10); err != nil || got != 10 {
		t.Errorf("got %d, error %v; want 10: without a snapshot of use nothing is trimmed", got, err)
	}
}
