package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// command runs one command line.
func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), err
}

func TestHelpIsPrintedAndIsNoError(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"demo", "--help"}, {"config", "check", "--help"}} {
		stdout, _, err := command(t, args...)
		if err != nil || !strings.Contains(stdout, "Usage: node") {
			t.Errorf("%v: got %q, error %v; want the usage", args, stdout, err)
		}
	}
	stdout, _, _ := command(t, "--help")
	for _, name := range []string{"run", "demo", "backtest", "config check", "snapshot", "restore", "version"} {
		if !strings.Contains(stdout, "\n  "+name) {
			t.Errorf("help lacks command %q:\n%s", name, stdout)
		}
	}
}

func TestBadCommandLinesAreErrorsThatNameTheFault(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no command":               {nil, "expected one of"},
		"an unknown command":       {[]string{"score"}, "score"},
		"an unknown flag":          {[]string{"version", "--loud"}, "--loud"},
		"a missing flag":           {[]string{"run"}, "--config"},
		"a missing file":           {[]string{"config", "check"}, "<file>"},
		"a rate that is no number": {[]string{"demo", "--rate", "many"}, "--rate"},
		"a rate out of bounds":     {[]string{"demo", "--rate", "0"}, "--rate is 0"},
		"a negative time":          {[]string{"demo", "--for=-1s"}, "--for is -1s"},
		"no transactions":          {[]string{"demo", "--export", "x", "--transactions", "0"}, "--transactions is 0"},
		"a summary into nowhere":   {[]string{"demo", "--summary", "no/such/folder/s.json"}, "no/such/folder is not a folder"},
		"a config that is missing": {[]string{"run", "--config", "no.yaml"}, "read configuration: open no.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := command(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestVersionNamesTheRelease(t *testing.T) {
	stdout, _, err := command(t, "version")
	if err != nil || !strings.HasPrefix(stdout, "scoremesh dev (commit ") {
		t.Errorf("got %q, error %v", stdout, err)
	}
}

func TestConfigCheckReadsAllThatTheConfigurationNames(t *testing.T) {
	t.Setenv("SCOREMESH_CARD_HASH_KEY", strings.Repeat("5a", 32))
	stdout, _, err := command(t, "config", "check", "../../configs/node.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"node.yaml is good", "schema  v1, ", "model   demo@1", "policy  demo@1", "hashed by key "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got %q, want it to have %q", stdout, want)
		}
	}
	if strings.Contains(stdout, "5a5a5a") {
		t.Errorf("got %q, want no secret", stdout)
	}
	for name, c := range map[string]struct{ key, value, want string }{
		"a bad policy":      {"SCOREMESH_RULES_POLICY", "demo/schema.yaml", "parse policy: "},
		"a missing model":   {"SCOREMESH_RULES_MODEL", "demo/none.yaml", "load model: "},
		"a bad rate":        {"SCOREMESH_RATES", `{USD: "a lot"}`, "rates: "},
		"a short key":       {"SCOREMESH_CARD_HASH_KEY", "5a5a", "card_key: environment variable SCOREMESH_CARD_HASH_KEY"},
		"a key that is not": {"SCOREMESH_CARD_HASH_KEY", "?", "neither hex nor base64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c.key, c.value)
			if _, _, err := command(t, "config", "check", "../../configs/node.yaml"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestBacktestDecidesWhatWasExported(t *testing.T) {
	dir := t.TempDir()
	stdout, _, err := command(t, "demo", "--export", dir, "--transactions", "300", "--seed", "3")
	if err != nil || !strings.Contains(stdout, "300 transactions") {
		t.Fatalf("export: got %q, error %v", stdout, err)
	}
	arguments := []string{"backtest", "--schema", "../../configs/demo/schema.yaml", "--policy", "../../configs/demo/policy.yaml",
		"--model", "../../configs/demo/model/model.yaml", "--transactions", filepath.Join(dir, "transactions.csv"),
		"--labels", filepath.Join(dir, "labels.csv"), "--out", filepath.Join(dir, "out.csv")}
	if _, _, err := command(t, arguments...); err == nil || !strings.Contains(err.Error(), "currency") {
		t.Errorf("without rates: got error %v, want one that names the currency", err)
	}
	stdout, _, err = command(t, append(arguments, ratesOf(t, "../../training/train.sh")...)...)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout, `"transactions": 300`) || !strings.Contains(stdout, `"model": "demo@1"`) {
		t.Errorf("got report %s, want 300 transactions by demo@1", stdout)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(rows) != 301 || !strings.HasPrefix(rows[0], "transaction_id,amount,") || !strings.HasSuffix(rows[0], ",score,outcome") {
		t.Fatalf("got %d rows, the first is %q", len(rows), rows[0])
	}
	// The channel is an attribute of the transactions: without it nothing would be online.
	online := 0
	for _, row := range rows[1:] {
		if strings.Split(row, ",")[4] == "1" {
			online++
		}
	}
	if header := strings.Split(rows[0], ","); header[4] != "online" || online == 0 || online == 300 {
		t.Errorf("column %q: got %d of 300 online, want some", strings.Split(rows[0], ",")[4], online)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("SCOREMESH_DATA_DIR", t.TempDir())
	t.Setenv("SCOREMESH_API_LISTEN", "127.0.0.1:0")
	var out, errs bytes.Buffer
	if err := run(ctx, []string{"run", "--config", "../../configs/node.yaml"}, &out, &errs); err != nil {
		t.Errorf("got error %v; the log:\n%s", err, errs.String())
	}
}
