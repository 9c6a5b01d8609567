package api

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the description of the endpoints, OpenAPI 3 in YAML.
func OpenAPI() []byte { return append([]byte(nil), openAPI...) }

// livez serves GET /livez: 503 when only a restart helps.
func (x *exchange) livez() error {
	h := x.e.backend.Health()
	x.writeHealth(h.Live, &h)
	return nil
}

// readyz serves GET /readyz: 503 while traffic should go elsewhere.
func (x *exchange) readyz() error {
	h := x.e.backend.Health()
	x.writeHealth(h.Live && h.Ready, &h)
	return nil
}

func (x *exchange) writeHealth(ok bool, h *Health) {
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	x.out = appendHealth(x.out[:0], ok, h)
	x.write(status, typeJSON)
}

// scrapeMetrics serves GET /metrics.
func (x *exchange) scrapeMetrics() error {
	x.answered = true
	x.e.scrape.ServeHTTP(x.w, x.r)
	return nil
}

// openAPI serves GET /openapi.yaml.
func (x *exchange) openAPI() error {
	x.out = append(x.out[:0], openAPI...)
	x.write(http.StatusOK, typeYAML)
	return nil
}
