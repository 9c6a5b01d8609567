package decision

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// didYouMean returns `, did you mean "a" or "b"?` with the names nearest to a misspelt one, or "".
func didYouMean(name string, known []string) string {
	type candidate struct {
		name     string
		distance int
	}
	if len(name) > 128 {
		return ""
	}
	var near []candidate
	for _, k := range known {
		if d := editDistance(name, k); d <= max(2, len(name)/3) {
			near = append(near, candidate{k, d})
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, fmt.Sprintf("%q", c.name))
	}
	return ", did you mean " + strings.Join(names, " or ") + "?"
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
