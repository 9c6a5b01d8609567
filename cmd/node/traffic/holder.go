package traffic

import "math/rand/v2"

// holder is the person behind a card: everything about them follows from the card's number, so nobody has to remember them.
type holder struct {
	card int
	// home is an index in cities.
	home int
	// wealth is what the person's means add to the logarithm of an amount.
	wealth float64
	// online is the share of purchases on the web.
	online float64
	// wallet says that the person pays over the counter with a telephone, so that a device is seen.
	wallet bool
	// phone and laptop are the person's devices.
	phone, laptop device
	// habits draws the same favourite shops each time.
	habits uint64
	// calendar shifts the weeks of the person's journeys, in milliseconds.
	calendar int64
}

// device is the number of a device; 0 is none.
type device uint64

// Devices that are nobody's own have numbers above all holders'.
const (
	firstPublicDevice device = 1 << 40
	firstNewDevice    device = 1 << 41
)

// publicDevices is how many shared devices (libraries, hotels) a city has.
const publicDevices = 3

func publicDevice(rnd *rand.Rand, where int) device {
	return firstPublicDevice + device(where*publicDevices+rnd.IntN(publicDevices))
}

// people computes holders. It draws from a source of its own, which is seeded anew for each question.
type people struct {
	seed   uint64
	source rand.PCG
	rnd    *rand.Rand
	// homes is a table of city indices; each city stands in it as often as its weight says.
	homes []uint8
}

func newPeople(seed uint64) *people {
	p := &people{seed: seed}
	p.rnd = rand.New(&p.source)
	for i := range cities {
		for range int(cities[i].weight) {
			p.homes = append(p.homes, uint8(i))
		}
	}
	return p
}

// draws returns the source for one subject.
func (p *people) draws(subject uint64) *rand.Rand {
	p.source.Seed(p.seed, mix(subject))
	return p.rnd
}

func (p *people) holder(card int) holder {
	rnd := p.draws(uint64(card))
	h := holder{
		card:     card,
		home:     int(p.homes[rnd.IntN(len(p.homes))]),
		wealth:   0.35 * rnd.NormFloat64(),
		online:   0.15 + 0.6*rnd.Float64(),
		wallet:   rnd.Float64() < 0.3,
		habits:   rnd.Uint64(),
		calendar: rnd.Int64N(weekMs),
	}
	// One household in five shares its telephone; households are neighbours by number.
	household := card
	if mix(p.seed^uint64(card/2))%5 == 0 {
		household = card &^ 1
	}
	h.phone, h.laptop = device(1+2*household), device(2+2*household)
	return h
}

// favourites is how many shops, and how many web shops, a person keeps going back to.
const favourites = 4

// favourite draws one of the holder's few favourites among a list of merchants.
func (p *people) favourite(rnd *rand.Rand, h *holder, from []*merchant) *merchant {
	return popular(p.draws(h.habits+uint64(rnd.IntN(favourites))), from)
}

const (
	// journeyShare is the share of weeks that a person spends abroad.
	journeyShare = 0.04
	// onTheWay is how long a journey takes there, and back.
	onTheWay = 12 * hourMs
)

// whereabouts is the city where the holder is, as an index; moving says that they are on the way there.
func (p *people) whereabouts(h *holder, at int64) (where int, moving bool) {
	week, into := (at+h.calendar)/weekMs, (at+h.calendar)%weekMs
	where = p.weekAt(h, week)
	return where, into < onTheWay && where != p.weekAt(h, week-1)
}

// weekAt is the city in which the holder spends a week.
func (p *people) weekAt(h *holder, week int64) int {
	rnd := p.draws(h.habits ^ mix(uint64(week)))
	if rnd.Float64() >= journeyShare {
		return h.home
	}
	return p.abroad(rnd, h.home)
}

// abroad returns a city in another country than that of the city given.
func (p *people) abroad(rnd *rand.Rand, from int) int {
	for {
		if to := int(p.homes[rnd.IntN(len(p.homes))]); cities[to].country != cities[from].country {
			return to
		}
	}
}

// mix spreads the bits of a number (the finalizer of SplitMix64, Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
