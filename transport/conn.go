package transport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// ConnConfig says how to reach a region's NATS.
type ConnConfig struct {
	// URLs of the servers of the region's cluster, nats:// or tls://, without credentials. Not used by Server.Connect.
	URLs []string
	// Name is shown in the server's monitoring: the node's name.
	Name string
	// CAFile verifies the server; empty takes the system's roots. CertFile and KeyFile authenticate this client; both or none.
	CAFile, CertFile, KeyFile string
	// CredsFile is a NATS credentials file (JWT and seed).
	CredsFile string
	// Token, or User and Password, authenticate where no credentials file is used. Like all files above they are read again for each
	// connection, so that they can be rotated.
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

// Validate names the first field that is out of bounds. It reads no file and no secret.
func (c *ConnConfig) Validate() error {
	for i, text := range c.URLs {
		if err := checkURL(text); err != nil {
			return badConfig(fmt.Sprintf("nats.urls[%d]", i), err.Error())
		}
	}
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

// Check is Validate, and reads every file and every secret that is named. Its errors name the keys, and no secret.
func (c *ConnConfig) Check() error {
	if err := c.Validate(); err != nil {
		return err
	}
	_, err := c.authentication(zerolog.Nop())
	return err
}

// ConnState is what is known of a connection.
type ConnState struct {
	Connected bool
	// Since is when it became so, in Unix milliseconds.
	Since int64
	// Server is the URL, without credentials, of the server that it is or was last connected to.
	Server string
	// LastError is why it is not connected, if that is known. It names the keys of the configuration that a refusal is about, and no secret.
	LastError string
	// Ended: the connection is over, though its owner did not close it; only a new one helps.
	Ended bool
}

// Conn is a connection to NATS that reconnects for ever, also to servers that refuse it, and never buffers a publish while it is down. Its
// owner closes it after everything that uses it.
type Conn struct {
	cfg ConnConfig
	nc  *nats.Conn
	js  jetstream.JetStream
	log zerolog.Logger
	// attempting is nc, for the handler that runs before nc is set.
	attempting atomic.Pointer[nats.Conn]
	// embedded: the server is in this process, and has no address that means anything.
	embedded bool
	closing  atomic.Bool

	mu struct {
		sync.Mutex
		state ConnState
		// told: a handler has set the state.
		told bool
		// logged is when a failed attempt was logged; zero when none was since the connection was lost.
		logged time.Time
	}
	connected prometheus.GaugeFunc
	changes   prometheus.Counter
	reg       prometheus.Registerer
}

// refusedPause is the pause at least before a server is asked again that has refused.
const refusedPause = time.Second

// missedEvery is the pause at least between log lines about failed attempts.
const missedEvery = 10 * time.Second

// Connect connects to external servers. It returns at once also when none can be reached yet, or when they refuse: Conn.State
// tells why, and it goes on trying. Wrong configuration, and a file or secret that cannot be read, is an error that names its key.
func Connect(cfg ConnConfig, logger zerolog.Logger, reg prometheus.Registerer) (*Conn, error) {
	if len(cfg.URLs) == 0 {
		return nil, badConfig("nats.urls", "want at least one")
	}
	return connect(cfg, logger, reg, strings.Join(cfg.URLs, ","))
}

// checkURL never repeats the URL: it may hold a password.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls":
		return errors.New("want nats://host:port or tls://host:port")
	case u.User != nil:
		return errors.New("want no credentials in it: they stand in nats.user, nats.token_env and the like")
	}
	return nil
}

// Connect connects to the embedded server within the process.
func (s *Server) Connect(cfg ConnConfig, logger zerolog.Logger, reg prometheus.Registerer) (*Conn, error) {
	return connect(cfg, logger, reg, "", nats.InProcessServer(s.server))
}

func connect(cfg ConnConfig, logger zerolog.Logger, reg prometheus.Registerer, url string, more ...nats.Option) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Conn{cfg: cfg, embedded: url == "", log: logger.With().Str("component", "nats").Logger(), reg: reg}
	options, err := cfg.authentication(c.log)
	if err != nil {
		return nil, err
	}
	c.mu.state.Since = time.Now().UnixMilli()
	c.metrics()
	options = append(options, c.options()...)
	if c.nc, err = nats.Connect(url, append(options, more...)...); err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	c.attempting.Store(c.nc)
	c.connectedAtOnce()
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

