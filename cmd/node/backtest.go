package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"scoremesh/region"
	"scoremesh/region/backtest"
)

// backtestCommand replays history from files.
type backtestCommand struct {
	Schema       string            `required:"" placeholder:"FILE" help:"The feature schema."`
	Model        string            `placeholder:"MANIFEST" help:"The model's manifest. Without one the policy's fallback decides."`
	Policy       string            `required:"" placeholder:"FILE" help:"The policy."`
	Transactions string            `required:"" placeholder:"FILE" help:"Transactions in time order: .csv or .ndjson, with or without .gz."`
	Labels       string            `placeholder:"FILE" help:"Labels in the order of known_at, in the same formats."`
	Out          string            `required:"" placeholder:"FILE" help:"The CSV to write: transaction_id, every feature, score, outcome."`
	Rate         map[string]string `placeholder:"CUR=RATE" help:"Units of the schema's currency per unit of another one, such as USD=0.92; may be repeated."`
}

// Run prints progress on standard error and the report, as JSON, on standard output.
func (c *backtestCommand) Run(ctx context.Context, t *terminal) error {
	began := time.Now()
	report, err := backtest.Run(ctx, backtest.Config{
		Rules:        region.RulesetFiles{Schema: c.Schema, Model: c.Model, Policy: c.Policy},
		Transactions: c.Transactions, Labels: c.Labels, Out: c.Out, Rates: c.Rate,
		Progress: func(done int64, at time.Time) {
			fmt.Fprintf(t.stderr, "%d transactions, at %s, %.0f/s\n", done, at.Format(time.DateTime), float64(done)/time.Since(began).Seconds())
		},
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	_, err = fmt.Fprintf(t.stdout, "%s\n", text)
	return err
}
