package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"scoremesh/api"
	"scoremesh/decision"
	"scoremesh/region"
)

// Config is a node's configuration file. configs/node.yaml shows every key with its default.
type Config struct {
	region.Config `yaml:",inline"`

	API     api.Config    `yaml:"api"`
	CardKey SecretConfig  `yaml:"card_key"`
	Logging LoggingConfig `yaml:"logging"`
	// DrainTimeout bounds a shutdown; DrainNotice is how long the node says not ready before it stops to accept.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	DrainNotice  time.Duration `yaml:"drain_notice"`
}

// SecretConfig says where a secret is: in an environment variable, or in a file. Secrets never stand in the configuration.
type SecretConfig struct {
	Env  string `yaml:"env"`
	File string `yaml:"file"`
}

// LoggingConfig says how the node logs, on standard error.
type LoggingConfig struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is json, human, or auto: human on a terminal.
	Format string `yaml:"format"`
}

// DefaultConfig is complete but for region, node, rules and the API's keys.
func DefaultConfig() Config {
	return Config{Config: region.DefaultConfig(), API: api.DefaultConfig(), Logging: LoggingConfig{Level: "info", Format: "auto"},
		CardKey: SecretConfig{Env: "SCOREMESH_CARD_HASH_KEY"}, DrainTimeout: 20 * time.Second, DrainNotice: time.Second}
}

// Validate names every key that is out of bounds.
func (c *Config) Validate() error {
	errs := []error{c.Config.Validate()}
	if err := c.API.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("api: %w", err))
	}
	// As long as a request has, it would make every answer pending.
	if c.Scoring.CommitMargin >= c.API.DefaultDeadline {
		errs = append(errs, fmt.Errorf("scoring.commit_margin: is %s; must be below api.default_deadline, %s", c.Scoring.CommitMargin, c.API.DefaultDeadline))
	}
	if c.CardKey.Env != "" && c.CardKey.File != "" {
		errs = append(errs, errors.New("card_key.file: given together with card_key.env"))
	}
	if _, err := parseLevel(c.Logging.Level); err != nil {
		errs = append(errs, fmt.Errorf("logging.level: %w", err))
	}
	switch c.Logging.Format {
	case "auto", "json", "human":
	default:
		errs = append(errs, fmt.Errorf("logging.format: is %q; must be auto, json or human", c.Logging.Format))
	}
	if c.DrainTimeout < time.Second || c.DrainTimeout > 10*time.Minute {
		errs = append(errs, fmt.Errorf("drain_timeout: is %s; must be 1s to 10m", c.DrainTimeout))
	}
	if c.DrainNotice < 0 || c.DrainNotice > c.DrainTimeout {
		errs = append(errs, fmt.Errorf("drain_notice: is %s; must be 0s to drain_timeout", c.DrainNotice))
	}
	return errors.Join(errs...)
}

// envPrefix begins the environment variable of every key.
const envPrefix = "SCOREMESH"

// LoadConfig reads a configuration file over the defaults, then the environment over both, and checks the result. Relative paths are
// relative to the file's folder.
func LoadConfig(path string, lookup func(string) (string, bool)) (Config, error) {
	c := DefaultConfig()
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField())
	if err := decoder.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("%s:%s", path, locate(text, err))
	}
	if err := override(reflect.ValueOf(&c).Elem(), envPrefix, "", lookup); err != nil {
		return c, err
	}
	c.resolve(filepath.Dir(path))
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// locate writes a decoder's error with its line. The decoder does not say where a duration stands that is none, so that is looked for.
func locate(text []byte, err error) string {
	var placed yaml.Error
	if errors.As(err, &placed) {
		return yaml.FormatError(err, false, false)
	}
	if key, line := misplaced(text, reflect.TypeFor[Config](), "$"); key != "" {
		return fmt.Sprintf("%d: %s: %v", line, key, err)
	}
	return " " + err.Error()
}

