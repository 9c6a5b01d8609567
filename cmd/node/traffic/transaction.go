package traffic

import (
	"math"
	"strconv"

	"scoremesh/decision"
)

// The attributes of a transaction are one of these, shared, because a Transaction is immutable.
var (
	byWeb    = []decision.Attribute{{Name: "channel", Value: "ecom"}}
	byCard   = []decision.Attribute{{Name: "channel", Value: "pos"}}
	byWallet = []decision.Attribute{{Name: "channel", Value: "wallet"}}
)

// maxEuros is the most that anybody pays at once.
const maxEuros = 10_000

// payment is who pays what where.
type payment struct {
	card int
	shop *merchant
	// with is the device, 0 when none is seen.
	with device
	// from is the city, as an index, in which the payer is; it is seen on the web only.
	from  int
	euros float64
	at    int64
}

// transaction writes a payment down as the client would send it.
func (g *Generator) transaction(p payment) decision.Transaction {
	shop := p.shop
	t := decision.Transaction{
		Merchant:   shop.id,
		At:         p.at,
		Amount:     int64(max(math.Floor(min(p.euros, maxEuros)*shop.money.perEuro), 1)),
		Currency:   shop.money.code,
		Country:    cities[p.from].country,
		MCC:        shop.trade.mcc,
		Attributes: byWeb,
	}
	if !shop.online {
		t.Country = shop.country
		t.HasPosition, t.Lat, t.Lon = true, shop.lat, shop.lon
		t.Attributes = byCard
		if p.with != 0 {
			t.Attributes = byWallet
		}
	}
	t.ID, t.Card, t.Device = g.names(p.card, p.with)
	return t
}

// names returns the next transaction's id, and the names of a card and of a device, as parts of one string: one allocation an
// event. Each begins with a letter and is short, so that none can be taken for a card number.
func (g *Generator) names(card int, with device) (id, cardID, deviceID string) {
	b := append(g.text[:0], "t-"...)
	b = append(b, g.run...)
	b = append(b, '-')
	b = strconv.AppendUint(b, g.sent, 36)
	endOfID := len(b)
	b = append(b, "c-"...)
	b = strconv.AppendInt(b, int64(card), 10)
	endOfCard := len(b)
	if with != 0 {
		b = append(b, "d-"...)
		b = strconv.AppendUint(b, uint64(with), 36)
	}
	g.text = b
	g.sent++
	all := string(b)
	return all[:endOfID], all[endOfID:endOfCard], all[endOfCard:]
}

// runName turns a hash into seven letters.
func runName(hash uint64) string {
	name := make([]byte, 7)
	for i := range name {
		name[i] = 'a' + byte(hash%26)
		hash /= 26
	}
	return string(name)
}
