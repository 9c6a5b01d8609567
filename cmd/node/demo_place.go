package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rs/zerolog"

	"scoremesh/api"
	"scoremesh/cmd/node/traffic"
	"scoremesh/configs"
)

const (
	// demoClock is how often the embedded Redis is told that time passes: its keys expire only then.
	demoClock = 30 * time.Second
	// demoPartitions is small: there is one node, and each flush of a shard costs the embedded Redis an interpreted script.
	demoPartitions = 8
	// demoFlush is short: what is not flushed, other cards' transactions do not see of a device or merchant, and a second
	// of the clock is 24 minutes of the demo's world.
	demoFlush = 50 * time.Millisecond
	// demoReadBudget is for the embedded Redis, which shares the processors with everything else here.
	demoReadBudget = 25 * time.Millisecond
	// demoStoreBytes bounds the demo's log, demoFeedBytes its stream of decisions.
	demoStoreBytes = 4 << 30
	demoFeedBytes  = 512 << 20
	// demoComplain is how often a start that takes long says why.
	demoComplain = 3 * time.Second
)

// demoPlace is a whole region in this process: a folder, a Redis, and a node with its edge. Its owner calls close.
type demoPlace struct {
	dir  string
	kept bool
	// ownRedis says that Redis is the embedded one.
	ownRedis bool
	// url is where the edge is, key opens it; both are made for this run.
	url, key string
	// moved says that the edge is not where it was asked to be, and why; empty otherwise.
	moved   string
	config  Config
	signals *demoGauge
	notices *demoNotices
	service *service

	// undo are undone by close, the last first.
	undo []func() error
	stop context.CancelFunc
	// ended is closed when the service has ended, with err.
	ended chan struct{}
	err   error
}

// openDemoPlace makes the region. ready says when it decides.
func openDemoPlace(c *demoCommand, notices *demoNotices) (p *demoPlace, err error) {
	p = &demoPlace{dir: c.Keep, kept: c.Keep != "", notices: notices, key: randomHex(16)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := p.makeDir(); err != nil {
		return p, err
	}
	if err := p.configure(c); err != nil {
		return p, err
	}
	log, err := p.openLog()
	if err != nil {
		return p, err
	}
	if p.service, err = newService(p.config, log); err != nil {
		return p, err
	}
	p.signals = &demoGauge{registry: p.service.registry}
	listener, err := p.listen(c.Listen)
	if err != nil {
		return p, err
	}
	p.url = "http://" + listener.Addr().String()
	serving, stop := context.WithCancel(context.Background())
	p.stop, p.ended = stop, make(chan struct{})
	go func() {
		defer close(p.ended)
		p.err = p.service.serve(serving, listener, "")
	}()
	return p, nil
}

// makeDir makes the demo's folder, and writes the rules into it, which the program carries.
func (p *demoPlace) makeDir() error {
	var err error
	if p.kept {
		err = os.MkdirAll(p.dir, 0o750)
	} else if p.dir, err = os.MkdirTemp("", "scoremesh-demo-"); err == nil {
		p.undo = append(p.undo, func() error { return os.RemoveAll(p.dir) })
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return fs.WalkDir(configs.Demo, "demo", func(name string, entry fs.DirEntry, err error) error {
		to := filepath.Join(p.dir, "rules", strings.TrimPrefix(name, "demo"))
		if err != nil || entry.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o750))
		}
		text, err := configs.Demo.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read embedded %s: %w", name, err)
		}
		return os.WriteFile(to, text, 0o640)
	})
}