// options are how to connect, and who is told. The library's own rule is to give up for ever on a server that has refused twice; a node
// would then be silent until somebody restarts it, also when the refusal was the server's mistake.
func (c *Conn) options() []nats.Option {
	return []nats.Option{
		nats.Name(c.cfg.Name), nats.Timeout(c.cfg.DialTimeout), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), nats.CustomReconnectDelay(c.pause), nats.ReconnectBufSize(-1),
		nats.PingInterval(c.cfg.PingInterval), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(c.up), nats.ReconnectHandler(c.up), nats.DisconnectErrHandler(c.down), nats.ErrorHandler(c.failed),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.missed(err) }), nats.ClosedHandler(c.ended),
	}
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

// connectedAtOnce tells the state what the handlers will tell it a moment later.
func (c *Conn) connectedAtOnce() {
	if !c.nc.IsConnected() {
		return
	}
	server := c.server(c.nc)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.told {
		c.mu.state.Connected, c.mu.state.Server = true, server
	}
}

// server names where the connection goes.
func (c *Conn) server(nc *nats.Conn) string {
	if c.embedded {
		return "embedded"
	}
	return nc.ConnectedUrlRedacted()
}

func (c *Conn) up(nc *nats.Conn) {
	c.set(ConnState{Connected: true, Server: c.server(nc)})
	c.log.Info().Str("server", c.server(nc)).Msg("connected to nats")
}

func (c *Conn) down(_ *nats.Conn, err error) {
	if c.closing.Load() {
		c.set(ConnState{})
		return
	}
	reason := ""
	if err != nil {
		reason = err.Error() + c.cfg.hint(err)
	}
	c.mu.Lock()
	server := c.mu.state.Server
	c.mu.logged = time.Time{}
	c.mu.Unlock()
	c.set(ConnState{Server: server, LastError: reason})
	c.changes.Inc()
	c.log.Warn().Str("error", reason).Msg("connection to nats lost")
}

// pause is called after all servers were tried in vain, and says how long to wait. What a server that was reached said, only the
// connection knows.
func (c *Conn) pause(int) time.Duration {
	wait := c.cfg.ReconnectWait
	if nc := c.attempting.Load(); nc != nil {
		if err := nc.LastError(); err != nil {
			c.missed(err)
			if refused(err) {
				wait = max(wait, refusedPause)
			}
		}
	}
	return wait + rand.N(wait)
}

// missed notes why an attempt to connect has failed. Attempts are many, so the log gets what is news, and not too often: with several
// servers the reasons may alternate.
func (c *Conn) missed(err error) {
	hint := c.cfg.hint(err)
	reason := err.Error() + hint
	c.mu.Lock()
	if c.mu.state.Connected || reason == c.mu.state.LastError || hint != "" && strings.HasSuffix(c.mu.state.LastError, hint) && !strings.Contains(reason, remoteTLS) {
		c.mu.Unlock()
		return
	}
	again := hint != "" && strings.HasSuffix(c.mu.state.LastError, hint)
	c.mu.state.LastError = reason
	news := !again && time.Since(c.mu.logged) >= missedEvery
	if news {
		c.mu.logged = time.Now()
	}
	c.mu.Unlock()
	if news {
		c.log.Warn().Str("error", reason).Msg("nats cannot be connected to")
	}
}

// ended is told when the library gives the connection up: by Close, or because of an answer that it does not know.
func (c *Conn) ended(nc *nats.Conn) {
	if c.closing.Load() {
		return
	}
	s := c.State()
	if err := nc.LastError(); err != nil {
		s.LastError = err.Error() + c.cfg.hint(err)
	}
	c.set(ConnState{Server: s.Server, LastError: s.LastError, Ended: true})
	c.log.Error().Str("error", s.LastError).Msg("connection to nats has ended for good")
}

// failed reports what the client library notices beside the requests: a slow consumer, a permission. Subjects hold no ids. A refusal
// while it reconnects comes here too, once for every attempt.
func (c *Conn) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	if sub == nil && !c.State().Connected {
		c.missed(err)
		return
	}
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
	c.mu.state, c.mu.told = s, true
}

// State says whether the connection stands, and since when, as far as the client library has told. It never waits for the network.
func (c *Conn) State() ConnState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.state
}

// JetStream is the connection's JetStream context.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// NATS is the connection itself, for requests and subscriptions.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Close closes the connection at once.
func (c *Conn) Close() {
	c.closing.Store(true)
	c.nc.Close()
	if c.reg != nil {
		c.reg.Unregister(c.connected)
		c.reg.Unregister(c.changes)
	}
}
