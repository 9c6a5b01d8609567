package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"scoremesh/decision"
)

// maxScrapes bounds the requests for /metrics that are served at once.
const maxScrapes = 4

// Options are what a Server is made of. All are required but HashCard.
type Options struct {
	Config  Config
	Backend Backend
	// Region is the region's name in answers.
	Region string
	// HashCard replaces card numbers; nil refuses them.
	HashCard HashCard
	Log      zerolog.Logger
	// Registerer takes the edge's metrics; Gatherer is what /metrics shows.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
}

// Server is the HTTP edge. Its owner calls Serve, and Shutdown when it is to end.
type Server struct {
	edge *edge
	http *http.Server
	tls  TLS
	// certificate is nil without TLS.
	certificate atomic.Pointer[tls.Certificate]
}

// New makes a server. The certificate is read now, if there is one; nothing listens yet.
func New(o Options) (*Server, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("api config: %w", err)
	}
	if err := o.Backend.validate(); err != nil {
		return nil, err
	}
	if o.Region == "" || o.Registerer == nil || o.Gatherer == nil {
		return nil, errors.New("api: Region, Registerer and Gatherer are required")
	}
	c := o.Config
	e := &edge{config: c, backend: o.Backend, region: o.Region, hashCard: o.HashCard,
		// A flood of refusals must not become a flood of lines; the counters have them all.
		log: o.Log.Sample(&zerolog.BurstSampler{Burst: 20, Period: time.Second}),
		overloaded: &decision.Error{Code: decision.CodeOverloaded, RetryAfter: c.RetryAfter,
			Detail: "too many requests are in flight at this node"},
	}
	e.scoring.limit, e.bulk.limit = int64(c.MaxInFlight), int64(c.MaxBulkInFlight)
	e.guard.off = c.Auth == AuthOff
	if err := e.guard.set(c.Keys); err != nil {
		return nil, fmt.Errorf("api config: %w", err)
	}
	e.exchanges.New = func() any { return &exchange{e: e} }
	var err error
	if e.metrics, err = newMetrics(o.Registerer, &e.scoring, &e.bulk); err != nil {
		return nil, fmt.Errorf("register api metrics: %w", err)
	}
	e.scrape = promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: c.MaxDeadline})

	s := &Server{edge: e, tls: c.TLS}
	s.http = &http.Server{
		Handler:           e,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		ErrorLog:          stdlog.New(serverLog{e.log}, "", 0),
	}
	if c.TLS.enabled() {
		if err := s.ReloadCertificate(); err != nil {
			return nil, err
		}
		s.http.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil },
		}
	}
	return s, nil
}

// Handler serves the endpoints without the server around them: no timeouts, no TLS.
func (s *Server) Handler() http.Handler { return s.edge }

// Listen opens Config.Listen.
func (s *Server) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.edge.config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", s.edge.config.Listen, err)
	}
	return l, nil
}

// Serve answers what comes in on l until Shutdown; then it returns nil. Any other end is an error. It closes l.
func (s *Server) Serve(l net.Listener) error {
	var err error
	if s.tls.enabled() {
		err = s.http.ServeTLS(l, "", "")
	} else {
		err = s.http.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http on %s: %w", l.Addr(), err)
}

// Shutdown stops listening and waits for the requests in flight. When ctx ends first, it cuts them off and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
		return fmt.Errorf("shut down http: %w", err)
	}
	return nil
}

// SetKeys replaces all keys at once. Keys that are not right are refused whole, and the old ones stay. A server with auth "off"
// refuses any: that is decided at the start.
func (s *Server) SetKeys(keys []Key) error {
	if s.edge.guard.off {
		return errors.New(`set keys: auth is "off"`)
	}
	if len(keys) == 0 {
		return errors.New("set keys: there are none; nobody could get in")
	}
	if err := s.edge.guard.set(keys); err != nil {
		return fmt.Errorf("set keys: %w", err)
	}
	return nil
}

// ReloadCertificate reads the certificate's files again. New connections get it; on an error the old one stays.
func (s *Server) ReloadCertificate() error {
	if !s.tls.enabled() {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(s.tls.CertFile, s.tls.KeyFile)
	if err != nil {
		return fmt.Errorf("load certificate %s: %w", s.tls.CertFile, err)
	}
	s.certificate.Store(&cert)
	return nil
}

// serverLog takes what net/http has to say, mostly failed handshakes. The text goes in a field: it names addresses, never a body.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) Write(p []byte) (int, error) {
	l.log.Warn().Str("text", string(p)).Msg("http server")
	return len(p), nil
}
