package feature

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestFoldIgnoresInterleavingReplaysAndRestarts(t *testing.T) {
	s := mustParse(t, testSchemaText(testSpecs()))
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		other := interleave(t, log)
		for _, id := range testEntities {
			want := fold(s, id.kind, id.touching(log)).Append(nil)
			e := s.New(id.kind)
			mine := id.touching(other)
			for i := range mine {
				if !e.Apply(mine[i].position, &mine[i].record) {
					t.Fatalf("%v: a new record at %v was refused", id, mine[i].position)
				}
				switch rapid.IntRange(0, 5).Draw(t, "disturb") {
				case 0:
					e = reload(t, s, e)
				case 1:
					before := e.Append(nil)
					from := rapid.IntRange(0, i).Draw(t, "replay")
					for j := from; j <= i; j++ {
						if e.Apply(mine[j].position, &mine[j].record) {
							t.Fatalf("%v: the known record at %v was applied again", id, mine[j].position)
						}
					}
					if !bytes.Equal(e.Append(nil), before) {
						t.Fatalf("%v: a replay changed the state", id)
					}
				}
			}
			if got := e.Append(nil); !bytes.Equal(got, want) {
				t.Fatalf("%v: another interleaving gives other bytes:\ngot  %x\nwant %x", id, got, want)
			}
		}
	})
}

// reload encodes and decodes an entity, and checks that nothing is lost.
func reload(t *rapid.T, s *Schema, e *Entity) *Entity {
	b := e.Append(nil)
	d, err := s.Decode(e.Kind(), b)
	if err != nil {
		t.Fatalf("decode what was encoded: %v\n%x", err, b)
	}
	if again := d.Append(nil); !bytes.Equal(again, b) {
		t.Fatalf("encoded again:\ngot  %x\nwant %x", again, b)
	}
	if d.ID() != e.ID() || d.Newest() != e.Newest() || d.Len() != e.Len() || d.Saturated() != e.Saturated() || !d.Vector().Equal(*e.Vector()) {
		t.Fatalf("decoded: %v %v %v %v %v, want %v %v %v %v %v", d.ID(), d.Newest(), d.Len(), d.Saturated(), d.Vector(),
			e.ID(), e.Newest(), e.Len(), e.Saturated(), e.Vector())
	}
	for i := range e.timeline.elements {
		got, want := &d.timeline.elements[i], &e.timeline.elements[i]
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded element %d:\ngot  %+v\nwant %+v", i, got, want)
		}
	}
	for _, o := range testOrigins {
		if got, want := d.Obligations(o, nil), e.Obligations(o, nil); !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded obligations of %v:\ngot  %+v\nwant %+v", o, got, want)
		}
	}
	return d
}
