package model

import (
	"fmt"
	"math"
)

// link is how a margin (the sum of leaves) becomes a score.
type link uint8

const (
	linkIdentity link = iota
	linkLogit
	linkLog
)

// objectives are the training objectives whose predictions are one margin through one link. What an objective stores as base_score
// is a score, except that XGBoost keeps binary:logitraw's as the margin that it predicts.
var objectives = map[string]link{
	"binary:logistic":      linkLogit,
	"reg:logistic":         linkLogit,
	"binary:logitraw":      linkIdentity,
	"reg:squarederror":     linkIdentity,
	"reg:linear":           linkIdentity, // the older name of reg:squarederror
	"reg:squaredlogerror":  linkIdentity,
	"reg:pseudohubererror": linkIdentity,
	"reg:absoluteerror":    linkIdentity,
	"reg:gamma":            linkLog,
	"reg:tweedie":          linkLog,
}

// margin is the margin that scores base.
func (l link) margin(base float32) (float32, error) {
	switch l {
	case linkLogit:
		if !(base > 0 && base < 1) {
			return 0, fmt.Errorf("want a probability between 0 and 1, got %g", base)
		}
		// In float32 but for the logarithm, as XGBoost does it: margins shall be equal to the bit.
		return -float32(math.Log(float64(1/base - 1))), nil
	case linkLog:
		if !(base > 0) {
			return 0, fmt.Errorf("want more than 0, got %g", base)
		}
		return float32(math.Log(float64(base))), nil
	default:
		return base, nil
	}
}

// score is the prediction at margin.
func (l link) score(margin float32) float32 {
	switch l {
	case linkLogit:
		// XGBoost's bound: exp of more would overflow float32.
		x := min(-margin, 88.7)
		return 1 / (float32(math.Exp(float64(x))) + 1)
	case linkLog:
		return float32(math.Exp(float64(margin)))
	default:
		return margin
	}
}
