package region

import (
	"testing"

	"scoremesh/actors"
	"scoremesh/feature"
)

// A shard that asked again must not lose that request to the older one that is put back: nobody would ever answer it.
func TestAnOlderRequestNeverReplacesANewerOne(t *testing.T) {
	b := newInbox(func(q actors.ReplayRequest) actors.ShardID { return q.Shard })
	one, two := actors.ShardID{Kind: feature.Card}, actors.ShardID{Kind: feature.Device}
	b.push(actors.ReplayRequest{Shard: one, Generation: 2})
	b.pushOlder(actors.ReplayRequest{Shard: one, Generation: 1})
	b.pushOlder(actors.ReplayRequest{Shard: two, Generation: 1})
	for _, got := range b.take(t.Context()) {
		if want := map[actors.ShardID]uint64{one: 2, two: 1}[got.Shard]; got.Generation != want {
			t.Errorf("%v: got generation %d, want %d", got.Shard, got.Generation, want)
		}
	}
}
