package model

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const goodManifest = `# which model, and what it asks for
name: fraud
version: 7
format: xgboost-json
file: model.json
inputs: [amount, risk]
description: |
  trained on synthetic rows
metrics:
  auc_roc: 0.93
  rows: 400
  gain: -1.5e-3
  below: -2
`

func noEnv(string) (string, bool) { return "", false }

// writeModel puts a manifest and the tiny model into a folder and returns the manifest's path.
func writeModel(t *testing.T, manifest, model string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "fraud.yaml")
	for name, text := range map[string]string{path: manifest, filepath.Join(dir, "model.json"): model} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestLoadTakesEverythingFromTheManifest(t *testing.T) {
	m, err := Load(writeModel(t, goodManifest, tiny))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name() != "fraud" || m.Version() != 7 || m.String() != "fraud@7" {
		t.Errorf("got %s, version %d, %s, want fraud, 7, fraud@7", m.Name(), m.Version(), m)
	}
	if got, want := m.Inputs(), []string{"amount", "risk"}; !slices.Equal(got, want) {
		t.Errorf("inputs %v, want %v", got, want)
	}
	if got, want := m.Description(), "trained on synthetic rows\n"; got != want {
		t.Errorf("description %q, want %q", got, want)
	}
	if got, want := m.Metrics(), map[string]float64{"auc_roc": 0.93, "rows": 400, "gain": -1.5e-3, "below": -2}; !maps.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
	sum := sha256.Sum256([]byte(tiny))
	if got, want := m.Checksum(), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("checksum %s, want %s", got, want)
	}
	if m.Objective() != "binary:logistic" || !m.IsProbability() {
		t.Errorf("objective %s, probability %v, want binary:logistic, true", m.Objective(), m.IsProbability())
	}
}

func TestWhatAModelHandsOutIsACopy(t *testing.T) {
	m, err := Load(writeModel(t, goodManifest, tiny))
	if err != nil {
		t.Fatal(err)
	}
	m.Inputs()[0] = "changed"
	m.Metrics()["auc_roc"] = 0
	if m.Inputs()[0] != "amount" || m.Metrics()["auc_roc"] != 0.93 {
		t.Errorf("a caller changed the model: %v %v", m.Inputs(), m.Metrics())
	}
}

