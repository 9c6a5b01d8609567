//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// rules are the schema, the policy and the two manifests that the node decides by.
//
//go:embed rules
var rules embed.FS

// The key of the generator, and how long an answer may take: long enough that a slow answer counts as slow, and not as refused.
const (
	apiKey     = "bench"
	deadlineMs = "2000"
)

// nodeConfig is the node's configuration: the defaults but for what a run needs of its own.
const nodeConfig = `region: bench
node: bench-1
data_dir: data
rules: {schema: rules/schema.yaml, model: rules/%s, policy: rules/policy.yaml}
redis: {url: "redis://%s/0"}
api:
  listen: %s
  # The generator may leave a connection unused for a whole phase.
  read_header_timeout: 1m
  read_timeout: 1m
  keys:
    - {name: bench, sha256: %s, scopes: [score]}
drain_notice: 0s
logging: {level: info, format: json}
`

// startNode starts a node with its Redis, and shows it every card once.
func (b *bench) startNode(ctx context.Context) error {
	redis, err := b.startRedis(ctx, "redis-node")
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	manifest, env, err := b.writeRules()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(apiKey))
	file := filepath.Join(b.dir, "node.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, nodeConfig, manifest, redis.address, address, hex.EncodeToString(sum[:])), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	server, err := startChild(b.dir, "node", env, filepath.Join(b.dir, "node"), "run", "--config", file)
	if err != nil {
		return err
	}
	b.children = append(b.children, server)
	if err := server.await(ctx, ready("http://"+address+"/readyz")); err != nil {
		return err
	}
	header := "Authorization: Bearer " + apiKey + "\r\nX-Deadline-Ms: " + deadlineMs + "\r\n"
	single := &contestant{name: "node_http", connections: b.options.Connections, perRequest: 1, server: server, redis: redis.child, stored: redis.sizes,
		target: target{address: address, path: "/v1/score", header: header, body: b.workload.transaction, judge: judgeNode}}
	batch := &contestant{name: "node_batch", connections: batchConnections, perRequest: b.options.Batch, server: server, redis: redis.child,
		target: target{address: address, path: "/v1/score:batch", header: header, judge: judgeNode,
			body: b.workload.batch(b.options.Batch, b.workload.transaction)}}
	for _, c := range []*contestant{single, batch} {
		if b.wants(c.name) {
			b.contestants = append(b.contestants, c)
		}
	}
	return b.introduce(ctx, batch.target)
}

// batchConnections keeps the transactions of all batches in flight below the node's bound.
const batchConnections = 16

// introduce sends one transaction of every card.
func (b *bench) introduce(ctx context.Context, t target) error {
	fmt.Fprintf(b.progress, "introducing %d cards to the node\n", b.options.Cards)
	card := 0
	t.body = b.workload.batch(b.options.Batch, func(out []byte, now time.Time) []byte {
		out = b.workload.transactionOf(out, now, card%b.options.Cards)
		card++
		return out
	})
	l, err := newLoad(t, batchConnections)
	if err != nil {
		return err
	}
	defer l.close()
	loading, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- l.closed(loading) }()
	for l.tally().committed < int64(b.options.Cards) {
		select {
		case err := <-ended:
			return fmt.Errorf("introduce cards: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	return errorsOf(<-ended)
}

// writeRules writes the rules into the run's folder, and returns the manifest to use and what the node's environment needs for it.
func (b *bench) writeRules() (manifest string, env []string, err error) {
	dir := filepath.Join(b.dir, "rules")
	if err := os.CopyFS(b.dir, rules); err != nil {
		return "", nil, fmt.Errorf("write the rules: %w", err)
	}
	handbook := b.options.Handbook
	if handbook == "" {
		handbook = filepath.Join(b.root, "..", "shared", "handbook")
	}
	if _, err := os.Stat(filepath.Join(handbook, "xgb_default_100x6.json")); err == nil {
		b.model = "the handbook's 100 trees of depth 6"
		return "handbook.yaml", []string{"HANDBOOK_DIR=" + handbook}, nil
	}
	b.model = "the demo's"
	demo := filepath.Join(b.root, "configs", "demo", "model")
	text, err := os.ReadFile(filepath.Join(demo, "model.json"))
	if err != nil {
		return "", nil, fmt.Errorf("read the demo's model: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.json"), text, 0o600); err != nil {
		return "", nil, fmt.Errorf("write the rules: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(demo, "model.yaml")); err != nil {
		return "", nil, fmt.Errorf("read the demo's model: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "demo.yaml"), text, 0o600); err != nil {
		return "", nil, fmt.Errorf("write the rules: %w", err)
	}
	return "demo.yaml", nil, nil
}

// judgeNode counts the decisions of an answer of the node, of one transaction or of a batch.
func judgeNode(status int, body []byte) tally {
	t := tally{requests: 1}
	if status != http.StatusOK {
		t.refused = 1
		return t
	}
	t.committed = int64(bytes.Count(body, []byte(`"durability":"committed"`)))
	t.pending = int64(bytes.Count(body, []byte(`"durability":"pending"`)))
	t.refused = int64(bytes.Count(body, []byte(`{"problem":`)))
	t.degraded = t.committed + t.pending - int64(bytes.Count(body, []byte(`"degraded":[]`)))
	return t
}
