package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"scoremesh/decision"
)

func description(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDescriptionIsServedAsItIs(t *testing.T) {
	file, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rec := newWorld(t).do("GET", "/openapi.yaml", "", "Authorization:")
	if rec.Body.String() != string(file) {
		t.Error("/openapi.yaml is not the file")
	}
}

func TestTheDescriptionListsEveryEndpointAndCode(t *testing.T) {
	doc := description(t)
	var described []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
			var e edge
			request := httptest.NewRequest(method, strings.NewReplacer("{kind}", "card", "{id}", "c-77").Replace(path), nil)
			if r := e.route(request.URL); r.serve == nil || r.method != method {
				t.Errorf("%s %s is described and not routed", method, path)
			}
		}
	}
	// Every endpoint but noEndpoint has one path.
	if len(described) != int(endpoints)-1 {
		t.Errorf("got %d described endpoints, want %d: %v", len(described), int(endpoints)-1, described)
	}
	var codes []any
	for _, p := range Problems() {
		codes = append(codes, string(p.Code))
	}
	if diff := cmp.Diff(codes, doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum); diff != "" {
		t.Errorf("codes (-table +description):\n%s", diff)
	}
}

func TestTheDescriptionStatesTheBoundsOfTheCode(t *testing.T) {
	schemas := description(t).Components.Schemas
	transaction := schemas["Transaction"].Value.Properties
	row := schemas["Row"].Value.Properties
	got := []uint64{*schemas["Id"].Value.MaxLength, uint64(*transaction["amount"].Value.Max), *transaction["attributes"].Value.MaxProps,
		*transaction["attributes"].Value.AdditionalProperties.Schema.Value.MaxLength, *row["values"].Value.MaxProps}
	want := []uint64{decision.MaxIDBytes, decision.MaxAmount, decision.MaxAttributes, decision.MaxAttributeValueBytes, maxRowValues}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("id, amount, attributes, attribute value, row values (-code +description):\n%s", diff)
	}
}

func TestEveryExampleOfARequestIsAccepted(t *testing.T) {
	count := 0
	for path, item := range description(t).Paths.Map() {
		if item.Post == nil {
			continue
		}
		for media, content := range item.Post.RequestBody.Value.Content {
			examples := map[string]any{}
			if content.Example != nil {
				examples["example"] = content.Example
			}
			for name, e := range content.Examples {
				examples[name] = e.Value.Value
			}
			if len(examples) == 0 {
				t.Errorf("%s %s has no example", path, media)
			}
			for name, example := range examples {
				count++
				t.Run(path+" "+name, func(t *testing.T) {
					body, isText := example.(string)
					if !isText {
						b, err := json.Marshal(example)
						if err != nil {
							t.Fatal(err)
						}
						body = string(b)
					}
					// The examples' own day goes on until noon.
					w := newWorld(t, func(o *Options) { o.Backend.Now = func() int64 { return testNow + 2*3600_000 } })
					if rec := w.do("POST", path, body, "Content-Type: "+media); rec.Code != 200 || w.effects() == 0 {
						t.Errorf("got %d %s, want 200", rec.Code, rec.Body)
					}
				})
			}
		}
	}
	if count < 8 {
		t.Errorf("got %d examples, want at least 8", count)
	}
}

// hangingScrapes returns a gatherer, and sets prepare to fill /metrics with requests that wait for it until the test ends.
func hangingScrapes(t *testing.T, prepare *func(*world)) prometheus.Gatherer {
	entered, release := make(chan struct{}), make(chan struct{})
	*prepare = func(w *world) {
		var scrapes sync.WaitGroup
		for range maxScrapes {
			scrapes.Go(func() { w.server.Handler().ServeHTTP(httptest.NewRecorder(), request("GET", "/metrics", "")) })
		}
		for range maxScrapes {
			<-entered
		}
		t.Cleanup(func() {
			close(release)
			scrapes.Wait()
		})
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hanging"}, func() float64 {
		entered <- struct{}{}
		<-release
		return 0
	}))
	return reg
}

// TestEveryDescribedStatusOccurs provokes each status that is described, and finds each that occurs described (world.do does).
func TestEveryDescribedStatusOccurs(t *testing.T) {
	ordinary := map[string]string{"/v1/score": leastBody, "/v1/score:batch": `{"transactions":[` + leastBody + `]}`, "/v1/labels": labelText,
		"/v1/features": rowText}
	failing := func(code decision.Code) func(*world) {
		return func(w *world) { w.failAll(&decision.Error{Code: code}) }
	}
	for path, item := range description(t).Paths.Map() {
		for method, operation := range item.Operations() {
			target := strings.NewReplacer("{kind}", "card", "{id}", "c-77").Replace(path)
			for status := range operation.Responses.Map() {
				t.Run(fmt.Sprintf("%s %s %s", method, path, status), func(t *testing.T) {
					prepare := func(*world) {}
					config := func(*Options) {}
					sent, body := method, ordinary[path]
					var headers []string
					switch status {
					case "400":
						headers = []string{"X-Request-Id: ?"}
					case "401", "403":
						config = func(o *Options) { o.Config.MetricsNeedsAdmin, o.Config.OpenAPINeedsAdmin = true, true }
						headers = []string{"Authorization:"}
						if status == "403" {
							headers = []string{"Authorization: Bearer " + labelKey}
							if path == "/v1/labels" {
								headers = []string{"Authorization: Bearer " + scoreKey}
							}
						}
					case "404":
						prepare = failing(decision.CodeNotFound)
					case "405":
						sent = http.MethodPatch
					case "409":
						prepare = failing(decision.CodeConflict)
					case "413":
						body = strings.Repeat(" ", 2<<20)
					case "415":
						headers = []string{"Content-Type: text/plain"}
					case "422":
						prepare = failing(decision.CodeTooOld)
					case "429":
						prepare = func(w *world) {
							w.server.edge.scoring.admit(w.server.edge.config.MaxInFlight)
							w.server.edge.bulk.admit(w.server.edge.config.MaxBulkInFlight)
						}
					case "500":
						prepare = failing(CodeInternal)
						if path == "/v1/score:batch" {
							config = func(o *Options) { o.Backend.Bounds = func() Bounds { panic("no bounds") } }
						}
					case "503":
						prepare = func(w *world) {
							failing(decision.CodeNotReady)(w)
							w.health = Health{State: "draining"}
						}
						if path == "/metrics" {
							config = func(o *Options) { o.Gatherer = hangingScrapes(t, &prepare) }
						}
					case "504":
						prepare = failing(decision.CodeDeadline)
						if path == "/v1/score:batch" {
							headers = []string{"X-Deadline-Ms: 1"}
							prepare = func(w *world) { w.score = scoreUntilDeadline }
						}
					}
					w := newWorld(t, config)
					prepare(w)
					rec := w.do(sent, target, body, headers...)
					if strconv.Itoa(rec.Code) != status {
						t.Errorf("got %d %s, want %s", rec.Code, clipped(rec.Body.String()), status)
					}
				})
			}
		}
	}
}
