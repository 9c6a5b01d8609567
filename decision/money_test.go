package decision

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestExponentIsTheCurrencys(t *testing.T) {
	for currency, want := range map[string]int{"EUR": 2, "USD": 2, "JPY": 0, "ISK": 0, "KWD": 3, "TND": 3, "CLF": 4} {
		if got, ok := Exponent(currency); got != want || !ok {
			t.Errorf("%s: got %d, %v, want %d", currency, got, ok, want)
		}
	}
	for _, currency := range []string{"", "eur", "EU", "EURO", "E1R", "XAU", "XXX", "ÉU"} {
		if got, ok := Exponent(currency); ok {
			t.Errorf("%q: got %d, want none", currency, got)
		}
	}
}

func mustRates(t testing.TB, base string, rates map[string]string) *Rates {
	t.Helper()
	r, err := NewRates(base, rates)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestConvertIsExactAndRoundsHalfToEven(t *testing.T) {
	euro := mustRates(t, "EUR", map[string]string{
		"USD": "0.5", "JPY": "0.0061", "KWD": "3", "CLF": "35.25", "GBP": "1.000000000002", "SEK": "0.333333333333333", "NOK": "999999999999999",
	})
	yen := mustRates(t, "JPY", map[string]string{"EUR": "163.5", "KWD": "500", "JPY": "1.0"})
	for name, c := range map[string]struct {
		rates    *Rates
		amount   int64
		currency string
		want     int64
	}{
		"the base itself":                  {euro, 4599, "EUR", 4599},
		"the largest of the base":          {euro, MaxAmount, "EUR", MaxAmount},
		"nothing":                          {euro, 0, "USD", 0},
		"half to even, down":               {euro, 1, "USD", 0},
		"half to even, up":                 {euro, 3, "USD", 2},
		"half to even, down again":         {euro, 5, "USD", 2},
		"below zero mirrors":               {euro, -3, "USD", -2},
		"no minor units to two":            {euro, 100, "JPY", 61},
		"three minor digits to two, even":  {euro, 15, "KWD", 4},
		"three minor digits to two, odd":   {euro, 5, "KWD", 2},
		"four minor digits to two":         {euro, 10_000, "CLF", 3525},
		"a tie in the last of many digits": {euro, 250_000_000_000, "GBP", 250_000_000_000},
		"just above it":                    {euro, 250_000_000_001, "GBP", 250_000_000_002},
		"a third":                          {euro, MaxAmount, "SEK", 183_251_937_962},
		"two minor digits to none, even":   {yen, 100, "EUR", 164},
		"two minor digits to none":         {yen, 300, "EUR", 490},
		"three minor digits to none":       {yen, 1, "KWD", 0},
		"three minor digits to none, odd":  {yen, 3, "KWD", 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.rates.Convert(c.amount, c.currency); got != c.want || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, c.want)
			}
		})
	}
	if got := yen.Currencies(); !slices.Equal(got, []string{"EUR", "JPY", "KWD"}) || yen.Base() != "JPY" {
		t.Errorf("got %v to %s, want EUR, JPY, KWD to JPY", got, yen.Base())
	}
}

func TestConvertRefuses(t *testing.T) {
	r := mustRates(t, "EUR", map[string]string{"NOK": "999999999999999", "USD": "1.5"})
	for name, c := range map[string]struct {
		amount   int64
		currency string
		want     Error
	}{
		"a currency without rate":    {1, "GBP", Error{Code: CodeCurrency, Field: "currency", Detail: `"GBP" has no rate to EUR`}},
		"a card number as currency":  {1, "4111111111111111", Error{Code: CodeCurrency, Field: "currency", Detail: `"…" has no rate to EUR`}},
		"a result beyond 64 bits":    {MaxAmount, "NOK", Error{Code: CodeInvalid, Field: "amount", Detail: "more than 549755813887 minor units of EUR after conversion"}},
		"a result beyond the bound":  {MaxAmount, "USD", Error{Code: CodeInvalid, Field: "amount", Detail: "more than 549755813887 minor units of EUR after conversion"}},
		"an amount beyond the bound": {MaxAmount + 1, "EUR", Error{Code: CodeInvalid, Field: "amount", Detail: "want 0 to 549755813887 minor units"}},
		"the least integer":          {math.MinInt64, "EUR", Error{Code: CodeInvalid, Field: "amount", Detail: "negative: want 0 to 549755813887 minor units"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Convert(c.amount, c.currency)
			if got := (*Error)(nil); !errors.As(err, &got) || *got != c.want {
				t.Errorf("got %v, want %v", err, &c.want)
			}
		})
	}
}

