package backtest

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"scoremesh/decision"
	"scoremesh/model"
	"scoremesh/region"
)

// handbookDir returns the folder of the handbook's data, and skips loudly where there is none.
func handbookDir(t *testing.T) string {
	t.Helper()
	if raceDetector {
		t.Skip("SKIPPED: 1.3 million transactions take too long under the race detector; make test runs this test without it")
	}
	dir := os.Getenv("HANDBOOK_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "handbook")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "dev_raw_d000-135.csv.gz")); err != nil {
		t.Skipf("SKIPPED: the handbook's data is not at %s; set HANDBOOK_DIR", dir)
	}
	t.Setenv("HANDBOOK_DIR", dir)
	return dir
}

// eachRow calls fn with the fields of every row behind the header.
func eachRow(t *testing.T, path string, fn func(row []string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r io.Reader = bufio.NewReader(file)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	for first := true; ; first = false {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !first {
			fn(row)
		}
	}
}

func integer(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func float(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var handbookStart = time.Date(2018, 4, 1, 0, 0, 0, 0, time.UTC)

// writeHistory turns the handbook's raw data into the backtest's input. With terminalAsDevice the terminals stand in the device column,
// and all transactions have one merchant.
func writeHistory(t *testing.T, dir, handbook string, terminalAsDevice bool) (transactions, labels string) {
	t.Helper()
	transactions, labels = filepath.Join(dir, "transactions.csv"), filepath.Join(dir, "labels.csv")
	var tx, lb strings.Builder
	tx.WriteString("transaction_id,timestamp,card_id,device_id,merchant_id,amount,currency\n")
	lb.WriteString("transaction_id,known_at,fraud\n")
	eachRow(t, filepath.Join(handbook, "dev_raw_d000-135.csv.gz"), func(row []string) {
		at := handbookStart.Add(time.Duration(integer(t, row[1])) * time.Second)
		device, merchant := "", "m"+row[3]
		if terminalAsDevice {
			device, merchant = "d"+row[3], "all"
		}
		fmt.Fprintf(&tx, "%s,%s,c%s,%s,%s,%s,EUR\n", row[0], at.Format(time.RFC3339), row[2], device, merchant, row[4])
		if row[5] == "1" {
			fmt.Fprintf(&lb, "%s,%s,1\n", row[0], at.Add(7*24*time.Hour).Format(time.RFC3339))
		}
	})
	for path, text := range map[string]string{transactions: tx.String(), labels: lb.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return transactions, labels
}

// deviceSchema is the handbook's schema with the terminal's section under device.
func deviceSchema(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile("../../configs/handbook/schema.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "schema.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "\nmerchant:\n", "\ndevice:\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The handbook's features, scores, contributions and published figures come out of the fold that decides live.
func TestHandbook(t *testing.T) {
	handbook := handbookDir(t)
	var names []string
	text, err := os.ReadFile(filepath.Join(handbook, "features.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &names); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, manifest, data string
		device               bool
		published            string
	}{
		{"terminal as merchant, 100x6", "model.yaml", "xgb_default_100x6", false, "XGBoost default"},
		{"terminal as device, 100x3", "model_100x3.yaml", "xgb_100x3_lr01", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			transactions, labels := writeHistory(t, dir, handbook, c.device)
			rules := region.RulesetFiles{Schema: "../../configs/handbook/schema.yaml", Model: "../../configs/handbook/" + c.manifest, Policy: "../../configs/handbook/policy.yaml"}
			if c.device {
				rules.Schema = deviceSchema(t, dir)
			}
			out := filepath.Join(dir, "out.csv")
			start := time.Now()
			report, err := Run(context.Background(), Config{Rules: rules, Transactions: transactions, Labels: labels, Out: out})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d transactions in %s; all days: %+v", report.Transactions, time.Since(start).Round(time.Millisecond), *report.Quality)
			if report.Transactions != 1_303_778 || report.Unmatched != 0 {
				t.Errorf("got %d transactions and %d unmatched labels, want 1303778 and 0", report.Transactions, report.Unmatched)
			}
			h := &handbookCheck{T: t, dir: handbook, data: c.data, rows: readRows(t, out, names)}
			h.features()
			h.scores()
			h.contributions(rules, names)
			if c.published != "" {
				h.published(c.published)
			}
		})
	}
}

type outputRow struct {
	features []float64
	score    float64
}

func readRows(t *testing.T, path string, names []string) map[string]outputRow {
	t.Helper()
	header, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(header), "\n")
	if want := "transaction_id," + strings.Join(names, ",") + ",score,outcome"; first != want {
		t.Fatalf("header: got %s, want %s", first, want)
	}
	rows := make(map[string]outputRow, 1_400_000)
	eachRow(t, path, func(row []string) {
		r := outputRow{score: float(t, row[len(row)-2])}
		for _, v := range row[1 : len(row)-2] {
			r.features = append(r.features, float(t, v))
		}
		rows[strings.Clone(row[0])] = r
	})
	return rows
}

type handbookCheck struct {
	*testing.T
	dir, data string
	rows      map[string]outputRow
}

func (h *handbookCheck) path(name string) string { return filepath.Join(h.dir, name) }

// features compares every row of the published days and of the sample before.
func (h *handbookCheck) features() {
	ties := map[string]bool{}
	eachRow(h.T, h.path("same_card_same_second_ties.csv.gz"), func(row []string) { ties[strings.Clone(row[0])] = true })
	amounts := map[string]float64{}
	eachRow(h.T, h.path("dev_raw_d000-135.csv.gz"), func(row []string) { amounts[strings.Clone(row[0])] = float64(integer(h.T, row[4])) / 100 })
	checked, bad, tied := 0, 0, 0
	share := func(part, whole string, unit float64) float64 {
		n := integer(h.T, whole)
		if n == 0 {
			return 0
		}
		return float64(integer(h.T, part)) / float64(n) / unit
	}
	for _, file := range []string{"dev_feat_d115-135.csv.gz", "dev_feat_sample_1in50_d000-114.csv.gz"} {
		eachRow(h.T, h.path(file), func(row []string) {
			got := h.rows[row[0]].features
			// row: tx_id weekend night c_n1 c_sum1 c_n7 c_sum7 c_n30 c_sum30 t_n1 t_fraud1 t_n7 t_fraud7 t_n30 t_fraud30
			want := []float64{amounts[row[0]], float(h.T, row[1]), float(h.T, row[2])}
			for i := 3; i < 9; i += 2 {
				want = append(want, float(h.T, row[i]), share(row[i+1], row[i], 100))
			}
			for i := 9; i < 15; i += 2 {
				want = append(want, float(h.T, row[i]), share(row[i+1], row[i], 1))
			}
			checked++
			for i := range want {
				tolerance := 1e-9
				if i == 3 || i == 5 || i == 7 || i == 9 || i == 11 || i == 13 {
					tolerance = 0
				}
				if math.Abs(got[i]-want[i]) > tolerance {
					if ties[row[0]] && i < 9 {
						tied++
						continue
					}
					if bad++; bad < 10 {
						h.Errorf("transaction %s, feature %d: got %v, want %v", row[0], i, got[i], want[i])
					}
				}
			}
		})
	}
	h.Logf("features: %d rows checked, %d differences, and %d in the listed ties", checked, bad, tied)
	if checked != 201_295+22_050 {
		h.Errorf("checked %d rows, want %d", checked, 201_295+22_050)
	}
}

// scores compares the scores of the test days.
func (h *handbookCheck) scores() {
	worst, n := 0.0, 0
	ties := map[string]bool{}
	eachRow(h.T, h.path("same_card_same_second_ties.csv.gz"), func(row []string) { ties[strings.Clone(row[0])] = true })
	eachRow(h.T, h.path(h.data+".test_scores.csv.gz"), func(row []string) {
		if ties[row[0]] {
			return
		}
		n++
		worst = max(worst, math.Abs(h.rows[row[0]].score-float(h.T, row[2])))
	})
	h.Logf("scores: %d compared, largest difference %.3g", n, worst)
	if worst > 1e-6 || n < 58_000 {
		h.Errorf("%d scores, largest difference %g; want 1e-6 at most over more than 58000", n, worst)
	}
}

// contributions explains the backtest's own features.
func (h *handbookCheck) contributions(rules region.RulesetFiles, names []string) {
	m, err := model.Load(rules.Model)
	if err != nil {
		h.Fatal(err)
	}
	bound, err := m.Bind(names)
	if err != nil {
		h.Fatal(err)
	}
	worst, n := 0.0, 0
	eachRow(h.T, h.path(h.data+".contribs2000.csv.gz"), func(row []string) {
		got, bias := bound.Explain(nil, h.rows[row[0]].features)
		n++
		for i, c := range got {
			worst = max(worst, math.Abs(float64(c.Value)-float(h.T, row[1+i])))
		}
		worst = max(worst, math.Abs(float64(bias)-float(h.T, row[len(row)-1])))
	})
	h.Logf("contributions: %d rows compared, largest difference %.3g", n, worst)
	if worst > 1e-5 || n != 2000 {
		h.Errorf("%d rows, largest difference %g; want 1e-5 at most over 2000", n, worst)
	}
}

// published computes the published test figures from the backtest's scores.
func (h *handbookCheck) published(name string) {
	var figures struct {
		Published map[string][3]float64 `json:"published_test"`
	}
	text, err := os.ReadFile(h.path("published_ch3.json"))
	if err != nil {
		h.Fatal(err)
	}
	if err := json.Unmarshal(text, &figures); err != nil {
		h.Fatal(err)
	}
	customers := map[string]string{}
	eachRow(h.T, h.path("dev_raw_d000-135.csv.gz"), func(row []string) { customers[strings.Clone(row[0])] = strings.Clone(row[2]) })
	var s scores
	days := map[string]map[string]*cardDay{}
	eachRow(h.T, h.path("test_set_ids.csv.gz"), func(row []string) {
		score := h.rows[row[0]].score
		i := s.add(float32(score))
		s.label(i, row[2] == "1")
		day := days[row[1]]
		if day == nil {
			day = map[string]*cardDay{}
			days[strings.Clone(row[1])] = day
		}
		c := day[customers[row[0]]]
		if c == nil {
			c = &cardDay{}
			day[customers[row[0]]] = c
		}
		c.score, c.fraud = max(c.score, score), c.fraud || row[2] == "1"
	})
	q := s.quality(decision.Thresholds{StepUp: math.Inf(1), Decline: math.Inf(1)})
	got := [3]float64{q.AUCROC, q.AveragePrecision, cardPrecision(days, 100)}
	h.Logf("published %s %v, got AUC ROC %.4f, average precision %.4f, card precision@100 %.4f", name, figures.Published[name], got[0], got[1], got[2])
	for i, want := range figures.Published[name] {
		if math.Round(got[i]*1000)/1000 != want {
			h.Errorf("figure %d: got %.4f, want %.3f", i, got[i], want)
		}
	}
}

type cardDay struct {
	score float64
	fraud bool
}

// cardPrecision is the mean over the days of the share of frauds among the k cards with the highest scores; a detected card leaves
// the pool of later days.
func cardPrecision(days map[string]map[string]*cardDay, k int) float64 {
	detected := map[string]bool{}
	total := 0.0
	order := make([]string, 0, len(days))
	for day := range days {
		order = append(order, day)
	}
	slices.SortFunc(order, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, day := range order {
		var cards []string
		for card := range days[day] {
			if !detected[card] {
				cards = append(cards, card)
			}
		}
		slices.SortFunc(cards, func(a, b string) int {
			return cmp.Or(cmp.Compare(days[day][b].score, days[day][a].score), cmp.Compare(a, b))
		})
		hits := 0
		for _, card := range cards[:min(k, len(cards))] {
			if days[day][card].fraud {
				hits++
				detected[card] = true
			}
		}
		total += float64(hits) / float64(k)
	}
	return total / float64(len(order))
}
