package region

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"scoremesh/actors"
	"scoremesh/speedlayer"
	"scoremesh/transport"
)

// Config is what a region's node is made of. It is data: complete after DefaultConfig, Region, Node and Rules, and never changed after Open.
type Config struct {
	// Region and Node are names: 1 to 64 letters, digits, '-' and '_'.
	Region string `yaml:"region"`
	Node   string `yaml:"node"`
	// DataDir holds what the node keeps on disk: the embedded NATS server's streams, and the snapshots.
	DataDir string `yaml:"data_dir"`
	// Rules names the schema, the model and the policy.
	Rules RulesetFiles `yaml:"rules"`
	// Rates are units of the schema's currency per unit of each other currency, as decimals. A currency without a rate is refused.
	Rates map[string]string `yaml:"rates"`

	NATS      NATSConfig        `yaml:"nats"`
	Log       LogConfig         `yaml:"log"`
	Decisions DecisionsConfig   `yaml:"decisions"`
	Redis     speedlayer.Config `yaml:"redis"`
	Shards    actors.Config     `yaml:"shards"`
	Snapshots SnapshotConfig    `yaml:"snapshots"`
	Scoring   ScoringConfig     `yaml:"scoring"`
}

// NATSConfig says which NATS the region uses.
type NATSConfig struct {
	// URLs of the region's servers, nats:// or tls://. Empty: a server embedded in this process, with its streams in DataDir.
	URLs []string `yaml:"urls"`
	// Listen is where the embedded server takes connections (host:port), for subscribers outside of this process; empty: nowhere.
	Listen string `yaml:"listen"`
	// Sync makes the embedded server sync every write to disk before it acknowledges it. Off, a power failure loses committed decisions.
	Sync bool `yaml:"sync"`
	// MaxStoreBytes bounds the embedded server's streams on disk; 0: three quarters of what is free.
	MaxStoreBytes int64 `yaml:"max_store_bytes"`
	// CAFile verifies the servers; CertFile and KeyFile authenticate this client. CredsFile is a NATS credentials file.
	CAFile    string `yaml:"ca_file"`
	CertFile  string `yaml:"cert_file"`
	KeyFile   string `yaml:"key_file"`
	CredsFile string `yaml:"creds_file"`
	// User authenticates with the password in the environment variable PasswordEnv or in PasswordFile.
	User         string `yaml:"user"`
	PasswordEnv  string `yaml:"password_env"`
	PasswordFile string `yaml:"password_file"`
	// TokenEnv and TokenFile say where a token is.
	TokenEnv  string `yaml:"token_env"`
	TokenFile string `yaml:"token_file"`
}

// LogConfig bounds the region's log and the queue before it.
type LogConfig struct {
	// Replicas is the number of servers that hold a new log: 1, 3 or 5.
	Replicas int `yaml:"replicas"`
	// QueueRecords and QueueBytes bound what waits while the log cannot be reached.
	QueueRecords int `yaml:"queue_records"`
	QueueBytes   int `yaml:"queue_bytes"`
	// BeaconEvery is how often the log gets a sign of life. Freshness is measured by it.
	BeaconEvery time.Duration `yaml:"beacon_every"`
	// MaxAge and MaxBytes say when the log is trimmed, but never past the oldest snapshot; 0: never.
	MaxAge   time.Duration `yaml:"max_age"`
	MaxBytes int64         `yaml:"max_bytes"`
}

// DecisionsConfig bounds the stream that subscribers consume.
type DecisionsConfig struct {
	MaxAge   time.Duration `yaml:"max_age"`
	MaxBytes int64         `yaml:"max_bytes"`
}

// SnapshotConfig says where and how often the shards' states are written to disk.
type SnapshotConfig struct {
	// Dir is the folder; empty: "snapshots" in DataDir.
	Dir string `yaml:"dir"`
	// Every is the interval; 0: none are made, and the log is never trimmed.
	Every time.Duration `yaml:"every"`
	// Keep is how many are kept.
	Keep int `yaml:"keep"`
}

// ScoringConfig bounds one decision.
type ScoringConfig struct {
	// CommitMargin is how long before its deadline an answer stops waiting for the log and says "pending".
	CommitMargin time.Duration `yaml:"commit_margin"`
	// Freshness is the age at which features count as stale, and the decision says so.
	Freshness time.Duration `yaml:"freshness"`
}

