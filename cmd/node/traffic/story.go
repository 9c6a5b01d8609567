package traffic

import "container/heap"

// story is a series of events that belong together: a fraud under way, or its honest twin.
type story struct {
	// at is when the story acts next, in Unix milliseconds; order decides between equals, so that runs repeat.
	at    int64
	order uint64
	// act makes the story's event of the moment and says how long it then pauses, in milliseconds, at least 1.
	act func(g *Generator, s *story, at int64) (e Event, pause int64)
	// left is how many events are still to come; the next lead of them are genuine.
	left, lead int

	// What the acts share; each plot uses what it needs.
	card   int
	where  int
	device device
	shop   *merchant
}

// begin puts a story on stage.
func (g *Generator) begin(s *story) {
	s.order = g.begun
	g.begun++
	heap.Push(&g.stories, s)
}

// opening is the chance that an ordinary transaction begins a story of a plot.
type opening struct {
	plot   *plot
	chance float64
}

// maybeBegin begins at most one story.
func (g *Generator) maybeBegin(h *holder, at int64, risk float64) {
	u := g.rnd.Float64()
	for i := range g.openings {
		o := &g.openings[i]
		chance := o.chance
		if o.plot.pattern != "" {
			chance *= risk
		}
		if u -= chance; u < 0 {
			s := &story{act: o.plot.act, card: h.card, lead: between(g.rnd, o.plot.leastLead, o.plot.mostLead)}
			s.left = s.lead + between(g.rnd, o.plot.least, o.plot.most)
			s.at = at + max(o.plot.cast(g, s, h, at), 1)
			g.begin(s)
			return
		}
	}
}

// openingsOf returns the chances that give fraud its share of all transactions, and how many transactions there then are for each
// ordinary one.
func openingsOf(fraudShare float64) (openings []opening, perOrdinary float64) {
	// For one fraud, prelude genuine transactions come before it; for one ordinary transaction there are twins more.
	var twins, prelude float64
	for i := range plots {
		p := &plots[i]
		if p.pattern == "" {
			twins += p.share
		} else {
			prelude += p.share * mean(p.leastLead, p.mostLead) / mean(p.least, p.most)
		}
	}
	// frauds for one ordinary transaction: frauds / (1 + twins + frauds*(1+prelude)) = fraudShare.
	frauds := fraudShare * (1 + twins) / (1 - fraudShare*(1+prelude))
	for i := range plots {
		p := &plots[i]
		events := p.share
		if p.pattern != "" {
			events *= frauds
		}
		openings = append(openings, opening{p, events / mean(p.least, p.most)})
	}
	return openings, 1 + twins + frauds*(1+prelude)
}

func mean(least, most int) float64 { return float64(least+most) / 2 }

// storyHeap orders stories by time.
type storyHeap []*story

func (h storyHeap) Len() int { return len(h) }
func (h storyHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h storyHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *storyHeap) Push(s any) { *h = append(*h, s.(*story)) }

// Pop is for container/heap.
func (h *storyHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return s
}
