package api

import "time"

const timestampForm = `must be RFC 3339 with "T" and an offset or "Z": "2026-11-23T10:15:02.120Z"`

// parseTimestamp reads an RFC 3339 date-time and returns Unix milliseconds. Fractions have up to nine digits; what is below a
// millisecond is cut off. Leap seconds are refused: nothing behind the edge could hold them.
func parseTimestamp(b []byte) (int64, error) {
	bad := func() (int64, error) { return 0, invalid("", timestampForm) }
	const date = "2006-01-02T15:04:05"
	if len(b) < len(date)+1 || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return bad()
	}
	year, ok0 := digits(b[0:4])
	month, ok1 := digits(b[5:7])
	day, ok2 := digits(b[8:10])
	hour, ok3 := digits(b[11:13])
	minute, ok4 := digits(b[14:16])
	second, ok5 := digits(b[17:19])
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5) {
		return bad()
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, invalid("", "is no date and time of the calendar")
	}

	b = b[len(date):]
	ms := 0
	if b[0] == '.' {
		n := 1
		for n < len(b) && isDigit(b[n]) {
			n++
		}
		switch fraction := b[1:n]; {
		case len(fraction) == 0:
			return bad()
		case len(fraction) > 9:
			return 0, invalid("", "has more than nine digits of a second; milliseconds are kept")
		default:
			for i := range 3 {
				ms *= 10
				if i < len(fraction) {
					ms += int(fraction[i] - '0')
				}
			}
		}
		b = b[n:]
	}

	offset := 0
	switch {
	case len(b) == 1 && b[0] == 'Z':
	case len(b) == 6 && (b[0] == '+' || b[0] == '-') && b[3] == ':':
		h, okH := digits(b[1:3])
		m, okM := digits(b[4:6])
		if !okH || !okM {
			return bad()
		}
		if h > 23 || m > 59 {
			return 0, invalid("", "has an offset of more than 23:59")
		}
		offset = h*60 + m
		if b[0] == '-' {
			offset = -offset
		}
	default:
		return bad()
	}
	seconds := int64(daysSince1970(year, month, day))*86400 + int64(hour*3600+(minute-offset)*60+second)
	return seconds*1000 + int64(ms), nil
}

// digits reads b as a decimal number.
func digits(b []byte) (n int, ok bool) {
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts the days of the Gregorian calendar, with years that start in March so that the leap day is the last.
func daysSince1970(year, month, day int) int {
	if month < 3 {
		year--
		month += 12
	}
	yearDays := (153*(month-3) + 2) / 5
	leaps := floorDiv(year, 4) - floorDiv(year, 100) + floorDiv(year, 400)
	return 365*year + leaps + yearDays + day - 1 - 719468
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendTimestamp appends ms as a JSON string in UTC, to the millisecond.
func appendTimestamp(b []byte, ms int64) []byte {
	b = append(b, '"')
	b = time.UnixMilli(ms).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return append(b, '"')
}
