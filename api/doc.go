// Package api is the HTTP edge of a node: what a client may say, and how it is answered.
//
// It owns decoding, validation, card numbers, authentication, admission, deadlines, the wording of answers and problems, and the
// metrics of all these. It promises:
//
//   - Nothing reaches the Backend that is not well-formed, within bounds, authorised and admitted; a refused request has no effect.
//   - A card number is replaced by its keyed hash before anything else sees it. No answer, log line or metric contains one, nor does
//     any of them repeat a value that a client sent, except ids in the answers to that client.
//   - Every refusal is a problem (RFC 9457) with a code of one table; Problems lists it.
//   - Nothing is answered as decided after its deadline.
//   - openapi.yaml says what the handlers do; a test holds each to the other.
//
// It never decides, never keeps state between requests beyond counters, and knows nothing of shards, logs or Redis: the seam is
// Backend, a struct of funcs.
//
// # One request
//
//	method, path, key -> deadline -> read body -> admission slot -> decode -> card hash, bounds, base amount -> Backend -> encode
//
// # Card numbers in other fields
//
// card_id and the attributes' values are refused when they look like a card number at all (12 to 19 digits, Luhn). Every tenth numeric
// id passes Luhn by chance, so the other ids are refused only if they also have the prefix and the length of a card network. Nothing
// may contain the request's own card_number. Other text is not searched: the digits of one UUID in ten thousand would be "found".
package api
