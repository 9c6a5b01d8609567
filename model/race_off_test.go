//go:build !race

package model

// raceEnabled says whether the race detector watches.
const raceEnabled = false
