package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What docs/OPERATIONS.md tells people to watch is there to be watched.
func TestOperationsNamesMetricsThatExist(t *testing.T) {
	s := newSite(t)
	if status, _ := s.score("first"); status != http.StatusOK {
		t.Fatalf("score: got status %d, want 200", status)
	}
	response, err := http.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	shown, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`scoremesh_[a-z_]+`).FindAllString(string(text), -1)
	if len(names) < 30 {
		t.Errorf("docs/OPERATIONS.md names %d metrics, want at least 30", len(names))
	}
	for _, name := range names {
		if !strings.Contains(string(shown), "# TYPE "+name+" ") {
			t.Errorf("docs/OPERATIONS.md names %s, which /metrics does not show", name)
		}
	}
}
