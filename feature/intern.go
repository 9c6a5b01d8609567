package feature

import "unique"

// intern returns one shared copy of a string that recurs in many states, such as a region.
func intern(s string) string { return unique.Make(s).Value() }