func TestOnlyLogitLinksGiveProbabilities(t *testing.T) {
	for objective, want := range map[string]bool{
		"binary:logistic": true, "reg:logistic": true, "binary:logitraw": false, "reg:squarederror": false, "reg:gamma": false,
	} {
		m, err := Load(writeModel(t, goodManifest, strings.Replace(tiny, "binary:logistic", objective, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.IsProbability(); got != want {
			t.Errorf("%s: %v, want %v", objective, got, want)
		}
	}
}

func TestManifestMistakesAreRefusedNamingLineAndField(t *testing.T) {
	tests := []struct {
		name, old, new, want string
	}{
		{"unknown key", "version: 7", "version: 7\nthreshold: 0.5", "fraud.yaml:4: threshold: unknown key"},
		{"key in another case", "name:", "Name:", "fraud.yaml:2: Name: unknown key"},
		{"key twice", "version: 7", "version: 7\nversion: 7", `fraud.yaml:4: not YAML: mapping key "version" already defined`},
		{"key twice, once quoted", "version: 7", "version: 7\n\"version\": 7", `fraud.yaml:4: not YAML: mapping key "version" already defined`},
		{"metric twice", "rows: 400", "rows: 400\n  'rows': 400", `fraud.yaml:12: not YAML: mapping key "rows" already defined`},
		{"key a number", "version: 7", "version: 7\n8: x", "fraud.yaml:4: want a key that is a string"},
		{"no name", "name: fraud\n", "", "fraud.yaml:2: name: missing"},
		{"no version", "version: 7\n", "", "version: missing"},
		{"no format", "format: xgboost-json\n", "", "format: missing"},
		{"no file", "file: model.json\n", "", "file: missing"},
		{"no inputs", "inputs: [amount, risk]\n", "", "inputs: missing"},
		{"name a number", "name: fraud", "name: 12", "fraud.yaml:2: name: want a string, got 12"},
		{"name a boolean", "name: fraud", "name: true", "fraud.yaml:2: name: want a string, got true"},
		{"name empty", "name: fraud", "name:", "fraud.yaml:2: name: want a string, got nothing"},
		{"name with an anchor", "name: fraud", "name: &a fraud", "fraud.yaml:2: name: want a string, got an anchor"},
		{"name with an at sign", "name: fraud", "name: fraud@7", "fraud.yaml:2: name: want 1 to 128 letters"},
		{"name with a space", "name: fraud", "name: card fraud", "fraud.yaml:2: name: want 1 to 128 letters"},
		{"name too long", "name: fraud", "name: " + strings.Repeat("a", 129), "fraud.yaml:2: name: want 1 to 128 letters"},
		{"version a string", "version: 7", `version: "7"`, `fraud.yaml:3: version: want a whole number, got "7"`},
		{"version a fraction", "version: 7", "version: 7.5", "fraud.yaml:3: version: want a whole number, got 7.5"},
		{"version 0", "version: 7", "version: 0", "fraud.yaml:3: version: want 1 to"},
		{"version negative", "version: 7", "version: -7", "fraud.yaml:3: version: want 1 to"},
		{"version huge", "version: 7", "version: 2147483648", "fraud.yaml:3: version: want 1 to"},
		{"another format", "xgboost-json", "onnx", `fraud.yaml:4: format: want xgboost-json, got "onnx"`},
		{"file empty", "file: model.json", `file: ""`, "fraud.yaml:5: file: want a path"},
		{"file absent", "file: model.json", "file: other.json", "other.json: no such file"},
		{"file a folder", "file: model.json", "file: .", "not a regular file"},
		{"file's variable unset", "file: model.json", "file: ${NO_SUCH}/model.json", "fraud.yaml: file: environment variable NO_SUCH is not set"},
		{"file's variable open", "file: model.json", "file: ${NO_SUCH/model.json", "want ${NAME}"},
		{"file's variable nameless", "file: model.json", `file: "${}/model.json"`, "want ${NAME}"},
		{"inputs a string", "[amount, risk]", "amount", "fraud.yaml:6: inputs: want a list of feature names"},
		{"inputs empty", "[amount, risk]", "[]", "fraud.yaml:6: inputs: want 1 to 512 feature names, got 0"},
		{"inputs too few", "[amount, risk]", "[amount]", "inputs: 1 names, the model file has 2 features"},
		{"inputs too many", "[amount, risk]", "[amount, risk, more]", "inputs: 3 names, the model file has 2 features"},
		{"input twice", "[amount, risk]", "[amount, amount]", `fraud.yaml:6: inputs: [1]: "amount": given twice`},
		{"input a number", "[amount, risk]", "[amount, 4]", "fraud.yaml:6: inputs: [1]: want a string, got 4"},
		{"input empty", "[amount, risk]", `[amount, ""]`, "fraud.yaml:6: inputs: [1]: want a name"},
		{"input a list", "[amount, risk]", "[amount, [risk]]", "fraud.yaml:6: inputs: [1]: want a string, got a list"},
		{"metrics a list", "metrics:\n  auc_roc: 0.93\n  rows: 400\n  gain: -1.5e-3\n  below: -2", "metrics: [1]", "fraud.yaml:9: metrics: want a mapping"},
		{"metric a string", "auc_roc: 0.93", "auc_roc: good", `fraud.yaml:9: metrics: "auc_roc": want a number, got "good"`},
		{"metric NaN", "auc_roc: 0.93", "auc_roc: .nan", "metrics: \"auc_roc\": want a"},
		{"metric infinite", "auc_roc: 0.93", "auc_roc: .inf", "metrics: \"auc_roc\": want a"},
		{"description a list", "|\n  trained on synthetic rows", "[a]", "fraud.yaml:7: description: want a string, got a list"},
		{"empty", goodManifest, "", "want one YAML document"},
		{"only a comment", goodManifest, "# nothing\n", "want"},
		{"a list", goodManifest, "- name\n", "fraud.yaml:1: want a mapping, got a list"},
		{"two documents", "name: fraud", "name: fraud\n---\nname: fraud", "want one YAML document"},
		{"not YAML", goodManifest, "name: [a\nversion: }", "fraud.yaml:2: not YAML: "},
		{"too long", "# which", "# " + strings.Repeat("x", maxManifestBytes), "more than 262144 bytes"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(goodManifest, tc.old, tc.new, 1)
			if text == goodManifest {
				t.Fatalf("the manifest has no %q", tc.old)
			}
			_, err := load(writeModel(t, text, tiny), noEnv)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that says %q", err, tc.want)
			}
		})
	}
}

func TestLoadNamesTheFileThatIsWrong(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "absent.yaml"))
	if err == nil || !strings.Contains(err.Error(), "load model: ") || !strings.Contains(err.Error(), "absent.yaml") {
		t.Errorf("absent manifest: got %v", err)
	}
	_, err = Load(writeModel(t, goodManifest, "{}"))
	if err == nil || !strings.Contains(err.Error(), "model.json: learner: missing") {
		t.Errorf("bad model file: got %v", err)
	}
}

