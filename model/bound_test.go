package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestBindTakesInputsFromWhereTheSchemaHasThem(t *testing.T) {
	m, err := Load(writeModel(t, goodManifest, tiny))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bind([]string{"age", "speed", "risk", "amount"})
	if err != nil {
		t.Fatal(err)
	}
	// The tiny model splits on its second input, risk, at 0.5; missing goes left.
	for risk, want := range map[float64]float32{0.25: -1, 0.75: 2} {
		vector := []float64{9, 9, risk, 9}
		if got := b.Predict(vector).Margin; got != want {
			t.Errorf("risk %v: margin %v, want %v", risk, got, want)
		}
		got, bias := b.Explain(nil, vector)
		// Covers 1 and 3: the mean is 1.25.
		wantAll := []Contribution{{"amount", 3, 0}, {"risk", 2, want - 1.25}}
		if bias != 1.25 || !slices.Equal(got, wantAll) {
			t.Errorf("risk %v: contributions %v and bias %v, want %v and 1.25", risk, got, bias, wantAll)
		}
	}
	if got := b.Predict([]float64{9, 9, math.NaN(), 9}).Margin; got != -1 {
		t.Errorf("risk missing: margin %v, want -1", got)
	}
}

func TestScoreIsTheLinkOfTheMargin(t *testing.T) {
	m, err := Load(writeModel(t, goodManifest, tiny))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bind(m.Inputs())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.Predict([]float64{0, 1}).Score, 1/(1+math.Exp(-2)); math.Abs(float64(got)-want) > 1e-7 {
		t.Errorf("score %v, want %v", got, want)
	}
	for margin, want := range map[float32]float32{0: 0.5, 1000: 1, float32(math.Inf(1)): 1} {
		if got := linkLogit.score(margin); got != want {
			t.Errorf("margin %v: score %v, want %v", margin, got, want)
		}
	}
	if got := linkLogit.score(-1000); !(got > 0 && got < 1e-37) {
		t.Errorf("margin -1000: score %v, want nearly 0", got)
	}
}

func TestBindNamesEveryInputThatTheSchemaLacks(t *testing.T) {
	m, err := Load(writeModel(t, goodManifest, tiny))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		names []string
		want  string
	}{
		{[]string{"amount"}, "bind model fraud@7: the schema lacks risk"},
		{nil, "bind model fraud@7: the schema lacks amount, risk"},
		{[]string{"Amount", "risk "}, "lacks amount, risk"},
		{[]string{"amount", "risk", "amount"}, "feature amount is at 0 and at 2"},
	}
	for _, tc := range tests {
		if _, err := m.Bind(tc.names); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v, want an error that says %q", tc.names, err, tc.want)
		}
	}
}

func TestAVectorOfAnotherLengthPanics(t *testing.T) {
	b := bindText(t, tiny)
	for _, n := range []int{0, 1, 3} {
		for name, call := range map[string]func(){
			"Predict": func() { b.Predict(make([]float64, n)) },
			"Explain": func() { b.Explain(nil, make([]float64, n)) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s of %d features for 2: no panic", name, n)
					}
				}()
				call()
			}()
		}
	}
	if got := b.Predict([]float64{0, 1}).Margin; got != 2 {
		t.Errorf("after a panic: margin %v, want 2", got)
	}
}

// wideText is a model of as many features as asked, which splits on the last.
func wideText(features int) string {
	text := strings.Replace(tiny, `"num_feature":"2"`, fmt.Sprintf(`"num_feature":"%d"`, features), 1)
	return strings.Replace(text, `"split_indices":[1,`, fmt.Sprintf(`"split_indices":[%d,`, features-1), 1)
}

func TestModelsOfManyInputsScoreLikeSmallOnes(t *testing.T) {
	for _, features := range []int{2, 63, 64, 65, MaxInputs} {
		b := bindText(t, wideText(features))
		for last, want := range map[float64]float32{0.25: -1, 0.75: 2, math.NaN(): -1} {
			vector := slices.Repeat([]float64{math.NaN()}, features)
			vector[features-1] = last
			if got := b.Predict(vector).Margin; got != want {
				t.Errorf("%d features, last %v: margin %v, want %v", features, last, got, want)
			}
		}
	}
}

func TestPredictAndExplainAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop what it holds")
	}
	for name, text := range map[string]string{"deep": readFixture(t, "deep"), "wide": wideText(MaxInputs)} {
		b := bindText(t, text)
		vector := make([]float64, b.model.ensemble.features)
		var p Prediction
		if got := testing.AllocsPerRun(500, func() { p = b.Predict(vector) }); got != 0 {
			t.Errorf("%s: Predict allocates %v times, want 0", name, got)
		}
		dst, _ := b.Explain(nil, vector)
		top := make([]Contribution, 0, 3)
		if got := testing.AllocsPerRun(500, func() {
			dst, _ = b.Explain(dst[:0], vector)
			top = Top(top[:0], dst, 3)
		}); got != 0 {
			t.Errorf("%s: Explain and Top allocate %v times, want 0", name, got)
		}
		sink += p.Margin
	}
}

func TestExplainKeepsWhatDstHolds(t *testing.T) {
	b := bindText(t, tiny)
	kept := Contribution{Input: "kept", Value: 7}
	got, _ := b.Explain([]Contribution{kept}, []float64{0, 1})
	if len(got) != 3 || got[0] != kept || got[2].Input != "f1" {
		t.Errorf("got %v, want the kept one and two more", got)
	}
}

func TestConcurrentCallersGetTheirOwnAnswers(t *testing.T) {
	b, want := bindText(t, readFixture(t, "logistic_missing")), readExpected(t, "logistic_missing")
	var callers sync.WaitGroup
	for c := range 4 {
		callers.Go(func() {
			var got []Contribution
			for n := range 200 {
				i := (c*7 + n) % len(want.Rows)
				row := want.row(i)
				if p := b.Predict(row); p.Margin != want.Margin[i] {
					t.Errorf("row %d: margin %v, want %v", i, p.Margin, want.Margin[i])
				}
				got, _ = b.Explain(got[:0], row)
				if math.Abs(float64(got[0].Value)-want.Contribs[i][0]) > 1e-5 {
					t.Errorf("row %d: contribution %v, want %v", i, got[0].Value, want.Contribs[i][0])
				}
			}
		})
	}
	callers.Wait()
}

func TestTopIsTheLargestThatRaisedTheScore(t *testing.T) {
	all := []Contribution{{"a", 0, 1}, {"b", 1, -9}, {"c", 2, 3}, {"d", 3, 0}, {"e", 4, 3}, {"f", 5, 2}, {"g", 6, 0.5}}
	tests := []struct {
		n    int
		want string
	}{
		{0, ""}, {-1, ""}, {1, "c"}, {2, "ce"}, {3, "cef"}, {4, "cefa"}, {5, "cefag"}, {99, "cefag"},
	}
	for _, tc := range tests {
		got := ""
		for _, c := range Top(nil, all, tc.n) {
			got += c.Input
		}
		if got != tc.want {
			t.Errorf("top %d: %q, want %q", tc.n, got, tc.want)
		}
	}
	kept := Contribution{Input: "kept", Value: 0.1}
	if got := Top([]Contribution{kept}, all, 1); len(got) != 2 || got[0] != kept || got[1] != all[2] {
		t.Errorf("dst in front: got %v, want the kept one and c", got)
	}
}
