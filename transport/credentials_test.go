package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"scoremesh/certtest"
	"scoremesh/transport"
	"scoremesh/transport/natstest"
)

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const (
	goodSecret  = "0pen-sesame-right"
	wrongSecret = "0pen-sesame-wrong"
)

// connConfig is a configuration for a server, with quick reconnects.
func connConfig(url string) transport.ConnConfig {
	cfg := transport.DefaultConnConfig()
	cfg.Name = "test"
	cfg.URLs = []string{url}
	cfg.ReconnectWait = 10 * time.Millisecond
	return cfg
}

func secretFile(t testing.TB, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	writeSecret(t, file, secret)
	return file
}

func writeSecret(t testing.TB, file, secret string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// connectAs connects and closes with the test.
func connectAs(t testing.TB, cfg transport.ConnConfig, out *lines) *transport.Conn {
	t.Helper()
	c, err := transport.Connect(cfg, zerolog.New(out), nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// serves demands that the connection carries a log.
func serves(t *testing.T, c *transport.Conn) {
	t.Helper()
	l := openLog(t, c)
	before := lastOf(t, l)
	fill(t, l, 3)
	if got := lastOf(t, l); got != before+3 {
		t.Fatalf("log ends at %d, want %d", got, before+3)
	}
	if ids := readIDs(t, l, before+1, lastOf(t, l)); len(ids) != 3 {
		t.Errorf("read %v, want the 3 records that were appended", ids)
	}
	if s := c.State(); !s.Connected || s.LastError != "" {
		t.Errorf("state: got %+v, want connected and no error", s)
	}
}

// refuses demands that the state says why, again and again; that the log says so, but not at every attempt; and that opening the log ends with
// its context.
func refuses(t *testing.T, cfg transport.ConnConfig, want ...string) {
	t.Helper()
	var out lines
	c := connectAs(t, cfg, &out)
	waitFor(t, "the state to say why", 10*time.Second, func() bool { return says(c.State().LastError, want) })
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond) // two or three attempts
	defer cancel()
	if _, err := transport.OpenLog(ctx, c.JetStream(), logConfig(), zerolog.New(&out), nil); err == nil {
		t.Error("the log was opened")
	}
	s := c.State()
	if s.Connected || s.Ended || !says(s.LastError, want) {
		t.Errorf("state: got %+v, want it not connected, still trying, and an error with %q", s, want)
	}
	text := out.String()
	if n := strings.Count(text, "nats cannot be connected to"); n != 1 {
		t.Errorf("logged the refusal %d times, want once:\n%s", n, text)
	}
	if all := text + s.LastError; strings.Contains(all, wrongSecret) || strings.Contains(all, goodSecret) {
		t.Errorf("a secret is shown:\n%s", all)
	}
	t.Log(s.LastError)
}

func says(text string, want []string) bool {
	for _, w := range want {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) { // the library writes its errors in two ways
			return false
		}
	}
	return true
}

func tlsBlock(ca *certtest.Authority, server certtest.Pair, verify bool) string {
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: %t }", server.Cert, server.Key, ca.File, verify)
}

