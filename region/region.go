package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/actors"
	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/transport"
)

// handle is a registered attempt.
type handle = actors.Handle

// Options is what a Region is made of besides its Config.
type Options struct {
	Log     zerolog.Logger
	Metrics prometheus.Registerer
	// Now is the clock in Unix milliseconds; nil is the machine's.
	Now func() int64
	// Waiting, if set, is told while Open waits for NATS and the log, and why.
	Waiting func(reason string)
}

// Region is one region's runtime on one node.
type Region struct {
	config Config
	logger zerolog.Logger
	now    func() int64
	rules  atomic.Pointer[Ruleset]
	rates  *decision.Rates
	// longestCommit bounds the wait for the log of a request without a deadline.
	longestCommit time.Duration

	server   *transport.Server // nil: external
	conn     *transport.Conn
	log      *transport.Log
	appender *transport.Appender
	feed     *transport.DecisionFeed
	store    *speedlayer.Store
	reader   *speedlayer.Reader
	writer   *speedlayer.Writer
	// bulk reads Redis for replays, which have time: their loads are large, and must neither fail by the requests' budget nor stand
	// in the requests' way.
	bulk       *speedlayer.Store
	bulkReader *speedlayer.Reader
	shards     *actors.System
	router     *actors.Router
	metrics    *metrics

	restarts *inbox[actors.ShardID, actors.ShardID]
	replays  *inbox[actors.ShardID, actors.ReplayRequest]
	// rebuilds counts the shards that asked for everything: Redis had lost something.
	rebuilds atomic.Uint64
	// retaken is when a shard began anew from what Redis held because the log did not reach back. Used by replayer only.
	retaken     map[actors.ShardID]time.Time
	conditional chan func(context.Context)
	scorings    scorings
	commits     commits

	// logAway: the last attempt to append failed. warmed: every shard has served once. leaving: not ready, but serving.
	logAway, warmed, leaving, draining atomic.Bool
	// unrecoverable says why shards cannot be rebuilt; redisAway why Redis cannot be read.
	unrecoverable, redisAway atomic.Pointer[string]

	// running are the loops.
	running sync.WaitGroup
	// opened are undone by Close in reverse order.
	opened []func(context.Context) error
}

// Open starts a region's node: it opens NATS and the log (waiting for an external NATS until ctx ends), then the speed layer (which may be
// down), the shards, and every loop. It does not wait for the shards to catch up: Health says when they have.
func Open(ctx context.Context, config Config, o Options) (*Region, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	rules, err := LoadRuleset(config.Rules)
	if err != nil {
		return nil, err
	}
	r := &Region{config: config, logger: o.Log.With().Str("region", config.Region).Str("node", config.Node).Logger(), now: o.Now,
		longestCommit: 10 * time.Second, retaken: map[actors.ShardID]time.Time{},
		restarts:    newInbox(func(id actors.ShardID) actors.ShardID { return id }),
		replays:     newInbox(func(q actors.ReplayRequest) actors.ShardID { return q.Shard }),
		conditional: make(chan func(context.Context), maxConditional), scorings: scorings{width: rules.schema.Len()}}
	if r.now == nil {
		r.now = func() int64 { return time.Now().UnixMilli() }
	}
	r.rules.Store(rules)
	if r.rates, err = decision.NewRates(rules.schema.Currency(), config.Rates); err != nil {
		return nil, fmt.Errorf("rates: %w", err)
	}
	if err := r.open(ctx, o); err != nil {
		closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, r.undo(closing))
	}
	r.logger.Info().Str("epoch", fmt.Sprintf("%016x", r.log.Origin().Epoch)).Str("schema", rules.versions.Schema).
		Str("model", rules.versions.Model).Str("policy", rules.versions.Policy).Msg("region opened")
	return r, nil
}

// open opens the parts in order; what it opened, undo closes.
func (r *Region) open(ctx context.Context, o Options) error {
	var err error
	reg := o.Metrics
	if err = r.config.makeDirs(); err != nil {
		return err
	}
	if r.metrics, err = newMetrics(reg, r.config.Region, r.now); err != nil {
		return err
	}
	r.onClose(func(context.Context) error { r.metrics.unregister(); return nil })
	if err = r.openLog(ctx, o); err != nil {
		return err
	}
	if err = r.openSpeedLayer(reg); err != nil {
		return err
	}
	return r.openShards(ctx, reg)
}

