package decision

// Durability says how safe a decision was when it was answered.
type Durability string

const (
	// Committed: the decision is in the region's log, synced to disk.
	Committed Durability = "committed"
	// Pending: the log did not confirm in time; the record waits in a bounded queue and is lost if the process dies first.
	Pending Durability = "pending"
)

// Answer is a decision as it goes back to a client.
type Answer struct {
	Decision   *Decision
	Durability Durability
	// Replayed says that the decision was made for an earlier request with the same id and body.
	Replayed bool
	// Explanation is set when it was asked for, and the decision was made now.
	Explanation *Explanation
}

// Explanation shows what a decision was made from.
type Explanation struct {
	// Features are all features of the schema, in its order.
	Features []FeatureValue `json:"features"`
	// Contributions say what each input added to the model's margin (log-odds for a logistic model); the bias is last.
	Contributions []FeatureValue `json:"contributions,omitempty"`
}

// FeatureValue is a named value.
type FeatureValue struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}
