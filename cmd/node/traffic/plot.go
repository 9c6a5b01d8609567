package traffic

import (
	"math"
	"math/rand/v2"
)

// The patterns of fraud.
const (
	// PatternCardTesting: somebody tries whether a card works, by a burst of small amounts over many merchants.
	PatternCardTesting = "card_testing"
	// PatternStolenCard: a card is used while its holder goes on as ever: half of them in another country, a quarter on the web, and a
	// quarter, which are hard to see, in the shops of the holder's own town.
	PatternStolenCard = "stolen_card"
	// PatternBustOut: a new merchant behaves for days, then charges large amounts to many cards and disappears.
	PatternBustOut = "bust_out"
	// PatternHijackedDevice: one device pays with many cards.
	PatternHijackedDevice = "hijacked_device"
)

// Patterns lists the patterns of fraud.
var Patterns = [...]string{PatternCardTesting, PatternStolenCard, PatternBustOut, PatternHijackedDevice}

// plot is a kind of story.
type plot struct {
	// pattern names the fraud; empty for an honest story.
	pattern string
	// share is the plot's share of all frauds or, if honest, its events for each ordinary transaction.
	share float64
	// least and most bound the number of events, without the genuine lead of leastLead to mostLead.
	least, most         int
	leastLead, mostLead int
	// cast chooses who and where, for a story that an ordinary transaction of h begins, and returns the time until it first acts.
	cast func(g *Generator, s *story, h *holder, at int64) (pause int64)
	act  func(g *Generator, s *story, at int64) (e Event, pause int64)
}

var plots = [...]plot{
	{pattern: PatternCardTesting, share: 0.30, least: 5, most: 18, cast: castCardTesting, act: actCardTesting},
	{pattern: PatternStolenCard, share: 0.30, least: 1, most: 6, cast: castStolenCard, act: actStolenCard},
	{pattern: PatternBustOut, share: 0.20, least: 20, most: 60, leastLead: 8, mostLead: 24, cast: castNewMerchant, act: actBustOut},
	{pattern: PatternHijackedDevice, share: 0.20, least: 6, most: 22, cast: castHijackedDevice, act: actHijackedDevice},

	{share: 0.030, least: 3, most: 8, cast: castSpree, act: actSpree},
	{share: 0.015, least: 3, most: 12, cast: castMicropayments, act: actMicropayments},
	{share: 0.020, least: 20, most: 60, cast: castNewMerchant, act: actNewShop},
}

func castCardTesting(g *Generator, s *story, _ *holder, _ int64) int64 {
	s.card = g.card()
	s.device = g.newDevice()
	s.where = g.lair(s.card)
	return spell(g.rnd, minuteMs, hourMs)
}

func actCardTesting(g *Generator, s *story, at int64) (Event, int64) {
	euros := 0.5 + 5.5*g.rnd.Float64()
	if s.left == 1 && g.rnd.Float64() < 0.4 { // it works
		euros = 80 + 320*g.rnd.Float64()
	}
	p := payment{s.card, anyOf(g.rnd, g.market.web), s.device, s.where, euros, at}
	return g.fraud(PatternCardTesting, p, 1), spell(g.rnd, 3*secondMs, 90*secondMs)
}

// castStolenCard begins, half of the time, soon after the holder's own purchase.
func castStolenCard(g *Generator, s *story, h *holder, at int64) int64 {
	if g.rnd.Float64() < 0.5 {
		s.card = g.card()
	}
	victim := g.people.holder(s.card)
	s.where, _ = g.people.whereabouts(&victim, at)
	switch u := g.rnd.Float64(); {
	case u < 0.50:
		s.where = g.people.abroad(g.rnd, s.where)
	case u < 0.75:
		s.device, s.where = g.newDevice(), g.lair(s.card)
	}
	return spell(g.rnd, 10*minuteMs, 2*hourMs)
}

