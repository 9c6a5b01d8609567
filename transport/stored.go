package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// stored is a message as a stream holds it.
type stored struct {
	Sequence uint64 `json:"seq"`
	// Headers are the encoded headers; see header.
	Headers []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// header returns one header's value, or "".
func (s *stored) header(key string) string {
	if len(s.Headers) == 0 {
		return ""
	}
	h, err := nats.DecodeHeadersMsg(s.Headers)
	if err != nil {
		return ""
	}
	return h.Get(key)
}

// storedQuery asks for the last message on a subject, or for the one at a sequence.
type storedQuery struct {
	Last string `json:"last_by_subj,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
}

// askLeader gets a stored message from the stream's leader; nil when there is none. The client library uses direct gets where a
// stream allows them, and those may be answered by a follower that does not have the last append yet.
func askLeader(ctx context.Context, js jetstream.JetStream, stream string, timeout time.Duration, query storedQuery) (*stored, error) {
	body, err := json.Marshal(query)
	if err != nil {
		return nil, fmt.Errorf("encode query: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	reply, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, fmt.Errorf("get stored message: %w", err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *stored             `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("decode stored message: %w", err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		return nil, fmt.Errorf("get stored message: %w", answer.Error)
	case answer.Message == nil:
		return nil, errors.New("get stored message: answer holds neither message nor error")
	}
	return answer.Message, nil
}

// apiPrefix is what JetStream's request subjects begin with on this connection.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}
