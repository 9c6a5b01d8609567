package transport

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// What callers can act on.
var (
	// ErrQueueFull: the appender's queue holds as much as it may; the log is slower than its writers, or unreachable.
	ErrQueueFull = errors.New("append queue full")
	// ErrClosed: the appender was closed. The fate of a record that was being appended when Close gave up is unknown.
	ErrClosed = errors.New("closed")
	// ErrMoved: the partition's subject has another last sequence than expected. Look at the state again.
	ErrMoved = errors.New("subject has moved on")
	// ErrLogReplaced: the log that was opened is no more; its store was lost, and another incarnation (epoch) stands in its place, or
	// it went back behind what was committed. Open the log again.
	ErrLogReplaced = errors.New("log was replaced")
	// ErrNotALog: a stream of the log's name exists and is not a log of scoremesh.
	ErrNotALog = errors.New("stream is not a log")
	// ErrNotConnected: there is no connection to NATS; Conn.State says why.
	ErrNotConnected = errors.New("not connected to nats")
	// ErrConfig: a configuration value is missing or out of bounds. The text names the field and the bound.
	ErrConfig = errors.New("invalid configuration")
)

// TrimmedError says that the batches from Wanted up to First, exclusive, were trimmed off the log before they were read.
type TrimmedError struct {
	Wanted, First uint64
}

// Error names both sequences.
func (e *TrimmedError) Error() string {
	return fmt.Sprintf("log was trimmed: sequence %d is gone, the first available is %d", e.Wanted, e.First)
}

// GapError says that batches from Wanted up to Got, exclusive, are missing in the middle of the log: they were deleted by hand, or the store
// lost them. Another replica has to help.
type GapError struct {
	Wanted, Got uint64
}

// Error names both sequences.
func (e *GapError) Error() string {
	return fmt.Sprintf("log has a gap: sequence %d is missing, the next one is %d", e.Wanted, e.Got)
}

// plain says ErrNotConnected where the client library says that it keeps no requests while it is not connected.
func plain(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	return err
}

func badConfig(field, want string) error { return fmt.Errorf("%w: %s: %s", ErrConfig, field, want) }
