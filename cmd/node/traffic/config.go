package traffic

import (
	"fmt"
	"time"
)

// Config says how much traffic there is, and of what kind. The zero value is not valid; start from DefaultConfig.
type Config struct {
	// Seed and Start name the sequence of events, and with it the transaction ids: two runs that differ in either share none.
	Seed uint64
	// Start is the time of the first event, in Unix milliseconds, above 0.
	Start int64
	// Rate is the mean number of transactions per second of simulated time that Next makes, above 0 and at most 1e6.
	Rate float64
	// Cards is the number of cards, 100 to 1e9. 0 takes as many as make TransactionsPerCardDay each at Rate: features such as the
	// card's count of the last day look like those of the training data only then.
	Cards int
	// Merchants is the number of merchants that exist at Start, 100 to 1e6. 0 takes one for ten cards, within those bounds.
	Merchants int
	// FraudShare is the share of transactions that are frauds, 0 to 0.2.
	FraudShare float64
	// RetryShare is the share of transactions that the client sends a second time, with the same id and body, 0 to 0.5.
	RetryShare float64
	// LabelDelay is the median time after which a fraud becomes known, 0 to a year. A merchant's bust-out takes twice as long.
	LabelDelay time.Duration
}

// TransactionsPerCardDay is how often the average card pays in a day when Config.Cards is 0.
const TransactionsPerCardDay = 2

// Bounds of a Config.
const (
	maxRate       = 1e6
	minCards      = 100
	maxCards      = 1_000_000_000
	minMerchants  = 100
	maxMerchants  = 1_000_000
	maxFraudShare = 0.2
	maxRetryShare = 0.5
	maxLabelDelay = 365 * 24 * time.Hour
)

// DefaultConfig is what the demo model was trained on: 10,000 transactions a day on 5,000 cards, 1.5 % of them frauds that become
// known after two days, from 1 September 2026.
func DefaultConfig() Config {
	return Config{
		Seed:       1,
		Start:      time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC).UnixMilli(),
		Rate:       10_000.0 / 86_400,
		FraudShare: 0.015,
		LabelDelay: 48 * time.Hour,
	}
}

// Validate names the first field that is out of its bounds.
func (c *Config) Validate() error {
	switch {
	case c.Start <= 0:
		return fmt.Errorf("traffic: Start is %d, want Unix milliseconds above 0", c.Start)
	case !(c.Rate > 0 && c.Rate <= maxRate):
		return fmt.Errorf("traffic: Rate is %v, want above 0 and at most %v", c.Rate, maxRate)
	case c.Cards != 0 && (c.Cards < minCards || c.Cards > maxCards):
		return fmt.Errorf("traffic: Cards is %d, want 0 or %d to %d", c.Cards, minCards, maxCards)
	case c.Merchants != 0 && (c.Merchants < minMerchants || c.Merchants > maxMerchants):
		return fmt.Errorf("traffic: Merchants is %d, want 0 or %d to %d", c.Merchants, minMerchants, maxMerchants)
	case !(c.FraudShare >= 0 && c.FraudShare <= maxFraudShare):
		return fmt.Errorf("traffic: FraudShare is %v, want 0 to %v", c.FraudShare, maxFraudShare)
	case !(c.RetryShare >= 0 && c.RetryShare <= maxRetryShare):
		return fmt.Errorf("traffic: RetryShare is %v, want 0 to %v", c.RetryShare, maxRetryShare)
	case c.LabelDelay < 0 || c.LabelDelay > maxLabelDelay:
		return fmt.Errorf("traffic: LabelDelay is %v, want 0 to %v", c.LabelDelay, maxLabelDelay)
	}
	return nil
}

// sized returns the configuration with the sizes that were left to it.
func (c Config) sized() Config {
	if c.Cards == 0 {
		c.Cards = int(min(max(c.Rate*86_400/TransactionsPerCardDay, minCards), maxCards))
	}
	if c.Merchants == 0 {
		c.Merchants = min(max(c.Cards/10, minMerchants), maxMerchants)
	}
	return c
}
