package decision

import (
	"fmt"
	"slices"
)

// Outcome is what the payment service is told to do.
type Outcome uint8

// The outcomes. Undecided is an attempt that is registered and has no outcome yet; it is never committed.
const (
	Undecided Outcome = iota
	Approve
	Decline
	StepUp
)

var outcomeNames = [...]string{"undecided", "approve", "decline", "step_up"}

// String returns the outcome's name on the wire: "approve", "decline", "step_up".
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// ParseOutcome is the inverse of Outcome.String for the three committed outcomes.
func ParseOutcome(s string) (Outcome, error) {
	if i := slices.Index(outcomeNames[1:], s); i >= 0 {
		return Outcome(i + 1), nil
	}
	return Undecided, fmt.Errorf("outcome %q: want one of approve, decline, step_up", s)
}

// Reason says why an outcome is not a plain approval.
type Reason struct {
	// Code is stable and for machines: "CARD_VELOCITY_5M".
	Code string `json:"code"`
	// Detail is for people: "7 in 5 minutes".
	Detail string `json:"detail,omitempty"`
}

// Versions names what made a decision, so that it can be explained later.
type Versions struct {
	Schema string `json:"schema"`
	Model  string `json:"model"`
	Policy string `json:"policy"`
}

// Decision is the outcome of one transaction, as it is committed to the log.
type Decision struct {
	Transaction Transaction
	Outcome     Outcome
	// Score is the model's probability of fraud, 0 to 1, or NaN when no model scored.
	Score float32
	// Reasons is empty for a plain approval.
	Reasons []Reason
	// Degraded names what was missing when the decision was made, sorted; see the Degraded constants.
	Degraded []string
	Versions Versions
	// DecidedAt is the deciding node's clock in Unix milliseconds. It orders duplicates, nothing else.
	DecidedAt int64
	// Digest is Transaction.Digest.
	Digest uint64
	// Node is the name of the deciding node.
	Node string
}

// Label is what became known of a transaction later: fraud (confirmed, charged back) or genuine.
type Label struct {
	TransactionID string
	Card          string
	Fraud         bool
	// KnownAt is when it became known, in Unix milliseconds. Of several labels the last one counts.
	KnownAt int64
}

// What may be missing from a decision's inputs. An answer lists the ones that applied (R7).
const (
	// DegradedOwnerUnreachable: the card's owner could not be asked; pending velocity may be missing.
	DegradedOwnerUnreachable = "owner_unreachable"
	// DegradedSpeedLayer: Redis did not answer within the read budget; defaults were used.
	DegradedSpeedLayer = "speed_layer_unavailable"
	// DegradedRebuilding: the shard of an entity is being rebuilt; its features may be incomplete.
	DegradedRebuilding = "rebuilding"
	// DegradedIdempotency: the card's shard is being rebuilt and cannot tell whether the id is known (R4).
	DegradedIdempotency = "idempotency_unknown"
	// DegradedStale: the features of an entity are older than the freshness bound.
	DegradedStale = "features_stale"
	// DegradedModel: the model was missing, late or failed; the policy's fallback decided.
	DegradedModel = "model_unavailable"
	// DegradedPolicy: a policy rule failed to evaluate and was treated as the policy's on_error says.
	DegradedPolicy = "policy_rule_failed"
	// DegradedLog: the log could not confirm in time; the answer's durability is "pending".
	DegradedLog = "log_unavailable"
)
