package model

// explainer computes the exact Shapley values of a tree's prediction, where a feature that is left out of a coalition follows both
// sides of a split in proportion to the cover: TreeSHAP, path dependent (Lundberg, Erion, Lee: "Consistent Individualized
// Feature Attribution for Tree Ensembles", 2018, algorithm 2). It is what XGBoost's pred_contribs gives, in float64.
//
// It is scratch space and is used by one call at a time.
type explainer struct {
	row []float32
	// phi is the contribution of each feature so far.
	phi []float64
	// paths has room for one path per level of the deepest tree, one behind the other.
	paths []step

	nodes []node
	share []float64
}

// step is one distinct feature on the path from the root, or the root itself.
type step struct {
	feature int32
	// zero is the part of the rows that takes this path when the feature is left out, one whether this row (0 or 1) does when it is in.
	zero, one float64
	// weight is the summed weight of the coalitions of as many features of the path as this step's index.
	weight float64
}

const noFeature = -1

func newExplainer(features, depth int) *explainer {
	// A path has the root's step and one per level at most; levels 0 to depth hold 1 to depth+1 steps.
	return &explainer{
		row:   make([]float32, 2*features+1),
		phi:   make([]float64, features),
		paths: make([]step, (depth+1)*(depth+2)/2),
	}
}

// explain leaves in x.phi the contributions of the features of x.row to e's margin.
func (x *explainer) explain(e *ensemble) {
	x.nodes, x.share = e.nodes, e.share
	clear(x.phi)
	for _, t := range e.trees {
		x.walk(t.root, 0, 0, step{feature: noFeature, zero: 1, one: 1})
	}
}

// walk adds the contributions of all leaves below the node at. Its parent's path is the n steps from start on; last is the step from
// there to the node.
func (x *explainer) walk(at uint32, start, n int, last step) {
	path := x.paths[start+n : start+2*n+1]
	copy(path, x.paths[start:start+n])
	extend(path, last)
	start, n = start+n, n+1

	nd := &x.nodes[at]
	if nd.isLeaf(at) {
		for i := 1; i < n; i++ {
			s := &path[i]
			x.phi[s.feature] += unwoundSum(path, i) * (s.one - s.zero) * float64(nd.value)
		}
		return
	}

	feature := int32(nd.slot / 2)
	zero, one := 1.0, 1.0
	for i := 1; i < n; i++ {
		if path[i].feature == feature {
			// A feature that comes again narrows its earlier step.
			zero, one = path[i].zero, path[i].one
			unwind(path, i)
			n--
			break
		}
	}
	hot := nd.next(x.row)
	cold := nd.left + (nd.left + 1 - hot)
	x.below(hot, start, n, step{feature: feature, zero: zero * x.share[hot], one: one})
	x.below(cold, start, n, step{feature: feature, zero: zero * x.share[cold], one: 0})
}

// below walks on to a child, unless neither this row nor any row of the training set gets there: such a leaf has no weight in any
// coalition, and unwind could not divide by it.
func (x *explainer) below(at uint32, start, n int, last step) {
	if last.zero > 0 || last.one > 0 {
		x.walk(at, start, n, last)
	}
}

// extend puts last at path's end, which is free, and counts in all coalitions with and without it.
func extend(path []step, last step) {
	n := len(path) - 1
	path[n] = last
	if n == 0 {
		path[0].weight = 1
		return
	}
	path[n].weight = 0
	inv := 1 / float64(n+1)
	for i := n - 1; i >= 0; i-- {
		path[i+1].weight += last.one * path[i].weight * float64(i+1) * inv
		path[i].weight *= last.zero * float64(n-i) * inv
	}
}

// unwind takes step k out of path again: the inverse of extend, whichever step was the last. The path becomes one shorter.
func unwind(path []step, k int) {
	n := len(path) - 1
	zero, one := path[k].zero, path[k].one
	next := path[n].weight
	for i := n - 1; i >= 0; i-- {
		if one != 0 {
			w := path[i].weight
			path[i].weight = next * float64(n+1) / (float64(i+1) * one)
			next = w - path[i].weight*zero*float64(n-i)/float64(n+1)
		} else {
			path[i].weight *= float64(n+1) / (zero * float64(n-i))
		}
	}
	for i := k; i < n; i++ {
		path[i].feature, path[i].zero, path[i].one = path[i+1].feature, path[i+1].zero, path[i+1].one
	}
}

// unwoundSum is the sum of the weights that path would have without step k.
func unwoundSum(path []step, k int) float64 {
	n := len(path) - 1
	zero, one := path[k].zero, path[k].one
	sum := 0.0
	if one != 0 {
		next := path[n].weight
		for i := n - 1; i >= 0; i-- {
			w := next / (float64(i+1) * one)
			sum += w
			next = path[i].weight - w*zero*float64(n-i)
		}
	} else {
		for i := n - 1; i >= 0; i-- {
			sum += path[i].weight / (zero * float64(n-i))
		}
	}
	return sum * float64(n+1)
}
