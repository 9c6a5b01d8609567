package model

// Contribution is what one input did to a margin, compared to not knowing the input.
type Contribution struct {
	// Input is the feature's name.
	Input string
	// Feature is its place in the vector that was explained.
	Feature int
	// Value is on the margin's scale (log-odds for a probability); positive raised the score. Never NaN.
	Value float32
}

// Top appends to dst the n contributions that raised the score the most, the largest first, ties in the given order; fewer when fewer
// are positive. It allocates only where dst lacks capacity.
func Top(dst, contributions []Contribution, n int) []Contribution {
	first := len(dst)
	for _, c := range contributions {
		if !(c.Value > 0) || n <= 0 {
			continue
		}
		switch {
		case len(dst)-first < n:
			dst = append(dst, c)
		case c.Value > dst[len(dst)-1].Value:
			dst[len(dst)-1] = c
		default:
			continue
		}
		// The last is the only one that can be out of place.
		for i := len(dst) - 1; i > first && dst[i].Value > dst[i-1].Value; i-- {
			dst[i], dst[i-1] = dst[i-1], dst[i]
		}
	}
	return dst
}