// actStolenCard is on the web when the thief has a device of their own.
func actStolenCard(g *Generator, s *story, at int64) (Event, int64) {
	shops := g.market.local[s.where]
	if s.device != 0 {
		shops = g.market.web
	}
	shop, victim := popular(g.rnd, shops), g.people.holder(s.card)
	euros := g.price(&victim, shop) * (0.8 + 2.5*g.rnd.Float64())
	return g.fraud(PatternStolenCard, payment{s.card, shop, s.device, s.where, euros, at}, 1), spell(g.rnd, 4*minuteMs, hourMs)
}

func actBustOut(g *Generator, s *story, at int64) (Event, int64) {
	if s.lead > 0 {
		s.lead--
		return actNewShop(g, s, at)
	}
	h := g.people.holder(g.card())
	with := h.laptop
	if g.rnd.Float64() < 0.5 {
		with = h.phone
	}
	p := payment{h.card, s.shop, with, h.home, 60 + 640*g.rnd.Float64(), at}
	return g.fraud(PatternBustOut, p, 2), spell(g.rnd, 2*minuteMs, hourMs)
}

func castHijackedDevice(g *Generator, s *story, h *holder, _ int64) int64 {
	s.device, s.where = h.phone, h.home
	return spell(g.rnd, 10*minuteMs, 4*hourMs)
}

func actHijackedDevice(g *Generator, s *story, at int64) (Event, int64) {
	euros := math.Exp(4.1 + 0.7*g.rnd.NormFloat64())
	p := payment{g.card(), popular(g.rnd, g.market.web), s.device, s.where, euros, at}
	return g.fraud(PatternHijackedDevice, p, 1), spell(g.rnd, 20*secondMs, 6*minuteMs)
}

// castSpree sends the holder through the shops of the city where they are.
func castSpree(g *Generator, s *story, h *holder, at int64) int64 {
	s.where, _ = g.people.whereabouts(h, at)
	return spell(g.rnd, 5*minuteMs, 40*minuteMs)
}

func actSpree(g *Generator, s *story, at int64) (Event, int64) {
	h := g.people.holder(s.card)
	return g.buyLocally(&h, popular(g.rnd, g.market.local[s.where]), at), spell(g.rnd, 4*minuteMs, 40*minuteMs)
}

func castMicropayments(g *Generator, s *story, h *holder, at int64) int64 {
	s.device = h.phone
	s.where, _ = g.people.whereabouts(h, at)
	s.shop = popular(g.rnd, g.market.games)
	return spell(g.rnd, 10*secondMs, 2*minuteMs)
}

func actMicropayments(g *Generator, s *story, at int64) (Event, int64) {
	if g.rnd.Float64() < 0.2 { // another game
		s.shop = popular(g.rnd, g.market.games)
	}
	return g.genuine(payment{s.card, s.shop, s.device, s.where, 0.5 + 6*g.rnd.Float64(), at}), spell(g.rnd, 10*secondMs, 3*minuteMs)
}

func actNewShop(g *Generator, s *story, at int64) (Event, int64) {
	h := g.people.holder(g.card())
	where, _ := g.people.whereabouts(&h, at)
	return g.buyOnline(&h, s.shop, where, at), spell(g.rnd, 20*minuteMs, 6*hourMs)
}

// castNewMerchant founds the shop of a story; it leaves with it.
func castNewMerchant(g *Generator, s *story, _ *holder, _ int64) int64 {
	s.shop = g.market.found(g.rnd, &webShops[pick(g.rnd, webShops[:], func(t *trade) float64 { return t.weight })])
	return spell(g.rnd, minuteMs, hourMs)
}

// lair is the city that a thief on the web seems to be in: half of the time near the victim's home, by a proxy.
func (g *Generator) lair(card int) int {
	victim := g.people.holder(card)
	if g.rnd.Float64() < 0.5 {
		return victim.home
	}
	return g.people.abroad(g.rnd, victim.home)
}

// newDevice is one that was never seen before.
func (g *Generator) newDevice() device {
	g.devices++
	return g.devices
}

// between draws from least to most, both included.
func between(rnd *rand.Rand, least, most int) int { return least + rnd.IntN(most-least+1) }

// spell draws a time in milliseconds.
func spell(rnd *rand.Rand, least, most int64) int64 { return least + rnd.Int64N(most-least+1) }
