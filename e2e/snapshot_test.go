package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An operator's snapshot brings a wiped Redis back to the same bytes, and the node goes on from there.
func TestSnapshotAndRestoreByHand(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.patient = true
	l := newLedger()
	s.start()
	load := newLoad(s, l, "a")
	traffic := load.begin(t)
	time.Sleep(time.Second)
	config := filepath.Join(s.dir, "node.yaml")
	s.run("snapshot", "--config", config, "--dir", filepath.Join(s.dir, "early")) // beside the running node, in mid-load
	time.Sleep(time.Second)
	traffic.end()
	load.settle(t, 30*time.Second)
	s.awaitFolded()
	s.stop()
	want := s.redis.entities()

	late := strings.SplitN(s.run("snapshot", "--config", config, "--dir", filepath.Join(s.dir, "late")), ":", 2)[0]
	s.redis.flushAll()
	s.run("restore", "--config", config, "--from", late)
	compareStates(t, "redis after the restore", s.redis.entities(), want)
	s.start()
	s.awaitFolded()
	compareStates(t, "redis after a start on the restored states", s.redis.entities(), want)

	// The early snapshot under the running node: the node finds states that went back, and brings them forward.
	early, err := filepath.Glob(filepath.Join(s.dir, "early", "snapshot-*.gz"))
	if err != nil || len(early) != 1 {
		t.Fatalf("the early snapshot: got %v, %v", early, err)
	}
	s.redis.flushAll()
	s.run("restore", "--config", config, "--from", early[0])
	s.awaitFolded()
	compareStates(t, "redis after an old snapshot was restored under a running node", s.redis.entities(), want)
	s.checkAtRest(l)
	t.Logf("%s; states %d", l.everything(), len(want))
}

// Where the log was trimmed, a snapshot is where the states come from when Redis has lost them.
func TestTrimmedLogIsMadeUpForBySnapshots(t *testing.T) {
	t.Parallel()
	s := newSite(t, "log: {max_age: 1s}\nsnapshots: {every: 1s, keep: 2}")
	s.patient = true
	l := newLedger()
	s.start()
	load := newLoad(s, l, "a")
	traffic := load.begin(t)
	before := s.readLog()
	eventually(t, 40*time.Second, "decisions are trimmed off the log", func() string {
		if log := s.readLog(); log.first < before.last+100 {
			return fmt.Sprintf("the log begins at %d and had %d batches at first", log.first, before.last)
		}
		return ""
	})
	traffic.end()
	load.settle(t, 30*time.Second)
	s.awaitFolded()
	want := s.redis.entities()
	s.redis.flushAll()
	s.awaitReadyState("serving")
	s.awaitFolded()
	compareStates(t, "redis, wiped under a running node", s.redis.entities(), want)

	s.node.kill()
	s.redis.flushAll()
	s.start()
	s.awaitFolded()
	compareStates(t, "redis, wiped while the node was down", s.redis.entities(), want)
	log := s.readLog()
	if log.first < 2 {
		t.Error("the log was not trimmed")
	}
	load.askAgain(3)
	l.checkAnswers(t)
	t.Logf("%s; the log begins at %d, states %d", l.everything(), log.first, len(want))
}