// configure makes the node's configuration, and starts the embedded Redis if none is named.
func (p *demoPlace) configure(c *demoCommand) error {
	p.config = DefaultConfig()
	p.config.Region, p.config.Node, p.config.DataDir = "demo", "demo-1", filepath.Join(p.dir, "data")
	rules := func(name ...string) string { return filepath.Join(append([]string{p.dir, "rules"}, name...)...) }
	p.config.Rules.Schema, p.config.Rules.Policy, p.config.Rules.Model = rules("schema.yaml"), rules("policy.yaml"), rules("model", "model.yaml")
	p.config.Rates = traffic.Rates()
	p.config.Log.MaxBytes, p.config.Decisions.MaxBytes = demoStoreBytes, demoFeedBytes
	p.config.Shards.Partitions, p.config.Shards.FlushEvery, p.config.Shards.TickEvery = demoPartitions, demoFlush, demoFlush/2
	p.config.DrainNotice = 0 // no load balancer watches
	if c.NATS != "" {
		p.config.NATS.URLs = strings.Split(c.NATS, ",")
	}
	p.config.API.Keys = []api.Key{{Name: "demo", SHA256: api.HashKey(p.key),
		Scopes: []api.Scope{api.ScopeScore, api.ScopeLabel, api.ScopePublish, api.ScopeAdmin}}}
	p.config.CardKey = SecretConfig{File: filepath.Join(p.dir, "card-hash.key")}
	// A folder that is kept keeps its key: card numbers of the last run stay the same cards.
	if _, err := os.Stat(p.config.CardKey.File); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(p.config.CardKey.File, []byte(randomHex(32)), 0o600); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
	}
	if p.config.Redis.URL = c.Redis; c.Redis == "" {
		address, err := p.startRedis()
		if err != nil {
			return err
		}
		p.config.Redis.URL, p.ownRedis = "redis://"+address+"/0", true
		p.config.Redis.ReadBudget = demoReadBudget
	}
	if err := p.config.Validate(); err != nil {
		return err
	}
	return nil
}

// startRedis starts the embedded Redis and its clock.
func (p *demoPlace) startRedis() (address string, err error) {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return "", fmt.Errorf("start the embedded redis: %w", err)
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(demoClock)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				server.FastForward(demoClock)
			case <-quit:
				return
			}
		}
	}()
	p.undo = append(p.undo, func() error {
		close(quit)
		<-ended
		server.Close()
		return nil
	})
	return server.Addr(), nil
}

// openLog makes the node's logger: everything goes into a file, warnings are shown as well.
func (p *demoPlace) openLog() (zerolog.Logger, error) {
	f, err := os.OpenFile(filepath.Join(p.dir, "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("open log: %w", err)
	}
	p.undo = append(p.undo, f.Close)
	return newLogger(zerolog.MultiLevelWriter(f, p.notices), zerolog.InfoLevel), nil
}

// listen opens the address that was asked for, or a free port beside it when somebody else has it.
func (p *demoPlace) listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if !errors.Is(err, syscall.EADDRINUSE) {
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		return listener, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if listener, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, fmt.Errorf("listen on a free port of %s: %w", host, err)
	}
	p.moved = fmt.Sprintf("%s is taken: the demo listens on %s instead", address, listener.Addr())
	return listener, nil
}

// ready waits until the node decides, and says on w what it waits for.
func (p *demoPlace) ready(ctx context.Context, w io.Writer) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	complain := time.NewTicker(demoComplain)
	defer complain.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return p.failure()
		case <-complain.C:
			fmt.Fprintf(w, "not ready yet: %s\n", strings.Join(p.service.node.health().Reasons, "; "))
		case <-poll.C:
			if p.service.node.health().Ready {
				return nil
			}
		}
	}
}

// failure says why the service ended by itself.
func (p *demoPlace) failure() error {
	if p.err == nil {
		return errors.New("the node ended by itself")
	}
	return p.err
}

// close drains and ends the node, then everything else, and removes the folder unless it is kept. A failure that was reported before is not again.
func (p *demoPlace) close() error {
	var errs []error
	if p.ended != nil {
		select {
		case <-p.ended:
		default:
			p.stop()
			<-p.ended
			errs = append(errs, p.err)
		}
		p.stop()
	}
	if p.signals != nil {
		errs = append(errs, p.signals.err())
	}
	for i := len(p.undo) - 1; i >= 0; i-- {
		errs = append(errs, p.undo[i]())
	}
	p.undo = nil
	return errors.Join(errs...)
}

// curl is a command line for a shell that scores a transaction of this moment.
func (p *demoPlace) curl() string {
	return fmt.Sprintf(`curl -s '%s/v1/score?explain=true' -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"transaction_id":"try-'$(date +%%s)'",`+
		`"timestamp":"'$(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ)'","card_id":"my-card","device_id":"my-phone","merchant_id":"my-shop","amount":4599,`+
		`"currency":"EUR","country":"NL","mcc":"5732","attributes":{"channel":"ecom"}}'`, p.url, p.key)
}

// randomHex returns n random bytes as hex digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
