package feature

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/zeebo/xxh3"

	"scoremesh/decision"
)

// The schema file, as it is written. Unknown keys are errors.
type (
	fileSchema struct {
		Version     string        `yaml:"version"`
		Currency    string        `yaml:"currency"`
		Skew        string        `yaml:"skew"`
		Idempotency string        `yaml:"idempotency"`
		Transaction []fileDerived `yaml:"transaction"`
		Card        *fileKind     `yaml:"card"`
		Device      *fileKind     `yaml:"device"`
		Merchant    *fileKind     `yaml:"merchant"`
	}
	fileDerived struct {
		Name       string `yaml:"name"`
		Expression string `yaml:"expression"`
	}
	fileKind struct {
		TimelineMax *int        `yaml:"timeline_max"`
		Groups      []fileGroup `yaml:"groups"`
	}
	fileGroup struct {
		Name     string        `yaml:"name"`
		Window   string        `yaml:"window"`
		Delay    string        `yaml:"delay"`
		Current  bool          `yaml:"current"`
		Storage  string        `yaml:"storage"`
		Default  *fileNumber   `yaml:"default"`
		TTL      string        `yaml:"ttl"`
		Where    *fileFilter   `yaml:"where"`
		Features []fileFeature `yaml:"features"`
	}
	fileFeature struct {
		Name      string      `yaml:"name"`
		Function  string      `yaml:"function"`
		Of        string      `yaml:"of"`
		Window    string      `yaml:"window"`
		Delay     string      `yaml:"delay"`
		Current   *bool       `yaml:"current"`
		Storage   string      `yaml:"storage"`
		Default   *fileNumber `yaml:"default"`
		Where     *fileFilter `yaml:"where"`
		Numerator *fileFilter `yaml:"numerator"`
	}
	// fileNumber is a float64 that can be hashed, .nan included.
	fileNumber float64
	fileFilter struct {
		Outcome []string `yaml:"outcome"`
		Label   string   `yaml:"label"`
	}
)

// Bounds of a schema.
const (
	maxSchemaBytes = 1 << 20
	maxFeatures    = 1024
	maxDuration    = 400 * 24 * time.Hour
	defaultSkew    = 5 * time.Minute
	defaultKept    = 24 * time.Hour
	defaultTTL     = 30 * 24 * time.Hour
	defaultCards   = 2000
	defaultNewest  = 1000
	maxTimeline    = 1 << 16
)

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	versionPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)
)

// SchemaError says where in a schema file what is wrong.
type SchemaError struct {
	File string
	// Line is 1-based; 0 when the error concerns the whole file.
	Line int
	// Field is the path of the key: "card.groups[0].features[2].window".
	// It is empty when the file is not YAML.
	Field  string
	Detail string
}

// Error returns "file:line: field: detail".
func (e *SchemaError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	return b.String() + ": " + e.Detail
}

// MarshalJSON writes the number as a text, since JSON has no NaN.
func (n fileNumber) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatFloat(float64(n), 'g', -1, 64)), nil
}

// ParseSchema reads a schema. The file name is for errors only, which are of type *SchemaError.
func ParseSchema(file string, data []byte) (*Schema, error) {
	p := &schemaParser{file: file}
	if len(data) > maxSchemaBytes {
		return nil, &SchemaError{File: file, Line: 1, Detail: fmt.Sprintf("%d bytes, at most %d are allowed", len(data), maxSchemaBytes)}
	}
	var f fileSchema
	if err := p.read(data, &f); err != nil {
		return nil, err
	}
	s := p.schema(&f)
	if p.err != nil {
		return nil, p.err
	}
	meaning, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("hash schema %s: %w", file, err)
	}
	s.hash = xxh3.Hash(meaning)
	return s, nil
}

// schemaParser compiles a file; the first error stands in err, and later ones are dropped.
type schemaParser struct {
	file string
	tree *ast.File
	err  error
	seen map[string]string
}

