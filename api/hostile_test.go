package api

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// with replaces from by to in the full body; it panics when from is not there, so that no case tests nothing.
func with(from, to string) string {
	if !strings.Contains(fullBody, from) {
		panic("not in the body: " + from)
	}
	return strings.Replace(fullBody, from, to, 1)
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":"x"`, i)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

type hostile struct {
	name    string
	method  string // POST unless given
	target  string // /v1/score unless given
	body    string
	headers []string
	status  int
	field   string
}

func hostileRequests() []hostile {
	ndjson := "Content-Type: " + ndjsonType
	label := func(from, to string) string { return strings.Replace(labelText, from, to, 1) }
	row := func(from, to string) string { return strings.Replace(rowText, from, to, 1) }
	return []hostile{
		// JSON itself.
		{name: "empty body", body: "", status: 400},
		{name: "white space", body: " \n\t", status: 400},
		{name: "null", body: "null", status: 400},
		{name: "array", body: "[" + fullBody + "]", status: 400},
		{name: "string", body: `"x"`, status: 400},
		{name: "cut in the middle", body: fullBody[:100], status: 400},
		{name: "cut before the last brace", body: fullBody[:len(fullBody)-1], status: 400},
		{name: "trailing object", body: fullBody + "{}", status: 400},
		{name: "trailing byte", body: fullBody + "\x00", status: 400},
		{name: "trailing comma", body: with(`}}`, `},}`), status: 400},
		{name: "leading comma", body: with(`{"tr`, `{,"tr`), status: 400},
		{name: "missing comma", body: with(`,"amount"`, ` "amount"`), status: 400},
		{name: "missing colon", body: with(`"amount":`, `"amount" `), status: 400},
		{name: "single quotes", body: strings.ReplaceAll(fullBody, `"`, `'`), status: 400},
		{name: "comment", body: with(`"amount"`, `/* */"amount"`), status: 400},
		{name: "byte order mark", body: "\xef\xbb\xbf" + fullBody, status: 400},
		{name: "utf-16", body: "\xff\xfe{\x00}\x00", status: 400},
		{name: "invalid utf-8 in a value", body: with("c-77", "c-\xff"), status: 400, field: "card_id"},
		{name: "overlong utf-8", body: with("c-77", "c-\xc0\xaf"), status: 400, field: "card_id"},
		{name: "invalid utf-8 in a key", body: with(`"mcc"`, "\"m\xffc\""), status: 400},
		{name: "lone surrogate", body: with("c-77", `c-\ud800`), status: 400, field: "card_id"},
		{name: "surrogates in the wrong order", body: with("c-77", `\udc00\ud800`), status: 400, field: "card_id"},
		{name: "unknown escape", body: with("c-77", `c\x41`), status: 400, field: "card_id"},
		{name: "cut escape", body: with("c-77", `c\u00`), status: 400, field: "card_id"},
		{name: "control character in a string", body: with("c-77", "c-\n77"), status: 400, field: "card_id"},
		{name: "escaped control character in an id", body: with("c-77", `c-\u0000`), status: 400, field: "card_id"},
		{name: "nested without end", body: with("4599", strings.Repeat("[", 20000)), status: 400, field: "amount"},
		{name: "nested attributes", body: with(`"ecom"`, `{"a":{"b":1}}`), status: 400, field: "attributes.channel"},
		{name: "unknown key", body: with(`"mcc"`, `"mccc"`), status: 400, field: "mccc"},
		{name: "key in another case", body: with(`"amount"`, `"Amount"`), status: 400, field: "Amount"},
		{name: "prototype key", body: with(`"mcc":"5732"`, `"__proto__":{"x":1}`), status: 400, field: "__proto__"},
		{name: "repeated key", body: with(`"amount":4599`, `"amount":4599,"amount":1`), status: 400, field: "amount"},
		{name: "repeated key in escapes", body: with(`"amount":4599`, `"amount":4599,"\u0061mount":1`), status: 400, field: "amount"},
		{name: "repeated attribute", body: with(`"channel":"ecom"`, `"channel":"ecom","channel":"ecom"`), status: 400, field: "attributes.channel"},

		// The transaction's fields.
		{name: "no transaction id", body: with(`"transaction_id":"t-81",`, ""), status: 400, field: "transaction_id"},
		{name: "empty transaction id", body: with(`"t-81"`, `""`), status: 400, field: "transaction_id"},
		{name: "numeric transaction id", body: with(`"t-81"`, `81`), status: 400, field: "transaction_id"},
		{name: "long transaction id", body: with(`t-81`, strings.Repeat("x", 129)), status: 400, field: "transaction_id"},
		{name: "no timestamp", body: with(`"timestamp":"2026-11-23T10:15:02.120Z",`, ""), status: 400, field: "timestamp"},
		{name: "timestamp as a number", body: with(`"2026-11-23T10:15:02.120Z"`, "1795428902"), status: 400, field: "timestamp"},
		{name: "timestamp without an offset", body: with(`.120Z`, ".120"), status: 400, field: "timestamp"},
		{name: "timestamp with a blank", body: with(`T10`, " 10"), status: 400, field: "timestamp"},
		{name: "timestamp beyond nanoseconds", body: with(`.120Z`, ".1234567891Z"), status: 400, field: "timestamp"},
		{name: "30 February", body: with(`11-23`, "02-30"), status: 400, field: "timestamp"},
		{name: "leap second", body: with(`10:15:02.120`, "23:59:60"), status: 400, field: "timestamp"},
		{name: "timestamp too far back", body: with("2026-11-23", "2026-11-21"), status: 422, field: "timestamp"},
		{name: "timestamp of the year 0", body: with("2026", "0000"), status: 422, field: "timestamp"},
		{name: "timestamp too far ahead", body: with("10:15:02", "10:20:03"), status: 422, field: "timestamp"},
		{name: "timestamp of the year 9999", body: with("2026", "9999"), status: 422, field: "timestamp"},
		{name: "no card", body: with(`"card_id":"c-77",`, ""), status: 400, field: "card_id"},
		{name: "null card", body: with(`"c-77"`, "null"), status: 400, field: "card_id"},
		{name: "both card id and number", body: with(`"card_id"`, `"card_number":"`+testPAN+`","card_id"`), status: 400, field: "card_number"},
		{name: "card number as card id", body: with("c-77", testPAN), status: 400, field: "card_id"},
		{name: "card number with dashes as card id", body: with("c-77", "4111-1111-1111-1111"), status: 400, field: "card_id"},
		{name: "card number that fails the check digit", body: with(`"card_id":"c-77"`, `"card_number":"4111111111111112"`), status: 400, field: "card_number"},
		{name: "card number as a number", body: with(`"card_id":"c-77"`, `"card_number":4111111111111111`), status: 400, field: "card_number"},
		{name: "endless card number", body: with(`"card_id":"c-77"`, `"card_number":"`+strings.Repeat("4", 5000)+`"`), status: 400, field: "card_number"},
		{name: "card number as transaction id", body: with("t-81", testPAN), status: 400, field: "transaction_id"},
		{name: "card number as device id", body: with("d-3", "5500 0000 0000 0004"), status: 400, field: "device_id"},
		{name: "card number as merchant id", body: with("m-9", "340000000000009"), status: 400, field: "merchant_id"},
		{name: "card number as amount", body: with("4599", testPAN), status: 400, field: "amount"},
		{name: "card number as currency", body: with("EUR", testPAN), status: 400, field: "currency"},
		{name: "card number as country", body: with(`"NL"`, `"`+testPAN+`"`), status: 400, field: "country"},
		{name: "card number as mcc", body: with("5732", testPAN), status: 400, field: "mcc"},
		{name: "card number as timestamp", body: with(testTime, testPAN), status: 400, field: "timestamp"},
		{name: "card number as latitude", body: with("52.37", testPAN), status: 400, field: "lat"},
		{name: "card number as attribute", body: with("ecom", testPAN), status: 400, field: "attributes.channel"},
		{name: "card number as attribute name", body: with("channel", testPAN), status: 400, field: "attributes"},
		{name: "card number as key", body: with(`"mcc"`, `"`+testPAN+`"`), status: 400},
		{name: "own card number within the transaction id", body: strings.Replace(panBody, "t-83", "t-"+testPAN, 1), status: 400, field: "transaction_id"},
		{name: "own card number within an attribute", body: strings.Replace(panBody, `"amount"`, `"attributes":{"ref":"order 4111-1111-1111-1111 b"},"amount"`, 1), status: 400, field: "attributes.ref"},
		{name: "no merchant", body: with(`"merchant_id":"m-9",`, ""), status: 400, field: "merchant_id"},
		{name: "no amount", body: with(`"amount":4599,`, ""), status: 400, field: "amount"},
		{name: "null amount", body: with("4599", "null"), status: 400, field: "amount"},
		{name: "amount as a string", body: with("4599", `"4599"`), status: 400, field: "amount"},
		{name: "amount with a fraction", body: with("4599", "45.99"), status: 400, field: "amount"},
		{name: "amount with an empty fraction", body: with("4599", "4599."), status: 400, field: "amount"},
		{name: "amount with an exponent", body: with("4599", "1e3"), status: 400, field: "amount"},
		{name: "amount of 1.0", body: with("4599", "1.0"), status: 400, field: "amount"},
		{name: "negative amount", body: with("4599", "-1"), status: 400, field: "amount"},
		{name: "amount beyond the bound", body: with("4599", "549755813888"), status: 400, field: "amount"},
		{name: "amount beyond 64 bits", body: with("4599", "9223372036854775808"), status: 400, field: "amount"},
		{name: "amount of a thousand digits", body: with("4599", strings.Repeat("9", 1000)), status: 400, field: "amount"},
		{name: "amount with a leading zero", body: with("4599", "04599"), status: 400},
		{name: "amount with a plus", body: with("4599", "+4599"), status: 400, field: "amount"},
		{name: "hexadecimal amount", body: with("4599", "0x10"), status: 400},
		{name: "amount NaN", body: with("4599", "NaN"), status: 400, field: "amount"},
		{name: "no currency", body: with(`"currency":"EUR",`, ""), status: 400, field: "currency"},
		{name: "currency in lower case", body: with("EUR", "eur"), status: 400, field: "currency"},
		{name: "currency without a rate", body: with("EUR", "XOF"), status: 422, field: "currency"},
		{name: "country of three letters", body: with(`"NL"`, `"NLD"`), status: 400, field: "country"},
		{name: "latitude beyond the pole", body: with("52.37", "90.0001"), status: 400, field: "lat"},
		{name: "longitude beyond the date line", body: with("4.90", "-181"), status: 400, field: "lon"},
		{name: "latitude alone", body: with(`,"lon":4.90`, ""), status: 400, field: "lon"},
		{name: "longitude alone", body: with(`"lat":52.37,`, ""), status: 400, field: "lat"},
		{name: "latitude beyond a float", body: with("52.37", "1e999"), status: 400, field: "lat"},
		{name: "mcc as a number", body: with(`"5732"`, "5732"), status: 400, field: "mcc"},
		{name: "mcc of three digits", body: with(`5732`, "573"), status: 400, field: "mcc"},
		{name: "attributes as a list", body: with(`{"channel":"ecom"}`, `["ecom"]`), status: 400, field: "attributes"},
		{name: "numeric attribute", body: with(`"ecom"`, "1"), status: 400, field: "attributes.channel"},
		{name: "33 attributes", body: with(`{"channel":"ecom"}`, attributes(33)), status: 400, field: "attributes"},
		{name: "attribute without a name", body: with(`"channel"`, `""`), status: 400, field: "attributes"},
		{name: "attribute with a long name", body: with(`channel`, strings.Repeat("n", 65)), status: 400, field: "attributes"},
		{name: "attribute with a long value", body: with(`ecom`, strings.Repeat("v", 257)), status: 400, field: "attributes"},

		// The request around it.
		{name: "body too large", body: fullBody + strings.Repeat(" ", 64<<10), status: 413, field: "body"},
		{name: "no content type", body: fullBody, headers: []string{"Content-Type:"}, status: 415, field: "Content-Type"},
		{name: "form", body: fullBody, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415, field: "Content-Type"},
		{name: "latin-1", body: fullBody, headers: []string{"Content-Type: application/json; charset=iso-8859-1"}, status: 415, field: "Content-Type"},
		{name: "two content types", body: fullBody, headers: []string{"Content-Type: application/json", "Content-Type: application/json"}, status: 415, field: "Content-Type"},
		{name: "ndjson for one transaction", body: fullBody, headers: []string{ndjson}, status: 415, field: "Content-Type"},
		{name: "compressed", body: fullBody, headers: []string{"Content-Encoding: gzip"}, status: 415, field: "Content-Encoding"},
		{name: "get", method: "GET", status: 405},
		{name: "put", method: "PUT", body: fullBody, status: 405},
		{name: "delete an entity", method: "DELETE", target: "/v1/entities/card/c-77", status: 405},
		{name: "no such endpoint", target: "/v1/scores", body: fullBody, status: 404},
		{name: "endpoint with a slash", target: "/v1/score/", body: fullBody, status: 404},
		{name: "no key", body: fullBody, headers: []string{"Authorization:"}, status: 401, field: "Authorization"},
		{name: "key that nobody knows", body: fullBody, headers: []string{"Authorization: Bearer nope"}, status: 401, field: "Authorization"},
		{name: "hash of a key as key", body: fullBody, headers: []string{"Authorization: Bearer " + HashKey(scoreKey)}, status: 401, field: "Authorization"},
		{name: "empty key", body: fullBody, headers: []string{"Authorization: Bearer "}, status: 401, field: "Authorization"},
		{name: "endless key", body: fullBody, headers: []string{"Authorization: Bearer " + strings.Repeat("k", 600)}, status: 401, field: "Authorization"},
		{name: "two keys", body: fullBody, headers: []string{"Authorization: Bearer " + scoreKey, "Authorization: Bearer " + adminKey}, status: 401, field: "Authorization"},
		{name: "basic auth", body: fullBody, headers: []string{"Authorization: Basic " + scoreKey}, status: 401, field: "Authorization"},
		{name: "key without the scope", body: fullBody, headers: []string{"Authorization: Bearer " + adminKey}, status: 403, field: "Authorization"},
		{name: "labels with a score key", target: "/v1/labels", body: labelText, headers: []string{"Authorization: Bearer " + scoreKey}, status: 403, field: "Authorization"},
		{name: "rows with a label key", target: "/v1/features", body: rowText, headers: []string{"Authorization: Bearer " + labelKey}, status: 403, field: "Authorization"},
		{name: "entity with a publish key", method: "GET", target: "/v1/entities/card/c-77", headers: []string{"Authorization: Bearer " + publishKey}, status: 403, field: "Authorization"},
		{name: "deadline 0", body: fullBody, headers: []string{"X-Deadline-Ms: 0"}, status: 400, field: "X-Deadline-Ms"},
		{name: "deadline negative", body: fullBody, headers: []string{"X-Deadline-Ms: -5"}, status: 400, field: "X-Deadline-Ms"},
		{name: "deadline beyond the bound", body: fullBody, headers: []string{"X-Deadline-Ms: 10001"}, status: 400, field: "X-Deadline-Ms"},
		{name: "deadline that overflows", body: fullBody, headers: []string{"X-Deadline-Ms: 99999999999999999999"}, status: 400, field: "X-Deadline-Ms"},
		{name: "deadline as text", body: fullBody, headers: []string{"X-Deadline-Ms: soon"}, status: 400, field: "X-Deadline-Ms"},
		{name: "deadline twice", body: fullBody, headers: []string{"X-Deadline-Ms: 50", "X-Deadline-Ms: 60"}, status: 400, field: "X-Deadline-Ms"},
		{name: "explain maybe", target: "/v1/score?explain=maybe", body: fullBody, status: 400, field: "explain"},
		{name: "explain twice", target: "/v1/score?explain=true&explain=false", body: fullBody, status: 400, field: "explain"},
		{name: "unknown parameter", target: "/v1/score?debug=true", body: fullBody, status: 400, field: "explain"},
		{name: "malformed query", target: "/v1/score?explain=%zz", body: fullBody, status: 400, field: "explain"},
		{name: "request id with a line break", body: fullBody, headers: []string{"X-Request-Id: a\nb"}, status: 400, field: "X-Request-Id"},
		{name: "long request id", body: fullBody, headers: []string{"X-Request-Id: " + strings.Repeat("r", 65)}, status: 400, field: "X-Request-Id"},
		{name: "card number as request id", body: fullBody, headers: []string{"X-Request-Id: " + testPAN}, status: 400, field: "X-Request-Id"},

		// Batches.
		{name: "batch without transactions", target: "/v1/score:batch", body: `{}`, status: 400, field: "transactions"},
		{name: "empty batch", target: "/v1/score:batch", body: `{"transactions":[]}`, status: 400, field: "transactions"},
		{name: "batch that is a list", target: "/v1/score:batch", body: `[` + fullBody + `]`, status: 400},
		{name: "batch with another key", target: "/v1/score:batch", body: `{"transactions":[` + fullBody + `],"explain":true}`, status: 400, field: "explain"},
		{name: "batch twice", target: "/v1/score:batch", body: `{"transactions":[` + fullBody + `],"transactions":[]}`, status: 400, field: "transactions"},
		{name: "batch of 257", target: "/v1/score:batch", body: `{"transactions":[` + strings.Repeat(leastBody+",", 256) + leastBody + `]}`, status: 413, field: "transactions"},
		{name: "batch beyond its bytes", target: "/v1/score:batch", body: `{"transactions":[` + fullBody + `]}` + strings.Repeat(" ", 1<<20), status: 413, field: "body"},
		{name: "batch with one of another shape", target: "/v1/score:batch", body: `{"transactions":[` + fullBody + `,{"amount":"1"}]}`, status: 400, field: "transactions[1].amount"},
		{name: "batch with null", target: "/v1/score:batch", body: `{"transactions":[null]}`, status: 400, field: "transactions[0]"},
		{name: "batch with a trailing comma", target: "/v1/score:batch", body: `{"transactions":[` + fullBody + `,]}`, status: 400, field: "transactions"},

		// Labels.
		{name: "label without fraud", target: "/v1/labels", body: label(`"fraud":true,`, ""), status: 400, field: "fraud"},
		{name: "label with fraud as text", target: "/v1/labels", body: label(`true`, `"true"`), status: 400, field: "fraud"},
		{name: "label without card", target: "/v1/labels", body: label(`"card_id":"c-77",`, ""), status: 400, field: "card_id"},
		{name: "label with a card number as id", target: "/v1/labels", body: label(`c-77`, testPAN), status: 400, field: "card_id"},
		{name: "label from the future", target: "/v1/labels", body: label(`T10:00`, `T10:21`), status: 422, field: "known_at"},
		{name: "label with another key", target: "/v1/labels", body: label(`"fraud"`, `"genuine":false,"fraud"`), status: 400, field: "genuine"},
		{name: "list with a bad label", target: "/v1/labels", body: `{"labels":[` + labelText + `,` + label("t-81", "") + `]}`, status: 400, field: "labels[1].transaction_id"},
		{name: "empty list of labels", target: "/v1/labels", body: `{"labels":[]}`, status: 400, field: "labels"},
		{name: "label and list in one", target: "/v1/labels", body: `{"labels":[` + labelText + `],"fraud":true}`, status: 400, field: "labels"},
		{name: "list behind a label", target: "/v1/labels", body: `{"fraud":true,"labels":[` + labelText + `]}`, status: 400, field: "labels"},
		{name: "list of labels twice", target: "/v1/labels", body: `{"labels":[` + labelText + `],"labels":[` + labelText + `]}`, status: 400, field: "labels"},
		{name: "257 labels", target: "/v1/labels", body: `{"labels":[` + strings.Repeat(labelText+",", 256) + labelText + `]}`, status: 413, field: "labels"},
		{name: "labels with a parameter", target: "/v1/labels?dry=1", body: labelText, status: 400, field: "query"},
		{name: "first line of labels is bad", target: "/v1/labels", body: "{}\n" + labelText, headers: []string{ndjson}, status: 400, field: "transaction_id"},

		// Rows.
		{name: "row without values", target: "/v1/features", body: row(`{"merchant_watchlist":0.25}`, `{}`), status: 400, field: "values"},
		{name: "row with null", target: "/v1/features", body: row(`0.25`, `null`), status: 400, field: "values.merchant_watchlist"},
		{name: "row with text", target: "/v1/features", body: row(`0.25`, `"0.25"`), status: 400, field: "values.merchant_watchlist"},
		{name: "row with infinity", target: "/v1/features", body: row(`0.25`, `-1e400`), status: 400, field: "values.merchant_watchlist"},
		{name: "row with an unknown feature", target: "/v1/features", body: row(`merchant_watchlist`, `nope`), status: 400, field: "values.nope"},
		{name: "row with a feature twice", target: "/v1/features", body: row(`0.25`, `0.25,"merchant_watchlist":0.3`), status: 400, field: "values.merchant_watchlist"},
		{name: "row of an unknown kind", target: "/v1/features", body: row(`"merchant"`, `"shop"`), status: 400, field: "kind"},
		{name: "row without id", target: "/v1/features", body: row(`"id":"m-9",`, ""), status: 400, field: "id"},
		{name: "row with an empty id", target: "/v1/features", body: row(`m-9`, ""), status: 400, field: "id"},
		{name: "row of a merchant with a card number", target: "/v1/features", body: row(`"id":"m-9"`, `"card_number":"`+testPAN+`"`), status: 400, field: "card_number"},
		{name: "row of a card by its number", target: "/v1/features", body: row(`"kind":"merchant","id":"m-9"`, `"kind":"card","id":"`+testPAN+`"`), status: 400, field: "id"},
		{name: "row with id and number", target: "/v1/features", body: row(`"kind":"merchant"`, `"card_number":"`+testPAN+`","kind":"card"`), status: 400, field: "card_number"},
		{name: "row from the future", target: "/v1/features", body: row(`2026`, `9999`), status: 422, field: "as_of"},
		{name: "row before 1970", target: "/v1/features", body: row(`2026`, `1969`), status: 400, field: "as_of"},
		{name: "list of rows", target: "/v1/features", body: `[` + rowText + `]`, status: 400},
		{name: "257 values", target: "/v1/features", body: row(`{"merchant_watchlist":0.25}`, strings.ReplaceAll(attributes(257), `"x"`, "1")), status: 400, field: "values"},

		// Entities.
		{name: "entity of an unknown kind", method: "GET", target: "/v1/entities/cards/c-77", status: 400, field: "kind"},
		{name: "entity without id", method: "GET", target: "/v1/entities/card/", status: 400, field: "id"},
		{name: "entity without kind", method: "GET", target: "/v1/entities/card", status: 404},
		{name: "entity with more path", method: "GET", target: "/v1/entities/card/c/77", status: 404},
		{name: "entity with a long id", method: "GET", target: "/v1/entities/card/" + strings.Repeat("x", 129), status: 400, field: "id"},
		{name: "entity with a control character", method: "GET", target: "/v1/entities/card/c%00", status: 400, field: "id"},
		{name: "entity with invalid utf-8", method: "GET", target: "/v1/entities/card/%ff", status: 400, field: "id"},
		{name: "entity by card number", method: "GET", target: "/v1/entities/card/" + testPAN, status: 400, field: "id"},
		{name: "merchant by card number", method: "GET", target: "/v1/entities/merchant/4111-1111-1111-1111", status: 400, field: "id"},
	}
}

func TestHostileRequestsAreRefusedWithoutEffect(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range hostileRequests() {
		t.Run(c.name, func(t *testing.T) {
			if seen[c.name] {
				t.Fatal("two cases of this name")
			}
			seen[c.name] = true
			w := newWorld(t)
			method, target := c.method, c.target
			if method == "" {
				method = "POST"
			}
			if target == "" {
				target = "/v1/score"
			}
			rec := w.do(method, target, c.body, c.headers...)
			p := problemOf(t, rec)
			if rec.Code != c.status || p.Field != c.field && (c.field != "" || c.status == 400 && strings.Contains(p.Field, "411")) {
				t.Errorf("got %d %+v, want %d at field %q", rec.Code, p, c.status, c.field)
			}
			if got := w.effects(); got != 0 {
				t.Errorf("%d calls reached the backend", got)
			}
			if got := w.server.edge.scoring.used.Load() + w.server.edge.bulk.used.Load(); got != 0 {
				t.Errorf("%d slots stay taken", got)
			}
			w.noCardNumber(rec.Body.String())
			for name, values := range rec.Header() {
				w.noCardNumber(name + strings.Join(values, " "))
			}
		})
	}
	if len(seen) < 40 {
		t.Errorf("got %d cases, want at least 40", len(seen))
	}
}

// noCardNumber fails when the test's card numbers stand in text, in the log or in the metrics.
func (w *world) noCardNumber(text string) {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	everything := text + w.log.String() + fmt.Sprint(families)
	plain := strings.NewReplacer(" ", "", "-", "").Replace(everything)
	for _, number := range []string{testPAN, "5500000000000004", "340000000000009", "44444444444444"} {
		if strings.Contains(plain, number) {
			w.t.Errorf("a card number got out: %s", clipped(text))
		}
	}
}

func TestACardNumberNeverGetsOut(t *testing.T) {
	w := newWorld(t)
	batch := `{"transactions":[` + panBody + `,` + strings.Replace(panBody, "100", "-1", 1) + `]}`
	w.noCardNumber(w.do("POST", "/v1/score", panBody).Body.String())
	w.noCardNumber(w.doLoosely("POST", "/v1/score:batch", batch).Body.String())
	w.noCardNumber(w.do("POST", "/v1/labels", strings.Replace(labelText, `"card_id":"c-77"`, `"card_number":"`+testPAN+`"`, 1)).Body.String())
	for _, tr := range w.mu.scored {
		if tr.Card != w.hash(testPAN) {
			t.Errorf("card: got %q, want the hash", tr.Card)
		}
		w.noCardNumber(fmt.Sprintf("%+v", *tr))
	}
	if len(w.mu.scored) != 2 || len(w.mu.labels) != 1 {
		t.Errorf("got %d scored and %d labels, want 2 and 1", len(w.mu.scored), len(w.mu.labels))
	}
	w.failAll(fmt.Errorf("everything failed"))
	w.noCardNumber(w.do("POST", "/v1/score", panBody).Body.String())
	if !strings.Contains(w.log.String(), "everything failed") {
		t.Error("the log does not see errors; the test looks at nothing")
	}
}

func TestACardNumberDoesNotStayInTheBuffers(t *testing.T) {
	for name, body := range map[string]string{"plain": panBody, "escaped": strings.Replace(panBody, "4111 1111", `4111 111\u0031`, 1),
		"refused": strings.Replace(panBody, "EUR", "eur", 1), "malformed": panBody[:len(panBody)-1], "misplaced": with("d-3", testPAN), "batch": `{"transactions":[` + panBody + `]}`} {
		w := newWorld(t)
		x := &exchange{e: w.server.edge}
		w.server.edge.exchanges.New = func() any { return x }
		target := "/v1/score"
		if name == "batch" {
			target = "/v1/score:batch"
		}
		w.do("POST", target, body)
		held := [][]byte{x.in[:cap(x.in)], x.out[:cap(x.out)], x.scan.text[:cap(x.scan.text)], x.scan.unescaped[:cap(x.scan.unescaped)],
			x.transaction.number[:cap(x.transaction.number)]}
		if bytes.Contains(bytes.Join(held, nil), []byte("4111")) {
			t.Errorf("%s: the number is still in memory", name)
		}
	}
}

func TestNumericIDsThatOnlyPassLuhnAreAccepted(t *testing.T) {
	w := newWorld(t)
	// 13 digits of milliseconds, and a 15-digit merchant number; both pass Luhn and belong to no network.
	body := with("t-81", "1795428902120")
	body = strings.Replace(body, "m-9", "700000000000003", 1)
	if rec := w.do("POST", "/v1/score", body); rec.Code != 200 {
		t.Errorf("got %d %s, want 200", rec.Code, rec.Body)
	}
}