// misplaced returns the first key below a path, and its line, whose value does not decode into its type; empty when all do.
func misplaced(text []byte, t reflect.Type, path string) (key string, line int) {
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			tag, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			child := path
			if options != "inline" {
				child += "." + tag
			}
			if key, line := misplaced(text, t.Field(i).Type, child); key != "" {
				return key, line
			}
		}
		return "", 0
	}
	at, err := yaml.PathString(path)
	if err != nil {
		return "", 0
	}
	node, err := at.ReadNode(bytes.NewReader(text))
	if err != nil {
		return "", 0 // the file does not have it
	}
	if yaml.NodeToValue(node, reflect.New(t).Interface()) == nil {
		return "", 0
	}
	return strings.TrimPrefix(path, "$."), node.GetToken().Position.Line
}

// childKey is the path of a field's key within the key of its struct.
func childKey(f reflect.StructField, key string) string {
	tag, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if options == "inline" {
		return key
	}
	return strings.TrimPrefix(key+"."+tag, ".")
}

// environmentName is the variable that overrides a key: redis.url is SCOREMESH_REDIS_URL.
func environmentName(key string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// override sets every key for which the environment has a variable: its path in upper case, joined by underscores. Values are YAML.
func override(v reflect.Value, name, key string, lookup func(string) (string, bool)) error {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			child := childKey(v.Type().Field(i), key)
			if err := override(v.Field(i), environmentName(child), child, lookup); err != nil {
				return err
			}
		}
		return nil
	}
	text, ok := lookup(name)
	if !ok {
		return nil
	}
	if v.Kind() == reflect.String {
		v.SetString(text)
		return nil
	}
	fresh := reflect.New(v.Type())
	if err := yaml.UnmarshalWithOptions([]byte(text), fresh.Interface(), yaml.DisallowUnknownField()); err != nil {
		value := strconv.Quote(text)
		if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
			value = "the value" // a URL may hold a password
		}
		return fmt.Errorf("environment variable %s (key %s): %s is not a %s: %s", name, key, value, v.Type(), yaml.FormatError(err, false, false))
	}
	v.Set(fresh.Elem())
	return nil
}

// resolve makes relative paths relative to the configuration's folder.
func (c *Config) resolve(dir string) {
	for _, p := range []*string{&c.DataDir, &c.Rules.Schema, &c.Rules.Model, &c.Rules.Policy, &c.Snapshots.Dir, &c.CardKey.File,
		&c.NATS.CAFile, &c.NATS.CertFile, &c.NATS.KeyFile, &c.NATS.CredsFile, &c.NATS.PasswordFile, &c.NATS.TokenFile,
		&c.Redis.PasswordFile, &c.Redis.TLSCAFile, &c.Redis.TLSCertFile, &c.Redis.TLSKeyFile, &c.API.TLS.CertFile, &c.API.TLS.KeyFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// cardHasher makes the hasher of card numbers; nil when no key is there, and then card numbers are refused.
func (c *Config) cardHasher(lookup func(string) (string, bool)) (*decision.CardHasher, error) {
	var text, source string
	switch {
	case c.CardKey.File != "":
		b, err := os.ReadFile(c.CardKey.File)
		if err != nil {
			return nil, fmt.Errorf("card_key.file: %w", err)
		}
		text, source = strings.TrimSpace(string(b)), "the file of card_key.file"
	case c.CardKey.Env != "":
		v, ok := lookup(c.CardKey.Env)
		if !ok {
			return nil, nil
		}
		text, source = v, "environment variable "+c.CardKey.Env
	default:
		return nil, nil
	}
	key, err := hex.DecodeString(text)
	if err != nil {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, fmt.Errorf("card_key: %s is neither hex nor base64", source)
		}
	}
	hasher, err := decision.NewCardHasher(key)
	if err != nil {
		return nil, fmt.Errorf("card_key: %s: %w", source, err)
	}
	return hasher, nil
}
