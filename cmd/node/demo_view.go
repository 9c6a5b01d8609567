package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"scoremesh/decision"
)

const (
	// demoRedraw is how often the live view is drawn, demoLineEvery how often a plain line is written.
	demoRedraw    = 250 * time.Millisecond
	demoLineEvery = time.Second
	// demoWidth is for terminals that do not tell theirs.
	demoWidth = 100
)

// demoView shows the figures: a table that is drawn again and again on a terminal, or else a line every second.
type demoView struct {
	out     io.Writer
	live    *os.File // nil: plain
	notices *demoNotices
	// drawn is how many lines of the table are on the screen.
	drawn int
}

func newDemoView(t *terminal) *demoView {
	v := &demoView{out: t.stdout}
	if isTerminal(t.stdout) && os.Getenv("TERM") != "dumb" {
		v.live = t.stdout.(*os.File)
		v.notices = &demoNotices{}
		return v
	}
	v.notices = &demoNotices{through: t.stderr}
	return v
}

// announce says what runs where, and how to try it.
func (v *demoView) announce(p *demoPlace) {
	c, where := &p.config, "embedded NATS, every batch synced to disk before its answer"
	if len(c.NATS.URLs) > 0 {
		where = "the NATS named" // its URL may hold a password
	}
	speed := "embedded (miniredis); --redis URL takes a real one"
	if !p.ownRedis {
		speed = "the one named" // its URL may hold a password
	}
	folder := p.dir + ", removed at the end"
	if p.kept {
		folder = p.dir
	}
	if p.moved != "" {
		fmt.Fprintf(v.out, "%s\n", p.moved)
	}
	fmt.Fprintf(v.out, "edge    %s, its API key is made for this run\nlog     %s\nredis   %s\nfolder  %s\n", p.url, where, speed, folder)
	fmt.Fprintf(v.out, "world   synthetic; a day of it takes a minute, so its timestamps lie up to 36 days back\n\ntry it:\n\n%s\n\n", p.curl())
}

// watch shows the figures until the sending is done, and returns its error. When the node ends before, it stops the sending.
func (v *demoView) watch(figures func() demoFigures, done <-chan error, p *demoPlace, stop func()) error {
	every := demoLineEvery
	if v.live != nil {
		every = demoRedraw
		fmt.Fprint(v.out, hideCursor)
		defer fmt.Fprint(v.out, showCursor)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-p.ended:
			stop()
			return errors.Join(p.failure(), <-done)
		case <-ticker.C:
			f := figures()
			v.show(&f)
		}
	}
}

// The terminal's control sequences (ECMA-48).
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	toLineEnd  = "\x1b[K"
	toScreen   = "\x1b[J"
)

func (v *demoView) show(f *demoFigures) {
	if v.live == nil {
		fmt.Fprintln(v.out, demoLine(f))
		return
	}
	width, height, err := term.GetSize(int(v.live.Fd()))
	if err != nil || width < 20 || height < 2 {
		width, height = demoWidth, 50
	}
	lines := demoTable(f, width-1)
	lines = lines[:min(len(lines), height-1)]
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", v.drawn)
	}
	for _, line := range lines {
		b.WriteString(line)
		b.WriteString(toLineEnd + "\n")
	}
	b.WriteString(toScreen)
	v.drawn = len(lines)
	fmt.Fprint(v.out, b.String())
}

// farewell shows the last figures.
func (v *demoView) farewell(f *demoFigures) {
	v.show(f)
	fmt.Fprintf(v.out, "ended after %s: %s decisions, %s committed, %s pending, %s errors\n", f.Elapsed.Round(100*time.Millisecond), grouped(f.Decided),
		grouped(f.Committed), grouped(f.Pending), grouped(f.errorsTotal()))
}

// demoLine is the figures on one line, for a log or a pipe.
func demoLine(f *demoFigures) string {
	if f.Elapsed == 0 {
		return fmt.Sprintf("filling the windows: %d sent, %d errors", f.History, f.HistoryErrors)
	}
	b := fmt.Sprintf("%ds %.0f/s decided=%d", int(f.Elapsed.Seconds()), f.PerSecond, f.Decided)
	for _, o := range demoOutcomes {
		b += fmt.Sprintf(" %s=%d", o, f.Outcomes[o])
	}
	b += fmt.Sprintf(" pending=%d replayed=%d degraded=%d errors=%d p50=%s p99=%s p99.9=%s defaults=%.0f redis_misses=%.0f freshness_p99=%s precision=%s recall=%s labels=%d",
		f.Pending, f.Replayed, f.AnyDegraded, f.errorsTotal(), inMs(f.Latency.P50), inMs(f.Latency.P99), inMs(f.Latency.P999), f.Signals.Defaults, f.Signals.Misses,
		inSeconds(f.Signals.FreshnessP99), percent(f.FlaggedFrauds, f.Flagged), percent(f.FlaggedFrauds, f.frauds()), f.Labels)
	return b + counted(" degraded:", f.Degraded) + counted(" errors:", f.Errors)
}

var demoOutcomes = []string{decision.Approve.String(), decision.StepUp.String(), decision.Decline.String()}

