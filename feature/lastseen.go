package feature

import (
	"cmp"
	"math"
	"strings"

	"scoremesh/decision"
)

// Last-seen registers keep the newest known country and position of an entity. They are maxima over (time, key, value), so the order of
// records does not matter; like other maxima they are not subtracted, since a duplicate has the same body.

type lastCountry struct {
	at      int64
	key     uint64
	country string
}

func (l *lastCountry) observe(t *decision.Transaction, key uint64) {
	if t.Country == "" {
		return
	}
	if n := (lastCountry{t.At, key, t.Country}); l.before(&n) {
		*l = n
	}
}

func (l *lastCountry) before(n *lastCountry) bool {
	return l.country == "" || cmp.Or(cmp.Compare(l.at, n.at), cmp.Compare(l.key, n.key), strings.Compare(l.country, n.country)) < 0
}

type lastPosition struct {
	known    bool
	at       int64
	key      uint64
	lat, lon float64
}

func (l *lastPosition) observe(t *decision.Transaction, key uint64) {
	if !t.HasPosition {
		return
	}
	if n := (lastPosition{true, t.At, key, t.Lat, t.Lon}); l.before(&n) {
		*l = n
	}
}

func (l *lastPosition) before(n *lastPosition) bool {
	return !l.known || cmp.Or(cmp.Compare(l.at, n.at), cmp.Compare(l.key, n.key), cmp.Compare(math.Float64bits(l.lat), math.Float64bits(n.lat)),
		cmp.Compare(math.Float64bits(l.lon), math.Float64bits(n.lon))) < 0
}

// speed returns km/h between the register and the transaction along a great circle. Less than a second apart counts as a second. A late
// transaction gets the speed to the place that was seen after it.
func (l *lastPosition) speed(t *decision.Transaction) float64 {
	hours := max(math.Abs(float64(t.At-l.at)), 1000) / 3_600_000
	return distance(l.lat, l.lon, t.Lat, t.Lon) / hours
}

// distance returns kilometres between two places by the haversine formula, on a sphere of 6371 km.
func distance(lat1, lon1, lat2, lon2 float64) float64 {
	const radians = math.Pi / 180
	dLat, dLon := (lat2-lat1)*radians, (lon2-lon1)*radians
	a := math.Sin(dLat/2)*math.Sin(dLat/2) + math.Cos(lat1*radians)*math.Cos(lat2*radians)*math.Sin(dLon/2)*math.Sin(dLon/2)
	return 2 * 6371 * math.Asin(math.Sqrt(min(a, 1)))
}