func (p *schemaParser) fail(field, format string, args ...any) {
	if p.err == nil {
		p.err = &SchemaError{File: p.file, Line: p.line(field), Field: field, Detail: fmt.Sprintf(format, args...)}
	}
}

// line finds the line of the field, or of the nearest parent that is there.
func (p *schemaParser) line(field string) int {
	for path := field; path != ""; {
		if n := p.node(path); n != nil {
			return lineOf(n)
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

// node finds the value of a field, or nil.
func (p *schemaParser) node(field string) ast.Node {
	at, err := yaml.PathString("$." + field)
	if err != nil {
		return nil
	}
	n, err := at.FilterFile(p.tree)
	if err != nil {
		return nil
	}
	return n
}

func (p *schemaParser) schema(f *fileSchema) *Schema {
	p.seen = map[string]string{}
	s := &Schema{version: f.Version, currency: f.Currency}
	if n := p.node("version"); n != nil && n.Type() != ast.StringType {
		p.fail("version", "%s: want a text; YAML reads this one as something else, so put it in quotes", n.GetToken().Value)
	}
	if !versionPattern.MatchString(f.Version) {
		p.fail("version", "%q: want 1 to 32 of a-z, 0-9, '.', '_', '-', starting with a letter or digit", f.Version)
	}
	exponent, ok := decision.Exponent(f.Currency)
	if !ok {
		p.fail("currency", "%q: want an ISO 4217 code such as EUR", f.Currency)
	}
	s.exponent = exponent
	s.skew = p.duration("skew", f.Skew, defaultSkew, time.Second)
	s.idempotency = p.duration("idempotency", f.Idempotency, defaultKept, time.Minute)
	for i, d := range f.Transaction {
		field := fmt.Sprintf("transaction[%d]", i)
		p.name(field+".name", d.Name)
		compiled, err := compileDerived(d.Name, d.Expression)
		if err != nil {
			p.fail(field+".expression", "%v", err)
			continue
		}
		s.derived = append(s.derived, compiled)
		s.names = append(s.names, d.Name)
	}
	s.horizon = s.idempotency
	for i, fk := range []*fileKind{f.Card, f.Device, f.Merchant} {
		p.kind(s, Kinds[i], fk)
	}
	if len(s.names) == 0 {
		p.fail("", "no features")
	}
	if len(s.names) > maxFeatures {
		p.fail("", "%d features, at most %d are allowed", len(s.names), maxFeatures)
	}
	s.horizon += s.skew
	s.retention = s.horizon
	for k := range s.kinds {
		for _, profile := range s.kinds[k].profiles {
			s.retention = max(s.retention, profile.ttl+s.skew)
		}
	}
	return s
}

func (p *schemaParser) name(field, name string) {
	if !namePattern.MatchString(name) {
		p.fail(field, "%q: want 1 to 128 letters, digits and underscores, not starting with a digit", name)
		return
	}
	if first, ok := p.seen[name]; ok {
		p.fail(field, "%q is already the name of %s", name, first)
	}
	p.seen[name] = field[:strings.LastIndexByte(field, '.')]
}

// duration parses "90s", "5m", "30d"; an empty text means the default.
func (p *schemaParser) duration(field, text string, fallback, least time.Duration) int64 {
	d := fallback
	if text != "" {
		var err error
		if d, err = parseDuration(text); err != nil {
			p.fail(field, "%v", err)
			return 0
		}
	}
	if d < least || d > maxDuration {
		p.fail(field, "%s: want %s to %s", formatDuration(d), formatDuration(least), formatDuration(maxDuration))
	}
	return d.Milliseconds()
}

func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q: want a duration such as 90s, 5m, 24h or 30d", text)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q: want a duration such as 90s, 5m, 24h or 30d", text)
	}
	if d%time.Millisecond != 0 {
		return 0, fmt.Errorf("%q: want whole milliseconds", text)
	}
	return d, nil
}

