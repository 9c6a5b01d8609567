package main

import (
	"fmt"
	"runtime/debug"
)

// version is the release, set by the linker (-X main.version=...).
var version = "dev"

type versionCommand struct{}

// Run prints the version, the commit and the Go release.
func (versionCommand) Run(t *terminal) error {
	commit, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	_, err := fmt.Fprintf(t.stdout, "scoremesh %s (commit %s, %s)\n", version, commit, goVersion)
	return err
}
