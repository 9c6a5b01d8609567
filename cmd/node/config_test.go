package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"scoremesh/api"
)

const example = "../../configs/node.yaml"

func noEnvironment(string) (string, bool) { return "", false }

func TestTheExampleIsTheDefaultPlusWhatIsRequired(t *testing.T) {
	got, err := LoadConfig(example, noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Region, want.Node = "eu-west", "eu-west-1"
	want.Rules.Schema, want.Rules.Model, want.Rules.Policy = "demo/schema.yaml", "demo/model/model.yaml", "demo/policy.yaml"
	want.API.Keys = []api.Key{{Name: "example", SHA256: strings.Repeat("0", 64), Scopes: []api.Scope{api.ScopeScore}}}
	want.resolve(filepath.Dir(example))
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("configs/node.yaml differs from the defaults (-default +example):\n%s", diff)
	}
}

// leaf is one key of the configuration.
type leaf struct {
	// key is the path in the file, env the environment variable.
	key, env string
	value    reflect.Value
}

// leavesOf lists every key, in the order of the struct.
func leavesOf(v reflect.Value, path []string) (all []leaf) {
	if v.Kind() != reflect.Struct {
		return []leaf{{strings.Join(path, "."), "SCOREMESH_" + strings.ToUpper(strings.Join(path, "_")), v}}
	}
	for i := range v.NumField() {
		tag, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		child := append(append([]string(nil), path...), tag)
		if options == "inline" {
			child = path
		}
		all = append(all, leavesOf(v.Field(i), child)...)
	}
	return all
}

func TestTheExampleHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	leaves := leavesOf(reflect.ValueOf(DefaultConfig()), nil)
	if len(leaves) < 90 {
		t.Fatalf("got %d keys, want the whole configuration", len(leaves))
	}
	for _, l := range leaves {
		var at any = file
		for _, name := range strings.Split(l.key, ".") {
			section, _ := at.(map[string]any)
			next, ok := section[name]
			if !ok {
				t.Errorf("configs/node.yaml lacks %s", l.key)
				break
			}
			at = next
		}
	}
}

// otherThan returns YAML for a value that differs from the default.
func otherThan(t *testing.T, v reflect.Value) (text string, want any) {
	t.Helper()
	switch v.Interface().(type) {
	case time.Duration:
		return "1234ms", 1234 * time.Millisecond
	case []string:
		return "[a, b]", []string{"a", "b"}
	case map[string]string:
		return `{USD: "0.5"}`, map[string]string{"USD": "0.5"}
	case []api.Key:
		return "[{name: n, sha256: s, scopes: [label]}]", []api.Key{{Name: "n", SHA256: "s", Scopes: []api.Scope{api.ScopeLabel}}}
	}
	switch v.Kind() {
	case reflect.String:
		return "other: text", reflect.ValueOf("other: text").Convert(v.Type()).Interface()
	case reflect.Bool:
		return fmt.Sprint(!v.Bool()), !v.Bool()
	case reflect.Int, reflect.Int64:
		return "77", reflect.ValueOf(77).Convert(v.Type()).Interface()
	}
	t.Fatalf("a key has type %s, which this test does not know", v.Type())
	return "", nil
}

func TestTheEnvironmentOverridesEachKeyAlone(t *testing.T) {
	seen := map[string]string{}
	for i, l := range leavesOf(reflect.ValueOf(DefaultConfig()), nil) {
		if other, twice := seen[l.env]; twice {
			t.Errorf("%s stands for %s and for %s", l.env, other, l.key)
		}
		seen[l.env] = l.key
		text, want := otherThan(t, l.value)
		got, wanted := DefaultConfig(), DefaultConfig()
		err := override(reflect.ValueOf(&got).Elem(), envPrefix, "", func(name string) (string, bool) { return text, name == l.env })
		if err != nil {
			t.Errorf("%s=%s: got error %v", l.env, text, err)
			continue
		}
		leavesOf(reflect.ValueOf(&wanted).Elem(), nil)[i].value.Set(reflect.ValueOf(want))
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s=%s (-want +got):\n%s", l.env, text, diff)
		}
	}
}

