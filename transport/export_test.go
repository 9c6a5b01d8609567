package transport

import "github.com/nats-io/nats.go/jetstream"

// JetStream gives tests the context that a log was opened with.
func (l *Log) JetStream() jetstream.JetStream { return l.js }
