package speedlayer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/certtest"
	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/speedlayer/redistest"
)

// access is what the ACL user of a node needs, as docs/OPERATIONS.md says it. A Cluster takes clusterAccess too.
const (
	access        = "resetkeys ~fs:* ~fw:* ~fo:* resetchannels -@all +get +mget +set +sadd +srem +smembers +scan +eval +evalsha +info"
	clusterAccess = "+cluster|slots +asking"
)

const (
	rightPassword = "0pen-sesame-right"
	wrongPassword = "0pen-sesame-wrong"
)

// admit makes the node's user.
func admit(s *redistest.Server, rules string) {
	args := []any{"ACL", "SETUSER", "scoremesh", "reset", "on", ">" + rightPassword}
	for _, r := range strings.Fields(rules) {
		args = append(args, r)
	}
	s.Do(args...)
}

// deployment is a Redis with TLS, an ACL user, and nothing for anybody else.
type deployment struct {
	name  string
	rules string
	start func(t *testing.T, files redistest.TLS) (url string, servers []*redistest.Server)
}

var deployments = []deployment{
	{"standalone", access, func(t *testing.T, files redistest.TLS) (string, []*redistest.Server) {
		s := redistest.StartTLS(t, files)
		return s.URL(), []*redistest.Server{s}
	}},
	{"sentinel", access, func(t *testing.T, files redistest.TLS) (string, []*redistest.Server) {
		s := redistest.StartSentinelTLS(t, files)
		return s.URL(), []*redistest.Server{s.Master, s.Replica}
	}},
	{"cluster", access + " " + clusterAccess, func(t *testing.T, files redistest.TLS) (string, []*redistest.Server) {
		c := redistest.StartClusterTLS(t, files)
		return c.URL(), c.Masters
	}},
}

// everything does all that a node does with Redis, in a keyspace of its own, and returns what failed first.
func everything(ctx context.Context, s *speedlayer.Store) error {
	k := space()
	r, err := s.Reader(k)
	if err != nil {
		return err
	}
	w, err := s.Writer(k)
	if err != nil {
		return err
	}
	const id = "c-1"
	ref := speedlayer.Ref{Kind: feature.Card, Partition: feature.PartitionOf(feature.Card, id, k.Partitions), ID: id}
	flush := speedlayer.Flush{Kind: feature.Card, Partition: ref.Partition, Target: at(1, 0), FoldedAt: 1,
		Entities: []speedlayer.EntityState{{ID: id, State: state(at(1, 0), "x")}}, OpenAdd: []string{id}}
	if got, err := w.Flush(ctx, flush); err != nil {
		return fmt.Errorf("flush: %w", err)
	} else if got.Written != 1 {
		return fmt.Errorf("flush: got %+v, want one entity written", got)
	}
	flush.Base, flush.OpenAdd, flush.OpenRemove = at(1, 0), nil, []string{id}
	if _, err := w.Flush(ctx, flush); err != nil {
		return fmt.Errorf("flush again: %w", err)
	}
	out := make([]speedlayer.Value, 1)
	if err := r.Read(ctx, []speedlayer.Ref{ref}, out); err != nil {
		return fmt.Errorf("read: %w", err)
	} else if out[0].State == nil {
		return errors.New("read: nothing is there")
	}
	if _, err := r.Watermark(ctx, feature.Card, ref.Partition); err != nil {
		return err
	}
	if _, err := r.OpenIDs(ctx, feature.Card, ref.Partition); err != nil {
		return err
	}
	if err := r.Scan(ctx, func(feature.Kind, int, string, []byte) error { return nil }); err != nil {
		return err
	}
	if _, err := s.Epochs(ctx, k.Schema); err != nil {
		return err
	}
	_, err = s.Stats(ctx)
	return err
}

