package decision

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The bounds of what a client may send.
const (
	// MaxIDBytes is the longest transaction, card, device and merchant id.
	MaxIDBytes = 128
	// MaxAttributes is the largest number of attributes.
	MaxAttributes = 32
	// MaxAttributeNameBytes and MaxAttributeValueBytes bound one attribute.
	MaxAttributeNameBytes  = 64
	MaxAttributeValueBytes = 256
)

// Validate holds a transaction from a client to its bounds, the timestamp to [now-horizon, now+skew]; now is in Unix
// milliseconds. The error is an *Error with the JSON name of the first field at fault: CodeTooOld and CodeTooNew for
// a timestamp when all else is right, CodeInvalid for the rest. It contains no card number and no id.
// A card id that looks like a card number (LooksLikeCardNumber), and any other id or attribute that a card network could have issued
// (IsCardNumber), is refused, because it would reach logs and streams.
// BaseAmount is not looked at: Rates.Convert bounds it.
func (t *Transaction) Validate(now int64, skew, horizon time.Duration) error {
	if err := validateID("transaction_id", t.ID); err != nil {
		return err
	}
	if err := validateCard(t.Card); err != nil {
		return err
	}
	if t.Device != "" {
		if err := validateID("device_id", t.Device); err != nil {
			return err
		}
	}
	if err := validateID("merchant_id", t.Merchant); err != nil {
		return err
	}
	if t.Amount < 0 || t.Amount > MaxAmount {
		return amountError(t.Amount)
	}
	if !isUpper(t.Currency, 3) {
		return invalid("currency", "want three upper-case letters (ISO 4217)")
	}
	if t.Country != "" && !isUpper(t.Country, 2) {
		return invalid("country", "want two upper-case letters (ISO 3166-1 alpha-2), or nothing")
	}
	if t.HasPosition {
		// Written so that NaN is refused too.
		if !(t.Lat >= -90 && t.Lat <= 90) {
			return invalid("lat", "want -90 to 90 degrees")
		}
		if !(t.Lon >= -180 && t.Lon <= 180) {
			return invalid("lon", "want -180 to 180 degrees")
		}
	}
	if t.MCC != "" && (len(t.MCC) != 4 || strings.Trim(t.MCC, "0123456789") != "") {
		return invalid("mcc", "want four digits (ISO 18245), or nothing")
	}
	if err := validateAttributes(t.Attributes); err != nil {
		return err
	}
	if t.At < now-horizon.Milliseconds() {
		return &Error{Code: CodeTooOld, Field: "timestamp", Detail: fmt.Sprintf("further back than %s", horizon)}
	}
	return validateSkew("timestamp", t.At, now, skew)
}

// Validate holds a label from a client to its bounds. KnownAt may lie any time back, because chargebacks arrive after months, and at
// most skew ahead of now (Unix milliseconds). The error is an *Error as for a transaction.
func (l *Label) Validate(now int64, skew time.Duration) error {
	if err := validateID("transaction_id", l.TransactionID); err != nil {
		return err
	}
	if err := validateCard(l.Card); err != nil {
		return err
	}
	if l.KnownAt <= 0 {
		return invalid("known_at", "required, after 1970-01-01T00:00:00Z")
	}
	return validateSkew("known_at", l.KnownAt, now, skew)
}

func validateSkew(field string, at, now int64, skew time.Duration) error {
	if at > now+skew.Milliseconds() {
		return &Error{Code: CodeTooNew, Field: field, Detail: fmt.Sprintf("further ahead than %s", skew)}
	}
	return nil
}

func validateID(field, id string) error {
	switch {
	case id == "":
		return invalid(field, "required")
	case len(id) > MaxIDBytes:
		return invalid(field, "%d bytes, at most %d are allowed", len(id), MaxIDBytes)
	case !printable(id):
		return invalid(field, "want printable UTF-8")
	case IsCardNumber(id):
		return invalid(field, "looks like a card number, which only card_number may hold")
	}
	return nil
}

func validateCard(id string) error {
	if err := validateID("card_id", id); err != nil {
		return err
	}
	if LooksLikeCardNumber(id) {
		return invalid("card_id", "looks like a card number: send it as card_number, which is hashed")
	}
	return nil
}

// validateAttributes expects them sorted by name, as a Transaction has them.
func validateAttributes(attributes []Attribute) error {
	if len(attributes) > MaxAttributes {
		return invalid("attributes", "%d, at most %d are allowed", len(attributes), MaxAttributes)
	}
	for i, a := range attributes {
		switch {
		case a.Name == "" || len(a.Name) > MaxAttributeNameBytes || !printable(a.Name):
			return invalid("attributes", "a name of %d bytes: want 1 to %d bytes of printable UTF-8", len(a.Name), MaxAttributeNameBytes)
		case IsCardNumber(a.Name):
			return invalid("attributes", "a name looks like a card number")
		case len(a.Value) > MaxAttributeValueBytes:
			return invalid("attributes", "%q: %d bytes, at most %d are allowed", a.Name, len(a.Value), MaxAttributeValueBytes)
		case !printable(a.Value):
			return invalid("attributes", "%q: want printable UTF-8", a.Name)
		case IsCardNumber(a.Value):
			return invalid("attributes", "%q looks like a card number", a.Name)
		case i > 0 && attributes[i-1].Name == a.Name:
			return invalid("attributes", "%q is given twice", a.Name)
		case i > 0 && attributes[i-1].Name > a.Name:
			return invalid("attributes", "%q is out of order: want them sorted by name", a.Name)
		}
	}
	return nil
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func invalid(field, format string, args ...any) error {
	return &Error{Code: CodeInvalid, Field: field, Detail: fmt.Sprintf(format, args...)}
}
