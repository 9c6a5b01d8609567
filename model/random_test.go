package model

import (
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// branch is a tree as a test thinks of it: plain nodes and pointers, nothing shared with how the package keeps them.
type branch struct {
	feature     int
	cond        float32
	defaultLeft bool
	cover       float32
	left, right *branch
	leaf        float32
}

func (b *branch) goesLeft(row []float64) bool {
	v := float32(row[b.feature])
	if math.IsNaN(row[b.feature]) {
		return b.defaultLeft
	}
	return v < b.cond
}

func (b *branch) walk(row []float64) float32 {
	for b.left != nil {
		if b.goesLeft(row) {
			b = b.left
		} else {
			b = b.right
		}
	}
	return b.leaf
}

// expectation is what the tree gives on average when only the features in known are: the game that TreeSHAP solves.
func (b *branch) expectation(row []float64, known uint) float64 {
	if b.left == nil {
		return float64(b.leaf)
	}
	if known>>b.feature&1 == 1 {
		if b.goesLeft(row) {
			return b.left.expectation(row, known)
		}
		return b.right.expectation(row, known)
	}
	l, r := float64(b.left.cover), float64(b.right.cover)
	return (l*b.left.expectation(row, known) + r*b.right.expectation(row, known)) / (l + r)
}

// thresholds are few, so that rows meet them exactly.
var thresholds = []float32{-1, 0, 0.5, 1, 2.25}

func drawBranch(t *rapid.T, features, depth int, cover float32) *branch {
	b := &branch{cover: cover}
	if depth == 0 || rapid.IntRange(0, 5).Draw(t, "stop") == 0 {
		b.leaf = float32(rapid.Float64Range(-2, 2).Draw(t, "leaf"))
		return b
	}
	b.feature = rapid.IntRange(0, features-1).Draw(t, "feature")
	b.cond = rapid.SampledFrom(thresholds).Draw(t, "cond")
	b.defaultLeft = rapid.Bool().Draw(t, "defaultLeft")
	// All on one side happens: XGBoost allows children without cover when min_child_weight is 0.
	part := rapid.SampledFrom([]float32{0, 0.01, 0.25, 0.5, 0.9, 1}).Draw(t, "part")
	if depth > 1 {
		// A split needs cover.
		part = min(max(part, 0.01), 0.99)
	}
	b.left = drawBranch(t, features, depth-1, cover*part)
	b.right = drawBranch(t, features, depth-1, cover*(1-part))
	return b
}

func drawRow(t *rapid.T, features int) []float64 {
	row := make([]float64, features)
	for i := range row {
		row[i] = rapid.SampledFrom([]float64{math.NaN(), -3, -1, 0, 0.25, 0.5, 1, 2.25, 9}).Draw(t, "value")
	}
	return row
}

// fileTree and fileModel are the file's shape, for writing.
type fileTree struct {
	ID           int               `json:"id"`
	Param        map[string]string `json:"tree_param"`
	Left         []int             `json:"left_children"`
	Right        []int             `json:"right_children"`
	Feature      []int             `json:"split_indices"`
	Cond         []float32         `json:"split_conditions"`
	DefaultLeft  []int             `json:"default_left"`
	Cover        []float32         `json:"sum_hessian"`
	SplitType    []int             `json:"split_type"`
	CategoryNode []int             `json:"categories_nodes"`
}

// add writes b depth first, so that siblings are not neighbours in the file, and returns its number.
func (f *fileTree) add(b *branch) int {
	at := len(f.Left)
	f.Left, f.Right = append(f.Left, -1), append(f.Right, -1)
	f.Feature, f.Cond = append(f.Feature, b.feature), append(f.Cond, b.leaf)
	f.DefaultLeft, f.Cover = append(f.DefaultLeft, 0), append(f.Cover, b.cover)
	f.SplitType = append(f.SplitType, 0)
	if b.left != nil {
		f.Cond[at] = b.cond
		if b.defaultLeft {
			f.DefaultLeft[at] = 1
		}
		l := f.add(b.left)
		r := f.add(b.right)
		f.Left[at], f.Right[at] = l, r
	}
	return at
}

// modelText is a model file of the trees.
func modelText(tb interface{ Fatal(...any) }, objective, base string, features int, trees []*branch) string {
	files, info := []fileTree{}, []int{}
	for i, b := range trees {
		f := fileTree{ID: i, CategoryNode: []int{}}
		f.add(b)
		f.Param = map[string]string{"num_nodes": strconv.Itoa(len(f.Left)), "num_deleted": "0", "size_leaf_vector": "0"}
		files, info = append(files, f), append(info, 0)
	}
	text, err := json.Marshal(map[string]any{
		"learner": map[string]any{
			"gradient_booster": map[string]any{
				"name": "gbtree",
				"model": map[string]any{
					"gbtree_model_param": map[string]string{"num_trees": strconv.Itoa(len(trees))},
					"tree_info":          info,
					"trees":              files,
				},
			},
			"learner_model_param": map[string]string{"base_score": base, "num_feature": strconv.Itoa(features), "num_class": "0"},
			"objective":           map[string]string{"name": objective},
		},
		"version": []int{1, 7, 4},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func drawTrees(t *rapid.T, features int) []*branch {
	var trees []*branch
	for range rapid.IntRange(0, 4).Draw(t, "trees") {
		trees = append(trees, drawBranch(t, features, rapid.IntRange(0, 6).Draw(t, "depth"), 100))
	}
	return trees
}

func TestMarginIsTheSumOfThePlainWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		features := rapid.IntRange(1, 6).Draw(t, "features")
		trees := drawTrees(t, features)
		b := bindText(t, modelText(t, "reg:squarederror", "0.25", features, trees))
		for range 5 {
			row := drawRow(t, features)
			want := float32(0.25)
			for _, tree := range trees {
				want += tree.walk(row)
			}
			if got := b.Predict(row).Margin; got != want {
				t.Fatalf("row %v: margin %v, want %v", row, got, want)
			}
		}
	})
}

func TestContributionsAreTheShapleyValuesOfTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		features := rapid.IntRange(1, 6).Draw(t, "features")
		trees := drawTrees(t, features)
		b := bindText(t, modelText(t, "reg:squarederror", "0.25", features, trees))
		row := drawRow(t, features)
		got, bias := b.Explain(nil, row)

		game := make([]float64, 1<<features)
		for known := range game {
			game[known] = 0.25
			for _, tree := range trees {
				game[known] += tree.expectation(row, uint(known))
			}
		}
		if math.Abs(float64(bias)-game[0]) > 1e-5 {
			t.Errorf("bias %v, want %v", bias, game[0])
		}
		for f, want := range shapley(features, game) {
			if math.Abs(float64(got[f].Value)-want) > 1e-5 {
				t.Errorf("feature %d: contribution %v, want %v", f, got[f].Value, want)
			}
		}
	})
}

// shapley are the Shapley values of a game by their definition: the mean of a player's gain over all orders of joining.
func shapley(players int, game []float64) []float64 {
	factorial := func(n int) float64 { return math.Round(math.Gamma(float64(n + 1))) }
	values := make([]float64, players)
	for p := range players {
		for known := range game {
			if known>>p&1 == 1 {
				continue
			}
			size := 0
			for q := range players {
				size += known >> q & 1
			}
			weight := factorial(size) * factorial(players-size-1) / factorial(players)
			values[p] += weight * (game[known|1<<p] - game[known])
		}
	}
	return values
}
