package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds on a model file. They are well beyond what scores a payment in time, and keep a hostile file from costing more.
const (
	// MaxFileBytes bounds the model file.
	MaxFileBytes = 64 << 20
	// MaxInputs bounds the number of inputs.
	MaxInputs = 512
	// MaxTrees bounds the number of trees.
	MaxTrees = 10_000
	// MaxNodes bounds the number of nodes in all trees together.
	MaxNodes = 4 << 20
	// MaxDepth bounds the number of splits from a root to a leaf.
	MaxDepth = 128
)

// header is what the file says about the ensemble as a whole.
type header struct {
	booster, objective string
	baseScore          string
	featureNames       []string
	features           int
	classes, targets   int
}

// parseXGBoost reads the JSON that XGBoost's save_model writes (1.x to 3.x; the schema is part of XGBoost's documentation, under
// "Introduction to Model IO"). The header is read first, in a pass of its own, because it stands behind the trees that it explains.
func parseXGBoost(text []byte) (*ensemble, error) {
	if len(text) > MaxFileBytes {
		return nil, fmt.Errorf("more than %d bytes", MaxFileBytes)
	}
	h, err := readHeader(newJSONReader(text))
	if err != nil {
		return nil, err
	}
	e, err := h.ensemble()
	if err != nil {
		return nil, err
	}
	if err := readTrees(newJSONReader(text), e); err != nil {
		return nil, err
	}
	if err := e.finish(); err != nil {
		return nil, err
	}
	return e, nil
}

func readHeader(r *jsonReader) (header, error) {
	h := header{targets: 1}
	into := func(dst *string, read func() (string, error)) func() error {
		return func() (err error) { *dst, err = read(); return err }
	}
	count := func(dst *int) func() error {
		return func() (err error) { *dst, err = r.count(1 << 30); return err }
	}
	err := r.object(jsonField{name: "learner", read: func() error {
		return r.object(
			jsonField{name: "gradient_booster", read: func() error {
				return r.object(jsonField{name: "name", read: into(&h.booster, r.str)})
			}},
			jsonField{name: "objective", read: func() error {
				return r.object(jsonField{name: "name", read: into(&h.objective, r.str)})
			}},
			jsonField{name: "learner_model_param", read: func() error {
				return r.object(
					jsonField{name: "base_score", read: into(&h.baseScore, r.number)},
					jsonField{name: "num_feature", read: count(&h.features)},
					jsonField{name: "num_class", optional: true, read: count(&h.classes)},
					jsonField{name: "num_target", optional: true, read: count(&h.targets)},
				)
			}},
			jsonField{name: "feature_names", optional: true, read: func() error {
				return r.array(func(i int) error {
					if i == MaxInputs {
						return fmt.Errorf("more than %d features", MaxInputs)
					}
					name, err := r.str()
					h.featureNames = append(h.featureNames, name)
					return err
				})
			}},
		)
	}})
	if err != nil {
		return header{}, err
	}
	return h, r.end()
}

// ensemble is the empty ensemble that h describes, or why it is none that this package evaluates.
func (h *header) ensemble() (*ensemble, error) {
	if h.booster != "gbtree" {
		return nil, fmt.Errorf("learner: gradient_booster: name: booster %s is not supported, want gbtree", clip(h.booster))
	}
	link, ok := objectives[h.objective]
	if !ok {
		return nil, fmt.Errorf("learner: objective: name: objective %s is not supported", clip(h.objective))
	}
	if h.classes > 1 {
		return nil, fmt.Errorf("learner: learner_model_param: num_class: %d classes are not supported", h.classes)
	}
	if h.targets > 1 {
		return nil, fmt.Errorf("learner: learner_model_param: num_target: %d targets are not supported", h.targets)
	}
	if h.features < 1 || h.features > MaxInputs {
		return nil, fmt.Errorf("learner: learner_model_param: num_feature: want 1 to %d, got %d", MaxInputs, h.features)
	}
	if n := len(h.featureNames); n != 0 && n != h.features {
		return nil, fmt.Errorf("learner: feature_names: %d names, num_feature says %d", n, h.features)
	}
	base, err := parseBaseScore(h.baseScore)
	if err == nil {
		base, err = link.margin(base)
	}
	if err != nil {
		return nil, fmt.Errorf("learner: learner_model_param: base_score: %w", err)
	}
	return &ensemble{link: link, objective: h.objective, base: base, features: h.features, featureNames: h.featureNames}, nil
}

