package decision

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// MaxAmount is the largest amount in minor units, in the transaction's currency and in the base currency: 2^24 of the largest still
// sum up in an int64.
const MaxAmount = math.MaxInt64 >> 24

// exponents are the digits after the decimal point of the currencies that do not have two.
// Source: ISO 4217:2015, list one (current currency and funds codes), column "minor unit", published by SIX Group.
var exponents = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
	"UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

// maxExponent is the largest of the exponents.
const maxExponent = 4

// withoutMinorUnit are the codes of list one whose minor unit is "N.A.": metals, baskets, testing, none. Nobody pays in them.
var withoutMinorUnit = []string{
	"XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX",
}

// Exponent returns the number of digits after the decimal point of a currency's major unit: 2 for EUR, 0 for JPY, 3 for KWD.
// It is false for what is not three upper-case letters or has no minor unit; whether the code is assigned is not checked.
func Exponent(currency string) (int, bool) {
	if e, ok := exponents[currency]; ok {
		return e, true
	}
	if !isUpper(currency, 3) || slices.Contains(withoutMinorUnit, currency) {
		return 0, false
	}
	return 2, true
}

// isUpper says whether s is n letters A to Z.
func isUpper(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}

// Rates converts amounts to one base currency. It is immutable.
type Rates struct {
	base  string
	rates map[string]fraction
}

// fraction is the exact number of the base's minor units per minor unit of a currency.
// Invariant: both parts are at least 1.
type fraction struct{ num, den uint64 }

// maxRateDigits bounds a rate's digits before and after the point together, without leading zeros, and those after it, so that a
// fraction with the exponents of both currencies (10^4 at most) fits 64 bits.
const maxRateDigits = 15

// NewRates makes the rates to a base currency. A rate is a decimal text such as "0.9214": units of base per 1 unit of the
// currency, both major. It has at most 15 digits, is above zero, and has no sign and no exponent. The base's own rate
// is 1 and may be left out.
func NewRates(base string, rates map[string]string) (*Rates, error) {
	baseExponent, ok := Exponent(base)
	if !ok {
		return nil, fmt.Errorf("base currency %q: want three upper-case letters of a currency with minor units", clip(base))
	}
	r := &Rates{base: base, rates: map[string]fraction{base: {1, 1}}}
	for _, currency := range slices.Sorted(maps.Keys(rates)) {
		exponent, ok := Exponent(currency)
		if !ok {
			return nil, fmt.Errorf("rate of %q: want three upper-case letters of a currency with minor units", clip(currency))
		}
		f, err := parseRate(rates[currency])
		if err != nil {
			return nil, fmt.Errorf("rate of %s: %w", currency, err)
		}
		if currency == base && f.num != f.den {
			return nil, fmt.Errorf("rate of %s: %s: the base currency's rate is 1", currency, clip(rates[currency]))
		}
		for range max(0, baseExponent-exponent) {
			f.num *= 10
		}
		for range max(0, exponent-baseExponent) {
			f.den *= 10
		}
		r.rates[currency] = f
	}
	return r, nil
}

// parseRate reads digits with at most one point between them.
func parseRate(s string) (fraction, error) {
	whole, decimals, point := strings.Cut(s, ".")
	digits := whole + decimals
	if whole == "" || point && decimals == "" || strings.Trim(digits, "0123456789") != "" {
		return fraction{}, fmt.Errorf("%q: want a decimal number such as 0.9214", clip(s))
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return fraction{}, fmt.Errorf("%q: want a number above zero", clip(s))
	}
	if len(digits) > maxRateDigits || len(decimals) > maxRateDigits {
		return fraction{}, fmt.Errorf("%q: more than %d digits", clip(s), maxRateDigits)
	}
	f := fraction{den: 1}
	for i := range len(digits) {
		f.num = f.num*10 + uint64(digits[i]-'0')
	}
	for range len(decimals) {
		f.den *= 10
	}
	return f, nil
}

// Base is the currency that amounts are converted to.
func (r *Rates) Base() string { return r.base }

// Currencies returns the currencies that have a rate, the base among them, sorted.
func (r *Rates) Currencies() []string { return slices.Sorted(maps.Keys(r.rates)) }

// Convert turns minor units of a currency into minor units of the base, exactly, rounded half to even. The error is an *Error:
// CodeCurrency when there is no rate, CodeInvalid when the amount or the result lies beyond MaxAmount either way.
func (r *Rates) Convert(amount int64, currency string) (int64, error) {
	f, ok := r.rates[currency]
	if !ok {
		return 0, &Error{Code: CodeCurrency, Field: "currency", Detail: fmt.Sprintf("%q has no rate to %s", shown(currency), r.base)}
	}
	if amount > MaxAmount || amount < -MaxAmount {
		return 0, amountError(amount)
	}
	size := uint64(amount)
	if amount < 0 {
		size = -size
	}
	high, low := bits.Mul64(size, f.num)
	if high >= f.den {
		return 0, convertedError(r.base)
	}
	quotient, rest := bits.Div64(high, low, f.den)
	// rest > den/2, or the tie (den even and rest its half) with an odd quotient.
	if half := f.den / 2; rest > half || rest == half && f.den%2 == 0 && quotient%2 == 1 {
		quotient++
	}
	if quotient > MaxAmount {
		return 0, convertedError(r.base)
	}
	if amount < 0 {
		return -int64(quotient), nil
	}
	return int64(quotient), nil
}

// amountError does not repeat the amount: somebody may have put a card number there.
func amountError(amount int64) error {
	sign := ""
	if amount < 0 {
		sign = "negative: "
	}
	return &Error{Code: CodeInvalid, Field: "amount", Detail: fmt.Sprintf("%swant 0 to %d minor units", sign, int64(MaxAmount))}
}

func convertedError(base string) error {
	return &Error{Code: CodeInvalid, Field: "amount", Detail: fmt.Sprintf("more than %d minor units of %s after conversion", int64(MaxAmount), base)}
}

// shown is a client's text for an error: cut, and left out when it could be a card number.
func shown(s string) string {
	if LooksLikeCardNumber(s) {
		return "…"
	}
	return clip(s)
}