func TestTLSWithClientCertificates(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	ca, other := certtest.New(t), certtest.New(t)
	s := natstest.StartProcess(t, tlsBlock(ca, ca.Good("server"), true))
	client, foreign, expired := ca.Good("client"), other.Good("client"), ca.Expired("expired")
	with := func(change func(*transport.ConnConfig)) transport.ConnConfig {
		cfg := connConfig(s.URL())
		cfg.CAFile, cfg.CertFile, cfg.KeyFile = ca.File, client.Cert, client.Key
		change(&cfg)
		return cfg
	}
	t.Run("a good certificate", func(t *testing.T) {
		serves(t, connectAs(t, with(func(*transport.ConnConfig) {}), &lines{}))
	})
	t.Run("a tls url", func(t *testing.T) {
		cfg := with(func(c *transport.ConnConfig) { c.URLs = []string{strings.Replace(s.URL(), "nats://", "tls://", 1)} })
		serves(t, connectAs(t, cfg, &lines{}))
	})
	t.Run("another authority", func(t *testing.T) {
		t.Parallel()
		refuses(t, with(func(c *transport.ConnConfig) { c.CAFile = other.File }), "x509: certificate signed by unknown authority", "nats.ca_file")
	})
	t.Run("no authority", func(t *testing.T) {
		t.Parallel()
		refuses(t, with(func(c *transport.ConnConfig) { c.CAFile = "" }), "x509: certificate signed by unknown authority", "nats.ca_file is not set")
	})
	t.Run("no client certificate", func(t *testing.T) {
		t.Parallel()
		refuses(t, with(func(c *transport.ConnConfig) { c.CertFile, c.KeyFile = "", "" }), "tls", "nats.cert_file is not set")
	})
	t.Run("a foreign client certificate", func(t *testing.T) {
		t.Parallel()
		refuses(t, with(func(c *transport.ConnConfig) { c.CertFile, c.KeyFile = foreign.Cert, foreign.Key }), "tls", "refuses the client certificate of nats.cert_file")
	})
	t.Run("an expired client certificate", func(t *testing.T) {
		t.Parallel()
		refuses(t, with(func(c *transport.ConnConfig) { c.CertFile, c.KeyFile = expired.Cert, expired.Key }), "tls", "refuses the client certificate of nats.cert_file")
	})
	t.Run("an expired server certificate", func(t *testing.T) {
		t.Parallel()
		late := natstest.StartProcess(t, tlsBlock(ca, ca.Expired("late"), true))
		refuses(t, with(func(c *transport.ConnConfig) { c.URLs = []string{late.URL()} }), "x509: certificate has expired", "the server's certificate")
	})
	t.Run("a server without tls", func(t *testing.T) {
		t.Parallel()
		plain := natstest.StartProcess(t)
		refuses(t, with(func(c *transport.ConnConfig) { c.URLs = []string{plain.URL()} }), "secure connection not available")
	})
}

func TestUserAndPassword(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	s := natstest.StartProcess(t, fmt.Sprintf("authorization { user: node, password: %q }", goodSecret))
	t.Setenv("SCOREMESH_TEST_GOOD", goodSecret)
	t.Setenv("SCOREMESH_TEST_WRONG", wrongSecret)
	as := func(user string, password transport.Secret) transport.ConnConfig {
		cfg := connConfig(s.URL())
		cfg.User, cfg.Password = user, password
		return cfg
	}
	t.Run("from the environment", func(t *testing.T) {
		serves(t, connectAs(t, as("node", transport.Secret{Env: "SCOREMESH_TEST_GOOD"}), &lines{}))
	})
	t.Run("from a file", func(t *testing.T) {
		serves(t, connectAs(t, as("node", transport.Secret{File: secretFile(t, goodSecret)}), &lines{}))
	})
	t.Run("wrong", func(t *testing.T) {
		refuses(t, as("node", transport.Secret{Env: "SCOREMESH_TEST_WRONG"}), "Authorization Violation", `nats.user "node"`, "nats.password_env (SCOREMESH_TEST_WRONG)")
	})
	t.Run("none", func(t *testing.T) {
		refuses(t, connConfig(s.URL()), "Authorization Violation", "a client without credentials")
	})
}

func TestToken(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	s := natstest.StartProcess(t, fmt.Sprintf("authorization { token: %q }", goodSecret))
	cfg := connConfig(s.URL())
	cfg.Token.File = secretFile(t, goodSecret)
	serves(t, connectAs(t, cfg, &lines{}))
	cfg.Token.File = secretFile(t, wrongSecret)
	refuses(t, cfg, "Authorization Violation", "nats.token_file ("+cfg.Token.File)
}