func TestEveryRelativePathIsRelativeToTheFile(t *testing.T) {
	var c Config
	isPath := func(key string) bool {
		return strings.HasSuffix(key, "file") || strings.HasSuffix(key, "dir") || strings.HasPrefix(key, "rules.")
	}
	paths := 0
	for _, l := range leavesOf(reflect.ValueOf(&c).Elem(), nil) {
		if l.value.Kind() == reflect.String {
			l.value.SetString("a/b")
		}
	}
	c.Snapshots.Dir = "/absolute"
	c.resolve("/etc/scoremesh")
	for _, l := range leavesOf(reflect.ValueOf(c), nil) {
		want := "a/b"
		switch {
		case l.value.Kind() != reflect.String:
			continue
		case l.key == "snapshots.dir":
			want = "/absolute"
		case isPath(l.key):
			want = "/etc/scoremesh/a/b"
			paths++
		}
		if got := l.value.String(); got != want {
			t.Errorf("%s: got %s, want %s", l.key, got, want)
		}
	}
	if paths < 15 {
		t.Errorf("got %d paths, want those of data, rules, card key, NATS, Redis and API", paths)
	}
	c = Config{}
	c.resolve("/etc/scoremesh")
	if diff := cmp.Diff(Config{}, c); diff != "" {
		t.Errorf("empty paths became something (-want +got):\n%s", diff)
	}
}

func TestConfigurationErrorsNameFileLineAndKey(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old, new string
		env      map[string]string
		want     []string
	}{
		"an unknown key": {old: "\nscoring:\n", new: "\nscoring:\n  hurry: true\n", want: []string{"node.yaml", "hurry", "["}},
		"a wrong type":   {old: "  every: 1h", new: "  every: often", want: []string{"node.yaml:1", "snapshots.every: ", `"often"`}},
		"no YAML":        {old: "\nlog:\n", new: "\nlog: [\n", want: []string{"node.yaml", "["}},
		"a bound":        {old: "  beacon_every: 250ms", new: "  beacon_every: 1ms", want: []string{"node.yaml", "log.beacon_every: is 1ms; must be 10ms to 10s"}},
		"two bounds": {old: "drain_timeout: 20s", new: "drain_timeout: 0s", env: map[string]string{"SCOREMESH_LOG_REPLICAS": "2"},
			want: []string{"drain_timeout: is 0s", "log.replicas: is 2; must be 1, 3 or 5"}},
		"a bound of the edge":              {old: "batch_fan_out: 16", new: "batch_fan_out: 0", want: []string{"api: batch_fan_out: is 0"}},
		"a margin as long as the deadline": {old: "commit_margin: 3ms", new: "commit_margin: 50ms", want: []string{"scoring.commit_margin: is 50ms", "api.default_deadline"}},
		"more decisions than the store takes": {old: "max_store_bytes: 0", new: "max_store_bytes: 1000000000",
			want: []string{"decisions.max_bytes: is 4294967296", "nats.max_store_bytes"}},
		"a bound of redis":        {old: "read_budget: 10ms", new: "read_budget: 10h", want: []string{"redis: read_budget: 10h"}},
		"a bound of shards":       {old: "partitions: 64", new: "partitions: 0", want: []string{"shards: ", "partitions: got 0"}},
		"a level":                 {old: "level: info", new: "level: loud", want: []string{`logging.level: is "loud"`}},
		"a format":                {old: "format: auto", new: "format: xml", want: []string{`logging.format: is "xml"`}},
		"two places for a secret": {old: "env: SCOREMESH_CARD_HASH_KEY\n  file: \"\"", new: "env: A\n  file: b", want: []string{"card_key.file: given together with card_key.env"}},
		"a variable of a wrong type": {env: map[string]string{"SCOREMESH_SHARDS_PARTITIONS": "many"},
			want: []string{"environment variable SCOREMESH_SHARDS_PARTITIONS (key shards.partitions)", `"many"`}},
		"a required key": {env: map[string]string{"SCOREMESH_REGION": ""}, want: []string{`region: is ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(text), c.old, c.new, 1)
			if c.old != "" && changed == string(text) {
				t.Fatalf("the example lacks %q", c.old)
			}
			path := filepath.Join(t.TempDir(), "node.yaml")
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadConfig(path, func(name string) (string, bool) { v, ok := c.env[name]; return v, ok })
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want one with %q", err, want)
				}
			}
		})
	}
}

func TestAReloadNamesTheKeysThatNeedARestart(t *testing.T) {
	running, file := DefaultConfig(), DefaultConfig()
	file.Rules.Model, file.API.Keys = "other.yaml", []api.Key{{Name: "n"}} // a reload takes these
	if got := needRestart(&running, &file); len(got) > 0 {
		t.Errorf("got %v for keys that a reload takes up, want none", got)
	}
	file.Redis.URL, file.Shards.MaxHot, file.Rules.Schema = "redis://elsewhere", 1, "other.yaml"
	want := []string{"rules.schema", "redis.url", "shards.max_hot"}
	if got := needRestart(&running, &file); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
