package traffic

const (
	secondMs = int64(1000)
	minuteMs = 60 * secondMs
	hourMs   = 60 * minuteMs
	dayMs    = 24 * hourMs
	weekMs   = 7 * dayMs
)

// hourly is how busy each hour of a day (UTC) is; the mean is 1.
var hourly = [24]float64{
	0.40, 0.25, 0.18, 0.15, 0.17, 0.30, 0.55, 0.85, 1.10, 1.20, 1.30, 1.45,
	1.60, 1.50, 1.35, 1.35, 1.50, 1.70, 1.70, 1.50, 1.25, 1.10, 0.90, 0.65,
}

// busyness is the rate at a time relative to the day's mean.
func busyness(at int64) float64 { return hourly[at/hourMs%24] }