func (r *Region) onClose(f func(context.Context) error) { r.opened = append(r.opened, f) }

// undo closes what was opened, the last first.
func (r *Region) undo(ctx context.Context) error {
	var errs []error
	for i := len(r.opened) - 1; i >= 0; i-- {
		errs = append(errs, r.opened[i](ctx))
	}
	r.opened = nil
	return errors.Join(errs...)
}

// openLog opens NATS, the log, the way into it, and the feed of decisions out of it.
func (r *Region) openLog(ctx context.Context, o Options) error {
	var err error
	reg := o.Metrics
	if len(r.config.NATS.URLs) == 0 {
		server := r.config.server()
		if listen := r.config.NATS.Listen; listen != "" {
			if server.Host, server.Port, err = splitListen(listen); err != nil {
				return fmt.Errorf("nats.listen: %w", err)
			}
			server.Listen = true
		}
		if r.server, err = transport.StartServer(server, r.logger); err != nil {
			return fmt.Errorf("start the embedded nats server: %w", err)
		}
		r.onClose(r.server.Shutdown)
		r.conn, err = r.server.Connect(r.config.connection(), r.logger, reg)
	} else {
		r.conn, err = transport.Connect(r.config.connection(), r.logger, reg)
	}
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	r.onClose(func(context.Context) error { r.conn.Close(); return nil })
	log := r.config.log()
	if o.Waiting != nil {
		log.Waiting = func(err error) { o.Waiting(r.waitingFor(err)) }
	}
	if r.log, err = transport.OpenLog(ctx, r.conn.JetStream(), log, r.logger, reg); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if r.appender, err = r.log.NewAppender(ctx, r.config.appender(), reg); err != nil {
		return fmt.Errorf("open the appender: %w", err)
	}
	r.onClose(r.appender.Close)
	feed := transport.DefaultFeedConfig()
	feed.Replicas, feed.MaxAge, feed.MaxBytes = r.config.Log.Replicas, r.config.Decisions.MaxAge, r.config.Decisions.MaxBytes
	if r.feed, err = transport.NewDecisionFeed(r.log, feed, r.logger, reg); err != nil {
		return fmt.Errorf("open the decision feed: %w", err)
	}
	return nil
}

// waitingFor says why the log cannot be used: the connection knows better than the request that failed for the lack of it.
func (r *Region) waitingFor(err error) string {
	if s := r.conn.State(); !s.Connected && s.LastError != "" {
		return "nats cannot be connected to: " + s.LastError
	}
	return err.Error()
}

func splitListen(listen string) (string, int, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host, int(n), err
}

// keyspace is where a schema's states are in Redis.
func keyspace(schema *feature.Schema, epoch uint64, partitions int) speedlayer.Keyspace {
	return speedlayer.Keyspace{Schema: schema.Version(), Epoch: epoch, Partitions: partitions, Retention: schema.Retention()}
}

func (r *Region) openSpeedLayer(reg prometheus.Registerer) error {
	var err error
	if r.store, err = speedlayer.Open(r.config.Redis, r.logger, prometheus.WrapRegistererWith(prometheus.Labels{"use": "requests"}, reg)); err != nil {
		return fmt.Errorf("open the speed layer: %w", err)
	}
	r.onClose(func(context.Context) error { return r.store.Close() })
	if r.bulk, err = speedlayer.Open(r.config.bulkReads(), r.logger, prometheus.WrapRegistererWith(prometheus.Labels{"use": "replays"}, reg)); err != nil {
		return fmt.Errorf("open the speed layer: %w", err)
	}
	r.onClose(func(context.Context) error { return r.bulk.Close() })
	k := keyspace(r.rules.Load().schema, r.log.Origin().Epoch, r.config.Shards.Partitions)
	if r.reader, err = r.store.Reader(k); err != nil {
		return err
	}
	if r.bulkReader, err = r.bulk.Reader(k); err != nil {
		return err
	}
	r.writer, err = r.store.Writer(k)
	return err
}

