// Package scoremesh_test holds the repository to the floors of docs/ARCHITECTURE.md: a package imports only what lies below it.
package scoremesh_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// floors numbers the module's packages. Those of one floor know nothing of each other, but for subpackages.
var floors = map[string]int{
	"feature": 0, "decision": 0,
	"model": 1, "topology": 1, "speedlayer": 1, "transport": 1,
	"actors": 2,
	"region": 3, "api": 3,
	"cmd": 4, "configs": 4,
}

// sameFloor lists the imports within a floor that are meant.
var sameFloor = map[[2]string]bool{
	{"feature", "decision"}: true, // the fold speaks of decisions; decision knows nothing of features
	{"cmd", "configs"}:      true,
}

// testOnly are packages that only tests import.
var testOnly = []string{"certtest", "speedlayer/redistest", "transport/natstest"}

func TestPackagesImportOnlyLowerFloors(t *testing.T) {
	out, err := exec.CommandContext(context.Background(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		importer := strings.TrimPrefix(fields[0], "scoremesh/")
		for _, imported := range fields[1:] {
			name, ours := strings.CutPrefix(imported, "scoremesh/")
			if !ours {
				checkOutside(t, importer, imported)
				continue
			}
			checked++
			checkInside(t, importer, name)
		}
	}
	if checked < 20 {
		t.Errorf("checked %d imports within the module, want at least 20: is the list right?", checked)
	}
}

func top(path string) string { return strings.SplitN(path, "/", 2)[0] }

func checkInside(t *testing.T, importer, imported string) {
	t.Helper()
	for _, helper := range testOnly {
		if imported == helper && !strings.Contains(importer, "test") {
			t.Errorf("%s imports %s, which is for tests", importer, imported)
		}
	}
	from, to := top(importer), top(imported)
	if from == to {
		return
	}
	if from == "e2e" {
		if imported != "transport/wire" {
			t.Errorf("e2e imports %s; it may know transport/wire only", imported)
		}
		return
	}
	high, ok := floors[from]
	low, ok2 := floors[to]
	switch {
	case !ok || !ok2:
		t.Errorf("%s imports %s: one of them stands on no floor", importer, imported)
	case low >= high && !sameFloor[[2]string{from, to}]:
		t.Errorf("%s (floor %d) imports %s (floor %d)", importer, high, imported, low)
	case from == "actors" && low != 0:
		t.Errorf("%s imports %s; actors knows floor 0 and Hollywood only", importer, imported)
	case from == "cmd" && importer == "cmd/node" && low != 0 && to != "region" && to != "api" && to != "configs":
		t.Errorf("%s imports %s; the program knows region, api and floor 0", importer, imported)
	}
}

// checkOutside keeps the pure floor pure, and Hollywood in its place.
func checkOutside(t *testing.T, importer, imported string) {
	t.Helper()
	if strings.HasPrefix(imported, "github.com/anthdm/hollywood") && top(importer) != "actors" {
		t.Errorf("%s imports %s; only actors knows Hollywood", importer, imported)
	}
	if floor, ok := floors[top(importer)]; !ok || floor != 0 {
		return
	}
	switch imported {
	case "net/http", "net", "os", "os/exec", "log", "log/slog", "math/rand", "math/rand/v2":
		t.Errorf("%s imports %s; floor 0 is pure", importer, imported)
	}
	for _, prefix := range []string{"github.com/nats-io", "github.com/redis", "github.com/rs/zerolog", "github.com/prometheus"} {
		if strings.HasPrefix(imported, prefix) {
			t.Errorf("%s imports %s; floor 0 is pure", importer, imported)
		}
	}
}