// DefaultConfig returns the defaults of everything that has one.
func DefaultConfig() Config {
	return Config{
		DataDir:   "data",
		NATS:      NATSConfig{Sync: true},
		Log:       LogConfig{Replicas: 1, QueueRecords: 1 << 16, QueueBytes: 64 << 20, BeaconEvery: 250 * time.Millisecond, MaxAge: 45 * 24 * time.Hour, MaxBytes: 100 << 30},
		Decisions: DecisionsConfig{MaxAge: 7 * 24 * time.Hour, MaxBytes: 4 << 30},
		Redis:     speedlayer.DefaultConfig(),
		Shards:    actors.DefaultConfig(),
		Snapshots: SnapshotConfig{Every: time.Hour, Keep: 3},
		Scoring:   ScoringConfig{CommitMargin: 3 * time.Millisecond, Freshness: 3 * time.Second},
	}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate names every key that is out of bounds, and the bound.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, key, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
		}
	}
	within := func(key string, got, low, high time.Duration) {
		check(got >= low && got <= high, key, "is %s; must be %s to %s", got, low, high)
	}
	check(namePattern.MatchString(c.Region), "region", "is %q; must be 1 to 64 letters, digits, '-' and '_'", c.Region)
	check(namePattern.MatchString(c.Node), "node", "is %q; must be 1 to 64 letters, digits, '-' and '_'", c.Node)
	check(c.DataDir != "", "data_dir", "is empty")
	if err := c.Rules.Validate(); err != nil {
		errs = append(errs, err)
	}
	check(len(c.NATS.URLs) == 0 || c.NATS.Listen == "", "nats.listen", "is for the embedded server, and nats.urls names others")
	check(c.NATS.MaxStoreBytes >= 0, "nats.max_store_bytes", "is %d; must not be negative", c.NATS.MaxStoreBytes)
	// The server sets a bounded stream's bytes aside: it would refuse to make the stream of decisions.
	check(len(c.NATS.URLs) > 0 || c.NATS.MaxStoreBytes == 0 || c.Decisions.MaxBytes < c.NATS.MaxStoreBytes, "decisions.max_bytes",
		"is %d; must be below nats.max_store_bytes, %d", c.Decisions.MaxBytes, c.NATS.MaxStoreBytes)
	check(c.NATS.PasswordEnv == "" || c.NATS.PasswordFile == "", "nats.password_file", "given together with nats.password_env")
	check(c.NATS.TokenEnv == "" || c.NATS.TokenFile == "", "nats.token_file", "given together with nats.token_env")
	check(c.Log.Replicas == 1 || c.Log.Replicas == 3 || c.Log.Replicas == 5, "log.replicas", "is %d; must be 1, 3 or 5", c.Log.Replicas)
	check(c.Log.QueueRecords >= 1 && c.Log.QueueRecords <= 1<<24, "log.queue_records", "is %d; must be 1 to %d", c.Log.QueueRecords, 1<<24)
	check(c.Log.QueueBytes >= 1<<20, "log.queue_bytes", "is %d; must be at least %d", c.Log.QueueBytes, 1<<20)
	within("log.beacon_every", c.Log.BeaconEvery, 10*time.Millisecond, 10*time.Second)
	check(c.Log.MaxAge >= 0 && c.Log.MaxBytes >= 0, "log.max_age", "and log.max_bytes must not be negative")
	within("decisions.max_age", c.Decisions.MaxAge, time.Minute, 366*24*time.Hour)
	check(c.Decisions.MaxBytes >= 1<<20, "decisions.max_bytes", "is %d; must be at least %d", c.Decisions.MaxBytes, 1<<20)
	if c.Snapshots.Every != 0 {
		within("snapshots.every", c.Snapshots.Every, time.Second, 7*24*time.Hour)
	}
	check(c.Snapshots.Keep >= 1 && c.Snapshots.Keep <= 1000, "snapshots.keep", "is %d; must be 1 to 1000", c.Snapshots.Keep)
	within("scoring.commit_margin", c.Scoring.CommitMargin, 0, time.Second)
	within("scoring.freshness", c.Scoring.Freshness, 2*c.Log.BeaconEvery, time.Hour)
	for key, err := range map[string]error{"redis": c.Redis.Validate(), "shards": c.Shards.Validate()} {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// server is the configuration of the embedded NATS server.
func (c *Config) server() transport.ServerConfig {
	s := transport.DefaultServerConfig()
	s.User, s.Password = c.NATS.User, transport.Secret{Env: c.NATS.PasswordEnv, File: c.NATS.PasswordFile}
	s.Name, s.Dir, s.SyncAlways, s.MaxStoreBytes = c.Node, filepath.Join(c.DataDir, "nats"), c.NATS.Sync, c.NATS.MaxStoreBytes
	return s
}

// connection is the configuration of the connection to NATS.
func (c *Config) connection() transport.ConnConfig {
	n := transport.DefaultConnConfig()
	n.URLs, n.Name = c.NATS.URLs, c.Node
	n.CAFile, n.CertFile, n.KeyFile, n.CredsFile = c.NATS.CAFile, c.NATS.CertFile, c.NATS.KeyFile, c.NATS.CredsFile
	n.User = c.NATS.User
	n.Password = transport.Secret{Env: c.NATS.PasswordEnv, File: c.NATS.PasswordFile}
	n.Token = transport.Secret{Env: c.NATS.TokenEnv, File: c.NATS.TokenFile}
	return n
}

// log is the configuration of the log.
func (c *Config) log() transport.LogConfig {
	l := transport.DefaultLogConfig()
	l.Region, l.Replicas = c.Region, c.Log.Replicas
	return l
}

// appender is the configuration of the group commit.
func (c *Config) appender() transport.AppenderConfig {
	a := transport.DefaultAppenderConfig()
	a.Node, a.QueueRecords, a.QueueBytes = c.Node, c.Log.QueueRecords, c.Log.QueueBytes
	return a
}

// bulkReads is the configuration of reads that have time: a second, if flushes have that.
func (c *Config) bulkReads() speedlayer.Config {
	b := c.Redis
	b.ReadBudget = min(b.FlushTimeout, time.Second)
	b.ReadTimeout, b.ReadsInFlight = 2*b.ReadBudget, 2
	return b
}

// snapshotDir is where snapshots are.
func (c *Config) snapshotDir() string {
	if c.Snapshots.Dir != "" {
		return c.Snapshots.Dir
	}
	return filepath.Join(c.DataDir, "snapshots")
}

// makeDirs creates the folders of the node.
func (c *Config) makeDirs() error {
	for _, dir := range []string{c.DataDir, c.snapshotDir()} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	// What a snapshot left that a crash cut off.
	parts, err := filepath.Glob(filepath.Join(c.snapshotDir(), partialSnapshot))
	if err != nil {
		return fmt.Errorf("look for partial snapshots: %w", err)
	}
	for _, part := range parts {
		if err := os.Remove(part); err != nil {
			return fmt.Errorf("remove partial snapshot: %w", err)
		}
	}
	return nil
}
