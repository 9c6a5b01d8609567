package feature

// Shown is a feature with where it comes from, for people.
type Shown struct {
	Name  string
	Value float64
	// AsOf is the time of the newest fact behind the value, Unix milliseconds; 0 when there is none.
	AsOf int64
	// Source is "timeline", "tiles", "profile", or "default" when there is no value.
	Source string
}

// Show computes the features of the query's kind with their sources, as an onlooker: the query's transaction only says when, and whose.
func (s *Schema) Show(q *Query) []Shown {
	ks := &s.kinds[q.Kind]
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.reset(ks, q)
	r.onlooker = true
	shown := make([]Shown, len(ks.features))
	for i := range ks.features {
		f := &ks.features[i]
		value, ok := r.feature(f)
		if !ok {
			shown[i] = Shown{Name: f.name, Value: f.fallback, Source: "default"}
			continue
		}
		shown[i] = Shown{Name: f.name, Value: value, Source: f.source(), AsOf: r.asOf(f)}
	}
	r.release()
	return shown
}

func (f *feature) source() string {
	switch {
	case f.function == published:
		return "profile"
	case f.group >= 0:
		return "tiles"
	}
	return "timeline"
}

// asOf returns the time of the newest fact behind a feature that has a value.
func (r *reader) asOf(f *feature) int64 {
	var at int64
	if r.entity != nil {
		if f.function == published {
			return r.entity.rows[f.profile].asOf
		}
		at = max(r.entity.newest, 0)
	}
	for _, el := range r.overlay(false) {
		at = max(at, el.at)
	}
	return at
}
