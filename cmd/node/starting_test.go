package main

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"scoremesh/region"
)

// A node that is told to end while it waits for NATS ends well.
func TestASignalDuringTheStartIsNoError(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close() // nobody listens there any more
	config := DefaultConfig()
	config.Region, config.Node, config.DataDir, config.DrainNotice = "r", "n", t.TempDir(), 0
	config.Rules = region.RulesetFiles{Schema: "../../configs/demo/schema.yaml", Policy: "../../configs/demo/policy.yaml"}
	config.NATS.URLs = []string{"nats://" + nobody.Addr().String()}
	config.API.Listen, config.API.Auth = "127.0.0.1:0", "off"
	s, err := newService(config, zerolog.New(t.Output()).Level(zerolog.ErrorLevel))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := s.edge.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(300*time.Millisecond, cancel)
	defer cancel()
	if err := s.serve(ctx, listener, ""); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}