func formatDuration(d time.Duration) string {
	if d > 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

func (p *schemaParser) kind(s *Schema, k Kind, f *fileKind) {
	ks := &s.kinds[k]
	*ks = kindSchema{Schema: s, kind: k, lo: len(s.names), hi: len(s.names), hasTimeline: k == Card, timelineMax: defaultNewest}
	if k == Card {
		ks.timelineMax = defaultCards
	}
	if f == nil {
		return
	}
	if f.TimelineMax != nil {
		ks.timelineMax = *f.TimelineMax
		if n := *f.TimelineMax; n < 1 || n > maxTimeline {
			p.fail(k.String()+".timeline_max", "%d: want 1 to %d", n, maxTimeline)
		}
	}
	groups := map[string]bool{}
	for i := range f.Groups {
		field := fmt.Sprintf("%s.groups[%d]", k, i)
		g := &f.Groups[i]
		if !namePattern.MatchString(g.Name) || groups[g.Name] {
			p.fail(field+".name", "%q: want a name of letters, digits and underscores, once in %s", g.Name, k)
		}
		groups[g.Name] = true
		if len(g.Features) == 0 {
			p.fail(field+".features", "a group without features")
		}
		for j := range g.Features {
			p.feature(ks, fmt.Sprintf("%s.features[%d]", field, j), field, g, &g.Features[j])
			if p.err != nil {
				return
			}
		}
	}
	ks.hi = len(s.names)
}

func (p *schemaParser) feature(ks *kindSchema, field, groupField string, g *fileGroup, f *fileFeature) {
	p.name(field+".name", f.Name)
	fn, ok := functionNames[f.Function]
	if !ok {
		p.fail(field+".function", "%q: want one of count, sum, mean, min, max, distinct, ratio, seconds_since_last, "+
			"seconds_since_first, country_changed, travel_speed, profile", f.Function)
		return
	}
	out := feature{name: f.Name, function: fn, group: -1}
	for _, d := range []*fileNumber{g.Default, f.Default} {
		if d != nil {
			out.fallback = float64(*d)
		}
	}
	if math.IsInf(out.fallback, 0) {
		p.fail(field+".default", "%v: want a finite number or .nan", out.fallback)
	}
	if fn.windowed() {
		p.window(ks, &out, field, groupField, g, f)
	} else {
		p.pointwise(ks, &out, field, groupField, g, f)
	}
	if p.err != nil {
		return
	}
	ks.features = append(ks.features, out)
	ks.names = append(ks.names, f.Name)
}

// window compiles a windowed aggregate.
func (p *schemaParser) window(ks *kindSchema, out *feature, field, groupField string, g *fileGroup, f *fileFeature) {
	pick := func(key, own, group string) (string, string) {
		if own == "" && group != "" {
			return groupField + "." + key, group
		}
		return field + "." + key, own
	}
	at, text := pick("window", f.Window, g.Window)
	if text == "" {
		p.fail(at, "missing: %s needs a window such as 5m", f.Function)
		return
	}
	out.window = p.duration(at, text, 0, time.Second)
	at, text = pick("delay", f.Delay, g.Delay)
	out.delay = p.duration(at, text, 0, 0)
	out.current = g.Current
	if f.Current != nil {
		out.current = *f.Current
	}
	if out.current && out.delay > 0 {
		p.fail(field+".current", "true with a delay of %s: a delayed window never holds the current transaction", text)
	}
	if g.TTL != "" {
		p.fail(groupField+".ttl", "only profile features have a time to live of their own")
	}
	where := g.Where
	whereField := groupField + ".where"
	if f.Where != nil {
		where, whereField = f.Where, field+".where"
	}
	out.filter = p.filter(whereField, where)
	if (f.Numerator != nil) != (out.function == ratio) {
		p.fail(field+".numerator", "ratio needs a numerator, and nothing else has one")
		return
	}
	if out.function == ratio {
		numerator := p.filter(field+".numerator", f.Numerator)
		if numerator == (filter{}) {
			p.fail(field+".numerator", "selects everything; want outcome or label")
		}
		both, possible := numerator.and(out.filter)
		if !possible {
			p.fail(field+".numerator", "contradicts where: nothing can match both")
		}
		out.numerator = both
	}
	ks.horizon = max(ks.horizon, out.window+out.delay)
	p.storage(ks, out, field, groupField, g, f)
}

// storage decides where the aggregate is kept: in single transactions, or in tiles.
func (p *schemaParser) storage(ks *kindSchema, out *feature, field, groupField string, g *fileGroup, f *fileFeature) {
	attr := -1
	if (f.Of != "") != (out.function == distinct) {
		p.fail(field+".of", "distinct needs it, and nothing else has it")
		return
	}
	if out.function == distinct {
		attr = slices.Index(attributeNames, f.Of)
		if attr < 0 || f.Of == ks.kind.String() {
			p.fail(field+".of", "%q: want one of %s", f.Of, strings.Join(slices.DeleteFunc(slices.Clone(attributeNames),
				func(n string) bool { return n == ks.kind.String() }), ", "))
			return
		}
	}
	storage, at := f.Storage, field+".storage"
	if storage == "" {
		storage, at = g.Storage, groupField+".storage"
	}
	switch storage {
	case "", "timeline":
		ks.hasTimeline = true
		if attr >= 0 {
			out.attribute = ks.keepAttribute(attribute(attr))
		}
	case "tiles":
		if out.filter.label != anyLabel && (out.function == minimum || out.function == maximum || out.function == distinct) {
			p.fail(field+".where", "%s over tiles cannot filter on a label: what a label says of the past cannot be taken out again; use storage: timeline", f.Function)
			return
		}
		if out.function == distinct && out.delay*tilesPerWindow > out.window*maxSketchTiles {
			p.fail(field+".delay", "distinct over tiles takes a delay of at most %d windows: it keeps a sketch for each tile of the delay; "+
				"use a longer window or storage: timeline", maxSketchTiles/tilesPerWindow)
			return
		}
		ks.addTiled(out, attribute(max(attr, 0)))
	default:
		p.fail(at, "%q: want timeline or tiles", storage)
	}
}

// keepAttribute returns the place of the attribute in a contribution.
func (ks *kindSchema) keepAttribute(a attribute) int {
	if i := slices.Index(ks.attributes, a); i >= 0 {
		return i
	}
	ks.attributes = append(ks.attributes, a)
	return len(ks.attributes) - 1
}

// pointwise compiles a feature without a window.
func (p *schemaParser) pointwise(ks *kindSchema, out *feature, field, groupField string, g *fileGroup, f *fileFeature) {
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"window", f.Window != ""}, {"delay", f.Delay != ""}, {"current", f.Current != nil}, {"storage", f.Storage != ""},
		{"where", f.Where != nil}, {"numerator", f.Numerator != nil}, {"of", f.Of != ""},
	} {
		if key.set {
			p.fail(field+"."+key.name, "%s has no %s", f.Function, key.name)
		}
	}
	switch out.function {
	case secondsSinceLast, secondsSinceFirst:
		ks.hasTimeline = true
	case countryChanged:
		ks.hasCountry = true
	case travelSpeed:
		ks.hasPosition = true
	case published:
		out.profile = len(ks.profiles)
		ks.profiles = append(ks.profiles, profile{name: f.Name, ttl: p.duration(groupField+".ttl", g.TTL, defaultTTL, time.Minute)})
	}
	if out.function != published && g.TTL != "" {
		p.fail(groupField+".ttl", "only profile features have a time to live of their own")
	}
}

func (p *schemaParser) filter(field string, f *fileFilter) filter {
	var out filter
	if f == nil {
		return out
	}
	for i, name := range f.Outcome {
		o, err := decision.ParseOutcome(name)
		if err != nil {
			p.fail(fmt.Sprintf("%s.outcome[%d]", field, i), "%v", err)
			continue
		}
		out.outcomes |= 1 << o
	}
	switch f.Label {
	case "":
	case "fraud":
		out.label = fraudLabel
	case "genuine":
		out.label = genuineLabel
	default:
		p.fail(field+".label", "%q: want fraud or genuine", f.Label)
	}
	return out
}
