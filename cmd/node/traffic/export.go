package traffic

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"scoremesh/decision"
)

// Files are where Export writes, each a CSV with a heading.
type Files struct {
	// Transactions gets transaction_id, timestamp (RFC 3339, UTC, milliseconds), card_id, device_id, merchant_id, amount (minor
	// units of the currency), currency, country, lat, lon, mcc, channel (an attribute); in time order. What is absent is empty.
	Transactions io.Writer
	// Labels gets transaction_id, card_id, fraud ("true"), known_at (RFC 3339, UTC, milliseconds); in the order of known_at. What
	// has no label is genuine.
	Labels io.Writer
	// Patterns gets transaction_id, pattern of each fraud; in time order. It is the truth that no label tells.
	Patterns io.Writer
}

// Export writes the next n transactions and what becomes known of them. Retries are not written, and not counted.
func Export(g *Generator, n int, to Files) error {
	transactions, patterns := csv.NewWriter(to.Transactions), csv.NewWriter(to.Patterns)
	transactions.Write([]string{"transaction_id", "timestamp", "card_id", "device_id", "merchant_id", "amount", "currency", "country",
		"lat", "lon", "mcc", "channel"})
	patterns.Write([]string{"transaction_id", "pattern"})
	var labels []decision.Label
	for n > 0 {
		e := g.Next()
		if e.Retry {
			continue
		}
		n--
		transactions.Write(row(&e.Transaction))
		if e.Fraud {
			labels = append(labels, e.Label())
			patterns.Write([]string{e.Transaction.ID, e.Pattern})
		}
	}
	if err := finish(transactions); err != nil {
		return fmt.Errorf("write transactions: %w", err)
	}
	if err := finish(patterns); err != nil {
		return fmt.Errorf("write patterns: %w", err)
	}
	if err := writeLabels(csv.NewWriter(to.Labels), labels); err != nil {
		return fmt.Errorf("write labels: %w", err)
	}
	return nil
}

// Label is what will be known of a fraud; it means nothing for a genuine transaction.
func (e *Event) Label() decision.Label {
	return decision.Label{TransactionID: e.Transaction.ID, Card: e.Transaction.Card, Fraud: e.Fraud, KnownAt: e.KnownAt}
}

func writeLabels(w *csv.Writer, labels []decision.Label) error {
	slices.SortStableFunc(labels, func(a, b decision.Label) int { return cmp.Compare(a.KnownAt, b.KnownAt) })
	w.Write([]string{"transaction_id", "card_id", "fraud", "known_at"})
	for _, l := range labels {
		w.Write([]string{l.TransactionID, l.Card, strconv.FormatBool(l.Fraud), timestamp(l.KnownAt)})
	}
	return finish(w)
}

// finish flushes; the writer keeps the first error of all writes.
func finish(w *csv.Writer) error {
	w.Flush()
	return w.Error()
}

func row(t *decision.Transaction) []string {
	lat, lon := "", ""
	if t.HasPosition {
		lat, lon = strconv.FormatFloat(t.Lat, 'f', -1, 64), strconv.FormatFloat(t.Lon, 'f', -1, 64)
	}
	return []string{t.ID, timestamp(t.At), t.Card, t.Device, t.Merchant, strconv.FormatInt(t.Amount, 10), t.Currency, t.Country,
		lat, lon, t.MCC, t.Attribute("channel")}
}

func timestamp(at int64) string { return time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z") }
