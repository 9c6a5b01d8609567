package feature

import (
	"math"
	"slices"

	"github.com/zeebo/xxh3"

	"scoremesh/decision"
)

// Tiles keep counters per stretch of time instead of single transactions, for windows or volumes too large for a timeline. A
// tile is a sixtieth of its window; the window that is read consists of whole tiles, so it begins and ends up to one tile later
// than asked for. Tiles keep no ids: they add every decision and subtract every retraction. Minimum, maximum and distinct values
// are not subtracted: a duplicate has the same body, so it changed nothing. (A loser with another body, or with another outcome
// where the column filters on outcomes, stays in them until its tile leaves the window.)
//
// Sums and extremes are whole for transactions up to the skew behind the entity's newest. Sketches are for the newest: one that
// is late by more than a tile may miss values, since those that newer ones cover were dropped.

const tilesPerWindow = 60

// maxSketchTiles bounds how many tiles the delay of a sketch may span. Behind the delay a sketch keeps at most a few pairs of a
// register; within it, since any tile may still become the newest of a window, it keeps up to one of each tile: 3 bytes each
// when encoded, so at most 200 KB for a window with the longest delay.
const maxSketchTiles = 480

// tileGroup declares the tiles that features of one window and delay share.
type tileGroup struct {
	window, delay int64
	// width of a tile in milliseconds.
	width int64
	// behind is how many tiles behind the newest are kept: window, delay and skew.
	behind   int64
	columns  []column
	sketches []attributeSketch
}

// column is one number per tile.
type column struct {
	function columnFunction
	filter   filter
}

type columnFunction uint8

const (
	columnCount columnFunction = iota
	columnSum
	columnMin
	columnMax
)

// attributeSketch is one distinct sketch of a group.
type attributeSketch struct {
	attribute attribute
	filter    filter
}

// addTiled places a feature into the group of its window and delay.
func (ks *kindSchema) addTiled(f *feature, a attribute) {
	f.group = slices.IndexFunc(ks.groups, func(g tileGroup) bool { return g.window == f.window && g.delay == f.delay })
	if f.group < 0 {
		width := (f.window + tilesPerWindow - 1) / tilesPerWindow
		ks.groups = append(ks.groups, tileGroup{window: f.window, delay: f.delay, width: width,
			behind: (f.window+f.delay+ks.skew)/width + 1})
		f.group = len(ks.groups) - 1
	}
	g := &ks.groups[f.group]
	switch f.function {
	case count:
		f.columns[0] = g.addColumn(columnCount, f.filter)
	case sum:
		f.columns[0] = g.addColumn(columnSum, f.filter)
	case mean:
		f.columns = [2]int{g.addColumn(columnSum, f.filter), g.addColumn(columnCount, f.filter)}
	case ratio:
		f.columns = [2]int{g.addColumn(columnCount, f.numerator), g.addColumn(columnCount, f.filter)}
	case minimum:
		f.columns[0] = g.addColumn(columnMin, f.filter)
	case maximum:
		f.columns[0] = g.addColumn(columnMax, f.filter)
	case distinct:
		want := attributeSketch{a, f.filter}
		f.columns[0] = slices.Index(g.sketches, want)
		if f.columns[0] < 0 {
			g.sketches = append(g.sketches, want)
			f.columns[0] = len(g.sketches) - 1
		}
	}
}

func (g *tileGroup) addColumn(fn columnFunction, f filter) int {
	want := column{fn, f}
	if i := slices.Index(g.columns, want); i >= 0 {
		return i
	}
	g.columns = append(g.columns, want)
	return len(g.columns) - 1
}

// tile returns the tile of a time.
func (g *tileGroup) tile(at int64) int64 { return floorDiv(at, g.width) }

// span returns the tiles (from, to] of the window that is read at a time.
func (g *tileGroup) span(at int64) (from, to int64) {
	return g.tile(at - g.delay - g.window), g.tile(at - g.delay)
}

// oldest returns the first tile that is kept when newest is the entity's newest time.
func (g *tileGroup) oldest(newest int64) int64 { return g.tile(newest) - g.behind }

