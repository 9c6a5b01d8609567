package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"reflect"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	oklog "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"scoremesh/api"
	"scoremesh/region"
)

// runCommand runs a node.
//
//	signals --> [drain] --> edge stops accepting --> region drains --> region closes
//	SIGHUP  --> reload model, policy, keys
//	edge (HTTP) --> node --> region
type runCommand struct {
	Config string `required:"" help:"The configuration file; configs/node.yaml shows every key." placeholder:"FILE"`
}

// gcPercent lets the heap grow to four times of what lives before it is collected, unless GOGC says otherwise: a sixth less CPU for a
// decision. GOMEMLIMIT bounds the memory.
const gcPercent = 300

// Run serves until ctx ends.
func (c *runCommand) Run(ctx context.Context, t *terminal) error {
	config, err := LoadConfig(c.Config, os.LookupEnv)
	if err != nil {
		return err
	}
	log := config.Logging.logger(t.stderr)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	s, err := newService(config, log)
	if err != nil {
		return err
	}
	listener, err := s.edge.Listen()
	if err != nil {
		return err
	}
	log.Info().Str("address", listener.Addr().String()).Msg("edge listens")
	return s.serve(ctx, listener, c.Config)
}

// service is a node with its edge.
type service struct {
	config   Config
	log      zerolog.Logger
	registry *prometheus.Registry
	node     *node
	edge     *api.Server
}

func newService(config Config, log zerolog.Logger) (*service, error) {
	hasher, err := config.cardHasher(os.LookupEnv)
	if err != nil {
		return nil, err
	}
	s := &service{config: config, log: log, registry: prometheus.NewRegistry(), node: newNode()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	options := api.Options{Config: config.API, Backend: s.node.backend(), Region: config.Region, Log: log, Registerer: s.registry, Gatherer: s.registry}
	if hasher != nil {
		options.HashCard = hasher.Hash
	}
	if s.edge, err = api.New(options); err != nil {
		return nil, err
	}
	return s, nil
}

// serve runs the node until ctx ends or a part fails, and then shuts it down in order. SIGHUP reloads from configFile, if that is not empty.
func (s *service) serve(ctx context.Context, listener net.Listener, configFile string) error {
	// The region opens and closes within a context of its own: a signal must not cut off the drain.
	opening, cancel := context.WithCancel(ctx)
	var group oklog.Group
	group.Add(func() error {
		if err := s.open(opening); err != nil {
			return err
		}
		<-opening.Done()
		return nil
	}, func(error) { cancel() })
	if configFile != "" {
		reloading, stop := context.WithCancel(ctx)
		group.Add(func() error { s.reloads(reloading, configFile); return nil }, func(error) { stop() })
	}
	group.Add(func() error { return s.edge.Serve(listener) }, func(error) { s.stopEdge() })
	err := group.Run()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, s.close())
}

// open opens the region and lets the edge use it.
func (s *service) open(ctx context.Context) error {
	r, err := region.Open(ctx, s.config.Config, region.Options{Log: s.log, Metrics: s.registry, Now: s.node.now,
		Waiting: func(reason string) { s.node.waiting.Store(&reason) }})
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // it was told to end; what it was waiting for is no matter
	}
	if err != nil {
		return fmt.Errorf("open the region: %w", err)
	}
	s.node.region.Store(r)
	return nil
}

// stopEdge tells load balancers, waits until they have noticed, and ends the edge once what is in flight was answered.
func (s *service) stopEdge() {
	if r := s.node.region.Load(); r != nil {
		s.log.Info().Dur("notice_ms", s.config.DrainNotice).Msg("node drains: not ready, and soon not accepting")
		r.Leave()
		time.Sleep(s.config.DrainNotice)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	if err := s.edge.Shutdown(ctx); err != nil {
		s.log.Warn().Err(err).Msg("edge was cut off")
	}
}

// close drains and closes the region.
func (s *service) close() error {
	r := s.node.region.Load()
	if r == nil {
		return nil
	}
	draining, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	if err := r.Drain(draining); err != nil {
		// Nothing is lost: what is not flushed is in the log. The next start replays it.
		s.log.Warn().Err(err).Msg("region was not drained in time")
	}
	closing, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	if err := r.Close(closing); err != nil {
		return fmt.Errorf("close the region: %w", err)
	}
	s.log.Info().Msg("region closed")
	return nil
}

// reloads reloads at every SIGHUP: everything is checked before anything is swapped.
func (s *service) reloads(ctx context.Context, configFile string) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if err := s.reload(configFile); err != nil {
				s.log.Error().Err(err).Msg("reload refused; nothing was changed")
			}
		}
	}
}

// reload swaps model, policy, keys and certificate for what the file says now. Whatever can fail comes before the first swap that
// cannot be taken back, so that an error means that nothing was changed.
func (s *service) reload(configFile string) error {
	config, err := LoadConfig(configFile, os.LookupEnv)
	if err != nil {
		return err
	}
	if config.API.Auth != s.config.API.Auth {
		return fmt.Errorf("api.auth: is %q and the node runs with %q; this needs a restart", config.API.Auth, s.config.API.Auth)
	}
	r, err := s.node.opened()
	if err != nil {
		return err
	}
	rules, err := r.Prepare(config.Rules)
	if err != nil {
		return err
	}
	if err := s.edge.ReloadCertificate(); err != nil {
		return err
	}
	if config.API.Auth == api.AuthKeys {
		// LoadConfig has found these keys to be right, so this is no refusal behind the certificate's swap.
		if err := s.edge.SetKeys(config.API.Keys); err != nil {
			return err
		}
	}
	r.Use(rules)
	if keys := needRestart(&s.config, &config); len(keys) > 0 {
		s.log.Warn().Strs("keys", keys).Msg("changed keys take effect at the next start only")
	}
	return nil
}

// needRestart names the keys that differ and that a reload does not take up.
func needRestart(running, file *Config) []string {
	taken := func(key string) bool {
		switch key {
		case "rules.model", "rules.policy", "api.keys", "api.tls.cert_file", "api.tls.key_file":
			return true
		}
		return false
	}
	return slices.DeleteFunc(changedKeys(reflect.ValueOf(running).Elem(), reflect.ValueOf(file).Elem(), ""), taken)
}

// changedKeys returns the paths of the keys whose values differ.
func changedKeys(a, b reflect.Value, key string) []string {
	if a.Kind() != reflect.Struct {
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			return nil
		}
		return []string{key}
	}
	var keys []string
	for i := range a.NumField() {
		keys = append(keys, changedKeys(a.Field(i), b.Field(i), childKey(a.Type().Field(i), key))...)
	}
	return keys
}
