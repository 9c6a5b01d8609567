// Package decision holds the words that every other package speaks: the transaction, the decision, its outcome,
// reasons, labels and degradations; the money rules (minor units, one base currency); and the policy that turns
// features and a score into an outcome.
//
// A policy is a YAML file with CEL rules (https://cel.dev). ParsePolicy reads it, Bind compiles it for the features of a schema, and
// Decide applies it:
//
//	name: default
//	version: 12                                   # decisions name it as default@12
//	thresholds: {step_up: 0.3, decline: 0.8}      # on the score; either may be left out
//	rules:                                        # the first one that matches decides
//	  - name: card-velocity
//	    when: features.card_count_5m > 6 && transaction.amount > 20.0
//	    outcome: step_up                          # approve, decline, step_up
//	    reason: {code: CARD_VELOCITY_5M, detail: "${int(features.card_count_5m)} in 5 minutes"}
//	fallback:                                     # instead of the thresholds when no model scored; required beside them
//	  rules: []                                   # more rules, tried after the ones above
//	  outcome: step_up                            # when none of them matched
//	  reason: {code: MODEL_UNAVAILABLE}           # may be left out
//	on_error: skip                                # a rule that cannot be evaluated: skip it, or an outcome
//
// Expressions read:
//
//	transaction.id, .card, .device, .merchant     string; device is "" when there is none
//	transaction.amount                            double, major units of the base currency
//	transaction.amount_minor                      int, minor units of the base currency
//	transaction.currency, .country, .mcc          string, as the client sent them; "" when absent
//	transaction.hour, .weekday                    int, UTC; 0 is Monday
//	transaction.attributes.<name>                 string, "" when absent; has(transaction.attributes.<name>) tells
//	features.<name> or features["<name>"]         double
//	score                                         double as answers show it; has_score (bool) says whether there is one
//	degraded                                      list of string: what was missing, see the Degraded constants
//	mesh.staleness                                map of region to seconds (double); ask `"eu-west" in mesh.staleness` first
//
// A rule that comes to need a score when there is none does not match. A feature that is NaN exceeds nothing: each comparison with
// it is false. Numbers of different types compare (features.x > 6), but do
// not mix in arithmetic or == (write 6.0). Policies come from outside, so their size, nesting and worst-case cost are bounded
// when they are loaded.
//
// It is pure: no clock, no I/O, no goroutine, no logging. Times are arguments.
package decision
