package decision

import (
	"errors"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

const (
	featuresPrefix   = "features."
	attributesPrefix = "transaction.attributes."
)

// The slots of the fixed inputs. The features follow, then the attributes that are read by name.
const (
	slotID = iota
	slotCard
	slotDevice
	slotMerchant
	slotAmount
	slotAmountMinor
	slotCurrency
	slotCountry
	slotMCC
	slotHour
	slotWeekday
	slotAttributes
	slotScore
	slotHasScore
	slotDegraded
	slotStaleness
	fixedSlots
)

// errNoScore is what reading score gives when no model scored. A rule that comes to it does not match, and has not failed.
var errNoScore = errors.New("there is no score")

var noScore = types.WrapErr(errNoScore)

// slots numbers the inputs of a policy's expressions.
type slots struct {
	names []string // by slot, as written in an expression
	types []*cel.Type
	index map[string]int
	// features are the names whose slots follow the fixed ones, attributes those whose slots follow the features.
	features, attributes []string
}

func newSlots(features []string) *slots {
	s := &slots{index: map[string]int{}, features: features}
	texts := cel.MapType(cel.StringType, cel.StringType)
	for _, fixed := range [fixedSlots]struct {
		name string
		kind *cel.Type
	}{
		slotID:          {"transaction.id", cel.StringType},
		slotCard:        {"transaction.card", cel.StringType},
		slotDevice:      {"transaction.device", cel.StringType},
		slotMerchant:    {"transaction.merchant", cel.StringType},
		slotAmount:      {"transaction.amount", cel.DoubleType},
		slotAmountMinor: {"transaction.amount_minor", cel.IntType},
		slotCurrency:    {"transaction.currency", cel.StringType},
		slotCountry:     {"transaction.country", cel.StringType},
		slotMCC:         {"transaction.mcc", cel.StringType},
		slotHour:        {"transaction.hour", cel.IntType},
		slotWeekday:     {"transaction.weekday", cel.IntType},
		slotAttributes:  {"transaction.attributes", texts},
		slotScore:       {"score", cel.DoubleType},
		slotHasScore:    {"has_score", cel.BoolType},
		slotDegraded:    {"degraded", cel.ListType(cel.StringType)},
		slotStaleness:   {"mesh.staleness", cel.MapType(cel.StringType, cel.DoubleType)},
	} {
		s.add(fixed.name, fixed.kind)
	}
	for _, f := range features {
		s.add(featuresPrefix+f, cel.DoubleType)
	}
	return s
}

func (s *slots) add(name string, kind *cel.Type) {
	s.index[name] = len(s.names)
	s.names = append(s.names, name)
	s.types = append(s.types, kind)
}

// addAttribute gives an attribute a slot of its own, so that reading it builds no map.
func (s *slots) addAttribute(name string) {
	if _, ok := s.index[attributesPrefix+name]; ok {
		return
	}
	s.add(attributesPrefix+name, cel.StringType)
	s.attributes = append(s.attributes, name)
}

func (s *slots) fixedNames() []string { return s.names[:fixedSlots] }

// inputs is what the expressions of one decision read: an interpreter.Activation that makes each value when it is first asked for.
type inputs struct {
	Input
	slots *slots
	// minorPerMajor is 10 to the base currency's exponent.
	minorPerMajor float64
	// values holds what was made already, by slot.
	values []ref.Val
}

// ResolveName implements interpreter.Activation.
func (in *inputs) ResolveName(name string) (any, bool) {
	slot, ok := in.slots.index[name]
	if !ok {
		return nil, false
	}
	return in.value(slot), true
}

// Parent implements interpreter.Activation.
func (in *inputs) Parent() interpreter.Activation { return nil }

func (in *inputs) value(slot int) ref.Val {
	if v := in.values[slot]; v != nil {
		return v
	}
	v := in.make(slot)
	in.values[slot] = v
	return v
}

func (in *inputs) make(slot int) ref.Val {
	t := in.Transaction
	switch slot {
	case slotID:
		return types.String(t.ID)
	case slotCard:
		return types.String(t.Card)
	case slotDevice:
		return types.String(t.Device)
	case slotMerchant:
		return types.String(t.Merchant)
	case slotAmount:
		return types.Double(float64(t.BaseAmount) / in.minorPerMajor)
	case slotAmountMinor:
		return types.Int(t.BaseAmount)
	case slotCurrency:
		return types.String(t.Currency)
	case slotCountry:
		return types.String(t.Country)
	case slotMCC:
		return types.String(t.MCC)
	case slotHour:
		return types.Int(hourUTC(t.At))
	case slotWeekday:
		return types.Int(weekdayUTC(t.At))
	case slotAttributes:
		m := make(map[string]string, len(t.Attributes))
		for _, a := range t.Attributes {
			m[a.Name] = a.Value
		}
		return types.NewStringStringMap(types.DefaultTypeAdapter, m)
	case slotScore:
		if in.Score != in.Score {
			return noScore
		}
		return types.Double(decimalScore(in.Score))
	case slotHasScore:
		return types.Bool(in.Score == in.Score)
	case slotDegraded:
		return types.NewStringList(types.DefaultTypeAdapter, in.Degraded)
	case slotStaleness:
		return types.DefaultTypeAdapter.NativeToValue(in.Staleness)
	}
	slot -= fixedSlots
	if slot >= len(in.slots.features) {
		return types.String(t.Attribute(in.slots.attributes[slot-len(in.slots.features)]))
	}
	if slot >= len(in.Features) {
		return types.NewErr("the vector has %d features and lacks %s", len(in.Features), in.slots.features[slot])
	}
	return types.Double(in.Features[slot])
}

// decimalScore is the number that a score's shortest decimal form denotes: 0.8 for float32(0.8), where a plain conversion gives
// 0.800000011920929. So a policy compares what an answer shows. NaN stays NaN.
func decimalScore(score float32) float64 {
	var digits [32]byte
	// Shortest digits always parse.
	s, _ := strconv.ParseFloat(string(strconv.AppendFloat(digits[:0], float64(score), 'g', -1, 32)), 64)
	return s
}

const (
	millisPerHour = 3_600_000
	millisPerDay  = 24 * millisPerHour
)

// hourUTC is the hour of the day, 0 to 23.
func hourUTC(at int64) int64 { return floorMod(at, millisPerDay) / millisPerHour }

// weekdayUTC is the day of the week, 0 for Monday. 1970-01-01 was a Thursday.
func weekdayUTC(at int64) int64 {
	days := (at - floorMod(at, millisPerDay)) / millisPerDay
	return floorMod(days+3, 7)
}

func floorMod(a, b int64) int64 { return (a%b + b) % b }
