package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"scoremesh/decision"
)

// The refusals that only the edge makes. The others are decision's.
const (
	// CodeUnauthorized: no key, or none that is known (401).
	CodeUnauthorized decision.Code = "unauthorized"
	// CodeForbidden: the key lacks the scope (403).
	CodeForbidden decision.Code = "forbidden"
	// CodeMethod: the endpoint exists, but not with this method (405).
	CodeMethod decision.Code = "method_not_allowed"
	// CodeTooLarge: the body, a line or a list exceeds its bound (413).
	CodeTooLarge decision.Code = "too_large"
	// CodeMediaType: the body is of a type, or of an encoding, that the endpoint does not read (415).
	CodeMediaType decision.Code = "unsupported_media_type"
	// CodeInternal: the fault is ours; the log says more (500).
	CodeInternal decision.Code = "internal"
)

// Problem is one row of the table of refusals.
type Problem struct {
	Code   decision.Code
	Status int
	Title  string
}

// problems is the one table from codes to statuses; openapi.yaml lists the same.
var problems = [...]Problem{
	{decision.CodeInvalid, http.StatusBadRequest, "The request is not valid"},
	{CodeUnauthorized, http.StatusUnauthorized, "A key is required"},
	{CodeForbidden, http.StatusForbidden, "The key does not allow this"},
	{decision.CodeNotFound, http.StatusNotFound, "There is nothing here"},
	{CodeMethod, http.StatusMethodNotAllowed, "The method is not allowed here"},
	{decision.CodeConflict, http.StatusConflict, "The transaction id is known with another body"},
	{decision.CodeExpired, http.StatusConflict, "The transaction id is known, but its decision is no longer held"},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, "The request is too large"},
	{CodeMediaType, http.StatusUnsupportedMediaType, "The media type is not supported"},
	{decision.CodeTooOld, http.StatusUnprocessableEntity, "The timestamp is too far back"},
	{decision.CodeTooNew, http.StatusUnprocessableEntity, "The timestamp is too far ahead"},
	{decision.CodeCurrency, http.StatusUnprocessableEntity, "The currency has no rate"},
	{decision.CodeSaturated, http.StatusTooManyRequests, "The card has too many transactions"},
	{decision.CodeOverloaded, http.StatusTooManyRequests, "Too much at once"},
	{CodeInternal, http.StatusInternalServerError, "Internal error"},
	{decision.CodeNotReady, http.StatusServiceUnavailable, "Not ready"},
	{decision.CodeDeadline, http.StatusGatewayTimeout, "The deadline passed"},
}

// Problems returns the table of refusals.
func Problems() []Problem { return append([]Problem(nil), problems[:]...) }

// problemIndex finds a code's row. Built once, read only.
var problemIndex = func() map[decision.Code]int {
	index := make(map[decision.Code]int, len(problems))
	for i, p := range problems {
		index[p.Code] = i
	}
	return index
}()

// problemTypePrefix and the code make a problem's type.
const problemTypePrefix = "urn:scoremesh:problem:"

// progress is what a bulk request had achieved when it was refused.
type progress struct {
	committed int
	// line is the first line, from 1, that is not committed; 0 when the body has no lines.
	line int
}

var (
	errInternal = &decision.Error{Code: CodeInternal, Detail: "the request could not be served; the node's log says why"}
	errDeadline = &decision.Error{Code: decision.CodeDeadline,
		Detail: "the deadline passed before there was an answer; the same request again tells what became of it"}
)

// refusal turns any error into the one that the client is told, and says whether it was understood: an error that was not is to be logged.
func refusal(err error) (told *decision.Error, understood bool) {
	var e *decision.Error
	switch {
	case errors.As(err, &e):
		if _, known := problemIndex[e.Code]; known && e.Code != CodeInternal {
			return e, true
		}
		return errInternal, false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errDeadline, true
	}
	return errInternal, false
}

// appendProblem appends the problem's JSON.
func appendProblem(b []byte, e *decision.Error, p *progress) []byte {
	kind := &problems[problemIndex[e.Code]]
	b = append(b, `{"type":"`+problemTypePrefix...)
	b = append(b, e.Code...)
	b = append(b, `","title":`...)
	b = appendString(b, kind.Title)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(kind.Status), 10)
	b = append(b, `,"code":"`...)
	b = append(b, e.Code...)
	b = append(b, '"')
	if e.Field != "" {
		b = append(b, `,"field":`...)
		b = appendString(b, e.Field)
	}
	if e.Detail != "" {
		b = append(b, `,"detail":`...)
		b = appendString(b, e.Detail)
	}
	if e.RetryAfter > 0 {
		b = append(b, `,"retry_after":`...)
		b = appendFloat(b, e.RetryAfter.Seconds(), 64)
	}
	if p != nil {
		b = append(b, `,"committed":`...)
		b = strconv.AppendInt(b, int64(p.committed), 10)
		if p.line > 0 {
			b = append(b, `,"line":`...)
			b = strconv.AppendInt(b, int64(p.line), 10)
		}
	}
	return append(b, '}')
}

// retryAfterSeconds is the Retry-After header's value: whole seconds, never less than what is meant.
func retryAfterSeconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
