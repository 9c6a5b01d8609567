package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// subscriber consumes the decision feed with a durable consumer, across the deaths of the server.
type subscriber struct {
	stop context.CancelFunc
	done sync.WaitGroup
	mu   sync.Mutex
	// bySequence holds the ids of the events by their place in the stream; a delivery that is repeated because its acknowledgement was lost changes nothing.
	bySequence map[uint64]string
	faults     []string
}

func subscribe(t *testing.T, s *site) *subscriber {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	sub := &subscriber{stop: cancel, bySequence: map[uint64]string{}}
	js := connectNATS(t, s.natsURL())
	sub.done.Go(func() { sub.run(ctx, js) })
	t.Cleanup(sub.end)
	return sub
}

func (s *subscriber) end() {
	s.stop()
	s.done.Wait()
}

func (s *subscriber) run(ctx context.Context, js jetstream.JetStream) {
	for ctx.Err() == nil {
		if err := s.consume(ctx, js); err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // the server is away
			}
		}
	}
}

// consume binds to the durable consumer and takes events until something fails.
func (s *subscriber) consume(ctx context.Context, js jetstream.JetStream) error {
	bound, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	consumer, err := js.CreateOrUpdateConsumer(bound, "DECISIONS_local", jetstream.ConsumerConfig{Durable: "audit", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 2 * time.Second, DeliverPolicy: jetstream.DeliverAllPolicy, MaxAckPending: 1000})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		batch, err := consumer.Fetch(200, jetstream.FetchMaxWait(500*time.Millisecond))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if err := s.take(m); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return err
		}
	}
	return nil
}

func (s *subscriber) take(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	var event struct {
		ID, Type string
		Data     struct {
			TransactionID string `json:"transaction_id"`
			Outcome       string
		}
	}
	if err := json.Unmarshal(m.Data(), &event); err != nil {
		return err
	}
	s.mu.Lock()
	if event.Type != "scoremesh.decision.v1" || m.Subject() != "decisions.local."+event.Data.Outcome {
		s.faults = append(s.faults, fmt.Sprintf("event %s of type %s on %s", event.ID, event.Type, m.Subject()))
	}
	if before, ok := s.bySequence[meta.Sequence.Stream]; ok && before != event.ID {
		s.faults = append(s.faults, fmt.Sprintf("place %d held event %s and later %s", meta.Sequence.Stream, before, event.ID))
	}
	s.bySequence[meta.Sequence.Stream] = event.ID
	s.mu.Unlock()
	return m.Ack()
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bySequence)
}

// check waits until as many events were seen as the log has decisions, and holds the two to each other.
func (s *subscriber) check(t *testing.T, v *logView) {
	t.Helper()
	eventually(t, 30*time.Second, "the subscriber has seen every decision", func() string {
		if got, want := s.count(), len(v.order); got < want {
			return fmt.Sprintf("saw %d of %d", got, want)
		}
		return ""
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		t.Error(f)
	}
	seen := map[string]int{}
	for _, id := range s.bySequence {
		seen[id]++
	}
	wrong := 0
	for i, d := range v.order {
		// An event's id ends with the place of its decision; the stream has the events in the log's order.
		id, ok := s.bySequence[uint64(i+1)]
		if suffix := fmt.Sprintf("/%d.%d", d.at.sequence, d.at.index); !ok || len(id) < len(suffix) || id[len(id)-len(suffix):] != suffix || seen[id] != 1 {
			if wrong++; wrong <= 5 {
				t.Errorf("event %d of the feed: got %q, seen %d times, want the decision at %v, once", i+1, id, seen[id], d.at)
			}
		}
	}
	if len(s.bySequence) != len(v.order) {
		t.Errorf("the subscriber saw %d events, the log has %d decisions", len(s.bySequence), len(v.order))
	}
	if wrong > 5 {
		t.Errorf("and %d more events that are wrong", wrong-5)
	}
}
