package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scoremesh/cmd/node/traffic"
)

// ratesOf returns the flags --rate that a script gives.
func ratesOf(t *testing.T, script string) []string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for _, m := range regexp.MustCompile(`--rate ([A-Z]{3}=[0-9.]+)`).FindAllStringSubmatch(string(text), -1) {
		flags = append(flags, "--rate", m[1])
	}
	return flags
}

func TestTheTrainingConvertsByTheRatesOfTheTraffic(t *testing.T) {
	got := map[string]string{}
	for _, flag := range ratesOf(t, "../../training/train.sh") {
		if flag != "--rate" {
			got[flag[:3]] = flag[4:]
		}
	}
	if diff := cmp.Diff(traffic.Rates(), got); diff != "" {
		t.Errorf("training/train.sh (-traffic.Rates +script):\n%s", diff)
	}
}
