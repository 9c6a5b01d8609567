package transport

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// authentication returns what this client shows a server, and what it wants of it. Every file and secret is read now, so that a wrong one
// is an error that names its key, and again for each connection, so that it can be rotated.
func (c *ConnConfig) authentication(logger zerolog.Logger) ([]nats.Option, error) {
	var options []nats.Option
	// probe takes the options on trial. They read their files; those that read only when they connect are called.
	var probe nats.Options
	try := func(key string, o nats.Option, use func() error) error {
		options = append(options, o)
		err := o(&probe)
		if err == nil && use != nil {
			err = use()
		}
		if err != nil {
			return fmt.Errorf("nats.%s: %w", key, err)
		}
		return nil
	}
	var errs []error
	if c.CAFile != "" {
		errs = append(errs, try("ca_file", nats.RootCAs(c.CAFile), nil))
	}
	if c.CertFile != "" {
		errs = append(errs, try("cert_file", nats.ClientCert(c.CertFile, c.KeyFile), nil))
	}
	if c.CredsFile != "" {
		errs = append(errs, try("creds_file", nats.UserCredentials(c.CredsFile), func() error {
			if _, err := probe.UserJWT(); err != nil {
				return err
			}
			_, err := probe.SignatureCB([]byte("a nonce"))
			return err
		}))
	}
	if !c.Token.IsZero() {
		token := &rotating{secret: c.Token, log: logger}
		errs = append(errs, try("token", nats.TokenHandler(token.read), token.load))
	}
	if c.User != "" {
		password := &rotating{secret: c.Password, log: logger}
		errs = append(errs, try("password", nats.UserInfoHandler(func() (string, string) { return c.User, password.read() }), password.load))
	}
	return options, errors.Join(errs...)
}

// rotating is a secret that is read for each connection.
type rotating struct {
	secret Secret
	log    zerolog.Logger

	mu struct {
		sync.Mutex
		last string
	}
}

func (r *rotating) load() error {
	text, err := r.secret.Read()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.last = text
	return nil
}

// read returns the secret as it is now; while it cannot be read, as it was.
func (r *rotating) read() string {
	if err := r.load(); err != nil {
		r.log.Warn().Err(err).Msg("nats secret cannot be read again, the last one is used")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.last
}

// refused says that a server was reached and does not let this client in, or is not the one that it should be. That lasts until somebody
// changes something.
func refused(err error) bool {
	return isAuthError(err) || errors.Is(err, nats.ErrTLS) || errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) ||
		strings.Contains(err.Error(), remoteTLS)
}

// remoteTLS begins what crypto/tls says of an alert from the other side.
const remoteTLS = "remote error: tls: "

func isAuthError(err error) bool {
	for _, known := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// hint says which keys of the configuration a refusal is about; empty for other errors. It never repeats a secret.
func (c *ConnConfig) hint(err error) string {
	text := err.Error()
	switch {
	case isAuthError(err):
		return ": the server refuses " + c.identity()
	case strings.Contains(text, remoteTLS), strings.Contains(text, "after TLS handshake"):
		if c.CertFile == "" {
			return ": the server may want a client certificate, and nats.cert_file is not set"
		}
		return ": the server refuses the client certificate of nats.cert_file"
	case strings.Contains(text, "x509: "):
		if c.CAFile == "" {
			return ": the server's certificate, held against the system's roots because nats.ca_file is not set"
		}
		return ": the server's certificate, held against nats.ca_file"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return ": the server has no TLS, and nats.ca_file, nats.cert_file or a tls:// URL wants it"
	}
	return ""
}

// identity names the keys of what this client authenticates with.
func (c *ConnConfig) identity() string {
	from := func(key string, s Secret) string {
		if s.File != "" {
			return fmt.Sprintf("nats.%s_file (%s)", key, s.File)
		}
		return fmt.Sprintf("nats.%s_env (%s)", key, s.Env)
	}
	switch {
	case c.CredsFile != "":
		return fmt.Sprintf("the credentials of nats.creds_file (%s)", c.CredsFile)
	case !c.Token.IsZero():
		return "the token of " + from("token", c.Token)
	case c.User != "":
		return fmt.Sprintf("nats.user %q with the password of %s", c.User, from("password", c.Password))
	case c.CertFile != "":
		return "a client with the certificate of nats.cert_file and no other credentials"
	}
	return "a client without credentials"
}
