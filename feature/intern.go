package feature

import "unique"

// intern returns one shared copy of a string that recurs in many states (a region, a country).
func intern(b []byte) string { return unique.Make(string(b)).Value() }
