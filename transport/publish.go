package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publisher publishes to a stream without waiting, and numbers what it publishes so that acknowledgements can be told apart, also
// late ones of attempts that were given up. (The client library's asynchronous publish keeps given-up attempts and stalls on
// them.) It is used by one goroutine.
type publisher struct {
	nc     *nats.Conn
	sub    *nats.Subscription
	prefix string
	// replies has room for window acknowledgements; those beyond are dropped and count as lost.
	replies chan *nats.Msg
	sent    uint64
}

// ack is the answer to the publish of number n: a sequence, or why not.
type ack struct {
	n   uint64
	seq uint64
	err error
}

func newPublisher(nc *nats.Conn, window int) (*publisher, error) {
	p := &publisher{nc: nc, prefix: nc.NewInbox() + ".", replies: make(chan *nats.Msg, window)}
	var err error
	if p.sub, err = nc.ChanSubscribe(p.prefix+"*", p.replies); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	return p, nil
}

// close ends the subscription. It fails only when the connection has ended it already.
func (p *publisher) close() { _ = p.sub.Unsubscribe() }

// send publishes and returns the number of the publish. An error means that it was not sent.
func (p *publisher) send(msg *nats.Msg) (uint64, error) {
	p.sent++
	msg.Reply = p.prefix + strconv.FormatUint(p.sent, 10)
	return p.sent, p.nc.PublishMsg(msg)
}

// parse reads an acknowledgement.
func (p *publisher) parse(m *nats.Msg) ack {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, p.prefix), 10, 64)
	if err != nil {
		return ack{err: fmt.Errorf("number of acknowledgement: %w", err)}
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return ack{n: n, err: nats.ErrNoResponders}
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil:
		return ack{n: n, err: fmt.Errorf("decode acknowledgement: %w", err)}
	case answer.Error != nil:
		return ack{n: n, err: answer.Error}
	case answer.Seq == 0:
		return ack{n: n, err: errors.New("acknowledgement without a sequence")}
	}
	return ack{n: n, seq: answer.Seq}
}
