package api

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestDefaultConfigLacksNothingButKeys(t *testing.T) {
	c := DefaultConfig()
	c.Keys = testKeys()
	if err := c.Validate(); err != nil {
		t.Errorf("with keys: %v", err)
	}
	c.Keys, c.Auth = nil, AuthOff
	if err := c.Validate(); err != nil {
		t.Errorf("without auth: %v", err)
	}
}

func TestConfigReadsFromYAML(t *testing.T) {
	c := DefaultConfig()
	text := `
listen: "[::1]:9000"
auth: off
tls: {cert_file: a.pem, key_file: b.pem}
default_deadline: 25ms
max_in_flight: 7
batch_fan_out: 7
`
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Listen, want.Auth, want.TLS = "[::1]:9000", AuthOff, TLS{CertFile: "a.pem", KeyFile: "b.pem"}
	want.DefaultDeadline, want.MaxInFlight, want.BatchFanOut = 25*time.Millisecond, 7, 7
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigErrorsNameTheKeyAndTheBound(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no port":             {func(c *Config) { c.Listen = "localhost" }, "listen: must be host:port"},
		"half of tls":         {func(c *Config) { c.TLS.KeyFile = "k" }, "tls: cert_file and key_file"},
		"unknown auth":        {func(c *Config) { c.Auth = "maybe" }, `auth: is "maybe"`},
		"no keys":             {func(c *Config) { c.Keys = nil }, "keys: is empty"},
		"keys without auth":   {func(c *Config) { c.Auth = AuthOff }, "keys: are given"},
		"key without name":    {func(c *Config) { c.Keys[1].Name = "" }, "keys[1].name: must have 1 to 64 bytes"},
		"name used twice":     {func(c *Config) { c.Keys[1].Name = "shop" }, `keys[1].name: "shop" is used twice`},
		"key in clear":        {func(c *Config) { c.Keys[2].SHA256 = "secret" }, "keys[2].sha256: must be the key's SHA-256, 64 hex digits"},
		"hash too long":       {func(c *Config) { c.Keys[2].SHA256 += "00" }, "keys[2].sha256: must be"},
		"key used twice":      {func(c *Config) { c.Keys[2].SHA256 = HashKey(scoreKey) }, `keys[2].sha256: is the same as the one of key "shop"`},
		"no scopes":           {func(c *Config) { c.Keys[0].Scopes = nil }, "keys[0].scopes: is empty"},
		"unknown scope":       {func(c *Config) { c.Keys[0].Scopes = []Scope{"root"} }, `keys[0].scopes: "root"`},
		"deadline 0":          {func(c *Config) { c.DefaultDeadline = 0 }, "default_deadline: is 0s; must be 1ms to 10s"},
		"deadline beyond max": {func(c *Config) { c.BatchDeadline = 11 * time.Second }, "batch_deadline: is 11s; must be 1ms to 10s"},
		"bulk deadline":       {func(c *Config) { c.BulkDeadline = -1 }, "bulk_deadline: "},
		"max deadline":        {func(c *Config) { c.MaxDeadline = time.Hour }, "max_deadline: is 1h0m0s; must be 1ms to 1m0s"},
		"nothing in flight":   {func(c *Config) { c.MaxInFlight = 0 }, "max_in_flight: is 0; must be 1 to 1048576"},
		"no bulk in flight":   {func(c *Config) { c.MaxBulkInFlight = 0 }, "max_bulk_in_flight: "},
		"retry at once":       {func(c *Config) { c.RetryAfter = 0 }, "retry_after: "},
		"tiny body":           {func(c *Config) { c.MaxScoreBytes = 10 }, "max_score_bytes: is 10; must be 1024"},
		"tiny batch":          {func(c *Config) { c.MaxBatchBytes = 10 }, "max_batch_bytes: "},
		"huge bulk":           {func(c *Config) { c.MaxBulkBytes = 2 << 30 }, "max_bulk_bytes: "},
		"no batch":            {func(c *Config) { c.MaxBatchItems = 0 }, "max_batch_items: "},
		"fan out beyond slot": {func(c *Config) { c.MaxInFlight = 4 }, "batch_fan_out: is 16; must be 1 to 4"},
		"no header timeout":   {func(c *Config) { c.ReadHeaderTimeout = 0 }, "read_header_timeout: "},
		"no read timeout":     {func(c *Config) { c.ReadTimeout = 0 }, "read_timeout: "},
		"write before answer": {func(c *Config) { c.WriteTimeout = 9 * time.Second }, "write_timeout: is 9s; must be 10.001s"},
		"no idle timeout":     {func(c *Config) { c.IdleTimeout = 0 }, "idle_timeout: "},
		"tiny header":         {func(c *Config) { c.MaxHeaderBytes = 10 }, "max_header_bytes: "},
	} {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			config.Keys = testKeys()
			c.change(&config)
			if err := config.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	good := newWorld(t).server.edge
	options := func() Options {
		reg := prometheus.NewRegistry()
		return Options{Config: good.config, Backend: good.backend, Region: "eu-west", Registerer: reg, Gatherer: reg}
	}
	for want, change := range map[string]func(*Options){
		"Region":              func(o *Options) { o.Region = "" },
		"Gatherer":            func(o *Options) { o.Gatherer = nil },
		"api config: listen:": func(o *Options) { o.Config.Listen = "" },
		"Score is nil":        func(o *Options) { o.Backend.Score = nil },
		"Label is nil":        func(o *Options) { o.Backend.Label = nil },
		"CheckRow is nil":     func(o *Options) { o.Backend.CheckRow = nil },
		"Publish is nil":      func(o *Options) { o.Backend.Publish = nil },
		"Entity is nil":       func(o *Options) { o.Backend.Entity = nil },
		"Health is nil":       func(o *Options) { o.Backend.Health = nil },
		"Convert is nil":      func(o *Options) { o.Backend.Convert = nil },
		"Bounds is nil":       func(o *Options) { o.Backend.Bounds = nil },
		"Now is nil":          func(o *Options) { o.Backend.Now = nil },
		"load certificate":    func(o *Options) { o.Config.TLS = TLS{CertFile: "none.pem", KeyFile: "none.pem"} },
	} {
		o := options()
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if _, err := New(options()); err != nil {
		t.Error(err)
	}
}
