package backtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"scoremesh/decision"
	"scoremesh/feature"
	"scoremesh/region"
)

// Config says what to replay.
type Config struct {
	Rules region.RulesetFiles
	// Transactions is a CSV or NDJSON file; Labels likewise, or empty. Names that end in .gz are compressed.
	Transactions, Labels string
	// Out is the CSV file to write. It appears under its name when it is whole.
	Out string
	// Rates are units of the schema's currency per unit of each other currency, as decimals.
	Rates map[string]string
	// Progress, if not nil, is called about every second with the number of transactions done.
	Progress func(done int64, at time.Time)
}

// Report is what came out.
type Report struct {
	Transactions int64 `json:"transactions"`
	// Repeated counts retries in the history: the same card, id and body. They are not decided again.
	Repeated int64 `json:"repeated"`
	Labels   int64 `json:"labels"`
	// Unmatched counts labels whose transaction was not seen before them, or lies behind the horizon.
	Unmatched int64             `json:"labels_unmatched"`
	Outcomes  map[string]int64  `json:"outcomes"`
	Versions  decision.Versions `json:"versions"`
	Quality   *Quality          `json:"quality,omitempty"`
}

// origin is where the replay's records stand.
var origin = feature.Origin{Region: "backtest", Epoch: 1}

// run is the state of one replay.
type run struct {
	rules    *region.Ruleset
	rates    *decision.Rates
	entities [len(feature.Kinds)]map[string]*feature.Entity
	// cards finds the card of a transaction within the horizon, and its place in quality.
	cards  map[string]located
	recent []recentID
	seq    uint64
	vector []float64
	owed   []feature.Record
	report *Report
	scores scores
}

type located struct {
	card string
	row  int
}

type recentID struct {
	id string
	at int64
}

// Run replays the history.
func Run(ctx context.Context, c Config) (*Report, error) {
	rules, err := region.LoadRuleset(c.Rules)
	if err != nil {
		return nil, err
	}
	rates, err := decision.NewRates(rules.Schema().Currency(), c.Rates)
	if err != nil {
		return nil, fmt.Errorf("rates: %w", err)
	}
	transactions, err := openTransactions(c.Transactions)
	if err != nil {
		return nil, err
	}
	defer transactions.close()
	var pending *labelReader
	if c.Labels != "" {
		if pending, err = openLabels(c.Labels); err != nil {
			return nil, err
		}
		defer pending.close()
	}
	out, err := createOutput(c.Out, rules.Schema().Names())
	if err != nil {
		return nil, err
	}
	defer out.abort()
	r := &run{rules: rules, rates: rates, cards: map[string]located{}, vector: make([]float64, rules.Schema().Len()),
		report: &Report{Outcomes: map[string]int64{}, Versions: rules.Versions()}}
	for i := range r.entities {
		r.entities[i] = map[string]*feature.Entity{}
	}
	if err := r.stream(ctx, transactions, pending, out, c.Progress); err != nil {
		return nil, err
	}
	if pending != nil {
		r.report.Quality = r.scores.quality(rules.Thresholds())
	}
	if err := out.commit(); err != nil {
		return nil, err
	}
	return r.report, nil
}

func (r *run) stream(ctx context.Context, transactions *transactionReader, labels *labelReader, out *output, progress func(int64, time.Time)) error {
	var newest int64
	reported := time.Now()
	for {
		t, err := transactions.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if t.At < newest {
			return transactions.errorf("timestamp", "%s lies before the row above: transactions come in time order", time.UnixMilli(t.At).UTC().Format(time.RFC3339Nano))
		}
		newest = t.At
		if labels != nil {
			if err := r.labelsUntil(labels, t.At/1000); err != nil {
				return err
			}
		}
		if t.BaseAmount, err = r.rates.Convert(t.Amount, t.Currency); err != nil {
			if errors.Is(err, &decision.Error{Code: decision.CodeCurrency}) {
				err = fmt.Errorf("currency: no rate of %s to %s: give one (--rate %s=…)", t.Currency, r.rates.Base(), t.Currency)
			}
			return transactions.wrap(err)
		}
		if err := r.transaction(t, transactions, out); err != nil {
			return err
		}
		if r.report.Transactions%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("backtest stopped: %w", err)
			}
			if progress != nil && time.Since(reported) > time.Second {
				reported = time.Now()
				progress(r.report.Transactions, time.UnixMilli(newest).UTC())
			}
		}
	}
	if labels == nil {
		return nil
	}
	return r.labelsUntil(labels, int64(^uint64(0)>>1))
}

