package decision

import (
	"fmt"
	"time"
)

// Code names a refusal. Codes are part of the API: clients switch on them.
type Code string

// The refusals of a scored transaction and of the other commands of the region.
const (
	// CodeInvalid: a field is missing, malformed or out of bounds (400).
	CodeInvalid Code = "invalid"
	// CodeTooOld: the timestamp lies further back than the horizon (422).
	CodeTooOld Code = "timestamp_too_old"
	// CodeTooNew: the timestamp is further ahead than the allowed skew (422).
	CodeTooNew Code = "timestamp_too_new"
	// CodeCurrency: the currency has no rate to the base currency (422).
	CodeCurrency Code = "currency_without_rate"
	// CodeConflict: the id is known with another body (409).
	CodeConflict Code = "transaction_conflict"
	// CodeExpired: the id is known, but its decision is past the idempotency period (409).
	CodeExpired Code = "idempotency_expired"
	// CodeSaturated: the card has more transactions within the horizon than its timeline may hold (429).
	CodeSaturated Code = "card_saturated"
	// CodeOverloaded: a bounded queue is full; try again after RetryAfter (429).
	CodeOverloaded Code = "overloaded"
	// CodeNotReady: the region cannot serve now (503).
	CodeNotReady Code = "not_ready"
	// CodeDeadline: the deadline passed before there was an answer; whether it was decided is unknown, a retry tells (504).
	CodeDeadline Code = "deadline_exceeded"
	// CodeNotFound: there is nothing under that name (404).
	CodeNotFound Code = "not_found"
)

// Error is a refusal that a client can act on.
type Error struct {
	Code Code
	// Field is the input at fault, as a path ("amount", "transactions[3].currency"), or empty.
	Field string
	// Detail says what was wrong and what is allowed. It never contains a card number.
	Detail string
	// RetryAfter is when trying again makes sense; 0 when it does not or is not known.
	RetryAfter time.Duration
}

// Error returns "code: field: detail".
func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Detail)
	}
	return fmt.Sprintf("%s: %s: %s", e.Code, e.Field, e.Detail)
}

// Is matches another Error of the same code, so that errors.Is(err, &Error{Code: CodeConflict}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
