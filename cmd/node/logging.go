package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

func parseLevel(name string) (zerolog.Level, error) {
	switch name {
	case "debug", "info", "warn", "error":
		return zerolog.ParseLevel(name)
	}
	return zerolog.InfoLevel, fmt.Errorf("is %q; must be debug, info, warn or error", name)
}

// logger makes the node's logger.
func (c LoggingConfig) logger(w io.Writer) zerolog.Logger {
	level, err := parseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // Validate has refused it before
	}
	if c.Format == "human" || c.Format == "auto" && isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)}
	}
	return newLogger(w, level)
}

// newLogger makes a logger that takes in what the actor engine logs through slog, whose logger is the process's only one.
func newLogger(w io.Writer, level zerolog.Level) zerolog.Logger {
	log := zerolog.New(w).Level(level).With().Timestamp().Logger()
	slog.SetDefault(slog.New(zerolog.NewSlogHandler(log.With().Str("component", "actors").Logger())))
	return log
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
