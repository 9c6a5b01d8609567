package main

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/rs/zerolog"
)

// demoNotices takes the warnings and errors of the node's log: it keeps the last one, and passes all on where there is no live view.
type demoNotices struct {
	// through gets the lines in human form; nil: nobody.
	through io.Writer
	mu      struct {
		sync.Mutex
		last string
	}
}

func newDemoNotices(through io.Writer) *demoNotices {
	n := &demoNotices{}
	if through != nil {
		n.through = zerolog.ConsoleWriter{Out: through, NoColor: true, TimeFormat: "15:04:05"}
	}
	return n
}

// Write is for io.Writer; a line without a level is none to show.
func (n *demoNotices) Write(line []byte) (int, error) { return len(line), nil }

// WriteLevel is for zerolog.LevelWriter.
func (n *demoNotices) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	if level < zerolog.WarnLevel {
		return len(line), nil
	}
	var fields struct{ Message, Error string }
	text := string(line)
	if json.Unmarshal(line, &fields) == nil {
		if text = fields.Message; fields.Error != "" {
			text += ": " + fields.Error
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.last = text
	if n.through == nil {
		return len(line), nil
	}
	return n.through.Write(line)
}

// last is the last warning, empty without any.
func (n *demoNotices) last() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.last
}
