package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Auth says how clients prove who they are.
type Auth string

const (
	// AuthKeys asks every client for a key of Config.Keys.
	AuthKeys Auth = "keys"
	// AuthOff lets everybody do everything. For demonstrations.
	AuthOff Auth = "off"
)

// Config of the edge. It is data: complete, and never changed after New. Keys and the certificate alone can be swapped later.
type Config struct {
	// Listen is the host:port that is served.
	Listen string `yaml:"listen"`
	// TLS is off when both of its files are empty.
	TLS TLS `yaml:"tls"`
	// Auth is "keys" or "off".
	Auth Auth `yaml:"auth"`
	// Keys are the clients' keys, hashed.
	Keys []Key `yaml:"keys"`
	// MetricsNeedsAdmin and OpenAPINeedsAdmin close /metrics and /openapi.yaml to all but keys with scope admin.
	MetricsNeedsAdmin bool `yaml:"metrics_needs_admin"`
	OpenAPINeedsAdmin bool `yaml:"openapi_needs_admin"`

	// DefaultDeadline is a score request's deadline when it has no X-Deadline-Ms.
	DefaultDeadline time.Duration `yaml:"default_deadline"`
	// BatchDeadline is the same for score:batch, all items together; BulkDeadline for labels, features and entities.
	BatchDeadline time.Duration `yaml:"batch_deadline"`
	BulkDeadline  time.Duration `yaml:"bulk_deadline"`
	// MaxDeadline is the largest X-Deadline-Ms.
	MaxDeadline time.Duration `yaml:"max_deadline"`

	// MaxInFlight bounds the transactions that are being scored at once; above it requests are refused.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxBulkInFlight bounds the label, feature and entity requests that are being served at once.
	MaxBulkInFlight int `yaml:"max_bulk_in_flight"`
	// RetryAfter is what a client that was refused for load is told to wait.
	RetryAfter time.Duration `yaml:"retry_after"`

	// MaxScoreBytes, MaxBatchBytes and MaxBulkBytes bound the bodies of one transaction, label or row; of a JSON list; of NDJSON.
	MaxScoreBytes int `yaml:"max_score_bytes"`
	MaxBatchBytes int `yaml:"max_batch_bytes"`
	MaxBulkBytes  int `yaml:"max_bulk_bytes"`
	// MaxBatchItems bounds the entries of a JSON list of transactions or labels.
	MaxBatchItems int `yaml:"max_batch_items"`
	// BatchFanOut is how many transactions of one batch are scored at once.
	BatchFanOut int `yaml:"batch_fan_out"`

	// The server's own timeouts and its header bound; see net/http.Server.
	ReadHeaderTimeout time.Duration `yaml:"read_header_timeout"`
	ReadTimeout       time.Duration `yaml:"read_timeout"`
	WriteTimeout      time.Duration `yaml:"write_timeout"`
	IdleTimeout       time.Duration `yaml:"idle_timeout"`
	MaxHeaderBytes    int           `yaml:"max_header_bytes"`
}

// TLS names PEM files.
type TLS struct {
	// CertFile holds the certificate and its chain, KeyFile the private key.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

func (t TLS) enabled() bool { return t.CertFile != "" || t.KeyFile != "" }

// DefaultConfig is complete but for the keys: with Auth "keys" at least one has to be added.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:8080",
		Auth:   AuthKeys,

		DefaultDeadline: 50 * time.Millisecond,
		BatchDeadline:   time.Second,
		BulkDeadline:    10 * time.Second,
		MaxDeadline:     10 * time.Second,

		MaxInFlight:     1024,
		MaxBulkInFlight: 32,
		RetryAfter:      time.Second,

		MaxScoreBytes: 64 << 10,
		MaxBatchBytes: 1 << 20,
		MaxBulkBytes:  16 << 20,
		MaxBatchItems: 256,
		BatchFanOut:   16,

		ReadHeaderTimeout: 5 * time.Second,
		// The slowest honest body is 16 MiB at 5 Mbit/s.
		ReadTimeout: 30 * time.Second,
		// Counts from the end of the headers, so it covers reading, the deadline and writing.
		WriteTimeout:   45 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
}

// Validate names every key that is out of bounds, and the bound.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	duration := func(key string, d, low, high time.Duration) {
		if d < low || d > high {
			bad(key, "is %s; must be %s to %s", d, low, high)
		}
	}
	number := func(key string, n, low, high int) {
		if n < low || n > high {
			bad(key, "is %d; must be %d to %d", n, low, high)
		}
	}

	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen", "must be host:port: %v", err)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls", "cert_file and key_file must be given together")
	}
	switch c.Auth {
	case AuthKeys:
		if len(c.Keys) == 0 {
			bad("keys", `is empty; name at least one key, or say auth: "off" to let everybody in`)
		}
	case AuthOff:
		if len(c.Keys) != 0 {
			bad("keys", `are given while auth is "off"; they would not be asked for`)
		}
	default:
		bad("auth", `is %q; must be "keys" or "off"`, c.Auth)
	}
	if _, err := indexKeys(c.Keys); err != nil {
		errs = append(errs, err)
	}

	const ms = time.Millisecond
	duration("max_deadline", c.MaxDeadline, ms, time.Minute)
	duration("default_deadline", c.DefaultDeadline, ms, c.MaxDeadline)
	duration("batch_deadline", c.BatchDeadline, ms, c.MaxDeadline)
	duration("bulk_deadline", c.BulkDeadline, ms, c.MaxDeadline)
	number("max_in_flight", c.MaxInFlight, 1, 1<<20)
	number("max_bulk_in_flight", c.MaxBulkInFlight, 1, 1<<16)
	duration("retry_after", c.RetryAfter, ms, time.Hour)
	number("max_score_bytes", c.MaxScoreBytes, 1<<10, 1<<20)
	number("max_batch_bytes", c.MaxBatchBytes, 1<<10, 16<<20)
	number("max_bulk_bytes", c.MaxBulkBytes, 1<<10, 1<<30)
	number("max_batch_items", c.MaxBatchItems, 1, 10_000)
	number("batch_fan_out", c.BatchFanOut, 1, min(256, max(1, c.MaxInFlight)))
	duration("read_header_timeout", c.ReadHeaderTimeout, 10*ms, time.Minute)
	duration("read_timeout", c.ReadTimeout, c.ReadHeaderTimeout, time.Hour)
	duration("write_timeout", c.WriteTimeout, c.MaxDeadline+ms, 2*time.Hour)
	duration("idle_timeout", c.IdleTimeout, time.Second, time.Hour)
	number("max_header_bytes", c.MaxHeaderBytes, 4<<10, http.DefaultMaxHeaderBytes)
	return errors.Join(errs...)
}