// openShards spawns the shards and starts every loop.
func (r *Region) openShards(ctx context.Context, reg prometheus.Registerer) error {
	_, last, _, err := r.log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	r.shards, err = actors.New(actors.Options{Config: r.config.Shards, Schema: r.rules.Load().schema, Origin: r.log.Origin(), Edge: r.edge(),
		Now: r.now, Log: r.logger, Metrics: reg})
	if err != nil {
		return fmt.Errorf("spawn the shards: %w", err)
	}
	r.onClose(func(context.Context) error { r.shards.Close(); return nil })
	r.router = actors.NewRouter(r.shards)
	if last > 0 {
		r.shards.Dispatcher().Live(feature.VectorOf(r.log.Origin(), feature.EndOf(last)))
	}
	for _, kind := range feature.Kinds {
		for partition := range r.config.Shards.Partitions {
			r.restarts.push(actors.ShardID{Kind: kind, Partition: partition})
		}
	}
	running, stop := context.WithCancel(context.Background())
	r.onClose(func(context.Context) error { stop(); r.running.Wait(); return nil })
	r.run(func() { r.live(running, last+1) })
	r.run(func() { r.replayer(running) })
	r.run(func() { r.restarter(running) })
	r.run(func() { r.conditionals(running) })
	r.run(func() { r.beacons(running) })
	r.run(func() { r.watchRedis(running) })
	r.run(func() { r.snapshots(running) })
	r.run(func() {
		if err := r.feed.Run(running); err != nil && running.Err() == nil {
			r.logger.Error().Err(err).Msg("decision feed ended")
		}
	})
	return nil
}

func (r *Region) run(loop func()) { r.running.Go(loop) }

// Drain makes the node refuse new work, waits until what it has decided came back through the log, and flushes every shard, or until ctx
// ends.
func (r *Region) Drain(ctx context.Context) error {
	r.draining.Store(true)
	return r.shards.Drain(ctx)
}

// Close ends every loop and closes every part. What waits before the log is appended first, until ctx ends. Drain comes before it.
func (r *Region) Close(ctx context.Context) error {
	r.draining.Store(true)
	return r.undo(ctx)
}

// Leave makes the node say that it is not ready, so that load balancers turn away from it. It goes on serving until Drain.
func (r *Region) Leave() { r.leaving.Store(true) }

// Prepare reads model and policy from the files and checks them against the schema, which stays as it is. Use takes the result.
func (r *Region) Prepare(files RulesetFiles) (*Ruleset, error) { return r.rules.Load().Reload(files) }

// Use decides by other rules from now on. They come from Prepare.
func (r *Region) Use(rules *Ruleset) {
	before := r.rules.Swap(rules)
	r.logger.Info().Str("model_before", before.versions.Model).Str("model", rules.versions.Model).
		Str("policy_before", before.versions.Policy).Str("policy", rules.versions.Policy).Msg("model and policy reloaded")
}

// Convert turns an amount of a currency into the schema's currency; both in minor units.
func (r *Region) Convert(amount int64, currency string) (int64, error) {
	return r.rates.Convert(amount, currency)
}

// Schema is the feature schema.
func (r *Region) Schema() *feature.Schema { return r.rules.Load().schema }

// NATSURL is where the embedded server listens; empty when it does not, or is not embedded.
func (r *Region) NATSURL() string {
	if r.server == nil {
		return ""
	}
	return r.server.URL()
}

// watchRedis looks every second whether Redis can be read, and says when all shards serve again.
func (r *Region) watchRedis(ctx context.Context) {
	since := time.Now() // of the first shard that did not serve; zero: all do
	for pause(ctx, time.Second) {
		switch shards := r.shards.Summary(); {
		case shards.Starting+shards.Replaying+shards.Rebuilding > 0:
			if since.IsZero() {
				since = time.Now()
			}
		case !since.IsZero():
			r.logger.Info().Int("shards", shards.Serving).Dur("took_ms", time.Since(since)).Msg("all shards serve")
			since = time.Time{}
		}
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		_, err := r.reader.Watermark(bounded, feature.Card, 0)
		cancel()
		if err != nil && ctx.Err() == nil {
			why := err.Error()
			r.redisAway.Store(&why)
			continue
		}
		r.redisAway.Store(nil)
	}
}

// speedLayerAway says why Redis cannot be read; empty when it can.
func (r *Region) speedLayerAway() string {
	if why := r.redisAway.Load(); why != nil {
		return *why
	}
	return ""
}
