package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/rs/zerolog"
)

// demoNotices takes the warnings and errors of the node's log: it keeps the last one, and passes all on where there is no live view.
type demoNotices struct {
	// through gets the lines; nil: nobody.
	through io.Writer
	mu      struct {
		sync.Mutex
		last string
	}
}

// Write is for io.Writer; a line without a level is none to show.
func (n *demoNotices) Write(line []byte) (int, error) { return len(line), nil }

// WriteLevel is for zerolog.LevelWriter. It turns the line into its form for people.
func (n *demoNotices) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	if level < zerolog.WarnLevel {
		return len(line), nil
	}
	var text bytes.Buffer
	human := zerolog.ConsoleWriter{Out: &text, NoColor: true, TimeFormat: "15:04:05"}
	if _, err := human.Write(line); err != nil {
		return 0, fmt.Errorf("read a line of the log: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.last = string(bytes.TrimSpace(text.Bytes()))
	if n.through != nil {
		if _, err := n.through.Write(text.Bytes()); err != nil {
			return 0, fmt.Errorf("show a line of the log: %w", err)
		}
	}
	return len(line), nil
}

// last is the last warning, empty without any.
func (n *demoNotices) last() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.last
}