func TestNewRatesRefuses(t *testing.T) {
	for name, c := range map[string]struct{ base, currency, rate, want string }{
		"a base that is no currency":    {"euro", "USD", "1", `base currency "euro"`},
		"a base without minor units":    {"XAU", "USD", "1", `base currency "XAU"`},
		"a currency that is none":       {"EUR", "usd", "1", `rate of "usd"`},
		"an empty rate":                 {"EUR", "USD", "", `rate of USD: "": want a decimal number`},
		"zero":                          {"EUR", "USD", "0.000", `rate of USD: "0.000": want a number above zero`},
		"a sign":                        {"EUR", "USD", "-1", `want a decimal number`},
		"an exponent":                   {"EUR", "USD", "1e3", `want a decimal number`},
		"a comma":                       {"EUR", "USD", "1,5", `want a decimal number`},
		"two points":                    {"EUR", "USD", "1.5.0", `want a decimal number`},
		"a point at the end":            {"EUR", "USD", "1.", `want a decimal number`},
		"a point at the start":          {"EUR", "USD", ".5", `want a decimal number`},
		"sixteen digits":                {"EUR", "USD", "1234567890.123456", `more than 15 digits`},
		"sixteen decimals":              {"EUR", "USD", "0.0000000000000001", `more than 15 digits`},
		"another rate than 1 of itself": {"EUR", "EUR", "1.1", `rate of EUR: 1.1: the base currency's rate is 1`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewRates(c.base, map[string]string{c.currency: c.rate})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// The law of Convert: it is what rational arithmetic, rounded half to even, says.
func TestConvertEqualsRationalArithmetic(t *testing.T) {
	currencies := []string{"EUR", "USD", "JPY", "KWD", "CLF"}
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom(currencies).Draw(t, "base")
		currency := rapid.SampledFrom(currencies).Filter(func(c string) bool { return c != base }).Draw(t, "currency")
		rate := rapid.StringMatching(`[0-9]{1,7}(\.[0-9]{1,8})?|0\.0{0,9}[1-9]{1,6}|0\.5|1\.5|2\.25`).
			Filter(func(s string) bool { return strings.Trim(s, "0.") != "" }).Draw(t, "rate")
		amount := rapid.OneOf(rapid.Int64Range(-1000, 1000), rapid.Int64Range(-MaxAmount, MaxAmount)).Draw(t, "amount")

		rates, err := NewRates(base, map[string]string{currency: rate})
		if err != nil {
			t.Fatal(err)
		}
		got, err := rates.Convert(amount, currency)

		exact, _ := new(big.Rat).SetString(rate)
		exact.Mul(exact, new(big.Rat).SetInt64(amount))
		to, _ := Exponent(base)
		from, _ := Exponent(currency)
		exact.Mul(exact, new(big.Rat).SetFrac(power(to), power(from)))
		want := roundHalfEven(exact)
		if want.CmpAbs(big.NewInt(MaxAmount)) > 0 {
			if !errors.Is(err, &Error{Code: CodeInvalid}) {
				t.Fatalf("%d %s at %s: got %d, %v, want it refused: %v is beyond the bound", amount, currency, rate, got, err, want)
			}
			return
		}
		if err != nil || want.Cmp(big.NewInt(got)) != 0 {
			t.Fatalf("%d %s to %s at %s: got %d, %v, want %v", amount, currency, base, rate, got, err, want)
		}
	})
}

func power(exponent int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(exponent)), nil)
}

// roundHalfEven adds a half, takes the floor, and steps back from a tie that became odd.
func roundHalfEven(x *big.Rat) *big.Int {
	half := big.NewRat(1, 2)
	shifted := new(big.Rat).Add(x, half)
	floor := new(big.Int).Div(shifted.Num(), shifted.Denom())
	if shifted.IsInt() && floor.Bit(0) == 1 {
		floor.Sub(floor, big.NewInt(1))
	}
	return floor
}

func BenchmarkConvert(b *testing.B) {
	r := mustRates(b, "EUR", map[string]string{"USD": "0.9214"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Convert(4599, "USD"); err != nil {
			b.Fatal(err)
		}
	}
}