func TestModelFileIsFoundThroughTheEnvironment(t *testing.T) {
	elsewhere := filepath.Dir(writeModel(t, goodManifest, tiny))
	env := func(name string) (string, bool) {
		switch name {
		case "DIR":
			return elsewhere, true
		case "BASE":
			return "model", true
		case "EMPTY":
			return "", true
		}
		return "", false
	}
	dir := filepath.FromSlash("/etc/models")
	tests := []struct {
		file, want, wantErr string
	}{
		{"model.json", "/etc/models/model.json", ""},
		{"../model.json", "/etc/model.json", ""},
		{"/model.json", "/model.json", ""},
		{"${DIR}/${BASE}.json", elsewhere + "/model.json", ""},
		{"${BASE}.json", "/etc/models/model.json", ""},
		{"$BASE.json", "/etc/models/$BASE.json", ""},
		{"${EMPTY}/model.json", "", "EMPTY is not set"},
		{"${UNSET}", "", "UNSET is not set"},
	}
	for _, tc := range tests {
		m := manifest{file: tc.file}
		got, err := m.modelPath(dir, env)
		if tc.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%s: got %v, want an error that says %q", tc.file, err, tc.wantErr)
			}
		} else if err != nil || got != tc.want {
			t.Errorf("%s: got %s, %v, want %s", tc.file, got, err, tc.want)
		}
	}
	if _, err := load(writeModel(t, strings.Replace(goodManifest, "model.json", "${DIR}/model.json", 1), "{}"), env); err != nil {
		t.Errorf("the model elsewhere: %v", err)
	}
}

func TestInputsInAnotherOrderThanTheModelFilesAreRefused(t *testing.T) {
	tests := []struct {
		name, featureNames, want string
	}{
		{"none in the file", `[]`, ""},
		{"the same", `["amount","risk"]`, ""},
		{"renamed", `["TX_AMOUNT","TERMINAL_RISK"]`, ""},
		{"swapped", `["risk","amount"]`, `fraud.yaml: inputs: [0]: "amount" is number 1 in the model file's feature_names`},
		{"shifted", `["other","amount"]`, `"amount" is number 1`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(tiny, `"feature_names":[]`, `"feature_names":`+tc.featureNames, 1)
			_, err := load(writeModel(t, goodManifest, text), noEnv)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(goodManifest))
	f.Add([]byte("name: &a [*a]\n<<: *a\n? {a: b}\n: !!binary x"))
	f.Add([]byte("{name: fraud, version: 7, format: xgboost-json, file: a, inputs: [b]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest("m.yaml", text)
		if err != nil {
			return
		}
		if m.name == "" || m.version < 1 || m.format != formatXGBoost || m.file == "" || len(m.inputs) == 0 {
			t.Fatalf("accepted %+v", m)
		}
	})
}
