package api

import (
	"strings"
	"testing"
)

// FuzzBody sends anything to every endpoint that has a body: no internal error, no effect of what is refused whole, no card number
// in a refusal or in the log, and nothing that openapi.yaml does not allow.
func FuzzBody(f *testing.F) {
	targets := []string{"/v1/score", "/v1/score:batch", "/v1/labels", "/v1/features"}
	for i := range targets {
		for _, body := range []string{fullBody, panBody, `{"transactions":[` + panBody + `,` + leastBody + `]}`, labelText, `{"labels":[` + labelText + `]}`,
			rowText, rowText + "\n" + rowText, labelText + "\n\n{"} {
			f.Add(uint8(i), false, body)
			f.Add(uint8(i), true, body)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, lines bool, body string) {
		target := targets[int(which)%len(targets)]
		media := jsonType
		if lines {
			media = ndjsonType
		}
		w := newWorld(t)
		rec := w.doLoosely("POST", target, body, "Content-Type: "+media)
		if rec.Code >= 500 {
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
		if rec.Code != 200 && !lines && w.effects() != 0 {
			t.Errorf("got %d with %d effects", rec.Code, w.effects())
		}
		for _, tr := range w.mu.scored {
			if err := tr.Validate(testNow, w.server.edge.backend.Bounds().Skew, w.server.edge.backend.Bounds().Horizon); err != nil {
				t.Errorf("the backend got an invalid transaction: %v", err)
			}
		}
		// What was accepted comes back to its client with the id that the client chose; a refusal repeats nothing.
		said := w.log.String()
		if rec.Code != 200 {
			said += rec.Body.String()
		}
		if strings.Contains(said, testPAN) {
			t.Errorf("a card number got out: %s", said)
		}
	})
}
