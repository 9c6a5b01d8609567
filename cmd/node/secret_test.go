package main

import (
	"strings"
	"testing"
)

// A list of servers may hold a password: an error never repeats it.
func TestAnErrorRepeatsNoList(t *testing.T) {
	_, err := LoadConfig(example, func(name string) (string, bool) {
		return "[nats://user:hunter2@a:4222, {", name == "SCOREMESH_NATS_URLS"
	})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "SCOREMESH_NATS_URLS") {
		t.Errorf("got error %v, want one that names the variable and not its value", err)
	}
}
