package traffic

import (
	"math"
	"strconv"

	"scoremesh/decision"
)

// city is a place where people live and shop.
type city struct {
	country  string
	lat, lon float64
	// weight is the share of cards and shops that are at home here, relative to the other cities.
	weight float64
}

// cities are large enough a sample of Europe, with two far away, for speeds between them to mean something.
var cities = [...]city{
	{"NL", 52.37, 4.90, 10}, {"NL", 51.92, 4.48, 6}, {"NL", 52.09, 5.12, 5},
	{"BE", 50.85, 4.35, 5}, {"BE", 51.22, 4.40, 3},
	{"DE", 52.52, 13.40, 9}, {"DE", 48.14, 11.58, 6}, {"DE", 50.94, 6.96, 5},
	{"FR", 48.86, 2.35, 9}, {"FR", 45.76, 4.84, 4},
	{"ES", 40.42, -3.70, 6}, {"ES", 41.39, 2.17, 5},
	{"IT", 45.46, 9.19, 5}, {"IT", 41.90, 12.50, 5},
	{"GB", 51.51, -0.13, 8}, {"GB", 53.48, -2.24, 4},
	{"CH", 47.37, 8.54, 3}, {"SE", 59.33, 18.07, 3}, {"PL", 52.23, 21.01, 5},
	{"US", 40.71, -74.01, 3}, {"JP", 35.68, 139.69, 2},
}

// money is a currency with how many of its minor units a euro is worth.
type money struct {
	code    string
	perEuro float64
}

// abroadMoney is by country; everywhere else it is the euro.
var abroadMoney = map[string]string{"GB": "GBP", "CH": "CHF", "SE": "SEK", "PL": "PLN", "US": "USD", "JP": "JPY"}

// Rates returns what one unit of each currency but the euro is worth in euros, about as in 2026, in the form in which
// decision.NewRates takes it. Amounts are invented by these; an edge that converts by them sees what was meant.
func Rates() map[string]string {
	return map[string]string{
		"GBP": "1.16", "CHF": "1.07", "SEK": "0.091", "PLN": "0.235", "USD": "0.87", "JPY": "0.0059",
	}
}

// moneys is by country.
var moneys = func() map[string]money {
	rates := Rates()
	m := map[string]money{}
	for i := range cities {
		country := cities[i].country
		code, inEuros := "EUR", 1.0
		if abroad, ok := abroadMoney[country]; ok {
			code = abroad
			inEuros, _ = strconv.ParseFloat(rates[code], 64)
		}
		digits, _ := decision.Exponent(code)
		m[country] = money{code, math.Pow10(digits) / inEuros}
	}
	return m
}()

// trade is a merchant category (ISO 18245) with what a purchase in it usually costs.
type trade struct {
	mcc string
	// logEuro and spread are the mean and standard deviation of the logarithm of a purchase in euros.
	logEuro, spread float64
	weight          float64
}

var (
	// shops sell over the counter.
	shops = [...]trade{
		{"5411", 3.3, 0.7, 30}, // groceries
		{"5812", 3.2, 0.6, 20}, // restaurants
		{"5541", 3.9, 0.4, 10}, // fuel
		{"4111", 1.4, 0.5, 12}, // local transport
		{"5912", 2.7, 0.6, 8},  // pharmacies
		{"5651", 4.0, 0.6, 12}, // clothes
		{"5732", 4.8, 0.8, 8},  // electronics
	}
	// webShops sell online.
	webShops = [...]trade{
		{"5399", 3.7, 0.8, 30}, // general merchandise
		{"5651", 4.0, 0.6, 20}, // clothes
		{"5816", 2.0, 0.6, 15}, // games
		{"5732", 4.8, 0.9, 12}, // electronics
		{"4722", 5.4, 0.7, 8},  // travel
		{"7995", 3.6, 0.9, 8},  // betting
		{"6051", 4.9, 0.9, 7},  // quasi cash
	}
)

// games is the index in webShops of the trade in which series of micropayments are ordinary.
const games = 2
