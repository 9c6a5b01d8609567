package region

import (
	"path/filepath"
	"strings"
	"testing"

	"scoremesh/certtest"
)

func TestCheckSecretsNamesTheKeys(t *testing.T) {
	ca := certtest.New(t)
	pair := ca.Good("client")
	missing := filepath.Join(t.TempDir(), "missing")
	t.Setenv("SCOREMESH_TEST_SECRET", "s3cret")
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string // none: good
	}{
		"nothing is named": {func(*Config) {}, nil},
		"all is there": {func(c *Config) {
			c.NATS.URLs, c.NATS.CAFile, c.NATS.CertFile, c.NATS.KeyFile = []string{"tls://n:4222"}, ca.File, pair.Cert, pair.Key
			c.NATS.User, c.NATS.PasswordEnv = "node", "SCOREMESH_TEST_SECRET"
			c.Redis.URL, c.Redis.TLSCAFile, c.Redis.TLSCertFile, c.Redis.TLSKeyFile = "rediss://r:6379", ca.File, pair.Cert, pair.Key
			c.Redis.PasswordEnv = "SCOREMESH_TEST_SECRET"
		}, nil},
		"NATS' files and Redis' password are missing": {func(c *Config) {
			c.NATS.CAFile, c.NATS.CredsFile, c.Redis.PasswordFile = missing, missing, missing
		}, []string{"nats.ca_file: ", "nats.creds_file: ", "redis: password_file: "}},
		"a token that is not set":     {func(c *Config) { c.NATS.TokenEnv = "SCOREMESH_TEST_UNSET" }, []string{"nats.token: ", "SCOREMESH_TEST_UNSET"}},
		"a token file":                {func(c *Config) { c.NATS.TokenFile = missing }, []string{"nats.token: "}},
		"a password file":             {func(c *Config) { c.NATS.User, c.NATS.PasswordFile = "node", missing }, []string{"nats.password: "}},
		"a user without a password":   {func(c *Config) { c.NATS.User = "node" }, []string{"nats.user"}},
		"a certificate without a key": {func(c *Config) { c.NATS.CertFile = pair.Cert }, []string{"nats.cert_file"}},
		"a key without a certificate": {func(c *Config) { c.NATS.KeyFile = pair.Key }, []string{"nats.cert_file"}},
		"a password in a URL":         {func(c *Config) { c.NATS.URLs = []string{"nats://n:4222", "nats://u:s3cret@n:4222"} }, []string{"nats.urls[1]: want no credentials"}},
		"Redis' authority is missing": {func(c *Config) { c.Redis.URL, c.Redis.TLSCAFile = "rediss://r", missing }, []string{"redis: tls_ca_file: "}},
		"Redis' key is no certificate": {func(c *Config) {
			c.Redis.URL, c.Redis.TLSCertFile, c.Redis.TLSKeyFile = "rediss://r", pair.Key, pair.Key
		}, []string{"redis: tls_cert_file: "}},
	} {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			config.Region, config.Node = "here", "n1"
			c.change(&config)
			err := config.CheckSecrets()
			if len(c.want) == 0 && err != nil {
				t.Errorf("got %v, want none", err)
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got %v, want %q and no secret", err, want)
				}
			}
		})
	}
}
