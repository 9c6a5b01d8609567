package feature

import (
	"cmp"
	"slices"

	"scoremesh/decision"
)

// Labels touch the card only. Its owner completes them from the timeline and posts them, as records, to the other entities of
// the transaction. What is owed (a posting, a withdrawal, a retraction) is derived from the card's state, never from an event, so
// that a crash, a second owner or a skipped record cannot lose or double it.

// labelEntry is the label that counts for a transaction: the last by (known_at, origin, epoch, sequence).
type labelEntry struct {
	key      uint64
	knownAt  int64
	position Position
	fraud    bool
}

func (l *labelEntry) filter() labelFilter {
	if l.fraud {
		return fraudLabel
	}
	return genuineLabel
}

// postingEntry is the signed count of the postings of one label on one decision.
type postingEntry struct {
	key             uint64
	label, decision Position
	fraud           bool
	sum             int32
	// facts complete a withdrawal; their At trims the entry.
	facts Facts
}

func (p *postingEntry) compare(q *postingEntry) int {
	return cmp.Or(cmp.Compare(p.key, q.key), p.label.Compare(q.label), p.decision.Compare(q.decision))
}

// labels is the card's set of labels and of their postings.
type labels struct {
	// entries are sorted by key, one per key.
	entries []labelEntry
	// postings are sorted by compare.
	postings []postingEntry
}

// apply takes a label in, if it is later than the one that counts.
func (l *labels) apply(p Position, label *decision.Label) {
	e := labelEntry{decision.Key(label.Card, label.TransactionID), label.KnownAt, p, label.Fraud}
	i, found := slices.BinarySearchFunc(l.entries, e.key, func(a labelEntry, key uint64) int { return cmp.Compare(a.key, key) })
	if !found {
		l.entries = slices.Insert(l.entries, i, e)
		return
	}
	old := &l.entries[i]
	if cmp.Or(cmp.Compare(old.knownAt, e.knownAt), old.position.Compare(e.position)) < 0 {
		*old = e
	}
}

// of returns the label of a transaction.
func (l *labels) of(key uint64) (*labelEntry, bool) {
	if len(l.entries) == 0 {
		return nil, false
	}
	i, found := slices.BinarySearchFunc(l.entries, key, func(a labelEntry, key uint64) int { return cmp.Compare(a.key, key) })
	if !found {
		return nil, false
	}
	return &l.entries[i], true
}

// post counts a posting.
func (l *labels) post(r *Posting) {
	e := postingEntry{key: r.Facts.Key, label: r.Label, decision: r.Decision, fraud: r.Fraud, facts: r.Facts}
	i, found := slices.BinarySearchFunc(l.postings, &e, func(a postingEntry, b *postingEntry) int { return a.compare(b) })
	if !found {
		l.postings = slices.Insert(l.postings, i, e)
	}
	l.postings[i].sum += int32(r.Sign)
}

// posted returns the signed count of a label on a decision.
func (l *labels) posted(label, decided Position, key uint64) int32 {
	e := postingEntry{key: key, label: label, decision: decided}
	i, found := slices.BinarySearchFunc(l.postings, &e, func(a postingEntry, b *postingEntry) int { return a.compare(b) })
	if !found {
		return 0
	}
	return l.postings[i].sum
}

// trimBefore drops labels that became known, and postings on transactions that lie, before edge.
func (l *labels) trimBefore(edge int64) {
	if len(l.entries) > 0 {
		l.entries = slices.DeleteFunc(l.entries, func(e labelEntry) bool { return e.knownAt < edge })
	}
	if len(l.postings) > 0 {
		l.postings = slices.DeleteFunc(l.postings, func(e postingEntry) bool { return e.facts.At < edge })
	}
}

// Owes says whether the incarnation of a region's log that is named must still get records that follow from this card's state.
func (e *Entity) Owes(origin Origin) bool {
	return len(e.obligations(origin, nil, 1)) > 0
}

// Obligations appends the records that follow from this card's state and that origin must append: retractions of duplicates that
// stand in its log and lost, and postings (or withdrawals) of labels that stand in its log. They are the same until the log has
// them, so whoever appends must do so conditionally on having applied what the log holds. Other kinds owe nothing.
func (e *Entity) Obligations(origin Origin, records []Record) []Record {
	return e.obligations(origin, records, int(^uint(0)>>1))
}

func (e *Entity) obligations(origin Origin, records []Record, limit int) []Record {
	if e.schema.kind != Card {
		return records
	}
	have := len(records)
	full := func() bool { return len(records)-have >= limit }
	if e.timeline.duplicates {
		for i := range e.timeline.elements {
			loser := &e.timeline.elements[i]
			if !loser.present || loser.retracted || loser.counts || loser.origin.Value() != origin || full() {
				continue
			}
			winner, _ := e.timeline.canonical(loser.key)
			records = append(records, Record{Retraction: &Retraction{Loser: loser.position(), Facts: e.facts(loser),
				Winner: winner.position(), WinnerOutcome: winner.outcome}})
		}
	}
	for i := range e.labels.entries {
		label := &e.labels.entries[i]
		if label.position.Origin != origin || full() {
			continue
		}
		decided, _ := e.timeline.canonical(label.key)
		if decided != nil && e.labels.posted(label.position, decided.position(), label.key) <= 0 {
			records = append(records, Record{Posting: &Posting{Label: label.position, Decision: decided.position(), Fraud: label.fraud,
				Sign: 1, Facts: e.facts(decided)}})
		}
	}
	for i := range e.labels.postings {
		p := &e.labels.postings[i]
		if p.sum <= 0 || p.label.Origin != origin || full() {
			continue
		}
		label, labelled := e.labels.of(p.key)
		decided := e.timeline.holds(p.key, p.decision)
		if labelled && label.position != p.label || decided != nil && !decided.counts {
			records = append(records, Record{Posting: &Posting{Label: p.label, Decision: p.decision, Fraud: p.fraud, Sign: -1, Facts: p.facts}})
		}
	}
	return records
}

// facts completes a card's element.
func (e *Entity) facts(el *element) Facts {
	return Facts{Key: el.key, Card: e.id, Device: el.device, Merchant: el.merchant, At: el.at, BaseAmount: el.baseAmount, Outcome: el.outcome}
}
