package speedlayer

import (
	"errors"
	"fmt"
	"time"
)

// Config says how to reach the region's Redis and how much it may cost. It is not changed after Open.
type Config struct {
	// URL names the deployment by its scheme; with "rediss" instead of "redis" the connections use TLS:
	//
	//	redis://host:6379/0                                                      one server
	//	unix:///run/redis.sock                                                   one server
	//	redis+cluster://host:6379?addr=host2:6379&addr=host3:6379                Cluster
	//	redis+sentinel://host:26379/0?master_name=speed&addr=host2:26379         Sentinel; user:password are the sentinels'
	//
	// Pool sizes, timeouts and retries in the query are overruled by the fields below.
	URL string `yaml:"url"`
	// Username is the ACL user of the data nodes; empty: the URL's, or Redis' default user.
	Username string `yaml:"username"`
	// PasswordEnv names an environment variable that holds the password of the data nodes; empty: the URL's.
	PasswordEnv string `yaml:"password_env"`
	// PasswordFile holds the password of the data nodes. It is read for each new connection, so that it can be rotated. Not
	// with PasswordEnv.
	PasswordFile string `yaml:"password_file"`
	// TLSCAFile holds the PEM certificates that sign the servers'; empty: the system's.
	TLSCAFile string `yaml:"tls_ca_file"`
	// TLSCertFile and TLSKeyFile are the client's certificate and key (PEM), both or none.
	TLSCertFile string `yaml:"tls_cert_file"`
	TLSKeyFile  string `yaml:"tls_key_file"`
	// TLSServerName is the name that the servers' certificates are checked for; empty: the URL's host.
	TLSServerName string `yaml:"tls_server_name"`

	// ReadBudget is the longest that a read may keep its caller waiting.
	ReadBudget time.Duration `yaml:"read_budget"`
	// ReadTimeout ends a read batch, dial included. It is longer than the budget, so that a slow answer or a new connection is not cut
	// off for good when its callers have left.
	ReadTimeout time.Duration `yaml:"read_timeout"`
	// FlushTimeout ends a batch of flushes, and each round trip of the slow reads (Watermarks, OpenIDs, Scan, Stats).
	FlushTimeout time.Duration `yaml:"flush_timeout"`
	// ReadsInFlight is the number of read batches, and of connections for them, that a lane has at a time.
	ReadsInFlight int `yaml:"reads_in_flight"`
	// MaxWaitingReads bounds the requests of a lane that have no answer; over it: ErrOverloaded.
	MaxWaitingReads int `yaml:"max_waiting_reads"`
	// MaxBatchKeys bounds the entity keys of one read batch. A single request may exceed it.
	MaxBatchKeys int `yaml:"max_batch_keys"`
	// MaxWaitingFlushes bounds the flushes that wait; over it: ErrOverloaded.
	MaxWaitingFlushes int `yaml:"max_waiting_flushes"`
	// MaxBatchFlushes bounds the flushes of one pipeline.
	MaxBatchFlushes int `yaml:"max_batch_flushes"`

	// BreakerFailures of the last BreakerWindow read batches late or failed open a lane's circuit breaker.
	BreakerFailures int `yaml:"breaker_failures"`
	BreakerWindow   int `yaml:"breaker_window"`
	// BreakerDelay is how long the breaker stays open before it lets a probe through.
	BreakerDelay time.Duration `yaml:"breaker_delay"`

	// PollInterval is how often the server's memory, evictions and Cluster topology are looked at.
	PollInterval time.Duration `yaml:"poll_interval"`
}

// DefaultConfig is complete and works against a Redis on this host.
func DefaultConfig() Config {
	return Config{
		URL:               "redis://127.0.0.1:6379/0",
		ReadBudget:        10 * time.Millisecond,
		ReadTimeout:       100 * time.Millisecond,
		FlushTimeout:      2 * time.Second,
		ReadsInFlight:     2,
		MaxWaitingReads:   8192,
		MaxBatchKeys:      1024,
		MaxWaitingFlushes: 1024,
		MaxBatchFlushes:   16,
		BreakerFailures:   5,
		BreakerWindow:     10,
		BreakerDelay:      250 * time.Millisecond,
		PollInterval:      5 * time.Second,
	}
}

// Validate returns every violated bound, each named by its field as it is spelled in YAML. It opens no file.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	between := func(field string, n, low, high int) {
		if n < low || n > high {
			bad(field, "%d: want %d to %d", n, low, high)
		}
	}
	within := func(field string, d, low, high time.Duration) {
		if d < low || d > high {
			bad(field, "%v: want %v to %v", d, low, high)
		}
	}
	if target, err := parseURL(c.URL); err != nil {
		bad("url", "%v", err)
	} else if !target.tls && (c.TLSCAFile != "" || c.TLSCertFile != "" || c.TLSKeyFile != "" || c.TLSServerName != "") {
		bad("url", "tls_* is set: want a rediss scheme")
	}
	if c.PasswordEnv != "" && c.PasswordFile != "" {
		bad("password_file", "want at most one of password_env and password_file")
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		bad("tls_key_file", "want both or none of tls_cert_file and tls_key_file")
	}
	within("read_budget", c.ReadBudget, time.Millisecond, time.Second)
	within("read_timeout", c.ReadTimeout, c.ReadBudget, 10*time.Second)
	within("flush_timeout", c.FlushTimeout, 10*time.Millisecond, time.Minute)
	between("reads_in_flight", c.ReadsInFlight, 1, 64)
	between("max_waiting_reads", c.MaxWaitingReads, 1, 1<<20)
	between("max_batch_keys", c.MaxBatchKeys, 1, 1<<16)
	between("max_waiting_flushes", c.MaxWaitingFlushes, 1, 1<<20)
	between("max_batch_flushes", c.MaxBatchFlushes, 1, 1024)
	between("breaker_window", c.BreakerWindow, 1, 1000)
	between("breaker_failures", c.BreakerFailures, 1, c.BreakerWindow)
	within("breaker_delay", c.BreakerDelay, time.Millisecond, time.Minute)
	within("poll_interval", c.PollInterval, 100*time.Millisecond, time.Hour)
	return errors.Join(errs...)
}