// entity returns the state of an entity, new if it is not known.
func (r *run) entity(k feature.Kind, id string) *feature.Entity {
	e := r.entities[k][id]
	if e == nil {
		e = r.rules.Schema().New(k)
		r.entities[k][id] = e
	}
	return e
}

// transaction decides one, writes it out and folds it.
func (r *run) transaction(t *decision.Transaction, source *transactionReader, out *output) error {
	digest := t.Digest()
	if known, ok := r.entity(feature.Card, t.Card).Known(t.Key()); ok {
		if known.Held && known.Digest != digest {
			return source.errorf("transaction_id", "the card has this id already, with another body")
		}
		r.report.Repeated++
		return nil
	}
	schema := r.rules.Schema()
	if err := schema.ReadTransaction(t, r.vector); err != nil {
		return source.wrap(err)
	}
	for _, k := range feature.Kinds {
		var state *feature.Entity
		if id := k.Of(t); id != "" {
			state = r.entity(k, id)
		}
		schema.Read(&feature.Query{Kind: k, Entity: state, Transaction: t}, r.vector)
	}
	d := &decision.Decision{Transaction: *t, DecidedAt: t.At, Digest: digest, Node: origin.Region}
	r.rules.Judge(d, r.vector, r.rules.Score(r.vector), nil, nil)
	if err := out.row(t.ID, r.vector, d); err != nil {
		return err
	}
	r.report.Transactions++
	r.report.Outcomes[d.Outcome.String()]++
	r.remember(t, r.scores.add(d.Score))
	r.apply(&feature.Record{Decision: d})
	return nil
}

// remember keeps what a label will need, and forgets what lies behind the horizon.
func (r *run) remember(t *decision.Transaction, row int) {
	r.cards[t.ID] = located{t.Card, row}
	r.recent = append(r.recent, recentID{t.ID, t.At})
	edge := t.At - r.rules.Schema().Horizon().Milliseconds()
	for r.recent[0].at < edge {
		delete(r.cards, r.recent[0].id)
		r.recent = r.recent[1:]
	}
}

// apply folds a record into every entity that it touches.
func (r *run) apply(rec *feature.Record) {
	r.seq++
	p := feature.Position{Origin: origin, Mark: feature.MarkOf(r.seq, 0)}
	for _, k := range feature.Kinds {
		if id := rec.Touches(k); id != "" {
			r.entity(k, id).Apply(p, rec)
		}
	}
}

// labelsUntil applies the labels that are known up to and in the given second.
func (r *run) labelsUntil(labels *labelReader, second int64) error {
	for {
		l, err := labels.peek()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if l.KnownAt/1000 > second {
			return nil
		}
		labels.take()
		at, ok := r.cards[l.TransactionID]
		r.report.Labels++
		if !ok {
			r.report.Unmatched++
			continue
		}
		l.Card = at.card
		r.scores.label(at.row, l.Fraud)
		r.apply(&feature.Record{Label: l})
		card := r.entity(feature.Card, at.card)
		for r.owed = card.Obligations(origin, r.owed[:0]); len(r.owed) > 0; r.owed = card.Obligations(origin, r.owed[:0]) {
			for i := range r.owed {
				rec := r.owed[i]
				r.apply(&rec)
			}
		}
	}
}