// parseBaseScore reads "5E-1", or, since XGBoost 3.1, "[5E-1]".
func parseBaseScore(text string) (float32, error) {
	inner, isList := strings.CutPrefix(text, "[")
	if isList {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return 0, fmt.Errorf("want one number, got %s", clip(text))
		}
		inner = strings.TrimSpace(inner)
	}
	v, err := strconv.ParseFloat(inner, 32)
	// ParseFloat reads words for infinity and not-a-number, too; v-v is not 0 for either.
	if err != nil || v-v != 0 {
		return 0, fmt.Errorf("want one finite number, got %s", clip(text))
	}
	return float32(v), nil
}

// readTrees reads the trees into e.
func readTrees(r *jsonReader, e *ensemble) error {
	var (
		count = -1
		raw   rawTree
		queue []queued
		info  []int32
	)
	model := func() error {
		return r.object(
			jsonField{name: "gbtree_model_param", read: func() error {
				return r.object(jsonField{name: "num_trees", read: func() (err error) { count, err = r.count(MaxTrees); return err }})
			}},
			jsonField{name: "tree_info", read: func() (err error) {
				info, err = r.ints(info, MaxTrees)
				return err
			}},
			jsonField{name: "trees", read: func() error {
				return r.array(func(i int) error {
					if i == MaxTrees {
						return fmt.Errorf("more than %d trees", MaxTrees)
					}
					if err := raw.read(r, i, MaxNodes-len(e.nodes)); err != nil {
						return err
					}
					var err error
					queue, err = e.addTree(&raw, queue)
					return err
				})
			}},
		)
	}
	err := r.object(jsonField{name: "learner", read: func() error {
		return r.object(jsonField{name: "gradient_booster", read: func() error {
			return r.object(jsonField{name: "model", read: model})
		}})
	}})
	if err != nil {
		return err
	}
	const where = "learner: gradient_booster: model"
	if len(e.trees) != count {
		return fmt.Errorf("%s: trees: %d trees, num_trees says %d", where, len(e.trees), count)
	}
	if len(info) != count {
		return fmt.Errorf("%s: tree_info: %d elements, num_trees says %d", where, len(info), count)
	}
	for i, group := range info {
		if group != 0 {
			return fmt.Errorf("%s: tree_info: tree %d belongs to output %d, several outputs are not supported", where, i, group)
		}
	}
	return nil
}

// read reads the tree that stands at place i into t, reusing t's arrays. most bounds its nodes.
func (t *rawTree) read(r *jsonReader, i, most int) error {
	t.deleted, t.leafVector = 0, 0
	t.kind, t.categories = t.kind[:0], t.categories[:0]
	count := func(dst *int, most int) func() error {
		return func() (err error) { *dst, err = r.count(most); return err }
	}
	ints := func(dst *[]int32) func() error {
		return func() (err error) { *dst, err = r.ints(*dst, most); return err }
	}
	floats := func(dst *[]float32) func() error {
		return func() (err error) { *dst, err = r.floats(*dst, most); return err }
	}
	id := i
	err := r.object(
		jsonField{name: "id", optional: true, read: count(&id, MaxTrees)},
		jsonField{name: "tree_param", read: func() error {
			return r.object(
				jsonField{name: "num_nodes", read: count(&t.nodes, most)},
				jsonField{name: "num_deleted", optional: true, read: count(&t.deleted, most)},
				jsonField{name: "size_leaf_vector", optional: true, read: count(&t.leafVector, 1<<30)},
			)
		}},
		jsonField{name: "left_children", read: ints(&t.left)},
		jsonField{name: "right_children", read: ints(&t.right)},
		jsonField{name: "split_indices", read: ints(&t.feature)},
		jsonField{name: "split_conditions", read: floats(&t.cond)},
		jsonField{name: "sum_hessian", read: floats(&t.cover)},
		jsonField{name: "default_left", read: func() (err error) { t.defaultLeft, err = r.flags(t.defaultLeft, most); return err }},
		jsonField{name: "split_type", optional: true, read: ints(&t.kind)},
		jsonField{name: "categories_nodes", optional: true, read: ints(&t.categories)},
	)
	if err == nil && id != i {
		// XGBoost places trees by id; ours is the order of the file, which XGBoost writes sorted.
		err = fmt.Errorf("id: want %d, got %d", i, id)
	}
	return err
}
