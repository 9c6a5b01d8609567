package backtest

import (
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"scoremesh/decision"
	"scoremesh/region"
)

const header = "transaction_id,timestamp,card_id,device_id,merchant_id,amount,currency,channel\n"

// small writes files and returns a configuration over them.
func small(t *testing.T, transactions, labels string) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{Rules: region.RulesetFiles{Schema: "../testdata/schema.yaml", Policy: "../testdata/policy.yaml"},
		Transactions: filepath.Join(dir, "tx.csv"), Out: filepath.Join(dir, "out.csv"), Rates: map[string]string{"USD": "0.5"}}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(c.Transactions, transactions)
	if labels != "" {
		c.Labels = filepath.Join(dir, "labels.csv")
		write(c.Labels, labels)
	}
	return c
}

func TestBacktestFoldsDecidesAndLabelsInTime(t *testing.T) {
	c := small(t, header+
		"t1,2026-01-01T00:00:00Z,c1,d1,m1,500,EUR,web\n"+
		"t2,2026-01-01T00:00:10Z,c1,d1,m1,30000,USD,\n"+

		"t3,2026-01-01T00:00:20Z,c1,,m1,500,EUR,\n",
		"transaction_id,known_at,fraud\nt1,2026-01-01T00:00:10Z,1\nt2,2026-01-01T00:00:15Z,1\nnobody,2026-01-01T00:00:15Z,1\nt2,2026-01-01T00:00:21Z,0\n")
	report, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	// The columns are amount, card_count, card_count_with, card_declined, card_fraud, card_limit, device_count, merchant_count, merchant_frauds.
	want := "transaction_id,amount,card_count,card_count_with,card_declined,card_fraud,card_limit,device_count,merchant_count,merchant_frauds,score,outcome\n" +
		"t1,5,0,1,0,0,100,0,0,0,,approve\n" +
		"t2,150,1,2,0,1,100,1,1,1,,decline\n" +
		"t3,5,2,3,1,2,100,0,2,2,,approve\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if report.Transactions != 3 || report.Labels != 4 || report.Unmatched != 1 || report.Outcomes["decline"] != 1 {
		t.Errorf("report: %+v", report)
	}
}

func TestBacktestSkipsRetriesAndReadsCompressedNDJSON(t *testing.T) {
	c := small(t, "", "")
	c.Transactions = filepath.Join(t.TempDir(), "tx.ndjson.gz")
	file, err := os.Create(c.Transactions)
	if err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(file)
	line := `{"transaction_id":"t1","timestamp":"2026-01-01T00:00:00.5Z","card_id":"c1","merchant_id":"m1","amount":500,"currency":"EUR","lat":1,"lon":2,"attributes":{"channel":"web"}}` + "\n"
	if _, err := zip.Write([]byte(line + line)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(zip.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	report, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if report.Transactions != 1 || report.Repeated != 1 {
		t.Errorf("got %d transactions and %d repeated, want 1 and 1", report.Transactions, report.Repeated)
	}
}

func TestABadRowNamesItsLineAndLeavesNoFile(t *testing.T) {
	good := header + "t1,2026-01-01T00:00:10Z,c1,d1,m1,500,EUR,\n"
	for _, c := range []struct{ name, transactions, labels, want string }{
		{"no file content", "", "", "tx.csv:1: an empty file"},
		{"missing column", "transaction_id,timestamp\n", "", "tx.csv:1: card_id: the header lacks"},
		{"column twice", strings.Replace(header, "channel", "amount", 1), "", "tx.csv:1: amount: the column stands twice"},
		{"bad time", good + "t2,yesterday,c1,,m1,1,EUR,\n", "", "tx.csv:3: timestamp"},
		{"out of order", good + "t2,2026-01-01T00:00:09Z,c1,,m1,1,EUR,\n", "", "tx.csv:3: timestamp: 2026-01-01T00:00:09Z lies before"},
		{"bad amount", good + "t2,2026-01-01T00:00:11Z,c1,,m1,1.5,EUR,\n", "", "tx.csv:3: amount"},
		{"negative amount", good + "t2,2026-01-01T00:00:11Z,c1,,m1,-1,EUR,\n", "", "tx.csv:3: amount"},
		{"no rate", good + "t2,2026-01-01T00:00:11Z,c1,,m1,1,JPY,\n", "", "tx.csv:3: currency"},
		{"no merchant", good + "t2,2026-01-01T00:00:11Z,c1,,,1,EUR,\n", "", "tx.csv:3: merchant_id"},
		{"too few fields", good + "t2,2026\n", "", "tx.csv:3: "},
		{"known id, other body", good + "t1,2026-01-01T00:00:11Z,c1,,m1,1,EUR,\n", "", "tx.csv:3: transaction_id"},
		{"bad label", good, "transaction_id,known_at,fraud\nt1,2026-01-01T00:00:00Z,maybe\n", "labels.csv:2: fraud"},
		{"labels out of order", good, "transaction_id,known_at,fraud\nt1,2026-01-02T00:00:00Z,1\nt1,2026-01-01T00:00:00Z,1\n", "labels.csv:3: known_at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := small(t, c.transactions, c.labels)
			_, err := Run(context.Background(), config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			left, _ := filepath.Glob(filepath.Join(filepath.Dir(config.Out), "*out.csv*"))
			hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(config.Out), ".out.csv*"))
			if len(left)+len(hidden) > 0 {
				t.Errorf("a failed run left %v %v", left, hidden)
			}
		})
	}
}

func TestQualityAgreesWithHandMadeFigures(t *testing.T) {
	// Scores 0.9 f, 0.8 g, 0.7 f, 0.7 g, 0.1 g: pairs won 3 + 1.5 + ... = (3 + 1.5)/6; average precision as scikit-learn gives it.
	var s scores
	for _, c := range []struct {
		score float32
		fraud bool
	}{{.9, true}, {.8, false}, {.7, true}, {.7, false}, {.1, false}} {
		s.label(s.add(c.score), c.fraud)
	}
	q := s.quality(decision.Thresholds{StepUp: .5, Decline: .85})
	if want := (3 + 1.5) / 6; q.AUCROC != want {
		t.Errorf("AUC ROC is %v, want %v", q.AUCROC, want)
	}
	if want := .5*1 + .5*2/4; q.AveragePrecision != want {
		t.Errorf("average precision is %v, want %v", q.AveragePrecision, want)
	}
	if got := *q.StepUp; got != (Confusion{.5, 2, 2, 1, 0}) {
		t.Errorf("confusion at step-up is %+v", got)
	}
	if got := *q.Decline; got != (Confusion{.85, 1, 0, 3, 1}) {
		t.Errorf("confusion at decline is %+v", got)
	}
}
