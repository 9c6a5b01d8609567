package transport

import (
	"fmt"
	"os"
	"strings"
)

// Secret says where a secret is; the configuration never holds the secret itself. The zero Secret is none.
type Secret struct {
	// Env names an environment variable.
	Env string
	// File names a file; white space around its content is dropped. File wins over Env.
	File string
}

// IsZero says that no secret is configured.
func (s Secret) IsZero() bool { return s == Secret{} }

// Read returns the secret. A configured secret that is missing or empty is an error.
func (s Secret) Read() (string, error) {
	switch {
	case s.File != "":
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		if v := strings.TrimSpace(string(b)); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("read secret %s: empty", s.File)
	case s.Env != "":
		if v := os.Getenv(s.Env); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("read secret: environment variable %s is not set", s.Env)
	}
	return "", nil
}
