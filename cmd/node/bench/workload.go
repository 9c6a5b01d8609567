//go:build linux

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// workload invents transactions: cards evenly, merchants by Zipf, a device for every two cards, amounts log-normal, places steady for a
// card. It is for one goroutine at a time.
type workload struct {
	cards     int
	random    *rand.Rand
	merchants *rand.Zipf
	// made numbers the transactions, so that no id comes twice.
	made uint64
}

// merchantSkew is the exponent of the merchants' popularity: the first has about an eighth of the traffic.
const merchantSkew = 1.07

// amountSpread keeps amounts where the model declines few: to explain a decline costs as much as some decisions.
const amountSpread = 0.5

// workloadSeed makes runs alike.
const workloadSeed = 20260923

func newWorkload(cards, merchants int) *workload {
	random := rand.New(rand.NewPCG(workloadSeed, 0))
	return &workload{cards: cards, random: random, merchants: rand.NewZipf(random, merchantSkew, 1, uint64(merchants-1))}
}

func cardName(n int) string     { return fmt.Sprintf("card-%07d", n) }
func deviceName(n int) string   { return fmt.Sprintf("device-%07d", n/2) }
func merchantName(n int) string { return fmt.Sprintf("merchant-%05d", n) }

// places are countries with a position inside.
var places = [...]struct {
	country  string
	lat, lon float64
}{{"NL", 52.37, 4.90}, {"DE", 52.52, 13.40}, {"FR", 48.86, 2.35}, {"ES", 40.42, -3.70}, {"IT", 41.90, 12.50}}

var categories = [...]string{"5411", "5812", "5732", "5541", "5999", "4111", "5311", "7011"}

// transaction appends the body of one score request for a random card.
func (w *workload) transaction(b []byte, now time.Time) []byte {
	return w.transactionOf(b, now, w.random.IntN(w.cards))
}

// transactionOf appends the body of one score request for a card.
func (w *workload) transactionOf(b []byte, now time.Time, card int) []byte {
	w.made++
	merchant := int(w.merchants.Uint64())
	place := &places[card%len(places)]
	amount := int64(100 + math.Exp(7.6+amountSpread*w.random.NormFloat64()))
	b = strconv.AppendUint(append(b, `{"transaction_id":"t-`...), w.made, 36)
	b = now.UTC().AppendFormat(append(b, `","timestamp":"`...), "2006-01-02T15:04:05.000Z")
	b = appendPadded(append(b, `","card_id":"card-`...), card, 7)
	b = appendPadded(append(b, `","device_id":"device-`...), card/2, 7)
	b = appendPadded(append(b, `","merchant_id":"merchant-`...), merchant, 5)
	b = strconv.AppendInt(append(b, `","amount":`...), amount, 10)
	b = append(append(b, `,"currency":"EUR","country":"`...), place.country...)
	b = strconv.AppendFloat(append(b, `","lat":`...), place.lat, 'f', 2, 64)
	b = strconv.AppendFloat(append(b, `,"lon":`...), place.lon, 'f', 2, 64)
	b = append(append(b, `,"mcc":"`...), categories[merchant%len(categories)]...)
	return append(b, `","attributes":{"channel":"ecom"}}`...)
}

// batch returns a maker of score:batch requests with n transactions each.
func (w *workload) batch(n int, transaction func([]byte, time.Time) []byte) func([]byte, time.Time) []byte {
	return func(b []byte, now time.Time) []byte {
		b = append(b, `{"transactions":[`...)
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = transaction(b, now)
		}
		return append(b, "]}"...)
	}
}

// appendPadded appends n with leading zeros up to width digits.
func appendPadded(b []byte, n, width int) []byte {
	for limit := 10; width > 1; width, limit = width-1, limit*10 {
		if n < limit {
			for range width - 1 {
				b = append(b, '0')
			}
			break
		}
	}
	return strconv.AppendInt(b, int64(n), 10)
}
