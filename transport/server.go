package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// ServerConfig configures an embedded NATS server with JetStream.
type ServerConfig struct {
	// Name is the server's name in logs and in its own monitoring.
	Name string
	// Dir is the folder of its streams. Whoever loses it starts a new epoch.
	Dir string
	// Listen says whether it also listens on TCP; in-process connections need no listener.
	Listen bool
	// Host and Port are where it listens. Port 0 takes a free one; see Server.URL.
	Host string
	Port int
	// User and Password, if given, are asked of every connection. The listener has no TLS, so Validate keeps it on loopback.
	User     string
	Password Secret
	// SyncAlways syncs every write to disk before it is acknowledged. Without it an acknowledged batch may be lost with power.
	SyncAlways bool
	// MaxStoreBytes bounds the streams on disk; 0 lets the server take 75 % of what is free.
	MaxStoreBytes int64
	// StartTimeout bounds how long it may take to recover its streams.
	StartTimeout time.Duration
}

// DefaultServerConfig is a durable server without a listener; Dir has to be set.
func DefaultServerConfig() ServerConfig {
	return ServerConfig{Name: "scoremesh", Host: "127.0.0.1", SyncAlways: true, StartTimeout: 30 * time.Second}
}

// Validate names the first field that is out of bounds.
func (c *ServerConfig) Validate() error {
	switch {
	case c.Name == "":
		return badConfig("server.name", "required")
	case c.Dir == "":
		return badConfig("server.dir", "required")
	case c.Listen && c.Host == "":
		return badConfig("server.host", "required with listen")
	case c.Listen && !isLoopback(c.Host):
		return badConfig("server.host", "want a loopback address: the listener has no TLS; others need an external server")
	case c.Port < 0 || c.Port > 65535:
		return badConfig("server.port", "want 0 to 65535")
	case c.MaxStoreBytes < 0:
		return badConfig("server.max_store_bytes", "want 0 or more")
	case c.StartTimeout <= 0:
		return badConfig("server.start_timeout", "want more than 0")
	}
	return nil
}

// isLoopback says whether only this machine reaches what listens there.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Server is an embedded NATS server. Its owner shuts it down, after everything that is connected to it.
type Server struct {
	server *server.Server
}

// StartServer starts a server and waits until it takes connections.
func StartServer(cfg ServerConfig, logger zerolog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	password, err := cfg.Password.Read()
	if err != nil {
		return nil, fmt.Errorf("nats server's password: %w", err)
	}
	port := cfg.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             cfg.Name,
		DontListen:             !cfg.Listen,
		Host:                   cfg.Host,
		Port:                   port,
		Username:               cfg.User,
		Password:               password,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               cfg.Dir,
		JetStreamMaxStore:      cfg.MaxStoreBytes,
		SyncAlways:             cfg.SyncAlways,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make nats server in %s: %w", cfg.Dir, err)
	}
	s.SetLoggerV2(serverLog{logger.With().Str("component", "nats-server").Logger()}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(cfg.StartTimeout) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("start nats server in %s: not ready after %s", cfg.Dir, cfg.StartTimeout)
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("start nats server in %s: %w", cfg.Dir, errors.New("jetstream is off"))
	}
	out := &Server{server: s}
	if cfg.Listen {
		logger.Info().Str("component", "nats-server").Str("address", out.URL()).Msg("embedded nats server listens")
	}
	return out, nil
}

// URL is where the server listens; empty without a listener.
func (s *Server) URL() string {
	if s.server.Addr() == nil {
		return ""
	}
	return s.server.ClientURL()
}

// Shutdown stops the server and waits until its files are closed, or until ctx ends; then the server goes on stopping.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down nats server: %w", ctx.Err())
	}
}

// serverLog gives the server's lines to zerolog. They name streams, subjects and connections, never a payload.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.line(zerolog.DebugLevel, format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.line(zerolog.WarnLevel, format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.line(zerolog.ErrorLevel, format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.line(zerolog.DebugLevel, format, v) }
func (l serverLog) Tracef(format string, v ...any)  { l.line(zerolog.TraceLevel, format, v) }

// Fatalf does not end the process: that is for the process's owner to decide, who sees the region become unready.
func (l serverLog) Fatalf(format string, v ...any) { l.line(zerolog.ErrorLevel, format, v) }

func (l serverLog) line(level zerolog.Level, format string, v []any) {
	l.log.WithLevel(level).Str("line", fmt.Sprintf(format, v...)).Msg("nats server says")
}
