package transport

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// ConnConfig says how to reach a region's NATS.
type ConnConfig struct {
	// URLs of the servers of the region's cluster, nats:// or tls://. Not used by Server.Connect.
	URLs []string
	// Name is shown in the server's monitoring: the node's name.
	Name string
	// CAFile verifies the server; empty takes the system's roots. CertFile and KeyFile authenticate this client; both or none.
	CAFile, CertFile, KeyFile string
	// CredsFile is a NATS credentials file (JWT and seed).
	CredsFile string
	// Token, or User and Password, authenticate where no credentials file is used.
	Token    Secret
	User     string
	Password Secret
	// DialTimeout bounds one attempt to connect; ReconnectWait is the pause between attempts, with as much again of jitter.
	DialTimeout, ReconnectWait time.Duration
	// PingInterval: a server that leaves two pings without an answer counts as lost.
	PingInterval time.Duration
}

// DefaultConnConfig reconnects for ever, and notices a server that is silent within 6 seconds. URLs and Name have to be set.
func DefaultConnConfig() ConnConfig {
	return ConnConfig{DialTimeout: 2 * time.Second, ReconnectWait: 100 * time.Millisecond, PingInterval: 2 * time.Second}
}

// Validate names the first field that is out of bounds.
func (c *ConnConfig) Validate() error {
	switch {
	case c.Name == "":
		return badConfig("nats.name", "required")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return badConfig("nats.cert_file", "want cert_file and key_file, or none of them")
	case c.CredsFile != "" && (!c.Token.IsZero() || c.User != ""), !c.Token.IsZero() && c.User != "":
		return badConfig("nats.creds_file", "want one of creds_file, token, user")
	case (c.User == "") != c.Password.IsZero():
		return badConfig("nats.user", "want user and password, or none of them")
	case c.DialTimeout <= 0:
		return badConfig("nats.dial_timeout", "want more than 0")
	case c.ReconnectWait <= 0:
		return badConfig("nats.reconnect_wait", "want more than 0")
	case c.PingInterval <= 0:
		return badConfig("nats.ping_interval", "want more than 0")
	}
	return nil
}

// ConnState is what is known of a connection.
type ConnState struct {
	Connected bool
	// Since is when it became so, in Unix milliseconds.
	Since int64
	// Server is the URL, without credentials, of the server that it is or was last connected to.
	Server string
	// LastError is why it is not connected, if that is known.
	LastError string
}

// Conn is a connection to NATS that reconnects for ever and never buffers a publish while it is down. Its owner closes it after everything
// that uses it.
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log zerolog.Logger

	mu struct {
		sync.Mutex
		state ConnState
	}
	connected prometheus.GaugeFunc
	changes   prometheus.Counter
	reg       prometheus.Registerer
}

// Connect connects to external servers. It returns at once also when none can be reached yet: Conn.State tells, and it goes
// on trying. Wrong configuration is an error.
func Connect(cfg ConnConfig, logger zerolog.Logger, reg prometheus.Registerer) (*Conn, error) {
	if len(cfg.URLs) == 0 {
		return nil, badConfig("nats.urls", "want at least one")
	}
	return connect(cfg, logger, reg, strings.Join(cfg.URLs, ","))
}

// Connect connects to the embedded server within the process.
func (s *Server) Connect(cfg ConnConfig, logger zerolog.Logger, reg prometheus.Registerer) (*Conn, error) {
	return connect(cfg, logger, reg, "", nats.InProcessServer(s.server))
}

func connect(cfg ConnConfig, logger zerolog.Logger, reg prometheus.Registerer, url string, more ...nats.Option) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	options, err := cfg.options()
	if err != nil {
		return nil, err
	}
	c := &Conn{log: logger.With().Str("component", "nats").Logger(), reg: reg}
	c.mu.state.Since = time.Now().UnixMilli()
	c.metrics()
	options = append(options, nats.ConnectHandler(c.up), nats.ReconnectHandler(c.up), nats.DisconnectErrHandler(c.down),
		nats.ErrorHandler(c.failed))
	if c.nc, err = nats.Connect(url, append(options, more...)...); err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	if c.js, err = jetstream.New(c.nc); err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("use jetstream: %w", err)
	}
	if reg != nil {
		for _, m := range []prometheus.Collector{c.connected, c.changes} {
			if err := reg.Register(m); err != nil {
				c.Close()
				return nil, fmt.Errorf("register metrics of nats connection: %w", err)
			}
		}
	}
	return c, nil
}

func (c *ConnConfig) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(c.Name), nats.Timeout(c.DialTimeout), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(c.ReconnectWait), nats.ReconnectJitter(c.ReconnectWait, c.ReconnectWait), nats.ReconnectBufSize(-1),
		nats.PingInterval(c.PingInterval), nats.MaxPingsOutstanding(2),
	}
	if c.CAFile != "" {
		options = append(options, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		options = append(options, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	if c.CredsFile != "" {
		options = append(options, nats.UserCredentials(c.CredsFile))
	}
	if !c.Token.IsZero() {
		token, err := c.Token.Read()
		if err != nil {
			return nil, fmt.Errorf("nats token: %w", err)
		}
		options = append(options, nats.Token(token))
	}
	if c.User != "" {
		password, err := c.Password.Read()
		if err != nil {
			return nil, fmt.Errorf("nats password: %w", err)
		}
		options = append(options, nats.UserInfo(c.User, password))
	}
	return options, nil
}

func (c *Conn) metrics() {
	c.connected = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "scoremesh_nats_connected",
		Help: "1 while the connection to the region's NATS stands."}, func() float64 {
		if c.State().Connected {
			return 1
		}
		return 0
	})
	c.changes = prometheus.NewCounter(prometheus.CounterOpts{Name: "scoremesh_nats_disconnects_total",
		Help: "How often the connection to the region's NATS was lost."})
}

func (c *Conn) up(nc *nats.Conn) {
	c.set(ConnState{Connected: true, Server: nc.ConnectedUrlRedacted()})
	c.log.Info().Str("server", nc.ConnectedUrlRedacted()).Msg("connected to nats")
}

func (c *Conn) down(nc *nats.Conn, err error) {
	if nc.IsClosed() {
		c.set(ConnState{})
		return
	}
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	c.mu.Lock()
	server := c.mu.state.Server
	c.mu.Unlock()
	c.set(ConnState{Server: server, LastError: reason})
	c.changes.Inc()
	c.log.Warn().Err(err).Msg("connection to nats lost")
}

// failed reports what the client library notices beside the requests: a slow consumer, a permission. Subjects hold no ids.
func (c *Conn) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	line := c.log.Warn().Err(err)
	if sub != nil {
		line = line.Str("subject", sub.Subject)
	}
	line.Msg("nats connection reports an error")
}

func (c *Conn) set(s ConnState) {
	s.Since = time.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.state = s
}

// State says whether the connection stands, and since when.
func (c *Conn) State() ConnState {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.state
	s.Connected = c.nc.IsConnected() // the handlers that keep the rest run a moment later
	return s
}

// JetStream is the connection's JetStream context.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// NATS is the connection itself, for requests and subscriptions.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Close closes the connection at once.
func (c *Conn) Close() {
	c.nc.Close()
	if c.reg != nil {
		c.reg.Unregister(c.connected)
		c.reg.Unregister(c.changes)
	}
}
