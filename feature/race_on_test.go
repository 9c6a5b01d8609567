//go:build race

package feature

// raceDetector: sync.Pool then forgets at random, so allocations cannot be counted.
const raceDetector = true
