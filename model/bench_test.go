package model

import (
	"maps"
	"slices"
	"testing"
)

// benchModel is the handbook's 100 trees of depth 6, bound, and a thousand different rows: one row again and again would teach the
// branch predictor the way.
func benchModel(b *testing.B) (*Bound, [][]float64) {
	b.Helper()
	all := loadHandbookFeatures(b)
	var rows [][]float64
	for _, id := range slices.Sorted(maps.Keys(all))[:1000] {
		rows = append(rows, all[id])
	}
	m := handbookModel(b, "xgb_default_100x6.json")
	bound, err := m.Bind(m.Inputs())
	if err != nil {
		b.Fatal(err)
	}
	return bound, rows
}

// sink keeps the compiler from leaving out what is measured.
var sink float32

func BenchmarkPredict100x6(b *testing.B) {
	bound, rows := benchModel(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		sink += bound.Predict(rows[i%len(rows)]).Margin
		i++
	}
}

func BenchmarkExplain(b *testing.B) {
	bound, rows := benchModel(b)
	var dst []Contribution
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		dst, _ = bound.Explain(dst[:0], rows[i%len(rows)])
		i++
	}
}
