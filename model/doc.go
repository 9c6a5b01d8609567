// Package model scores transactions with a gradient-boosted tree ensemble.
//
// It owns the manifest that names a model and its inputs, the reading of XGBoost's own `save_model` JSON, the evaluation of
// the trees, and the exact contribution of every input to a score (TreeSHAP).
//
//	m, err := model.Load("models/fraud.yaml")  // read, checked, immutable
//	b, err := m.Bind(schema.FeatureNames())    // refused when the schema lacks an input
//	p := b.Predict(vector)                     // no allocation, safe for concurrent use
//	why, _ := b.Explain(why[:0], vector)       // off the fast path: about a hundred times the cost of Predict
//	top = model.Top(top[:0], why, 3)
//
// # Promises
//
// A margin is the one that Python's Booster.predict gives for the same file and the same float32 features, to the bit (tested against
// XGBoost 1.7.4), and a score differs from it by no more than float32's rounding: comparisons are a strict less-than on float32,
// missing values (NaN) follow the learned default direction, and leaves are added in tree order in float32 onto the base score. All
// trees count: as with Booster.predict, a best_iteration that early stopping left in the file is not applied (slice the booster
// before saving it, if that is wanted).
//
// Whatever the file says, loading it ends with an error or with a model whose evaluation needs no check and always ends: every index,
// threshold, leaf and cover is checked once, and sizes are bounded (see the Max constants).
//
// # Never
//
// It never guesses: unknown manifest keys, unsupported objectives, boosters and categorical splits are refused, and the error says where.
// It never calls out, logs, reads a clock or starts a goroutine; Load alone touches the file system and the environment.
package model