// demoTable is the figures as lines of at most width characters.
func demoTable(f *demoFigures, width int) []string {
	var lines []string
	row := func(name, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-11s", name)+fmt.Sprintf(format, args...))
	}
	if f.World > 0 {
		row("world", "%s UTC", time.UnixMilli(f.World).UTC().Format("Mon 2 Jan 2006 15:04"))
	}
	if f.Elapsed == 0 {
		row("history", "filling the windows: %s sent, %s errors", grouped(f.History), grouped(f.HistoryErrors))
	} else {
		row("rate", "%.0f/s of %.0f/s   %s decided in %s   %s retries recognised", f.PerSecond, f.Asked, grouped(f.Decided), f.Elapsed.Round(time.Second), grouped(f.Replayed))
		var outcomes []string
		for _, o := range demoOutcomes {
			outcomes = append(outcomes, fmt.Sprintf("%s %s (%s)", o, grouped(f.Outcomes[o]), percent(f.Outcomes[o], f.Decided)))
		}
		row("outcome", "%s", strings.Join(outcomes, "   "))
		row("durability", "committed %s   pending %s   log behind by %.0f batches", grouped(f.Committed), grouped(f.Pending), f.Signals.FeedLag)
		row("latency", "p50 %s   p99 %s   p99.9 %s   max %s", inMs(f.Latency.P50), inMs(f.Latency.P99), inMs(f.Latency.P999), inMs(f.Latency.Max))
		row("features", "fresh to %s at p99   redis hits %s, misses %s   defaults %s", inSeconds(f.Signals.FreshnessP99), grouped(int64(f.Signals.Hits)),
			grouped(int64(f.Signals.Misses)), grouped(int64(f.Signals.Defaults)))
		row("frauds", "%s   flagged %s of all, %s of the flagged are frauds   %s labels known", grouped(f.frauds()), percent(f.FlaggedFrauds, f.frauds()),
			percent(f.FlaggedFrauds, f.Flagged), grouped(f.Labels))
		row("", "%s", patternsOf(f))
		row("degraded", "%s%s", grouped(f.AnyDegraded), counted(":", f.Degraded))
		row("errors", "%s%s", grouped(f.errorsTotal()), counted(":", f.Errors))
		if n := f.Signals.Panics + f.Signals.ApplyErrors + f.Signals.Corrupt; n > 0 {
			row("ALARM", "panics %.0f, unreadable batches %.0f, corrupt states %.0f", f.Signals.Panics, f.Signals.ApplyErrors, f.Signals.Corrupt)
		}
		if f.HeldBack > 0 {
			row("behind", "the node cannot keep up with the rate: the timetable began anew %d times", f.HeldBack)
		}
		row("decides", "schema %s, model %s, policy %s", f.Versions.Schema, f.Versions.Model, f.Versions.Policy)
	}
	if f.Notice != "" {
		row("warning", "%s", f.Notice)
	}
	if len(f.Examples) > 0 {
		lines = append(lines, "", "latest refusals")
	}
	for i := range f.Examples {
		lines = append(lines, exampleLine(&f.Examples[i]))
	}
	for i := range lines {
		lines[i] = fit(lines[i], width)
	}
	return lines
}

func patternsOf(f *demoFigures) string {
	var of []string
	for _, name := range slices.Sorted(maps.Keys(f.Patterns)) {
		p := f.Patterns[name]
		of = append(of, fmt.Sprintf("%s %d of %d", strings.ReplaceAll(name, "_", " "), p.Flagged, p.Frauds))
	}
	return strings.Join(of, "   ")
}

func exampleLine(e *demoExample) string {
	score, truth := "   -", "genuine"
	if e.Score != nil {
		score = strconv.FormatFloat(*e.Score, 'f', 2, 64)
	}
	if e.Truth != "" {
		truth = strings.ReplaceAll(e.Truth, "_", " ")
	}
	digits, _ := decision.Exponent(e.Money)
	amount := strconv.FormatFloat(float64(e.Amount)/math.Pow10(digits), 'f', digits, 64) + " " + e.Money
	return fmt.Sprintf("%-7s %s  %14s %s  %-14s  %-17s %s", e.Outcome, score, amount, e.Country, e.Card, truth, strings.TrimSpace(e.Reason.Code+" "+e.Reason.Detail))
}

// fit cuts a line to a width, in characters.
func fit(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return strings.TrimRight(line, " ")
	}
	return string([]rune(line)[:max(width-1, 0)]) + "…"
}

// counted lists counts by name.
func counted(prefix string, counts map[string]int64) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, " %s=%d", name, counts[name])
	}
	if b.Len() == 0 {
		return ""
	}
	return prefix + b.String()
}

// percent is a share; "-" of nothing.
func percent(part, whole int64) string {
	v := share(part, whole)
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(100**v, 'f', 1, 64) + "%"
}

func inMs(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + "ms"
}

func inSeconds(s float64) string {
	if math.IsNaN(s) {
		return "-"
	}
	return strconv.FormatFloat(s, 'f', 2, 64) + "s"
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