// tiles is the state of one group.
type tiles struct {
	// index holds the tiles that exist, ascending; cells holds len(columns) numbers for each.
	index    []int64
	cells    []int64
	sketches []sketch
}

// none marks an empty minimum or maximum.
const none = math.MinInt64

// row returns the cells of the tile, making it if it does not exist.
func (t *tiles) row(g *tileGroup, tile int64) []int64 {
	n := len(g.columns)
	i := len(t.index)
	found := false
	if i > 0 && t.index[i-1] >= tile {
		i, found = slices.BinarySearch(t.index, tile)
	}
	if !found {
		t.index = slices.Insert(t.index, i, tile)
		t.cells = slices.Insert(t.cells, i*n, make([]int64, n)...)
		for c := range g.columns {
			if g.columns[c].function >= columnMin {
				t.cells[i*n+c] = none
			}
		}
	}
	return t.cells[i*n : (i+1)*n]
}

// add adds (sign +1) or subtracts (-1) a decision's facts in the columns that match. label is anyLabel for decisions and
// retractions, which feed the columns without a label filter; postings feed only the others.
func (t *tiles) add(g *tileGroup, at, amount int64, outcome decision.Outcome, label labelFilter, sign int64) {
	if len(g.columns) == 0 {
		return
	}
	row := t.row(g, g.tile(at))
	amount = max(amount, none+1)
	for i, c := range g.columns {
		if (c.filter.label == anyLabel) != (label == anyLabel) || !c.filter.matches(outcome, label) {
			continue
		}
		switch c.function {
		case columnCount:
			row[i] += sign
		case columnSum:
			row[i] += sign * amount
		case columnMin:
			if sign > 0 && (row[i] == none || amount < row[i]) {
				row[i] = amount
			}
		case columnMax:
			if sign > 0 && (row[i] == none || amount > row[i]) {
				row[i] = amount
			}
		}
	}
}

// observe puts a decision's attributes into the sketches. newest is the entity's newest time, this decision's included.
func (t *tiles) observe(g *tileGroup, tr *decision.Transaction, outcome decision.Outcome, newest int64) {
	if len(g.sketches) == 0 {
		return
	}
	if t.sketches == nil {
		t.sketches = make([]sketch, len(g.sketches))
	}
	for i, s := range g.sketches {
		if v := s.attribute.of(tr); v != "" && s.filter.matches(outcome, anyLabel) {
			t.sketches[i].add(xxh3.HashString(v), g.tile(tr.At), g.tile(newest-g.delay))
		}
	}
}

// trim drops the tiles that no window reaches any more, when the newest time moves from before to newest.
func (t *tiles) trim(g *tileGroup, before, newest int64) {
	oldest := g.oldest(newest)
	n := 0
	for n < len(t.index) && t.index[n] < oldest {
		n++
	}
	if n > 0 {
		t.index = slices.Delete(t.index, 0, n)
		t.cells = slices.Delete(t.cells, 0, n*len(g.columns))
	}
	if g.tile(before) == g.tile(newest) && g.tile(before-g.delay) == g.tile(newest-g.delay) {
		return
	}
	for i := range t.sketches {
		t.sketches[i].trim(oldest, g.tile(newest-g.delay))
	}
}

// total sums a counting column over the tiles (from, to].
func (t *tiles) total(g *tileGroup, column int, from, to int64) int64 {
	var total int64
	for i := t.first(from); i < len(t.index) && t.index[i] <= to; i++ {
		total += t.cells[i*len(g.columns)+column]
	}
	return total
}

// extreme returns the least or greatest of a column over the tiles (from, to], and none for none.
func (t *tiles) extreme(g *tileGroup, column int, from, to int64) int64 {
	best := int64(none)
	for i := t.first(from); i < len(t.index) && t.index[i] <= to; i++ {
		v := t.cells[i*len(g.columns)+column]
		if v == none {
			continue
		}
		if best == none || (g.columns[column].function == columnMin) == (v < best) {
			best = v
		}
	}
	return best
}

// first returns the place of the first tile behind from.
func (t *tiles) first(from int64) int {
	i, found := slices.BinarySearch(t.index, from)
	if found {
		i++
	}
	return i
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
