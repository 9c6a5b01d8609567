package decision

// network is a range of leading digits that a card network issues, with the lengths of its numbers.
type network struct {
	prefixDigits, from, to int
	minDigits, maxDigits   int
}

// networks are the issuer identification numbers in wide use (ISO/IEC 7812, as the networks publish them).
var networks = [...]network{
	{1, 4, 4, 13, 19},       // Visa
	{2, 51, 55, 16, 16},     // Mastercard
	{4, 2221, 2720, 16, 16}, // Mastercard
	{2, 34, 34, 15, 15},     // American Express
	{2, 37, 37, 15, 15},     // American Express
	{4, 6011, 6011, 16, 19}, // Discover
	{3, 644, 649, 16, 19},   // Discover
	{2, 65, 65, 16, 19},     // Discover
	{4, 3528, 3589, 16, 19}, // JCB
	{3, 300, 305, 14, 19},   // Diners Club
	{2, 36, 36, 14, 19},     // Diners Club
	{2, 38, 39, 14, 19},     // Diners Club
	{2, 62, 62, 16, 19},     // UnionPay
	{2, 50, 50, 12, 19},     // Maestro
	{2, 56, 58, 12, 19},     // Maestro
	{2, 63, 63, 12, 19},     // Maestro
	{2, 67, 67, 12, 19},     // Maestro
}

// IsCardNumber says whether s is, apart from spaces and dashes, a number that a card network issues: prefix, length and check digit.
// Unlike LooksLikeCardNumber it rarely takes an innocent numeric id for one.
func IsCardNumber(s string) bool {
	var digits [maxCardDigits]byte
	count, ok := cardDigits(s, &digits)
	if !ok || !luhn(digits[:count]) {
		return false
	}
	for _, n := range networks {
		if count < n.minDigits || count > n.maxDigits {
			continue
		}
		prefix := 0
		for _, c := range digits[:n.prefixDigits] {
			prefix = prefix*10 + int(c-'0')
		}
		if n.from <= prefix && prefix <= n.to {
			return true
		}
	}
	return false
}
