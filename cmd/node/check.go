package main

import (
	"fmt"
	"os"

	"scoremesh/decision"
	"scoremesh/region"
)

// checkCommand checks a configuration without starting anything.
type checkCommand struct {
	File string `arg:"" help:"The configuration file."`
}

// Run reads the configuration, the rules that it names, and the secrets.
func (c *checkCommand) Run(t *terminal) error {
	config, err := LoadConfig(c.File, os.LookupEnv)
	if err != nil {
		return err
	}
	rules, err := region.LoadRuleset(config.Rules)
	if err != nil {
		return err
	}
	if _, err := decision.NewRates(rules.Schema().Currency(), config.Rates); err != nil {
		return fmt.Errorf("rates: %w", err)
	}
	if err := config.CheckSecrets(); err != nil {
		return err
	}
	hasher, err := config.cardHasher(os.LookupEnv)
	if err != nil {
		return err
	}
	cards := "refused: no key in " + config.CardKey.Env
	if hasher != nil {
		cards = "hashed by key " + hasher.KeyID()
	}
	v := rules.Versions()
	_, err = fmt.Fprintf(t.stdout, "%s is good\n  schema  %s, %d features, horizon %s\n  model   %s\n  policy  %s\n  card numbers %s\n",
		c.File, v.Schema, rules.Schema().Len(), rules.Schema().Horizon(), v.Model, v.Policy, cards)
	return err
}
