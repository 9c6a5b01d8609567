package feature

import (
	"fmt"
	"math"
	"testing"

	"scoremesh/decision"
)

func TestDerivedExpressionOverTheCostBoundIsStopped(t *testing.T) {
	text := `
version: v1
currency: EUR
transaction:
  - {name: cheap, expression: 'mcc in ["5732", "5816"] && attributes.exists(a, a == "channel")'}
  - {name: costly, expression: 'attributes.all(a, attributes.all(b, attributes.all(c, attributes.all(d, a + b + c + d != ""))))'}
`
	s, err := ParseSchema("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	x := &decision.Transaction{MCC: "5732"}
	for i := range decision.MaxAttributes {
		x.Attributes = append(x.Attributes, decision.Attribute{Name: fmt.Sprintf("n%02d", i), Value: "v"})
	}
	x.Attributes[0].Name = "channel"
	vector := make([]float64, s.Len())
	if err := s.ReadTransaction(x, vector); err == nil {
		t.Error("an expression of a million steps was evaluated; want an error")
	}
	if vector[0] != 1 || !math.IsNaN(vector[1]) {
		t.Errorf("got %v, want 1 and NaN", vector)
	}
}