// A server that refuses twice is given up for ever by the client library, unless it is told otherwise.
func TestPasswordRotatesWithoutRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	users := func(password string) string {
		return fmt.Sprintf("authorization { user: node, password: %q }", password)
	}
	s := natstest.StartProcess(t, users(wrongSecret))
	cfg := connConfig(s.URL())
	cfg.User, cfg.Password.File = "node", secretFile(t, wrongSecret)
	var out lines
	c := connectAs(t, cfg, &out)
	l := openLog(t, c)
	a := newAppender(t, l)
	ledger := newLedger()
	ledger.append(t, a, aDecision(0))
	waitFor(t, "the first commit", 10*time.Second, func() bool { return ledger.settled.Load() == 1 })

	s.Configure(users(goodSecret))
	s.Restart()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("state %+v, log:\n%s", c.State(), out.String())
		}
	})
	waitFor(t, "the refusal", 10*time.Second, func() bool {
		return says(c.State().LastError, []string{"Authorization Violation", "nats.password_file"})
	})
	ledger.append(t, a, aDecision(1))
	waitFor(t, "more refusals than the library bears", 15*time.Second, func() bool { return c.NATS().Stats().Reconnects >= 4 })
	if s := c.State(); s.Connected || s.Ended {
		t.Fatalf("state: got %+v, want not connected and still trying", s)
	}

	writeSecret(t, cfg.Password.File, goodSecret)
	waitFor(t, "the commit of what had waited", 15*time.Second, func() bool { return ledger.settled.Load() == 2 })
	ledger.checkOnce(t, l, 2, decisionID)
	if s := c.State(); !s.Connected || s.LastError != "" {
		t.Errorf("state: got %+v, want connected and no error", s)
	}
	if text := out.String(); strings.Contains(text, goodSecret) || strings.Contains(text, wrongSecret) {
		t.Errorf("a secret is logged:\n%s", text)
	}
}

// operator is the operator of a server in decentralised mode, with one account that may use JetStream.
type operator struct {
	t       testing.TB
	account nkeys.KeyPair
	// settings are the lines of the server's configuration.
	settings string
}

func newOperator(t testing.TB) *operator {
	t.Helper()
	made := func(k nkeys.KeyPair, err error) nkeys.KeyPair {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	root, system, account := made(nkeys.CreateOperator()), made(nkeys.CreateAccount()), made(nkeys.CreateAccount())
	signed := func(c jwt.Claims, by nkeys.KeyPair) string {
		t.Helper()
		text, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	sys := jwt.NewAccountClaims(publicKey(t, system))
	sys.Name = "SYS"
	acc := jwt.NewAccountClaims(publicKey(t, account))
	acc.Name = "scoremesh"
	acc.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	op := jwt.NewOperatorClaims(publicKey(t, root))
	op.SystemAccount = sys.Subject
	return &operator{t: t, account: account, settings: fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n%s: %s\n%s: %s\n}",
		signed(op, root), sys.Subject, sys.Subject, signed(sys, root), acc.Subject, signed(acc, root))}
}

func publicKey(t testing.TB, k nkeys.KeyPair) string {
	t.Helper()
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// creds writes a user's credentials file, signed by signer, good until then; the seed is returned too.
func creds(t testing.TB, signer nkeys.KeyPair, until time.Time) (file, seed string) {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(publicKey(t, user))
	claims.Name, claims.Expires = "node", until.Unix()
	token, err := claims.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, secret)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "node.creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, string(secret)
}

