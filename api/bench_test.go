package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"scoremesh/decision"
)

// BenchmarkDecodeEncode is what the edge itself does for one score request: body to transaction, answer to bytes.
func BenchmarkDecodeEncode(b *testing.B) {
	for name, body := range map[string]string{"full": fullBody, "card_number": panBody} {
		b.Run(name, func(b *testing.B) {
			e := newWorld(b).server.edge
			x := e.exchanges.Get().(*exchange)
			x.in = []byte(body)
			answer := decided(&decision.Transaction{ID: "t-81"}, decision.StepUp)
			b.ReportAllocs()
			for b.Loop() {
				x.in = append(x.in[:0], body...)
				x.scan.reset(x.in)
				if err := x.transaction.read(&x.scan); err != nil {
					b.Fatal(err)
				}
				if _, err := e.judge(&x.transaction, &x.scan, e.judgement()); err != nil {
					b.Fatal(err)
				}
				x.out = appendAnswer(x.out[:0], answer, "eu-west", time.Millisecond)
			}
		})
	}
}

// BenchmarkEncodingJSON is the decoding of the same body by encoding/json, to compare.
func BenchmarkEncodingJSON(b *testing.B) {
	type body struct {
		ID         string            `json:"transaction_id"`
		Timestamp  time.Time         `json:"timestamp"`
		Card       string            `json:"card_id"`
		Device     string            `json:"device_id"`
		Merchant   string            `json:"merchant_id"`
		Amount     int64             `json:"amount"`
		Currency   string            `json:"currency"`
		Country    string            `json:"country"`
		Lat        float64           `json:"lat"`
		Lon        float64           `json:"lon"`
		MCC        string            `json:"mcc"`
		Attributes map[string]string `json:"attributes"`
	}
	b.ReportAllocs()
	for b.Loop() {
		d := json.NewDecoder(bytes.NewReader([]byte(fullBody)))
		d.DisallowUnknownFields()
		var v body
		if err := d.Decode(&v); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is a ResponseWriter that costs nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkHandler is a whole request but for net/http: routing, key, deadline, admission, decoding, metrics, encoding.
func BenchmarkHandler(b *testing.B) {
	answer := decided(&decision.Transaction{ID: "t-81"}, decision.StepUp)
	for name, body := range map[string]string{"score": fullBody, "refused": leastBody[:60]} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, func(o *Options) {
				o.Backend.Score = func(context.Context, *decision.Transaction, bool) (*decision.Answer, error) { return answer, nil }
			})
			h := w.server.Handler()
			r := request("POST", "/v1/score", body)
			rd := bytes.NewReader([]byte(body))
			r.Body = io.NopCloser(rd)
			out := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				rd.Reset([]byte(body))
				clear(out.header)
				h.ServeHTTP(out, r)
			}
			if want := map[string]int{"score": 200, "refused": 400}[name]; out.status != want {
				b.Fatalf("got %d, want %d", out.status, want)
			}
		})
	}
}

// BenchmarkServer is a whole request over loopback, client included.
func BenchmarkServer(b *testing.B) {
	answer := decided(&decision.Transaction{ID: "t-81"}, decision.StepUp)
	w := newWorld(b, func(o *Options) {
		o.Backend.Score = func(context.Context, *decision.Transaction, bool) (*decision.Answer, error) { return answer, nil }
	})
	s := httptest.NewServer(w.server.Handler())
	defer s.Close()
	c := s.Client()
	b.ReportAllocs()
	for b.Loop() {
		r := request("POST", "/v1/score", fullBody)
		r.RequestURI = ""
		r.URL.Scheme, r.URL.Host = "http", s.Listener.Addr().String()
		answer, err := c.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 200 {
			b.Fatalf("got %d", answer.StatusCode)
		}
	}
}
