package transport_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"scoremesh/transport"
)

func TestTheEmbeddedListenerAsksForItsPassword(t *testing.T) {
	t.Setenv("LISTENER_PASSWORD", "secret")
	server := transport.DefaultServerConfig()
	server.Dir, server.Listen, server.User, server.Password = t.TempDir(), true, "node", transport.Secret{Env: "LISTENER_PASSWORD"}
	s, err := transport.StartServer(server, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if c, err := nats.Connect(s.URL()); !errors.Is(err, nats.ErrAuthorization) {
		c.Close()
		t.Errorf("without a password: got %v, want %v", err, nats.ErrAuthorization)
	}
	c, err := nats.Connect(s.URL(), nats.UserInfo("node", "secret"))
	if err != nil {
		t.Fatalf("with the password: %v", err)
	}
	c.Close()
	own := transport.DefaultConnConfig()
	own.Name, own.User, own.Password = "n1", "node", server.Password
	inside, err := s.Connect(own, zerolog.Nop(), nil)
	if err != nil {
		t.Fatalf("within the process: %v", err)
	}
	defer inside.Close()
	if state := inside.State(); !state.Connected || state.Server != "embedded" {
		t.Errorf("within the process: got %+v, want connected to the embedded server", state)
	}
}

func TestTheEmbeddedListenerStaysOnLoopback(t *testing.T) {
	for host, ok := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": true, "0.0.0.0": false, "10.0.0.1": false, "example.org": false} {
		c := transport.DefaultServerConfig()
		c.Dir, c.Listen, c.Host = "somewhere", true, host
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%s: got %v, want allowed: %v", host, err, ok)
		}
	}
}
