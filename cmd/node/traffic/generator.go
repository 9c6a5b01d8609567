package traffic

import (
	"container/heap"
	"math"
	"math/rand/v2"

	"scoremesh/decision"
)

// Event is a transaction and the truth about it.
type Event struct {
	// Transaction is as a client would send it; BaseAmount is 0, which the edge fills in.
	Transaction decision.Transaction
	// Fraud is the truth.
	Fraud bool
	// Pattern is the kind of a fraud, one of the Pattern constants, and empty for a genuine transaction.
	Pattern string
	// KnownAt is when a fraud becomes known, in Unix milliseconds; 0 for a genuine transaction, of which nobody ever says so.
	KnownAt int64
	// Retry says that the client sends a transaction of before once more, unchanged; its At lies in the past.
	Retry bool
}

// Generator makes events. It is not safe for concurrent use.
type Generator struct {
	config Config
	rnd    *rand.Rand
	people *people
	market *market
	// stories are what goes on beside the ordinary traffic; the next to act is first.
	stories storyHeap
	// openings are the chances that an ordinary transaction begins a story, in the order of plots.
	openings []opening
	// background is the time of the next ordinary transaction, in Unix milliseconds.
	background float64
	// pace is the mean time between ordinary transactions at busyness 1, in milliseconds.
	pace float64
	// now is the time of the last event. Invariant: never decreases.
	now int64
	// run, sent, begun and devices name transactions, order stories and number new devices.
	run     string
	sent    uint64
	begun   uint64
	devices device
	text    []byte
}

// New returns a generator, or the error of Config.Validate.
func New(c Config) (*Generator, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.sized()
	g := &Generator{
		config:     c,
		rnd:        rand.New(rand.NewPCG(c.Seed, mix(c.Seed))),
		people:     newPeople(mix(c.Seed)),
		background: float64(c.Start),
		now:        c.Start,
		run:        runName(mix(c.Seed ^ mix(uint64(c.Start)))),
		devices:    firstNewDevice,
	}
	g.market = newMarket(g.rnd, c.Merchants)
	var perOrdinary float64
	g.openings, perOrdinary = openingsOf(c.FraudShare)
	g.pace = 1000 / c.Rate * perOrdinary
	return g, nil
}

// Next returns the next event of simulated time, which passes at Config.Rate with the day's rhythm.
func (g *Generator) Next() Event {
	if len(g.stories) > 0 && float64(g.stories[0].at) <= g.background {
		return g.tell(g.stories[0].at)
	}
	at := int64(g.background)
	busy := busyness(at)
	g.background += g.rnd.ExpFloat64() * g.pace / busy
	// Thieves do not sleep: a fraud is as likely in each hour of a day, with fewer transactions to begin it in the night.
	return g.ordinary(at, 1/busy)
}

// NextAt returns the event for the moment at, in Unix milliseconds, for callers that keep their own pace, such as a wall clock's;
// stories run in the caller's time too. A time before the last event's counts as that. Next goes on from there.
func (g *Generator) NextAt(at int64) Event {
	at = max(at, g.now)
	g.background = max(g.background, float64(at))
	if len(g.stories) > 0 && g.stories[0].at <= at {
		return g.tell(at)
	}
	return g.ordinary(at, 1)
}

// tell lets the first story act.
func (g *Generator) tell(at int64) Event {
	s := g.stories[0]
	event, pause := s.act(g, s, at)
	if s.left--; s.left > 0 {
		s.at = at + pause
		heap.Fix(&g.stories, 0)
	} else {
		heap.Pop(&g.stories)
	}
	return g.sending(event, at)
}

// ordinary makes a transaction of everyday life, which may be where a story begins; risk multiplies the chance of a fraud.
func (g *Generator) ordinary(at int64, risk float64) Event {
	h := g.people.holder(g.card())
	g.maybeBegin(&h, at, risk)
	return g.sending(g.purchase(&h, at), at)
}

// sending advances the clock, and now and then has the client send the event twice.
func (g *Generator) sending(e Event, at int64) Event {
	g.now = at
	if !e.Retry && g.config.RetryShare > 0 && g.rnd.Float64() < g.config.RetryShare {
		again := e
		again.Retry = true
		g.begin(&story{at: at + 50 + g.rnd.Int64N(2*secondMs), left: 1, act: func(*Generator, *story, int64) (Event, int64) {
			return again, 0
		}})
	}
	return e
}

// card draws a card: one in ten is used five times as often as the others.
func (g *Generator) card() int {
	tenth := g.config.Cards / 10
	if g.rnd.Float64() < 5.0/14 {
		return g.rnd.IntN(tenth)
	}
	return tenth + g.rnd.IntN(g.config.Cards-tenth)
}

// purchase is what a holder does at a moment: something on the web, or in a shop where they are.
func (g *Generator) purchase(h *holder, at int64) Event {
	where, moving := g.people.whereabouts(h, at)
	if moving || g.rnd.Float64() < h.online {
		return g.buyOnline(h, g.webShopOf(h), where, at)
	}
	return g.buyLocally(h, g.shopOf(h, where), at)
}

func (g *Generator) webShopOf(h *holder) *merchant {
	if g.rnd.Float64() < 0.6 {
		return g.people.favourite(g.rnd, h, g.market.web)
	}
	return popular(g.rnd, g.market.web)
}

func (g *Generator) shopOf(h *holder, where int) *merchant {
	if where == h.home && g.rnd.Float64() < 0.7 {
		return g.people.favourite(g.rnd, h, g.market.local[where])
	}
	return popular(g.rnd, g.market.local[where])
}

// buyOnline mostly uses the holder's own devices; at times a public one of the city or one never seen before, and at times a
// proxy, so that honest people look like thieves a little.
func (g *Generator) buyOnline(h *holder, shop *merchant, where int, at int64) Event {
	with := h.phone
	switch u := g.rnd.Float64(); {
	case u < 0.03:
		with = publicDevice(g.rnd, where)
	case u < 0.08:
		with = g.newDevice()
	case u < 0.40:
		with = h.laptop
	}
	if g.rnd.Float64() < 0.03 {
		where = g.people.abroad(g.rnd, where)
	}
	return g.genuine(payment{h.card, shop, with, where, g.price(h, shop), at})
}

func (g *Generator) buyLocally(h *holder, shop *merchant, at int64) Event {
	var with device
	if h.wallet {
		with = h.phone
	}
	return g.genuine(payment{card: h.card, shop: shop, with: with, euros: g.price(h, shop), at: at})
}

// price draws an amount in euros.
func (g *Generator) price(h *holder, shop *merchant) float64 {
	return math.Exp(shop.trade.logEuro + shop.dear + h.wealth + shop.trade.spread*g.rnd.NormFloat64())
}

func (g *Generator) genuine(p payment) Event { return Event{Transaction: g.transaction(p)} }

// fraud is a payment of a pattern; slow multiplies the median time until it becomes known.
func (g *Generator) fraud(pattern string, p payment, slow float64) Event {
	median := slow * float64(g.config.LabelDelay.Milliseconds())
	delay := median * math.Exp(0.7*g.rnd.NormFloat64())
	return Event{
		Transaction: g.transaction(p),
		Fraud:       true,
		Pattern:     pattern,
		KnownAt:     p.at + int64(min(max(delay, median/20), median*8)),
	}
}
