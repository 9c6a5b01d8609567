package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"scoremesh/decision"
)

// Scope is a right that a key carries. No scope implies another.
type Scope string

// The scopes.
const (
	// ScopeScore allows /v1/score and /v1/score:batch.
	ScopeScore Scope = "score"
	// ScopeLabel allows /v1/labels.
	ScopeLabel Scope = "label"
	// ScopePublish allows /v1/features.
	ScopePublish Scope = "publish"
	// ScopeAdmin allows /v1/entities, and /metrics and /openapi.yaml where they are closed.
	ScopeAdmin Scope = "admin"
)

// Key is a client's key as the config holds it: never in clear.
type Key struct {
	// Name says whose key it is, for logs; unique.
	Name string `yaml:"name"`
	// SHA256 is the SHA-256 of the key, 64 hex digits. The key itself should be random, 128 bits or more.
	SHA256 string `yaml:"sha256"`
	// Scopes are what the key allows; at least one.
	Scopes []Scope `yaml:"scopes"`
}

// HashKey returns what Key.SHA256 has to be for a key.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// keyIndex finds keys by their hash. A lookup by the hash of what a client sent needs no constant-time compare: what its timing could
// tell is about a hash that the client cannot choose.
type keyIndex map[[sha256.Size]byte]*grant

type grant struct {
	name   string
	scopes map[Scope]bool
}

func indexKeys(keys []Key) (keyIndex, error) {
	index := make(keyIndex, len(keys))
	names := make(map[string]bool, len(keys))
	var errs []error
	for i, k := range keys {
		bad := func(field, format string, args ...any) {
			errs = append(errs, fmt.Errorf("keys[%d].%s: %s", i, field, fmt.Sprintf(format, args...)))
		}
		if k.Name == "" || len(k.Name) > 64 {
			bad("name", "must have 1 to 64 bytes")
		} else if names[k.Name] {
			bad("name", "%q is used twice", k.Name)
		}
		names[k.Name] = true
		var sum [sha256.Size]byte
		if n, err := hex.Decode(sum[:], []byte(k.SHA256[:min(len(k.SHA256), 2*sha256.Size)])); err != nil || n != sha256.Size ||
			len(k.SHA256) != 2*sha256.Size {
			bad("sha256", "must be the key's SHA-256, 64 hex digits")
			continue
		}
		if index[sum] != nil {
			bad("sha256", "is the same as the one of key %q", index[sum].name)
		}
		g := &grant{name: k.Name, scopes: make(map[Scope]bool, len(k.Scopes))}
		if len(k.Scopes) == 0 {
			bad("scopes", "is empty; want some of score, label, publish, admin")
		}
		for _, s := range k.Scopes {
			switch s {
			case ScopeScore, ScopeLabel, ScopePublish, ScopeAdmin:
				g.scopes[s] = true
			default:
				bad("scopes", "%q is not one of score, label, publish, admin", s)
			}
		}
		index[sum] = g
	}
	return index, errors.Join(errs...)
}

// guard decides whether a request may do what it asks for.
type guard struct {
	off  bool
	keys atomic.Pointer[keyIndex]
}

func (g *guard) set(keys []Key) error {
	index, err := indexKeys(keys)
	if err != nil {
		return err
	}
	g.keys.Store(&index)
	return nil
}

var (
	errUnauthorized = &decision.Error{Code: CodeUnauthorized, Field: "Authorization",
		Detail: `a known key is required: "Authorization: Bearer <key>"`}
	errForbidden = &decision.Error{Code: CodeForbidden, Field: "Authorization", Detail: "the key lacks the scope for this endpoint"}
)

// maxKeyBytes bounds what is hashed for a request that is not yet trusted.
const maxKeyBytes = 512

// check returns the name of the key, or why the request is refused.
func (g *guard) check(h http.Header, need Scope) (string, error) {
	if g.off {
		return "", nil
	}
	values := h["Authorization"]
	if len(values) != 1 {
		return "", errUnauthorized
	}
	scheme, key, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || key == "" || len(key) > maxKeyBytes {
		return "", errUnauthorized
	}
	var stack [maxKeyBytes]byte
	sum := sha256.Sum256(append(stack[:0], key...))
	grant := (*g.keys.Load())[sum]
	if grant == nil {
		return "", errUnauthorized
	}
	if !grant.scopes[need] {
		return grant.name, errForbidden
	}
	return grant.name, nil
}
