package speedlayer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/speedlayer/redistest"
)

func TestValidateNamesTheFieldAndTheBound(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*speedlayer.Config)
		want string // "" is valid
	}{
		{"defaults", func(*speedlayer.Config) {}, ""},
		{"cluster", func(c *speedlayer.Config) { c.URL = "rediss+cluster://u:p@a:1?addr=b:2" }, ""},
		{"sentinel", func(c *speedlayer.Config) { c.URL = "redis+sentinel://a:1/0?addr=b:2&master_name=m" }, ""},
		{"socket", func(c *speedlayer.Config) { c.URL = "unix:///run/redis.sock" }, ""},
		{"scheme", func(c *speedlayer.Config) { c.URL = "http://a" }, "url: scheme"},
		{"suffix", func(c *speedlayer.Config) { c.URL = "redis+ring://a" }, "url: scheme suffix"},
		{"sentinel without a name", func(c *speedlayer.Config) { c.URL = "redis+sentinel://a:1" }, "url: want the query parameter master_name"},
		{"replica reads", func(c *speedlayer.Config) { c.URL = "redis+cluster://a:1?read_only=true" }, "url: reads from replicas"},
		{"sentinel replica reads", func(c *speedlayer.Config) { c.URL = "redis+sentinel://a:1?master_name=m&replica_only=true" },
			"url: reads from replicas"},
		{"option", func(c *speedlayer.Config) { c.URL = "redis://a:1?nonsense=1" }, "url: redis: unexpected option: nonsense"},
		{"no URL", func(c *speedlayer.Config) { c.URL = "redis://user:secret@a:b:c/\x7f" }, "url: not a URL"},
		{"tls without rediss", func(c *speedlayer.Config) { c.TLSCAFile = "ca.pem" }, "url: tls_* is set"},
		{"certificate without key", func(c *speedlayer.Config) { c.URL, c.TLSCertFile = "rediss://a", "c.pem" }, "tls_key_file: "},
		{"two passwords", func(c *speedlayer.Config) { c.PasswordEnv, c.PasswordFile = "A", "b" }, "password_file: "},
		{"no budget", func(c *speedlayer.Config) { c.ReadBudget = 0 }, "read_budget: 0s: want 1ms to 1s"},
		{"timeout below budget", func(c *speedlayer.Config) { c.ReadTimeout = time.Millisecond }, "read_timeout: 1ms: want 10ms to 10s"},
		{"no queue", func(c *speedlayer.Config) { c.MaxWaitingReads = 0 }, "max_waiting_reads: 0: want 1 to 1048576"},
		{"breaker beyond its window", func(c *speedlayer.Config) { c.BreakerFailures = 11 }, "breaker_failures: 11: want 1 to 10"},
	} {
		cfg := speedlayer.DefaultConfig()
		c.edit(&cfg)
		err := cfg.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", c.name, err)
		}
	}
}

func TestConfigIsReadFromYAML(t *testing.T) {
	got := speedlayer.DefaultConfig()
	err := yaml.Unmarshal([]byte("url: redis://r:1/2\nread_budget: 7ms\nmax_batch_flushes: 3\npassword_env: P\n"), &got)
	want := speedlayer.DefaultConfig()
	want.URL, want.ReadBudget, want.MaxBatchFlushes, want.PasswordEnv = "redis://r:1/2", 7*time.Millisecond, 3, "P"
	if err != nil || got != want {
		t.Errorf("got %+v %v, want %+v", got, err, want)
	}
}

func TestPasswordsComeFromFileOrEnvironmentAndRotate(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "speed", "on", ">old", "~*", "&*", "+@all")
	server.Do("ACL", "SETUSER", "default", "nopass", "on")
	file := filepath.Join(t.TempDir(), "password")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	cfg := unhurried(server.URL())
	cfg.Username, cfg.PasswordFile = "speed", file
	s, _ := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	read := func(h handles) error {
		return h.Read(context.Background(), []speedlayer.Ref{ref}, make([]speedlayer.Value, 1))
	}
	if err := read(h); err != nil {
		t.Fatalf("with the first password: %v", err)
	}
	write("new")
	server.Do("ACL", "SETUSER", "speed", "resetpass", ">new")
	server.Do("CLIENT", "KILL", "USER", "speed")
	until(t, "reads with the new password", func() bool { return read(h) == nil })

	t.Setenv("SPEED_PASSWORD", "wrong")
	cfg.PasswordFile, cfg.PasswordEnv = "", "SPEED_PASSWORD"
	s, _ = open(t, cfg)
	if err := read(in(t, s, space())); !errors.Is(err, speedlayer.ErrUnavailable) {
		t.Errorf("with a wrong password: got %v, want ErrUnavailable", err)
	}
}

// certificate writes a self-signed pair for the loopback address and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "speed"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLSWithClientCertificates(t *testing.T) {
	cert, key := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	cfg := unhurried("rediss://127.0.0.1:" + strconv.Itoa(port))
	cfg.TLSCAFile, cfg.TLSCertFile, cfg.TLSKeyFile = cert, cert, key
	s, _ := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")
	if v := h.read(t, ref)[0]; v.State == nil {
		t.Error("got a missing value, want the one flushed")
	}

	cfg.TLSCAFile, cfg.TLSCertFile, cfg.TLSKeyFile = "", "", ""
	s, _ = open(t, cfg)
	if _, err := in(t, s, space()).Watermark(context.Background(), feature.Card, 0); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: got %v, want a certificate error", err)
	}
	cfg.TLSCAFile = filepath.Join(t.TempDir(), "none.pem")
	if _, err := speedlayer.Open(cfg, zerolog.Nop(), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "tls_ca_file") {
		t.Errorf("no CA file: got %v, want it named", err)
	}
}

func TestASecondStoreOnOneRegistererIsRefusedAndLeavesTheFirstAlone(t *testing.T) {
	_, reg := open(t, unhurried("redis://127.0.0.1:1"))
	if _, err := speedlayer.Open(unhurried("redis://127.0.0.1:1"), zerolog.Nop(), reg); err == nil {
		t.Error("got a second store, want an error")
	}
	if got := metric(t, reg, "read_breakers", "closed"); got != 1 {
		t.Errorf("got %v closed breakers, want 1", got)
	}
}
