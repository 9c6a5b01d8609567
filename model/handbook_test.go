package model

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// handbookDir is where the card data with known answers is; it skips the test, loudly, where it is not.
func handbookDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("HANDBOOK_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "handbook")
	}
	if _, err := os.Stat(filepath.Join(dir, "features.json")); err != nil {
		tb.Skipf("SKIPPED: the handbook data is not at %s (set HANDBOOK_DIR): NOTHING of it is tested here", dir)
	}
	return dir
}

// handbookModel loads one of the handbook's models through a manifest.
func handbookModel(tb testing.TB, file string) *Model {
	tb.Helper()
	dir := handbookDir(tb)
	names, err := os.ReadFile(filepath.Join(dir, "features.json"))
	if err != nil {
		tb.Fatal(err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		tb.Fatal(err)
	}
	manifest := filepath.Join(tb.TempDir(), "model.yaml")
	// JSON's list of strings is YAML's.
	text := "name: handbook\nversion: 1\nformat: xgboost-json\nfile: ${HANDBOOK}/" + file + "\ninputs: " + string(names) + "\n"
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	m, err := load(manifest, func(name string) (string, bool) { return abs, name == "HANDBOOK" })
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// eachRow calls f for each row of a csv.gz behind its heading.
func eachRow(tb testing.TB, path string, f func(row []string)) {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	r := csv.NewReader(unzipped)
	r.ReuseRecord = true
	for line := 0; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
		if line > 0 {
			f(row)
		}
	}
}

func number(tb testing.TB, text string) float64 {
	tb.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// handbookFeatures are the features of the days 115 to 135 in the models' order, by transaction.
var handbookFeatures = struct {
	once sync.Once
	rows map[string][]float64
}{}

func loadHandbookFeatures(tb testing.TB) map[string][]float64 {
	tb.Helper()
	dir := handbookDir(tb)
	handbookFeatures.once.Do(func() {
		rows := make(map[string][]float64)
		eachRow(tb, filepath.Join(dir, "dev_feat_d115-135.csv.gz"), func(row []string) {
			v := make([]float64, len(row))
			for i := range row {
				v[i] = number(tb, row[i])
			}
			features := []float64{0, v[1], v[2]}
			for i := 3; i < 9; i += 2 {
				count, sumCents := v[i], v[i+1]
				features = append(features, count, sumCents/count/100)
			}
			for i := 9; i < 15; i += 2 {
				count, risk := v[i], 0.0
				if count > 0 {
					risk = v[i+1] / count
				}
				features = append(features, count, risk)
			}
			rows[row[0]] = features
		})
		eachRow(tb, filepath.Join(dir, "dev_raw_d000-135.csv.gz"), func(row []string) {
			if features, ok := rows[row[0]]; ok {
				features[0] = number(tb, row[4]) / 100
			}
		})
		handbookFeatures.rows = rows
	})
	return handbookFeatures.rows
}

var handbookModels = []string{"xgb_default_100x6", "xgb_100x3_lr01"}

func TestHandbookScoresEqualPythons(t *testing.T) {
	features := loadHandbookFeatures(t)
	for _, name := range handbookModels {
		t.Run(name, func(t *testing.T) {
			m := handbookModel(t, name+".json")
			b, err := m.Bind(m.Inputs())
			if err != nil {
				t.Fatal(err)
			}
			rows, inexact, worst := 0, 0, 0.0
			eachRow(t, filepath.Join(handbookDir(t), name+".test_scores.csv.gz"), func(row []string) {
				rows++
				got := b.Predict(features[row[0]])
				// The file has nine digits, which name a float32.
				if want := float32(number(t, row[1])); got.Margin != want {
					inexact++
					t.Errorf("transaction %s: margin %v, want %v", row[0], got.Margin, want)
				}
				worst = max(worst, math.Abs(float64(got.Score)-number(t, row[2])))
			})
			if rows != 58264 {
				t.Errorf("%d rows, want 58264", rows)
			}
			if worst > 1e-6 {
				t.Errorf("a probability is off by %g, want at most 1e-6", worst)
			}
			t.Logf("%d rows, %d margins not bit-equal, probabilities within %.2g", rows, inexact, worst)
		})
	}
}

func TestHandbookContributionsEqualPythons(t *testing.T) {
	features := loadHandbookFeatures(t)
	for _, name := range handbookModels {
		t.Run(name, func(t *testing.T) {
			m := handbookModel(t, name+".json")
			b, err := m.Bind(m.Inputs())
			if err != nil {
				t.Fatal(err)
			}
			rows, worst, worstSum := 0, 0.0, 0.0
			var got []Contribution
			eachRow(t, filepath.Join(handbookDir(t), name+".contribs2000.csv.gz"), func(row []string) {
				rows++
				var bias float32
				got, bias = b.Explain(got[:0], features[row[0]])
				sum := float64(bias)
				for i, c := range got {
					sum += float64(c.Value)
					worst = max(worst, math.Abs(float64(c.Value)-number(t, row[i+1])))
				}
				worst = max(worst, math.Abs(float64(bias)-number(t, row[len(row)-1])))
				worstSum = max(worstSum, math.Abs(sum-float64(b.Predict(features[row[0]]).Margin)))
			})
			if rows != 2000 || len(got) != 15 {
				t.Errorf("%d rows of %d contributions, want 2000 of 15", rows, len(got))
			}
			if worst > 1e-5 {
				t.Errorf("a contribution is off by %g, want at most 1e-5", worst)
			}
			if worstSum > 1e-5 {
				t.Errorf("contributions and bias miss the margin by %g, want at most 1e-5", worstSum)
			}
			t.Logf("%d rows, contributions within %.2g, their sum within %.2g", rows, worst, worstSum)
		})
	}
}
