package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"scoremesh/decision"
	"scoremesh/feature"
)

// Bounds of what a log holds. Ids and names are bounded by feature.MaxIDBytes, the records of a batch by feature.MaxBatch.
const (
	// MaxBatchBytes bounds an encoded batch.
	MaxBatchBytes = 8 << 20
	// MaxBatchIDBytes bounds the id of a batch.
	MaxBatchIDBytes = 64
	// MaxRecordBytes bounds an encoded record.
	MaxRecordBytes = 128 << 10
	// MaxTextBytes bounds the value of an attribute and the detail of a reason.
	MaxTextBytes = 1024
	// MaxAttributes bounds the attributes of a transaction.
	MaxAttributes = 64
	// MaxReasons bounds the reasons, and the degradations, of a decision.
	MaxReasons = 64
	// MaxValues bounds the values of a feature row.
	MaxValues = 512
)

var (
	// ErrMalformed is returned for bytes that are not a batch.
	ErrMalformed = errors.New("malformed batch")
	// ErrBounds is returned for a record or a batch that exceeds a bound, or has a value that no record may have.
	ErrBounds = errors.New("out of bounds")
)

func outOfBounds(field string) error { return fmt.Errorf("%s: %w", field, ErrBounds) }

// names holds ids and names to feature.MaxIDBytes and to UTF-8.
func names(field string, values ...string) error {
	for _, s := range values {
		if len(s) > feature.MaxIDBytes || !utf8.ValidString(s) {
			return outOfBounds(field)
		}
	}
	return nil
}

func text(field, s string) error {
	if len(s) > MaxTextBytes || !utf8.ValidString(s) {
		return outOfBounds(field)
	}
	return nil
}

func outcome(field string, o decision.Outcome) error {
	if o < decision.Approve || o > decision.StepUp {
		return outOfBounds(field)
	}
	return nil
}

// check holds a record to the bounds. A record with no field set passes: it is one of a kind that is not known here.
func check(r *feature.Record) error {
	switch {
	case r.Decision != nil:
		return checkDecision(r.Decision)
	case r.Label != nil:
		return names("label", r.Label.TransactionID, r.Label.Card)
	case r.Row != nil:
		return checkRow(r.Row)
	case r.Retraction != nil:
		return checkRetraction(r.Retraction)
	case r.Posting != nil:
		return checkPosting(r.Posting)
	case r.Beacon != nil:
		return names("beacon.node", r.Beacon.Node)
	}
	return nil
}

func checkDecision(d *decision.Decision) error {
	if err := checkTransaction(&d.Transaction); err != nil {
		return err
	}
	if err := outcome("decision.outcome", d.Outcome); err != nil {
		return err
	}
	if len(d.Reasons) > MaxReasons {
		return outOfBounds("decision.reasons")
	}
	for i := range d.Reasons {
		if err := names("decision.reasons.code", d.Reasons[i].Code); err != nil {
			return err
		}
		if err := text("decision.reasons.detail", d.Reasons[i].Detail); err != nil {
			return err
		}
	}
	if len(d.Degraded) > MaxReasons {
		return outOfBounds("decision.degraded")
	}
	if err := names("decision.degraded", d.Degraded...); err != nil {
		return err
	}
	if err := names("decision.versions", d.Versions.Schema, d.Versions.Model, d.Versions.Policy); err != nil {
		return err
	}
	return names("decision.node", d.Node)
}

func checkTransaction(t *decision.Transaction) error {
	if err := names("transaction.ids", t.ID, t.Card, t.Device, t.Merchant); err != nil {
		return err
	}
	if err := names("transaction.codes", t.Currency, t.Country, t.MCC); err != nil {
		return err
	}
	if len(t.Attributes) > MaxAttributes {
		return outOfBounds("transaction.attributes")
	}
	for i := range t.Attributes {
		if err := names("transaction.attributes.name", t.Attributes[i].Name); err != nil {
			return err
		}
		if err := text("transaction.attributes.value", t.Attributes[i].Value); err != nil {
			return err
		}
	}
	return nil
}

func checkRow(r *feature.Row) error {
	if r.Kind > feature.Merchant {
		return outOfBounds("row.kind")
	}
	if len(r.Values) > MaxValues {
		return outOfBounds("row.values")
	}
	for i := range r.Values {
		if err := names("row.values.name", r.Values[i].Name); err != nil {
			return err
		}
	}
	return names("row.id", r.ID)
}

func checkRetraction(r *feature.Retraction) error {
	if err := checkPosition("retraction.loser", r.Loser); err != nil {
		return err
	}
	if err := checkPosition("retraction.winner", r.Winner); err != nil {
		return err
	}
	if err := outcome("retraction.winner_outcome", r.WinnerOutcome); err != nil {
		return err
	}
	return checkFacts(&r.Facts)
}

func checkPosting(p *feature.Posting) error {
	if err := checkPosition("posting.label", p.Label); err != nil {
		return err
	}
	if err := checkPosition("posting.decision", p.Decision); err != nil {
		return err
	}
	if p.Sign != 1 && p.Sign != -1 {
		return outOfBounds("posting.sign")
	}
	return checkFacts(&p.Facts)
}

func checkFacts(f *feature.Facts) error {
	if err := outcome("facts.outcome", f.Outcome); err != nil {
		return err
	}
	return names("facts.ids", f.Card, f.Device, f.Merchant)
}

func checkPosition(field string, p feature.Position) error {
	if p.Origin.Region == "" || p.Origin.Epoch == 0 || p.Mark.Seq() == 0 || p.Mark.Index() >= feature.MaxBatch {
		return outOfBounds(field)
	}
	return names(field, p.Origin.Region)
}
