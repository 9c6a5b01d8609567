package region

import (
	"errors"
	"fmt"
)

// CheckSecrets reads every certificate, credentials file and secret that the configuration names for NATS and Redis, without
// connecting. Its errors name the keys, and no secret.
func (c *Config) CheckSecrets() error {
	n := c.connection()
	errs := []error{n.Check()}
	if err := c.Redis.Check(); err != nil {
		errs = append(errs, fmt.Errorf("redis: %w", err))
	}
	return errors.Join(errs...)
}