// answer opens a store, does everything, and returns what failed first.
func answer(t *testing.T, cfg speedlayer.Config) error {
	t.Helper()
	s, err := speedlayer.Open(cfg, zerolog.Nop(), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	return everything(t.Context(), s)
}

func TestTLSAndACL(t *testing.T) {
	for _, d := range deployments {
		t.Run(d.name, func(t *testing.T) {
			ca, other := certtest.New(t), certtest.New(t)
			server, client, foreign, expired := ca.Good("server"), ca.Good("client"), other.Good("client"), ca.Expired("client-expired")
			url, servers := d.start(t, redistest.TLS{CA: ca.File, Cert: server.Cert, Key: server.Key})
			for _, s := range servers {
				admit(s, d.rules)
			}
			t.Setenv("SCOREMESH_TEST_GOOD", rightPassword)
			t.Setenv("SCOREMESH_TEST_WRONG", wrongPassword)
			good := unhurried(url)
			good.Username, good.PasswordEnv = "scoremesh", "SCOREMESH_TEST_GOOD"
			good.TLSCAFile, good.TLSCertFile, good.TLSKeyFile = ca.File, client.Cert, client.Key
			if err := answer(t, good); err != nil {
				t.Fatalf("with the documented permissions: %v", err)
			}
			for name, c := range map[string]struct {
				change func(*speedlayer.Config)
				want   string
			}{
				"a wrong password":    {func(c *speedlayer.Config) { c.PasswordEnv = "SCOREMESH_TEST_WRONG" }, "WRONGPASS"},
				"an unknown user":     {func(c *speedlayer.Config) { c.Username = "nobody" }, "WRONGPASS"},
				"another authority":   {func(c *speedlayer.Config) { c.TLSCAFile = other.File }, "x509: certificate signed by unknown authority"},
				"another server name": {func(c *speedlayer.Config) { c.TLSServerName = "elsewhere" }, "x509: certificate is valid for localhost, not elsewhere"},
				// What a server says of a client certificate may get lost when it closes the connection.
				"no client certificate":        {func(c *speedlayer.Config) { c.TLSCertFile, c.TLSKeyFile = "", "" }, "redis unavailable"},
				"a foreign client certificate": {func(c *speedlayer.Config) { c.TLSCertFile, c.TLSKeyFile = foreign.Cert, foreign.Key }, "redis unavailable"},
				"an expired certificate":       {func(c *speedlayer.Config) { c.TLSCertFile, c.TLSKeyFile = expired.Cert, expired.Key }, "redis unavailable"},
				"no TLS": {func(c *speedlayer.Config) {
					c.URL = strings.Replace(url, "rediss", "redis", 1)
					c.TLSCAFile, c.TLSCertFile, c.TLSKeyFile = "", "", ""
				}, "redis unavailable"},
			} {
				t.Run(name, func(t *testing.T) {
					cfg := good
					c.change(&cfg)
					err := answer(t, cfg)
					if !errors.Is(err, speedlayer.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
						t.Errorf("got %v, want ErrUnavailable with %q", err, c.want)
					}
					if err != nil && (strings.Contains(err.Error(), rightPassword) || strings.Contains(err.Error(), wrongPassword)) {
						t.Errorf("the error shows a password: %v", err)
					}
					t.Log(err)
				})
			}
		})
	}
}

func TestEveryDocumentedPermissionIsNeeded(t *testing.T) {
	server := redistest.Start(t)
	t.Setenv("SCOREMESH_TEST_GOOD", rightPassword)
	cfg := unhurried(server.URL())
	cfg.Username, cfg.PasswordEnv = "scoremesh", "SCOREMESH_TEST_GOOD"
	rules := strings.Fields(access)
	for i, rule := range rules {
		if rule[0] != '+' && rule[0] != '~' {
			continue
		}
		t.Run(rule, func(t *testing.T) {
			server.Do("SCRIPT", "FLUSH")
			admit(server, strings.Join(slices.Delete(slices.Clone(rules), i, i+1), " "))
			if err := answer(t, cfg); !errors.Is(err, speedlayer.ErrUnavailable) || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "The user executing the script can't run this command") {
				t.Errorf("without it: got %v, want a refusal that says so", err)
			} else {
				t.Log(err)
			}
		})
	}
	server.Do("SCRIPT", "FLUSH")
	admit(server, access)
	if err := answer(t, cfg); err != nil {
		t.Errorf("with all of them: %v", err)
	}
}

// A connection that Redis refuses must not look like a Redis that holds nothing: a snapshot would lack what it did not see.
func TestARefusedConnectionIsNoEmptyRedis(t *testing.T) {
	server := redistest.Start(t)
	admit(server, access)
	t.Setenv("SCOREMESH_TEST_WRONG", wrongPassword)
	cfg := unhurried(server.URL())
	s, _ := open(t, cfg)
	h := in(t, s, space())
	ref := one(t, h, "c")

	cfg.Username, cfg.PasswordEnv = "scoremesh", "SCOREMESH_TEST_WRONG"
	refused, _ := open(t, cfg)
	r := in(t, refused, h.space)
	for name, ask := range map[string]func() error{
		"read":       func() error { return r.Read(t.Context(), []speedlayer.Ref{ref}, make([]speedlayer.Value, 1)) },
		"watermarks": func() error { _, err := r.Watermarks(t.Context()); return err },
		"watermark":  func() error { _, err := r.Watermark(t.Context(), feature.Card, ref.Partition); return err },
		"open ids":   func() error { _, err := r.OpenIDs(t.Context(), feature.Card, ref.Partition); return err },
		"scan":       func() error { return r.Scan(t.Context(), func(feature.Kind, int, string, []byte) error { return nil }) },
		"flush": func() error {
			_, err := r.Flush(t.Context(), speedlayer.Flush{Target: at(1, 0), FoldedAt: 1})
			return err
		},
	} {
		if err := ask(); !errors.Is(err, speedlayer.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: got %v, want ErrUnavailable with WRONGPASS", name, err)
		}
	}
}

func TestPermissionsAreThoseOfTheManual(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{access, clusterAccess} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/OPERATIONS.md lacks %q", want)
		}
	}
}

func TestOpenNamesTheKeyOfAPasswordThatCannotBeRead(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*speedlayer.Config)
		want   string
	}{
		"an unset variable": {func(c *speedlayer.Config) { c.PasswordEnv = "SCOREMESH_TEST_UNSET" }, "password_env: environment variable SCOREMESH_TEST_UNSET"},
		"a missing file":    {func(c *speedlayer.Config) { c.PasswordFile = empty + "x" }, "password_file: "},
		"an empty file":     {func(c *speedlayer.Config) { c.PasswordFile = empty }, "password_file: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := unhurried("redis://127.0.0.1:1")
			c.change(&cfg)
			if err := answer(t, cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
