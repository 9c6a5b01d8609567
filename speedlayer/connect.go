package speedlayer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// target is a parsed Config.URL: exactly one of the options is set.
type target struct {
	server   *redis.Options
	cluster  *redis.ClusterOptions
	sentinel *redis.FailoverOptions
	tls      bool
}

// parseURL never repeats the URL in its error: it may hold a password.
func parseURL(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return target{}, fmt.Errorf("not a URL: %w", err)
	}
	scheme, deployment, _ := strings.Cut(u.Scheme, "+")
	if scheme != "redis" && scheme != "rediss" && u.Scheme != "unix" {
		return target{}, fmt.Errorf("scheme %q: want redis, rediss or unix, with +cluster or +sentinel for the first two", u.Scheme)
	}
	u.Scheme = scheme
	t := target{tls: scheme == "rediss"}
	switch deployment {
	case "":
		t.server, err = redis.ParseURL(u.String())
	case "cluster":
		t.cluster, err = redis.ParseClusterURL(u.String())
	case "sentinel":
		t.sentinel, err = redis.ParseFailoverURL(u.String())
		if err == nil && t.sentinel.MasterName == "" {
			err = errors.New("want the query parameter master_name")
		}
		if err == nil && (t.sentinel.RouteByLatency || t.sentinel.RouteRandomly || t.sentinel.ReplicaOnly) {
			err = errors.New("reads from replicas are not supported: a replica may lag behind the watermark")
		}
	default:
		err = fmt.Errorf("scheme suffix %q: want cluster or sentinel", deployment)
	}
	if err == nil && t.cluster != nil && (t.cluster.ReadOnly || t.cluster.RouteByLatency || t.cluster.RouteRandomly) {
		err = errors.New("reads from replicas are not supported: a replica may lag behind the watermark")
	}
	return t, err
}

// tlsConfig completes what the URL's scheme began. It returns nil when the URL has no TLS.
func (c *Config) tlsConfig(fromURL *tls.Config) (*tls.Config, error) {
	if fromURL == nil {
		return nil, nil
	}
	t := fromURL.Clone()
	t.MinVersion = tls.VersionTLS12
	if c.TLSServerName != "" {
		t.ServerName = c.TLSServerName
	}
	if c.TLSCAFile != "" {
		pem, err := os.ReadFile(c.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("tls_ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca_file: no PEM certificate in %s", c.TLSCAFile)
		}
	}
	if c.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls_cert_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// credentials returns what each new connection to a data node authenticates with.
func (c *Config) credentials(urlUser, urlPassword string) func(context.Context) (string, string, error) {
	user := urlUser
	if c.Username != "" {
		user = c.Username
	}
	return func(context.Context) (string, string, error) {
		switch {
		case c.PasswordFile != "":
			b, err := os.ReadFile(c.PasswordFile)
			if err != nil {
				return "", "", fmt.Errorf("password_file: %w", err)
			}
			password := strings.TrimRight(string(b), "\r\n")
			if password == "" {
				return "", "", fmt.Errorf("password_file: %s is empty", c.PasswordFile)
			}
			return user, password, nil
		case c.PasswordEnv != "":
			password := os.Getenv(c.PasswordEnv)
			if password == "" {
				return "", "", fmt.Errorf("password_env: environment variable %s is not set", c.PasswordEnv)
			}
			return user, password, nil
		}
		return user, urlPassword, nil
	}
}

// quiet silences the client library's process-wide logger: it writes unstructured lines to stderr, and every failure of which it
// speaks comes back as an error too.
var quiet = sync.OnceFunc(logging.Disable)

// Check is Validate, and reads every file and every secret that is named. Its errors name the keys, and no secret.
func (c *Config) Check() error {
	if err := c.Validate(); err != nil {
		return err
	}
	client, err := c.connect(c.FlushTimeout, 1)
	if err != nil {
		return err
	}
	if err := client.Close(); err != nil {
		return fmt.Errorf("close a client that never connected: %w", err)
	}
	return nil
}

// connect makes a client whose batches end after timeout. It does no I/O. The client never retries: a read has no time for it,
// and a flush is submitted again by its shard.
func (c *Config) connect(timeout time.Duration, conns int) (redis.UniversalClient, error) {
	quiet()
	// What cannot be read now is wrong configuration; what cannot be read later is an error of each connection.
	if _, _, err := c.credentials("", "")(context.Background()); err != nil {
		return nil, err
	}
	t, err := parseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	switch {
	case t.cluster != nil:
		o := t.cluster
		if o.TLSConfig, err = c.tlsConfig(o.TLSConfig); err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = c.credentials(o.Username, o.Password)
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
		o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = -1, time.Millisecond, timeout/4
		o.DialerRetries, o.DialerRetryTimeout = 1, time.Millisecond
		o.PoolSize, o.PipelinePoolSize = conns, -1
		o.Protocol, o.DisableIdentity = 2, true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(o), nil
	case t.sentinel != nil:
		o := t.sentinel
		if o.TLSConfig, err = c.tlsConfig(o.TLSConfig); err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = c.credentials(o.Username, o.Password)
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
		o.MaxRetries = -1
		o.DialerRetries, o.DialerRetryTimeout = 1, time.Millisecond
		o.PoolSize, o.PipelinePoolSize = conns, -1
		o.Protocol, o.DisableIdentity = 2, true
		return redis.NewFailoverClient(o), nil
	default:
		o := t.server
		if o.TLSConfig, err = c.tlsConfig(o.TLSConfig); err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = c.credentials(o.Username, o.Password)
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
		o.MaxRetries = -1
		o.DialerRetries, o.DialerRetryTimeout = 1, time.Millisecond
		o.PoolSize, o.PipelinePoolSize = conns, -1
		o.Protocol, o.DisableIdentity = 2, true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClient(o), nil
	}
}
