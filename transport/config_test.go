package transport_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/transport"
)

func TestConfigurationsNameTheFieldAtFault(t *testing.T) {
	conn := func(change func(*transport.ConnConfig)) error {
		c := transport.DefaultConnConfig()
		c.Name = "n"
		change(&c)
		return c.Validate()
	}
	server := func(change func(*transport.ServerConfig)) error {
		c := transport.DefaultServerConfig()
		c.Dir = "d"
		change(&c)
		return c.Validate()
	}
	log := func(change func(*transport.LogConfig)) error {
		c := transport.DefaultLogConfig()
		c.Region = "r"
		change(&c)
		return c.Validate()
	}
	appender := func(change func(*transport.AppenderConfig)) error {
		c := transport.DefaultAppenderConfig()
		c.Node = "n"
		change(&c)
		return c.Validate()
	}
	feed := func(change func(*transport.FeedConfig)) error {
		c := transport.DefaultFeedConfig()
		change(&c)
		return c.Validate()
	}
	for _, c := range []struct {
		err   error
		field string // "" for a valid configuration
	}{
		{conn(func(*transport.ConnConfig) {}), ""},
		{server(func(*transport.ServerConfig) {}), ""},
		{log(func(*transport.LogConfig) {}), ""},
		{appender(func(*transport.AppenderConfig) {}), ""},
		{feed(func(*transport.FeedConfig) {}), ""},
		{conn(func(c *transport.ConnConfig) { c.Name = "" }), "nats.name"},
		{conn(func(c *transport.ConnConfig) { c.CertFile = "x" }), "nats.cert_file"},
		{conn(func(c *transport.ConnConfig) { c.User = "u" }), "nats.user"},
		{conn(func(c *transport.ConnConfig) { c.CredsFile = "x"; c.Token.Env = "E" }), "nats.creds_file"},
		{conn(func(c *transport.ConnConfig) { c.Token.Env = "E"; c.User = "u"; c.Password.Env = "P" }), "nats.creds_file"},
		{conn(func(c *transport.ConnConfig) { c.DialTimeout = 0 }), "nats.dial_timeout"},
		{conn(func(c *transport.ConnConfig) { c.ReconnectWait = 0 }), "nats.reconnect_wait"},
		{conn(func(c *transport.ConnConfig) { c.PingInterval = 0 }), "nats.ping_interval"},
		{server(func(c *transport.ServerConfig) { c.Name = "" }), "server.name"},
		{server(func(c *transport.ServerConfig) { c.Dir = "" }), "server.dir"},
		{server(func(c *transport.ServerConfig) { c.Listen = true; c.Host = "" }), "server.host"},
		{server(func(c *transport.ServerConfig) { c.Port = 70000 }), "server.port"},
		{server(func(c *transport.ServerConfig) { c.MaxStoreBytes = -1 }), "server.max_store_bytes"},
		{server(func(c *transport.ServerConfig) { c.StartTimeout = 0 }), "server.start_timeout"},
		{log(func(c *transport.LogConfig) { c.Region = "" }), "log.region"},
		{log(func(c *transport.LogConfig) { c.Region = "a.b" }), "log.region"},
		{log(func(c *transport.LogConfig) { c.Region = "a>" }), "log.region"},
		{log(func(c *transport.LogConfig) { c.Replicas = 2 }), "log.replicas"},
		{log(func(c *transport.LogConfig) { c.MaxBytes = -1 }), "log.max_bytes"},
		{log(func(c *transport.LogConfig) { c.RequestTimeout = 0 }), "log.request_timeout"},
		{log(func(c *transport.LogConfig) { c.RetryMax = 0 }), "log.retry_min"},
		{log(func(c *transport.LogConfig) { c.RegressPatience = 0 }), "log.regress_patience"},
		{appender(func(c *transport.AppenderConfig) { c.Node = "a b" }), "appender.node"},
		{appender(func(c *transport.AppenderConfig) { c.QueueRecords = 0 }), "appender.queue_records"},
		{appender(func(c *transport.AppenderConfig) { c.QueueBytes = 1 }), "appender.queue_bytes"},
		{appender(func(c *transport.AppenderConfig) { c.BatchRecords = 1 << 16 }), "appender.batch_records"},
		{appender(func(c *transport.AppenderConfig) { c.BatchBytes = 1 }), "appender.batch_bytes"},
		{appender(func(c *transport.AppenderConfig) { c.AckTimeout = 0 }), "appender.ack_timeout"},
		{feed(func(c *transport.FeedConfig) { c.Replicas = 0 }), "feed.replicas"},
		{feed(func(c *transport.FeedConfig) { c.MaxAge = 0 }), "feed.max_age"},
		{feed(func(c *transport.FeedConfig) { c.MaxBytes = -1 }), "feed.max_bytes"},
		{feed(func(c *transport.FeedConfig) { c.Window = 0 }), "feed.window"},
		{feed(func(c *transport.FeedConfig) { c.AckTimeout = 0 }), "feed.ack_timeout"},
	} {
		switch {
		case c.field == "" && c.err != nil:
			t.Errorf("valid configuration: got %v", c.err)
		case c.field != "" && (!errors.Is(c.err, transport.ErrConfig) || !strings.Contains(c.err.Error(), c.field)):
			t.Errorf("%s: got %v, want ErrConfig that names it", c.field, c.err)
		}
	}
}

func TestSecretsComeFromFileOrEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SCOREMESH_TEST_TOKEN", "fromenv")
	for _, c := range []struct {
		name   string
		secret transport.Secret
		want   string
		fails  bool
	}{
		{"none", transport.Secret{}, "", false},
		{"file", transport.Secret{File: file}, "s3cret", false},
		{"environment", transport.Secret{Env: "SCOREMESH_TEST_TOKEN"}, "fromenv", false},
		{"file before environment", transport.Secret{File: file, Env: "SCOREMESH_TEST_TOKEN"}, "s3cret", false},
		{"missing file", transport.Secret{File: file + "x"}, "", true},
		{"empty file", transport.Secret{File: empty}, "", true},
		{"unset variable", transport.Secret{Env: "SCOREMESH_TEST_UNSET"}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.secret.Read()
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %q, %v, want %q, error %v", got, err, c.want, c.fails)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestEmbeddedServerNeedsNoListener(t *testing.T) {
	cfg := transport.DefaultServerConfig()
	cfg.Dir = t.TempDir()
	s, err := transport.StartServer(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if s.URL() != "" {
		t.Errorf("url: got %q, want none", s.URL())
	}
	reg := prometheus.NewRegistry()
	conf := transport.DefaultConnConfig()
	conf.Name = "n"
	c, err := s.Connect(conf, zerolog.Nop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, c)
	fill(t, l, 2)
	if got := metric(t, reg, "scoremesh_nats_connected"); got != 1 {
		t.Errorf("connected: got %v, want 1", got)
	}
	epoch := l.Origin().Epoch
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	// The same folder is the same log.
	if s, err = transport.StartServer(cfg, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Connect(conf, zerolog.Nop(), nil); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, c)
	if l.Origin().Epoch != epoch || lastOf(t, l) != 2 {
		t.Errorf("after a restart: epoch %x, last %d, want %x and 2", l.Origin().Epoch, lastOf(t, l), epoch)
	}
	c.Close()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestConnectRefusesWhatItCannotUse(t *testing.T) {
	conf := transport.DefaultConnConfig()
	conf.Name = "n"
	if _, err := transport.Connect(conf, zerolog.Nop(), nil); !errors.Is(err, transport.ErrConfig) {
		t.Errorf("no url: got %v, want ErrConfig", err)
	}
	conf.URLs = []string{"nats://127.0.0.1:1"}
	conf.Token.Env = "SCOREMESH_TEST_UNSET"
	if _, err := transport.Connect(conf, zerolog.Nop(), nil); err == nil {
		t.Error("missing token: connected")
	}
	conf.Token = transport.Secret{}
	conf.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	if _, err := transport.Connect(conf, zerolog.Nop(), nil); err == nil {
		t.Error("missing CA: connected")
	}
}
