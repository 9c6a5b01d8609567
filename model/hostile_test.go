package model

import (
	"fmt"
	"math"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tiny is a model of one split and two leaves, whose parts the tests replace.
const tiny = `{"learner":{"feature_names":[],"gradient_booster":{"model":{"gbtree_model_param":{"num_trees":"1"},"tree_info":[0],` +
	`"trees":[{"id":0,"tree_param":{"num_nodes":"3","num_deleted":"0","size_leaf_vector":"0"},` +
	`"left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_indices":[1,0,0],"split_conditions":[5E-1,-1E0,2E0],` +
	`"default_left":[1,0,0],"sum_hessian":[4E0,1E0,3E0],"split_type":[0,0,0],"categories_nodes":[]}]},"name":"gbtree"},` +
	`"learner_model_param":{"base_score":"5E-1","num_class":"0","num_feature":"2","num_target":"1"},` +
	`"objective":{"name":"binary:logistic"}},"version":[1,7,4]}`

func TestTinyModelLoads(t *testing.T) {
	b := bindText(t, tiny)
	if got := b.Predict([]float64{0, 0.25}).Margin; got != -1 {
		t.Errorf("below the threshold: margin %v, want -1", got)
	}
	if got := b.Predict([]float64{0, 0.5}).Margin; got != 2 {
		t.Errorf("at the threshold: margin %v, want 2", got)
	}
}

func TestMalformedModelsAreRefusedSayingWhatAndWhere(t *testing.T) {
	const trees = "learner: gradient_booster: model: trees: "
	tests := []struct {
		name, old, new, want string
	}{
		{"empty", tiny, ``, "ends early"},
		{"not JSON", tiny, `<xml>`, "not JSON"},
		{"binary", tiny, "binf\x00\x01", "not JSON"},
		{"a list", tiny, `[]`, "want an object"},
		{"a long number", tiny, strings.Repeat("2", 2000), "want an object, got"},
		{"null", tiny, `null`, "want an object"},
		{"no learner", tiny, `{}`, "learner: missing"},
		{"learner null", tiny, `{"learner":null}`, "learner: want an object"},
		{"cut off", `"version":[1,7,4]}`, ``, "ends early"},
		{"text behind", `"version":[1,7,4]}`, `"version":[1,7,4]}{}`, "more text"},
		{"learner twice", `"version":`, `"learner":{},"version":`, "learner: given twice"},
		{"names in another case", `"learner":`, `"Learner":`, "learner: missing"},

		{"booster dart", `"name":"gbtree"`, `"name":"dart"`, `booster "dart" is not supported`},
		{"booster gblinear", `"name":"gbtree"`, `"name":"gblinear"`, `booster "gblinear" is not supported`},
		{"multi-class", `"binary:logistic"`, `"multi:softprob"`, `objective "multi:softprob" is not supported`},
		{"ranking", `"binary:logistic"`, `"rank:pairwise"`, "not supported"},
		{"several classes", `"num_class":"0"`, `"num_class":"3"`, "num_class: 3 classes"},
		{"several targets", `"num_target":"1"`, `"num_target":"2"`, "num_target: 2 targets"},
		{"leaf vectors", `"size_leaf_vector":"0"`, `"size_leaf_vector":"2"`, "size_leaf_vector: leaves of 2 values"},
		{"second output", `"tree_info":[0]`, `"tree_info":[1]`, "tree 0 belongs to output 1"},
		{"categorical split", `"split_type":[0,0,0]`, `"split_type":[1,0,0]`, trees + "[0]: split_type: node 0: categorical"},
		{"categories", `"categories_nodes":[]`, `"categories_nodes":[0]`, "categorical"},

		{"base_score 0", `"5E-1","num_class"`, `"0","num_class"`, "base_score: want a probability"},
		{"base_score 1", `"5E-1","num_class"`, `"1","num_class"`, "base_score: want a probability"},
		{"base_score NaN", `"5E-1","num_class"`, `"NaN","num_class"`, "base_score: want one finite number"},
		{"base_score infinite", `"5E-1","num_class"`, `"-inf","num_class"`, "base_score: want one finite number"},
		{"base_score of two", `"5E-1","num_class"`, `"[5E-1,4E-1]","num_class"`, "base_score: want one finite number"},
		{"base_score empty", `"5E-1","num_class"`, `"[]","num_class"`, "base_score: want one finite number"},
		{"base_score open", `"5E-1","num_class"`, `"[5E-1","num_class"`, "base_score: want one number"},
		{"base_score missing", `"base_score":"5E-1",`, ``, "base_score: missing"},
		{"base_score an object", `"base_score":"5E-1"`, `"base_score":{}`, "base_score: want one finite number"},
		{"gamma's base_score 0", `"base_score":"5E-1","num_class":"0","num_feature":"2","num_target":"1"},"objective":{"name":"binary:logistic"`,
			`"base_score":"0","num_class":"0","num_feature":"2","num_target":"1"},"objective":{"name":"reg:gamma"`, "base_score: want more than 0"},
		{"no features", `"num_feature":"2"`, `"num_feature":"0"`, "num_feature: want 1 to 512"},
		{"many features", `"num_feature":"2"`, `"num_feature":"513"`, "num_feature: want 1 to 512"},
		{"num_feature overflows", `"num_feature":"2"`, `"num_feature":"99999999999999999999"`, "num_feature: want a whole number"},
		{"num_feature negative", `"num_feature":"2"`, `"num_feature":"-2"`, "num_feature: want a whole number"},
		{"names too few", `"feature_names":[]`, `"feature_names":["a"]`, "feature_names: 1 names, num_feature says 2"},
		{"names too many", `"feature_names":[]`, `"feature_names":["a"` + strings.Repeat(`,"a"`, MaxInputs) + `]`, "feature_names: [512]: more than 512"},
		{"names no strings", `"feature_names":[]`, `"feature_names":[1,2]`, "feature_names: [0]: want a string"},

		{"num_trees too many", `"num_trees":"1"`, `"num_trees":"2"`, "trees: 1 trees, num_trees says 2"},
		{"num_trees huge", `"num_trees":"1"`, `"num_trees":"2000000000"`, "num_trees: want a whole number from 0 to 10000"},
		{"tree_info short", `"tree_info":[0]`, `"tree_info":[]`, "tree_info: 0 elements"},
		{"trees an object", `"trees":[{`, `"trees":{"a":[{`, ""},
		{"id out of order", `"id":0`, `"id":1`, "[0]: id: want 0, got 1"},

		{"no nodes", `"num_nodes":"3"`, `"num_nodes":"0"`, "num_nodes: want at least 1"},
		{"more nodes than arrays", `"num_nodes":"3"`, `"num_nodes":"4"`, "left_children: 3 elements, num_nodes says 4"},
		{"num_nodes huge", `"num_nodes":"3"`, `"num_nodes":"2147483647"`, "num_nodes: want a whole number"},
		{"left short", `"left_children":[1,-1,-1]`, `"left_children":[1,-1]`, "left_children: 2 elements"},
		{"right short", `"right_children":[2,-1,-1]`, `"right_children":[2,-1]`, "right_children: 2 elements"},
		{"indices long", `"split_indices":[1,0,0]`, `"split_indices":[1,0,0,0]`, "split_indices: 4 elements"},
		{"conditions short", `"split_conditions":[5E-1,-1E0,2E0]`, `"split_conditions":[]`, "split_conditions: 0 elements"},
		{"default_left short", `"default_left":[1,0,0]`, `"default_left":[1]`, "default_left: 1 elements"},
		{"covers short", `"sum_hessian":[4E0,1E0,3E0]`, `"sum_hessian":[4E0]`, "sum_hessian: 1 elements"},
		{"split_type short", `"split_type":[0,0,0]`, `"split_type":[0]`, "split_type: 1 elements"},
		{"covers missing", `"sum_hessian"`, `"cover"`, "sum_hessian: missing"},

		{"child out of range", `"left_children":[1,-1,-1]`, `"left_children":[3,-1,-1]`, "node 0: child 3"},
		{"child negative", `"left_children":[1,-1,-1]`, `"left_children":[-7,-1,-1]`, "node 0: child -7"},
		{"only a right child", `"left_children":[1,-1,-1]`, `"left_children":[-1,-1,-1]`, "node 0: child -1"},
		{"its own child", `"left_children":[1,-1,-1]`, `"left_children":[0,-1,-1]`, "node 0: child 0"},
		{"both children the same", `"right_children":[2,-1,-1]`, `"right_children":[1,-1,-1]`, "child 1 has another parent"},
		{"a loop", `"left_children":[1,-1,-1],"right_children":[2,-1,-1]`, `"left_children":[1,2,-1],"right_children":[2,1,-1]`, "has another parent"},
		{"back to the root", `"left_children":[1,-1,-1],"right_children":[2,-1,-1]`, `"left_children":[1,0,-1],"right_children":[2,0,-1]`, "node 1: child 0"},
		{"unreached node", `"left_children":[1,-1,-1],"right_children":[2,-1,-1]`, `"left_children":[-1,-1,-1],"right_children":[-1,-1,-1]`, "node 1: not reached"},
		{"deleted nodes that num_deleted denies",
			`"left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_indices":[1,0,0]`,
			`"left_children":[-1,-1,-1],"right_children":[-1,-1,-1],"split_indices":[1,2147483647,2147483647]`, "num_deleted: 2 nodes"},
		{"num_deleted without deleted nodes", `"num_deleted":"0"`, `"num_deleted":"1"`, "num_deleted: 0 nodes"},
		{"child overflows", `"left_children":[1,-1,-1]`, `"left_children":[4294967297,-1,-1]`, "left_children: [0]: want an integer"},
		{"child a fraction", `"left_children":[1,-1,-1]`, `"left_children":[1.5,-1,-1]`, "left_children: [0]: want an integer"},

		{"feature out of range", `"split_indices":[1,0,0]`, `"split_indices":[2,0,0]`, trees + "[0]: node 0: split on feature 2 of 2"},
		{"feature negative", `"split_indices":[1,0,0]`, `"split_indices":[-1,0,0]`, "split on feature -1"},
		{"a reached node marked deleted", `"split_indices":[1,0,0]`, `"split_indices":[2147483647,0,0]`, "split on feature 2147483647"},
		{"threshold null", `[5E-1,-1E0,2E0]`, `[null,-1E0,2E0]`, "split_conditions: [0]: want a finite float32"},
		{"threshold beyond float32", `[5E-1,-1E0,2E0]`, `[1E39,-1E0,2E0]`, "split_conditions: [0]: want a finite float32"},
		{"leaf NaN", `[5E-1,-1E0,2E0]`, `[5E-1,NaN,2E0]`, "not JSON"},
		{"leaf infinite", `[5E-1,-1E0,2E0]`, `[5E-1,"Infinity",2E0]`, "split_conditions: [1]: want a finite float32"},
		{"leaves whose sum overflows", `[5E-1,-1E0,2E0]`, `[5E-1,-3E38,2E0]`, "float32 sums"},
		{"list in a list", `[5E-1,-1E0,2E0]`, `[[5E-1],-1E0,2E0]`, "split_conditions: [0]: want a finite float32"},
		{"no list", `[5E-1,-1E0,2E0]`, `"5E-1,-1E0,2E0"`, "split_conditions: want an array"},
		{"default_left 2", `"default_left":[1,0,0]`, `"default_left":[2,0,0]`, "default_left: [0]: want 0 or 1"},
		{"cover negative", `[4E0,1E0,3E0]`, `[4E0,-1E0,5E0]`, "node 0: sum_hessian"},
		{"no cover", `[4E0,1E0,3E0]`, `[4E0,0E0,0E0]`, "node 0: sum_hessian"},
		{"key twice in a tree", `"id":0,`, `"id":0,"id":0,`, "[0]: id: given twice"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.ReplaceAll(tiny, tc.old, tc.new)
			if text == tiny {
				t.Fatalf("the model has no %s", tc.old)
			}
			_, err := parseXGBoost([]byte(text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that says %q", err, tc.want)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// chain is a tree in which every left child is a leaf, depth splits deep.
func chain(depth int, cover func(level int) float32) *branch {
	b := &branch{cover: cover(depth), leaf: 1}
	for level := depth - 1; level >= 0; level-- {
		b = &branch{cond: float32(level), cover: cover(level), left: &branch{cover: cover(level + 1), leaf: -1}, right: b}
	}
	return b
}

func TestDepthIsBounded(t *testing.T) {
	even := func(int) float32 { return 1 }
	if _, err := parseXGBoost([]byte(modelText(t, "reg:squarederror", "0", 1, []*branch{chain(MaxDepth, even)}))); err != nil {
		t.Errorf("depth %d: %v, want none", MaxDepth, err)
	}
	_, err := parseXGBoost([]byte(modelText(t, "reg:squarederror", "0", 1, []*branch{chain(MaxDepth+1, even)})))
	if err == nil || !strings.Contains(err.Error(), "deeper than 128") {
		t.Errorf("depth %d: got %v, want a refusal", MaxDepth+1, err)
	}
}

func TestSizesAreBounded(t *testing.T) {
	leaf := &branch{cover: 1}
	manyTrees := make([]*branch, MaxTrees+1)
	for i := range manyTrees {
		manyTrees[i] = leaf
	}
	text := strings.Replace(modelText(t, "reg:squarederror", "0", 1, manyTrees), `"num_trees":"10001"`, `"num_trees":"10000"`, 1)
	text = strings.Replace(text, `"tree_info":[0,`, `"tree_info":[`, 1)
	if _, err := parseXGBoost([]byte(text)); err == nil || !strings.Contains(err.Error(), "more than 10000 trees") {
		t.Errorf("%d trees: got %v, want a refusal", len(manyTrees), err)
	}
	if _, err := parseXGBoost(make([]byte, MaxFileBytes+1)); err == nil || !strings.Contains(err.Error(), "more than 67108864 bytes") {
		t.Errorf("a file too long: got %v, want a refusal", err)
	}
}

func TestArraysAreReadUpToTheirBound(t *testing.T) {
	if got, err := newJSONReader([]byte("[1,2]")).ints(nil, 2); err != nil || len(got) != 2 {
		t.Errorf("2 of 2: got %v, %v", got, err)
	}
	if _, err := newJSONReader([]byte("[1,2,3]")).ints(nil, 2); err == nil || !strings.Contains(err.Error(), "more than 2 elements") {
		t.Errorf("3 of 2: got %v, want a refusal", err)
	}
}

// The reader reuses its arrays from tree to tree: what a tree leaves out must not be its predecessor's.
func TestOptionalPartsOfATreeDoNotCarryOver(t *testing.T) {
	const leaf = `{"tree_param":{"num_nodes":"1"},"left_children":[-1],"right_children":[-1],"split_indices":[0],` +
		`"split_conditions":[4E0],"default_left":[0],"sum_hessian":[1E0]}`
	const pruned = `{"id":0,"tree_param":{"num_nodes":"3","num_deleted":"2","size_leaf_vector":"1"},"left_children":[-1,-1,-1],` +
		`"right_children":[-1,-1,-1],"split_indices":[0,2147483647,2147483647],"split_conditions":[8E0,0E0,0E0],` +
		`"default_left":[0,1,1],"sum_hessian":[1E0,0E0,0E0],"split_type":[0,0,0],"categories_nodes":[]}`
	text := strings.Replace(tiny, `"num_trees":"1"},"tree_info":[0]`, `"num_trees":"3"},"tree_info":[0,0,0]`, 1)
	text = strings.Replace(text, `"trees":[`, `"trees":[`+pruned+`,`+leaf+`,`, 1)
	text = strings.Replace(text, `"id":0,"tree_param":{"num_nodes":"3","num_deleted":"0"`, `"id":2,"tree_param":{"num_nodes":"3"`, 1)
	if got := bindText(t, text).Predict([]float64{0, 1}).Margin; got != 8+4+2 {
		t.Errorf("margin %v, want 14", got)
	}
}

// A few bytes must not ask for much memory or time.
func TestSmallHostileFilesCostLittle(t *testing.T) {
	const unit = 200_000
	tests := map[string]string{
		"nesting":        strings.Repeat("[", unit),
		"nested objects": `{"learner":` + strings.Repeat(`{"a":`, unit),
		"empty trees":    strings.Replace(tiny, `"trees":[{`, `"trees":[`+strings.Repeat(`{},`, unit)+`{`, 1),
		"many keys":      `{` + strings.Repeat(`"a":1,`, unit) + `"learner":{}}`,
		"many elements":  strings.Replace(tiny, `"split_indices":[1`, `"split_indices":[1`+strings.Repeat(",0", unit), 1),
		"long names":     strings.Replace(tiny, `"binary:logistic"`, `"`+strings.Repeat("x", unit)+`"`, 1),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			_, err := parseXGBoost([]byte(text))
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("loaded, want a refusal")
			}
			if len(err.Error()) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64*uint64(len(text)) {
				t.Errorf("%d bytes of text allocated %d, want at most 64 times as much", len(text), used)
			}
			if took > 5*time.Second {
				t.Errorf("took %v for %d bytes", took, len(text))
			}
		})
	}
}

// Repeated splits on one feature with covers from one end of float32 to the other: products of shares underflow, and no
// contribution may become NaN of it.
func TestContributionsStayFiniteWhereSharesVanish(t *testing.T) {
	for _, toLeaf := range []bool{true, false} {
		tree := chain(MaxDepth, func(int) float32 { return 1 })
		for b := tree; b.left != nil; b = b.right {
			b.left.cover, b.right.cover = 1e38, 1e-38
			if toLeaf {
				b.left.cover, b.right.cover = 1e-38, 1e38
			}
		}
		b := bindText(t, modelText(t, "reg:squarederror", "0", 1, []*branch{tree}))
		for _, x := range []float64{-5, 0, 3, 64, 500, math.NaN()} {
			row := []float64{x}
			got, bias := b.Explain(nil, row)
			sum := float64(got[0].Value) + float64(bias)
			if margin := float64(b.Predict(row).Margin); !(math.Abs(sum-margin) < 1e-5) {
				t.Errorf("leaf has the cover %v, x %v: bias and contribution %v, want the margin %v", toLeaf, x, sum, margin)
			}
		}
	}
}

func TestSplitsWithoutCoverOnOneSideExplain(t *testing.T) {
	// Feature 0 twice: the second split lies where the first one's cover did not go.
	tree := &branch{feature: 0, cond: 1, cover: 4,
		left: &branch{cover: 4, leaf: 1},
		right: &branch{feature: 0, cond: 2, cover: 0,
			left:  &branch{cover: 1e-30, leaf: 2},
			right: &branch{cover: 0, leaf: 3},
		},
	}
	b := bindText(t, modelText(t, "reg:squarederror", "0", 1, []*branch{tree}))
	for x, want := range map[float64]float32{0: 0, 1.5: 1, 2.5: 2} {
		got, bias := b.Explain(nil, []float64{x})
		if got[0].Value != want || bias != 1 {
			t.Errorf("x %v: contribution %v and bias %v, want %v and 1", x, got[0].Value, bias, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(tiny))
	for _, name := range []string{"pruned", "single_leaf", "reglogistic", "squarederror_base"} {
		f.Add([]byte(readFixture(f, name)))
	}
	f.Add([]byte(strings.Replace(tiny, `"5E-1","num_class"`, `"[5E-1]","num_class"`, 1)))
	f.Fuzz(func(t *testing.T, text []byte) { exercise(t, text) })
}

// exercise holds whatever loads to what a model promises: finite answers, probabilities in range.
func exercise(t interface{ Fatalf(string, ...any) }, text []byte) (loaded bool) {
	e, err := parseXGBoost(text)
	if err != nil {
		if err.Error() == "" || len(err.Error()) > 1000 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
		return false
	}
	b := bindPlain(e)
	row := make([]float64, e.features)
	for i, x := range []float64{0, math.NaN(), math.Inf(1), math.Inf(-1), 0.5, 1e300} {
		for j := range row {
			row[j] = x
		}
		row[i%len(row)] = 1
		p := b.Predict(row)
		if math.IsNaN(float64(p.Margin)) || math.IsInf(float64(p.Margin), 0) || math.IsNaN(float64(p.Score)) {
			t.Fatalf("row %v: %+v", row, p)
		}
		if b.Model().IsProbability() && !(p.Score >= 0 && p.Score <= 1) {
			t.Fatalf("row %v: probability %v", row, p.Score)
		}
		contributions, bias := b.Explain(nil, row)
		for _, c := range append(contributions, Contribution{Input: "bias", Value: bias}) {
			if math.IsNaN(float64(c.Value)) || math.IsInf(float64(c.Value), 0) {
				t.Fatalf("row %v: contribution of %s %v", row, c.Input, c.Value)
			}
		}
	}
	return true
}

// Random bytes seldom get past the JSON; numbers that are swapped in a real file do.
func TestModelsWithWrongNumbersAreRefusedOrBehave(t *testing.T) {
	digits := regexp.MustCompile(`-?[0-9][0-9.]*(E-?[0-9]+)?`)
	texts := []string{tiny, readFixture(t, "pruned"), readFixture(t, "logistic_missing")}
	loaded, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom(texts).Draw(t, "text")
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			places := digits.FindAllStringIndex(text, -1)
			at := rapid.SampledFrom(places).Draw(t, "place")
			with := rapid.SampledFrom([]string{"-1", "0", "1", "2", "3", "5", "7", "64", "2147483647", "-5E-1", "3E38", "1E-45", "null", "1E400"}).Draw(t, "with")
			text = text[:at[0]] + with + text[at[1]:]
		}
		if exercise(t, []byte(text)) {
			loaded++
		} else {
			refused++
		}
	})
	if loaded == 0 || refused == 0 {
		t.Errorf("%d loaded, %d refused, want some of each", loaded, refused)
	}
}

// Naming a model's own text in a message must not make it hard to read.
func TestClippedTextIsQuotedAndShort(t *testing.T) {
	if got, want := clip("a\nb"), `"a\nb"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := clip(strings.Repeat("a", 41)), fmt.Sprintf("%q...", strings.Repeat("a", 40)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