func TestCredentialsFile(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	op := newOperator(t)
	s := natstest.StartProcess(t, op.settings)
	good, seed := creds(t, op.account, time.Now().Add(time.Hour))
	cfg := connConfig(s.URL())
	cfg.CredsFile = good
	var out lines
	serves(t, connectAs(t, cfg, &out))
	if strings.Contains(out.String(), seed) {
		t.Error("the seed is logged")
	}
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		file, _ := creds(t, op.account, time.Now().Add(-time.Minute))
		cfg := cfg
		cfg.CredsFile = file
		refuses(t, cfg, "nats: ", "the credentials of nats.creds_file ("+file)
	})
	t.Run("of another account", func(t *testing.T) {
		t.Parallel()
		file, _ := creds(t, newOperator(t).account, time.Now().Add(time.Hour))
		cfg := cfg
		cfg.CredsFile = file
		refuses(t, cfg, "Authorization Violation", "the credentials of nats.creds_file ("+file)
	})
	t.Run("expire and are renewed", func(t *testing.T) {
		file, _ := creds(t, op.account, time.Now().Add(2*time.Second))
		cfg := cfg
		cfg.CredsFile = file
		c := connectAs(t, cfg, &lines{})
		waitFor(t, "the connection", 5*time.Second, func() bool { return c.State().Connected })
		waitFor(t, "the expiry", 10*time.Second, func() bool { s := c.State(); return !s.Connected && strings.Contains(s.LastError, "nats.creds_file") })
		renewed, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, renewed, 0o600); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the connection with renewed credentials", 10*time.Second, func() bool { return c.State().Connected })
		serves(t, c)
	})
}

func TestConnectNamesTheKeyOfAFileThatCannotBeUsed(t *testing.T) {
	ca := certtest.New(t)
	pair, another := ca.Good("a"), ca.Good("b")
	seedless := secretFile(t, wrongSecret)
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		change func(*transport.ConnConfig)
		want   string
	}{
		"a missing authority":            {func(c *transport.ConnConfig) { c.CAFile = missing }, "nats.ca_file: "},
		"an authority that is none":      {func(c *transport.ConnConfig) { c.CAFile = seedless }, "nats.ca_file: "},
		"a missing certificate":          {func(c *transport.ConnConfig) { c.CertFile, c.KeyFile = missing, pair.Key }, "nats.cert_file: "},
		"a key of another certificate":   {func(c *transport.ConnConfig) { c.CertFile, c.KeyFile = pair.Cert, another.Key }, "nats.cert_file: "},
		"missing credentials":            {func(c *transport.ConnConfig) { c.CredsFile = missing }, "nats.creds_file: "},
		"credentials that are none":      {func(c *transport.ConnConfig) { c.CredsFile = seedless }, "nats.creds_file: "},
		"a missing token":                {func(c *transport.ConnConfig) { c.Token.File = missing }, "nats.token: "},
		"a missing password":             {func(c *transport.ConnConfig) { c.User, c.Password.Env = "u", "SCOREMESH_TEST_UNSET" }, "nats.password: "},
		"a url with credentials":         {func(c *transport.ConnConfig) { c.URLs[0] = "nats://u:" + wrongSecret + "@h:1" }, "nats.urls[0]: want no credentials"},
		"a url that is none":             {func(c *transport.ConnConfig) { c.URLs[0] = "nats://u:" + wrongSecret + "@h:x" }, "nats.urls[0]: want nats://"},
		"a url with another scheme":      {func(c *transport.ConnConfig) { c.URLs[0] = "http://h:1" }, "nats.urls[0]: want nats://"},
		"a url without a scheme or host": {func(c *transport.ConnConfig) { c.URLs[0] = "nats:4222" }, "nats.urls[0]: want nats://"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := connConfig("nats://127.0.0.1:1")
			c.change(&cfg)
			conn, err := transport.Connect(cfg, zerolog.Nop(), nil)
			if err == nil {
				conn.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), wrongSecret) {
				t.Errorf("got %v, want it to name %q and no secret", err, c.want)
			}
		})
	}
}

func TestAConnectionThatTheLibraryGaveUpSaysSo(t *testing.T) {
	s := natstest.Start(t)
	c := connectAs(t, connConfig(s.URL()), &lines{})
	c.NATS().Close() // as it does itself at an answer that it does not know
	waitFor(t, "the end", 5*time.Second, func() bool { s := c.State(); return s.Ended && !s.Connected })
}
