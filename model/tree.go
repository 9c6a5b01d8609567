package model

import (
	"fmt"
	"math"
)

// node is one node of a tree as it is evaluated, 16 bytes, four to a cache line. Siblings are neighbours.
type node struct {
	// cond is the threshold: a value below it goes left, any other right. A leaf's is +Inf.
	// Invariant: finite in a split, so that the -Inf that stands for "missing goes left" is always below it.
	cond float32
	// slot is the place in the row (see ensemble) of the value that is compared: 2f for feature f when a missing value goes right,
	// 2f+1 when it goes left, and the slot that is always 0 for a leaf.
	slot uint32
	// left is the index of the left child; the right one is left+1. A leaf's is its own, so that a walk stays there.
	left uint32
	// value is a leaf's value, 0 in a split.
	value float32
}

// tree is where one tree lies in the ensemble's nodes.
type tree struct {
	root  uint32
	depth uint32
}

// deletedFeature is the split index by which XGBoost marks a node that pruning has cut off. Such nodes stay in the file.
const deletedFeature = math.MaxInt32

// rawTree is one tree as the file states it: parallel arrays over the file's node numbers, 0 the root.
type rawTree struct {
	nodes, deleted, leafVector int

	left, right, feature, kind []int32
	cond, cover                []float32
	defaultLeft                []bool
	categories                 []int32
}

// queued is a node that has been given its place and whose children are still to come.
type queued struct {
	raw   int32
	at    uint32
	depth uint32
}

// check holds the arrays to one length and refuses what this package does not evaluate.
func (t *rawTree) check() error {
	if t.nodes == 0 {
		return fmt.Errorf("num_nodes: want at least 1, got 0")
	}
	if t.leafVector > 1 {
		return fmt.Errorf("size_leaf_vector: leaves of %d values (several outputs) are not supported", t.leafVector)
	}
	for _, a := range []struct {
		name string
		len  int
	}{
		{"left_children", len(t.left)},
		{"right_children", len(t.right)},
		{"split_indices", len(t.feature)},
		{"split_conditions", len(t.cond)},
		{"default_left", len(t.defaultLeft)},
		{"sum_hessian", len(t.cover)},
	} {
		if a.len != t.nodes {
			return fmt.Errorf("%s: %d elements, num_nodes says %d", a.name, a.len, t.nodes)
		}
	}
	if len(t.kind) != 0 && len(t.kind) != t.nodes {
		return fmt.Errorf("split_type: %d elements, num_nodes says %d", len(t.kind), t.nodes)
	}
	for i, kind := range t.kind {
		if kind != 0 {
			return fmt.Errorf("split_type: node %d: categorical splits are not supported", i)
		}
	}
	if len(t.categories) != 0 {
		return fmt.Errorf("categories_nodes: categorical splits are not supported")
	}
	return nil
}

// addTree checks t and lays it out behind e's nodes, level by level: the top levels, which every row walks, share cache lines.
// queue is scratch.
func (e *ensemble) addTree(t *rawTree, queue []queued) ([]queued, error) {
	if err := t.check(); err != nil {
		return queue, err
	}
	root := uint32(len(e.nodes))
	e.nodes = append(e.nodes, node{})
	e.share = append(e.share, 1)
	queue = append(queue[:0], queued{raw: 0, at: root})
	placed := make([]bool, t.nodes)
	placed[0] = true
	var depth uint32
	for head := 0; head < len(queue); head++ {
		q := queue[head]
		depth = max(depth, q.depth)
		if depth > MaxDepth {
			return queue, fmt.Errorf("deeper than %d", MaxDepth)
		}
		l, r := t.left[q.raw], t.right[q.raw]
		if l == -1 && r == -1 {
			e.nodes[q.at] = e.leaf(q.at, t.cond[q.raw])
			continue
		}
		n, share, err := e.split(t, q.raw)
		if err != nil {
			return queue, err
		}
		n.left = uint32(len(e.nodes))
		e.nodes[q.at] = n
		e.nodes = append(e.nodes, node{}, node{})
		e.share = append(e.share, share, 1-share)
		for i, child := range [2]int32{l, r} {
			// A node that is reached twice would make a loop, or a tree that grows exponentially.
			if placed[child] {
				return queue, fmt.Errorf("node %d: child %d has another parent already", q.raw, child)
			}
			placed[child] = true
			queue = append(queue, queued{raw: child, at: n.left + uint32(i), depth: q.depth + 1})
		}
	}
	for i, ok := range placed {
		if !ok && t.feature[i] != deletedFeature {
			return queue, fmt.Errorf("node %d: not reached from the root", i)
		}
	}
	if cut := t.nodes - len(queue); cut != t.deleted {
		return queue, fmt.Errorf("num_deleted: %d nodes are not reached from the root, num_deleted says %d", cut, t.deleted)
	}
	e.trees = append(e.trees, tree{root: root, depth: depth})
	return queue, nil
}

// leaf is a leaf at place at. It compares the row's constant 0 with +Inf: "left", which is itself.
func (e *ensemble) leaf(at uint32, value float32) node {
	return node{cond: float32(math.Inf(1)), slot: uint32(2 * e.features), left: at, value: value}
}

// split is the split at the file's node i, without its children's place, and the left child's share of the cover.
func (e *ensemble) split(t *rawTree, i int32) (node, float64, error) {
	for _, child := range [2]int32{t.left[i], t.right[i]} {
		if child < 1 || int(child) >= t.nodes {
			return node{}, 0, fmt.Errorf("node %d: child %d, want 1 to %d", i, child, t.nodes-1)
		}
	}
	if f := t.feature[i]; f < 0 || int(f) >= e.features {
		return node{}, 0, fmt.Errorf("node %d: split on feature %d of %d", i, f, e.features)
	}
	left, right := t.cover[t.left[i]], t.cover[t.right[i]]
	sum := float64(left) + float64(right)
	// Without cover the weight of either side, and so every contribution, would be undefined.
	if left < 0 || right < 0 || sum == 0 {
		return node{}, 0, fmt.Errorf("node %d: sum_hessian of its children is %g and %g, want none negative and not both 0", i, left, right)
	}
	n := node{cond: t.cond[i], slot: uint32(2 * t.feature[i])}
	if t.defaultLeft[i] {
		n.slot++
	}
	return n, float64(left) / sum, nil
}
