package backtest

import (
	"cmp"
	"math"
	"slices"

	"scoremesh/decision"
)

// Quality measures scores against labels. A transaction that no label names counts as genuine.
type Quality struct {
	Frauds  int64 `json:"frauds"`
	Genuine int64 `json:"genuine"`
	// AUCROC is the probability that a fraud scores above a genuine transaction, ties counting half. NaN-free: 0 when a class is empty.
	AUCROC float64 `json:"auc_roc"`
	// AveragePrecision is the sum over thresholds of precision times the gain in recall (as scikit-learn defines it).
	AveragePrecision float64 `json:"average_precision"`
	// StepUp and Decline are the confusions at the policy's thresholds.
	StepUp  *Confusion `json:"at_step_up,omitempty"`
	Decline *Confusion `json:"at_decline,omitempty"`
}

// Confusion counts transactions at or above a threshold (positive) and below it.
type Confusion struct {
	Threshold      float64 `json:"threshold"`
	TruePositives  int64   `json:"true_positives"`
	FalsePositives int64   `json:"false_positives"`
	TrueNegatives  int64   `json:"true_negatives"`
	FalseNegatives int64   `json:"false_negatives"`
}

// scores holds a score and a label per transaction, in their order.
type scores struct {
	score []float32
	fraud []bool
}

func (s *scores) add(score float32) (row int) {
	s.score, s.fraud = append(s.score, score), append(s.fraud, false)
	return len(s.score) - 1
}

func (s *scores) label(row int, fraud bool) { s.fraud[row] = fraud }

func (s *scores) quality(t decision.Thresholds) *Quality {
	q := &Quality{}
	var order []int
	for i, score := range s.score {
		if math.IsNaN(float64(score)) {
			continue // no model scored it
		}
		order = append(order, i)
		if s.fraud[i] {
			q.Frauds++
		} else {
			q.Genuine++
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(s.score[b], s.score[a]) })
	if q.Frauds > 0 && q.Genuine > 0 {
		q.curves(s, order)
	}
	q.StepUp = s.confusion(order, t.StepUp, func(score float32) bool { return t.Outcome(score) != decision.Approve })
	q.Decline = s.confusion(order, t.Decline, func(score float32) bool { return t.Outcome(score) == decision.Decline })
	return q
}

// curves walks down the scores, one step for each group of equal ones.
func (q *Quality) curves(s *scores, order []int) {
	var hits, misses int64
	for i := 0; i < len(order); {
		var fraud, genuine int64
		score := s.score[order[i]]
		for ; i < len(order) && s.score[order[i]] == score; i++ {
			if s.fraud[order[i]] {
				fraud++
			} else {
				genuine++
			}
		}
		q.AUCROC += float64(genuine) * (float64(hits) + float64(fraud)/2)
		hits += fraud
		misses += genuine
		q.AveragePrecision += float64(fraud) / float64(q.Frauds) * float64(hits) / float64(hits+misses)
	}
	q.AUCROC /= float64(q.Frauds) * float64(q.Genuine)
}

func (s *scores) confusion(order []int, threshold float64, positive func(float32) bool) *Confusion {
	if math.IsInf(threshold, 1) {
		return nil
	}
	c := &Confusion{Threshold: threshold}
	for _, i := range order {
		switch p := positive(s.score[i]); {
		case p && s.fraud[i]:
			c.TruePositives++
		case p:
			c.FalsePositives++
		case s.fraud[i]:
			c.FalseNegatives++
		default:
			c.TrueNegatives++
		}
	}
	return c
}
