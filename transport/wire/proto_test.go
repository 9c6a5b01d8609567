package wire

import (
	"scoremesh/decision"
	"scoremesh/feature"
)

// The conversions between feature.Record and the generated types, field by field: what the codec is held against.

func toProto(r *feature.Record) *Record {
	switch {
	case r.Decision != nil:
		d := r.Decision
		p := &Decision{Transaction: transactionToProto(&d.Transaction), Outcome: Outcome(d.Outcome), Score: d.Score, Degraded: d.Degraded,
			Versions:  &Versions{Schema: d.Versions.Schema, Model: d.Versions.Model, Policy: d.Versions.Policy},
			DecidedAt: d.DecidedAt, Digest: d.Digest, Node: d.Node}
		for _, r := range d.Reasons {
			p.Reasons = append(p.Reasons, &Reason{Code: r.Code, Detail: r.Detail})
		}
		return &Record{Kind: &Record_Decision{p}}
	case r.Label != nil:
		l := r.Label
		return &Record{Kind: &Record_Label{&Label{TransactionId: l.TransactionID, Card: l.Card, Fraud: l.Fraud, KnownAt: l.KnownAt}}}
	case r.Row != nil:
		p := &Row{Kind: EntityKind(r.Row.Kind), Id: r.Row.ID, AsOf: r.Row.AsOf}
		for _, v := range r.Row.Values {
			p.Values = append(p.Values, &Value{Name: v.Name, Value: v.Value})
		}
		return &Record{Kind: &Record_Row{p}}
	case r.Retraction != nil:
		n := r.Retraction
		return &Record{Kind: &Record_Retraction{&Retraction{Loser: positionToProto(n.Loser), Facts: factsToProto(&n.Facts),
			Winner: positionToProto(n.Winner), WinnerOutcome: Outcome(n.WinnerOutcome)}}}
	case r.Posting != nil:
		n := r.Posting
		return &Record{Kind: &Record_Posting{&Posting{Label: positionToProto(n.Label), Decision: positionToProto(n.Decision),
			Fraud: n.Fraud, Sign: int32(n.Sign), Facts: factsToProto(&n.Facts)}}}
	case r.Beacon != nil:
		return &Record{Kind: &Record_Beacon{&Beacon{At: r.Beacon.At, Node: r.Beacon.Node}}}
	}
	return &Record{}
}

func transactionToProto(t *decision.Transaction) *Transaction {
	p := &Transaction{Id: t.ID, Card: t.Card, Device: t.Device, Merchant: t.Merchant, At: t.At, Amount: t.Amount, Currency: t.Currency,
		BaseAmount: t.BaseAmount, Country: t.Country, Mcc: t.MCC}
	if t.HasPosition {
		p.Coordinates = &Coordinates{Lat: t.Lat, Lon: t.Lon}
	}
	for _, a := range t.Attributes {
		p.Attributes = append(p.Attributes, &Attribute{Name: a.Name, Value: a.Value})
	}
	return p
}

func positionToProto(p feature.Position) *Position {
	return &Position{Region: p.Origin.Region, Epoch: p.Origin.Epoch, Sequence: p.Mark.Seq(), Index: uint32(p.Mark.Index())}
}

func factsToProto(f *feature.Facts) *Facts {
	return &Facts{Key: f.Key, Card: f.Card, Device: f.Device, Merchant: f.Merchant, At: f.At, BaseAmount: f.BaseAmount, Outcome: Outcome(f.Outcome)}
}

func fromProto(p *Record) feature.Record {
	switch k := p.Kind.(type) {
	case *Record_Decision:
		d := k.Decision
		out := &decision.Decision{Transaction: transactionFromProto(d.GetTransaction()), Outcome: decision.Outcome(d.Outcome), Score: d.Score,
			Degraded: d.Degraded, DecidedAt: d.DecidedAt, Digest: d.Digest, Node: d.Node, Versions: decision.Versions{
				Schema: d.GetVersions().GetSchema(), Model: d.GetVersions().GetModel(), Policy: d.GetVersions().GetPolicy()}}
		for _, r := range d.Reasons {
			out.Reasons = append(out.Reasons, decision.Reason{Code: r.Code, Detail: r.Detail})
		}
		return feature.Record{Decision: out}
	case *Record_Label:
		l := k.Label
		return feature.Record{Label: &decision.Label{TransactionID: l.TransactionId, Card: l.Card, Fraud: l.Fraud, KnownAt: l.KnownAt}}
	case *Record_Row:
		out := &feature.Row{Kind: feature.Kind(k.Row.Kind), ID: k.Row.Id, AsOf: k.Row.AsOf}
		for _, v := range k.Row.Values {
			out.Values = append(out.Values, feature.Value{Name: v.Name, Value: v.Value})
		}
		return feature.Record{Row: out}
	case *Record_Retraction:
		n := k.Retraction
		return feature.Record{Retraction: &feature.Retraction{Loser: positionFromProto(n.GetLoser()), Facts: factsFromProto(n.GetFacts()),
			Winner: positionFromProto(n.GetWinner()), WinnerOutcome: decision.Outcome(n.WinnerOutcome)}}
	case *Record_Posting:
		n := k.Posting
		return feature.Record{Posting: &feature.Posting{Label: positionFromProto(n.GetLabel()), Decision: positionFromProto(n.GetDecision()),
			Fraud: n.Fraud, Sign: int8(n.Sign), Facts: factsFromProto(n.GetFacts())}}
	case *Record_Beacon:
		return feature.Record{Beacon: &feature.Beacon{At: k.Beacon.At, Node: k.Beacon.Node}}
	}
	return feature.Record{}
}

func transactionFromProto(p *Transaction) decision.Transaction {
	t := decision.Transaction{ID: p.GetId(), Card: p.GetCard(), Device: p.GetDevice(), Merchant: p.GetMerchant(), At: p.GetAt(),
		Amount: p.GetAmount(), Currency: p.GetCurrency(), BaseAmount: p.GetBaseAmount(), Country: p.GetCountry(), MCC: p.GetMcc()}
	if c := p.GetCoordinates(); c != nil {
		t.HasPosition, t.Lat, t.Lon = true, c.Lat, c.Lon
	}
	for _, a := range p.GetAttributes() {
		t.Attributes = append(t.Attributes, decision.Attribute{Name: a.Name, Value: a.Value})
	}
	return t
}

func positionFromProto(p *Position) feature.Position {
	return feature.Position{Origin: feature.Origin{Region: p.GetRegion(), Epoch: p.GetEpoch()}, Mark: feature.MarkOf(p.GetSequence(), int(p.GetIndex()))}
}

func factsFromProto(p *Facts) feature.Facts {
	return feature.Facts{Key: p.GetKey(), Card: p.GetCard(), Device: p.GetDevice(), Merchant: p.GetMerchant(), At: p.GetAt(),
		BaseAmount: p.GetBaseAmount(), Outcome: decision.Outcome(p.GetOutcome())}
}
