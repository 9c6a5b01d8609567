package model

import (
	"fmt"
	"math"
	"sync"
)

// ensemble is a checked tree ensemble. It is immutable after finish.
//
// It is evaluated over a row: two float32 a feature and one constant,
//
//	row[2f]   the feature's value, NaN when missing: no number is below NaN, so a missing value goes right
//	row[2f+1] the same, but -Inf when missing: below every threshold, so a missing value goes left
//	row[2n]   0
//
// so that a step of a walk is one comparison for splits of either default direction, and for leaves, and needs no branch.
type ensemble struct {
	nodes []node
	trees []tree
	// share is, for each node, the part of its parent's cover that went to it in training. Siblings' shares add up to 1.
	share []float64

	link      link
	objective string
	// base is the margin without any tree.
	base     float32
	features int
	// featureNames are the names in the file, or empty.
	featureNames []string

	// bias is the expected margin: base and every tree's mean over its cover.
	bias float64
	// explainers holds *explainer.
	explainers sync.Pool
}

// finish derives what depends on all trees, and refuses leaves whose sum could leave float32.
func (e *ensemble) finish() error {
	mean := make([]float64, len(e.nodes))
	most := make([]float64, len(e.nodes))
	// Children lie behind their parents, so that backwards every mean is there when its parent needs it.
	for i := len(e.nodes) - 1; i >= 0; i-- {
		n := &e.nodes[i]
		mean[i], most[i] = float64(n.value), math.Abs(float64(n.value))
		if !n.isLeaf(uint32(i)) {
			mean[i] = mean[n.left]*e.share[n.left] + mean[n.left+1]*e.share[n.left+1]
			most[i] = max(most[n.left], most[n.left+1])
		}
	}
	var depth uint32
	e.bias = float64(e.base)
	reach := math.Abs(e.bias)
	for _, t := range e.trees {
		depth = max(depth, t.depth)
		e.bias += mean[t.root]
		reach += most[t.root]
	}
	// A contribution is at most twice the reach.
	if reach > math.MaxFloat32/4 {
		return fmt.Errorf("base_score and leaves add up to %g, which float32 sums do not hold", reach)
	}
	e.explainers.New = func() any { return newExplainer(e.features, int(depth)) }
	return nil
}

// rowLen is the length of a row.
func (e *ensemble) rowLen() int { return 2*e.features + 1 }

// setRow states feature f in row.
func setRow(row []float32, f int, value float32) {
	row[2*f], row[2*f+1] = value, value
	if value != value {
		row[2*f+1] = float32(math.Inf(-1))
	}
}

func (n *node) isLeaf(at uint32) bool { return n.left == at }

// next is where a walk goes from n.
func (n *node) next(row []float32) uint32 {
	var right uint32
	// Not `>=`: it would send NaN left.
	if !(row[n.slot] < n.cond) {
		right = 1
	}
	return n.left + right
}

// margin is the sum of base and each tree's leaf for row, in tree order, in float32.
func (e *ensemble) margin(row []float32) float32 {
	sum := e.base
	nodes := e.nodes
	for _, t := range e.trees {
		at := t.root
		for range t.depth {
			at = nodes[at].next(row)
		}
		sum += nodes[at].value
	}
	return sum
}
