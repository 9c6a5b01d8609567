package traffic

import (
	"math"
	"math/rand/v2"
	"strconv"
)

// merchant is a shop at a place, or one on the web (online), which has a country for its currency only.
type merchant struct {
	id       string
	online   bool
	country  string
	lat, lon float64
	money    money
	trade    *trade
	// dear is what the shop's prices add to the logarithm of an amount.
	dear float64
}

// market is all merchants by where they can be met, each list from the most to the least popular.
type market struct {
	web   []*merchant
	games []*merchant
	// local is by city, in the order of cities.
	local [len(cities)][]*merchant
	// opened counts all that there ever were, and so names the next one.
	opened int
}

func newMarket(rnd *rand.Rand, merchants int) *market {
	m := new(market)
	// One of each first, so that nobody finds an empty street whatever the number.
	m.open(rnd, &webShops[games])
	for i := range cities {
		m.openAt(rnd, i)
	}
	for m.opened < merchants {
		if rnd.Float64() < 0.35 {
			m.open(rnd, &webShops[pick(rnd, webShops[:], func(t *trade) float64 { return t.weight })])
		} else {
			m.openAt(rnd, pick(rnd, cities[:], func(c *city) float64 { return c.weight }))
		}
	}
	return m
}

// open adds a merchant on the web.
func (m *market) open(rnd *rand.Rand, t *trade) {
	w := m.found(rnd, t)
	m.web = append(m.web, w)
	if t == &webShops[games] {
		m.games = append(m.games, w)
	}
}

// found makes a merchant on the web that nobody meets by chance.
func (m *market) found(rnd *rand.Rand, t *trade) *merchant {
	country := cities[pick(rnd, cities[:], func(c *city) float64 { return c.weight })].country
	return m.make(rnd, merchant{online: true, country: country, trade: t})
}

func (m *market) openAt(rnd *rand.Rand, where int) {
	c := &cities[where]
	m.local[where] = append(m.local[where], m.make(rnd, merchant{
		country: c.country, lat: scatter(rnd, c.lat), lon: scatter(rnd, c.lon),
		trade: &shops[pick(rnd, shops[:], func(t *trade) float64 { return t.weight })],
	}))
}

func (m *market) make(rnd *rand.Rand, made merchant) *merchant {
	made.id = "m-" + strconv.Itoa(m.opened)
	made.money = moneys[made.country]
	made.dear = 0.3 * rnd.NormFloat64()
	m.opened++
	return &made
}

// scatter moves a coordinate by up to about two kilometres and rounds it to about ten metres.
func scatter(rnd *rand.Rand, degrees float64) float64 {
	return math.Round((degrees+0.04*(rnd.Float64()-0.5))*1e4) / 1e4
}

// pick returns an index with a probability in proportion to its weight.
func pick[T any](rnd *rand.Rand, of []T, weight func(*T) float64) int {
	total := 0.0
	for i := range of {
		total += weight(&of[i])
	}
	u := rnd.Float64() * total
	for i := range of {
		if u -= weight(&of[i]); u < 0 {
			return i
		}
	}
	return len(of) - 1
}

// zipf returns a rank below n; rank k has a probability close to 1/(k+1) of the whole: the inverse of the continuous law,
// P(rank < k) = ln(k+1) / ln(n+1).
func zipf(rnd *rand.Rand, n int) int {
	return min(int(math.Exp(rnd.Float64()*math.Log(float64(n+1)))-1), n-1)
}

func popular(rnd *rand.Rand, from []*merchant) *merchant { return from[zipf(rnd, len(from))] }

// anyOf returns each of them with the same probability.
func anyOf(rnd *rand.Rand, from []*merchant) *merchant { return from[rnd.IntN(len(from))] }
