package transport

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"scoremesh/feature"
	"scoremesh/transport/wire"
)

// FeedConfig bounds the stream of events, and the feed itself.
type FeedConfig struct {
	// Replicas of a new stream: 1, 3 or 5.
	Replicas int
	// MaxAge and MaxBytes bound what the stream keeps for subscribers; the oldest events go first. 0 bytes is no limit.
	MaxAge   time.Duration
	MaxBytes int64
	// AsyncPersist lets the server acknowledge an event before it is on disk, where there is one replica and the server can do so. Events
	// that are lost with the server are published again, as the same messages.
	AsyncPersist bool
	// Window bounds the events that are published and not acknowledged.
	Window int
	// AckTimeout is how long an acknowledgement may take before the feed looks where it is.
	AckTimeout time.Duration
}

// DefaultFeedConfig keeps a week of events.
func DefaultFeedConfig() FeedConfig {
	return FeedConfig{Replicas: 1, MaxAge: 7 * 24 * time.Hour, AsyncPersist: true, Window: 1024, AckTimeout: 5 * time.Second}
}

// Validate names the first field that is out of bounds.
func (c *FeedConfig) Validate() error {
	switch {
	case c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		return badConfig("feed.replicas", "want 1, 3 or 5")
	case c.MaxAge < time.Minute:
		return badConfig("feed.max_age", "want at least 1m")
	case c.MaxBytes < 0:
		return badConfig("feed.max_bytes", "want 0 or more")
	case c.Window < 1 || c.Window > 1<<16:
		return badConfig("feed.window", "want 1 to 65536")
	case c.AckTimeout <= 0:
		return badConfig("feed.ack_timeout", "want more than 0")
	}
	return nil
}

// duplicates is the server's window for message ids. The feed does not rely on it; a long one costs the server memory, and
// holds back events that are to be published again because an operator purged them.
const duplicates = 2 * time.Second

// positionHeader holds the log position that an event was made from: epoch, sequence and index.
const positionHeader = "Scoremesh-Position"

// DecisionFeed publishes the log's decisions as CloudEvents, each once and in the log's order, on decisions.<region>.<outcome> in
// the stream DECISIONS_<region>; and conflicts, from retractions of a decision with another outcome than the one that
// counts, on decisions.<region>.conflict.
//
// The n-th message of the stream is a function of the log: every publish demands that it becomes exactly the next message, behind
// the event before it. So a feed that was cut off in any place, and two feeds at once, neither lose nor repeat an event, and a durable consumer misses
// none as long as the stream keeps them.
//
// Two cases are outside of that. If the log was trimmed before the feed came to it, the events are lost: logged and counted. If every
// event in the stream has expired, the feed goes on where the log was a minute before the newest of them was published.
type DecisionFeed struct {
	log     *Log
	cfg     FeedConfig
	logger  zerolog.Logger
	stream  string
	prefix  string
	metrics *feedMetrics
	// skipTo is where the log begins after it was trimmed past the feed's place. Used by Run only.
	skipTo uint64
	// next is the first sequence of the log whose events are not all published; 0 while that is not known.
	next atomic.Uint64
}

// Next returns the first sequence of the log whose events are not all published; 0 while that is not known. What lies before it the feed does
// not need any more.
func (f *DecisionFeed) Next() uint64 { return f.next.Load() }

// NewDecisionFeed makes the feed of a log; Run runs it.
func NewDecisionFeed(l *Log, cfg FeedConfig, logger zerolog.Logger, reg prometheus.Registerer) (*DecisionFeed, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	metrics, err := newFeedMetrics(reg, l.cfg.Region)
	if err != nil {
		return nil, err
	}
	return &DecisionFeed{log: l, cfg: cfg, stream: "DECISIONS_" + l.cfg.Region, prefix: "decisions." + l.cfg.Region + ".", metrics: metrics,
		logger: logger.With().Str("component", "feed").Str("log", l.cfg.Region).Logger()}, nil
}

// Run publishes until ctx ends, and returns its error; or ErrLogReplaced. Whatever else happens, it goes on. It is called once.
func (f *DecisionFeed) Run(ctx context.Context) error {
	defer f.metrics.unregister()
	retry := backoff{min: f.log.cfg.RetryMin, max: f.log.cfg.RetryMax}
	for {
		err := f.session(ctx, &retry)
		var trimmed *TrimmedError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrLogReplaced):
			return fmt.Errorf("feed decisions: %w", err)
		case errors.As(err, &trimmed):
			f.skipTo = trimmed.First
			f.metrics.skipped.Add(float64(trimmed.First - trimmed.Wanted))
			f.logger.Error().Err(err).Msg("log was trimmed past the feed, decisions are missing in it")
			continue
		}
		f.metrics.resyncs.Inc()
		f.logger.Warn().Err(err).Msg("feed looks where it is")
		if !retry.wait(ctx) {
			return ctx.Err()
		}
	}
}

// place is where a feed goes on.
type place struct {
	// from is the log's sequence to read from; of that batch the records below index are published.
	from  uint64
	index int
	// notBefore passes over batches that were stored earlier, in Unix milliseconds.
	notBefore int64
	// expect is the stream's last sequence, and lastID the id of the event there; "" when there is none.
	expect uint64
	lastID string
}

// session publishes from the feed's place on, until something is wrong. It always returns an error.
func (f *DecisionFeed) session(ctx context.Context, retry *backoff) error {
	info, err := f.openStream(ctx)
	if err != nil {
		return err
	}
	at, err := f.resume(ctx, info)
	if err != nil {
		return err
	}
	f.next.Store(at.from)
	pub, err := newPublisher(f.log.nc, 2*f.cfg.Window)
	if err != nil {
		return err
	}
	defer pub.close()
	group, ctx := errgroup.WithContext(ctx)
	s := &feedSession{feed: f, pub: pub, at: at, inFlight: make(chan flight, f.cfg.Window)}
	group.Go(func() error { return f.log.Read(ctx, at.from, func(b *Batch) error { return s.publish(ctx, b) }) })
	group.Go(func() error { return s.confirm(ctx, retry) })
	return group.Wait()
}

// openStream creates the stream where there is none.
func (f *DecisionFeed) openStream(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, f.log.cfg.RequestTimeout)
	defer cancel()
	stream, err := f.log.js.Stream(ctx, f.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = f.log.js.CreateStream(ctx, f.streamConfig())
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", f.stream, err)
	}
	return stream.CachedInfo(), nil
}

func (f *DecisionFeed) streamConfig() jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:        f.stream,
		Description: "scoremesh decisions of region " + f.log.cfg.Region,
		Subjects:    []string{f.prefix + ">"},
		Storage:     jetstream.FileStorage,
		Replicas:    f.cfg.Replicas,
		MaxAge:      f.cfg.MaxAge,
		MaxBytes:    -1,
		Discard:     jetstream.DiscardOld,
		Duplicates:  duplicates,
		AllowDirect: true,
	}
	if f.cfg.MaxBytes > 0 {
		cfg.MaxBytes = f.cfg.MaxBytes
	}
	if f.cfg.AsyncPersist && f.cfg.Replicas == 1 && persistsAsync(f.log.nc.ConnectedServerVersion()) {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	return cfg
}

// persistsAsync says whether a server of this version knows the persist mode: since 2.12.
func persistsAsync(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 2 || major == 2 && minor >= 12
}

// resume finds the feed's place from the last event in the stream.
func (f *DecisionFeed) resume(ctx context.Context, info *jetstream.StreamInfo) (place, error) {
	first, _, _, err := f.log.Bounds(ctx)
	if err != nil {
		return place{}, err
	}
	at := place{from: first, expect: info.State.LastSeq}
	if info.State.Msgs == 0 && info.State.LastSeq > 0 {
		at.notBefore = info.State.LastTime.Add(-time.Minute).UnixMilli()
		return at, nil
	}
	for seq := info.State.LastSeq; info.State.Msgs > 0 && seq >= info.State.FirstSeq; seq-- {
		last, err := askLeader(ctx, f.log.js, f.stream, f.log.cfg.RequestTimeout, storedQuery{Seq: seq})
		if err != nil {
			return place{}, fmt.Errorf("resume feed: %w", err)
		}
		if last == nil {
			continue
		}
		epoch, mark, err := parsePosition(last.header(positionHeader))
		if err != nil { // somebody else publishes on our subjects
			f.logger.Warn().Uint64("sequence", seq).Msg("foreign message in the stream of decisions")
			continue
		}
		if seq == info.State.LastSeq {
			at.lastID = last.header(jetstream.MsgIDHeader)
		}
		if epoch == f.log.epoch {
			at.from, at.index = mark.Seq(), mark.Index()+1
		}
		break
	}
	if f.skipTo > at.from {
		at.from, at.index = f.skipTo, 0
	}
	return at, nil
}

func formatPosition(p feature.Position) string {
	var stack [48]byte
	return string(appendMark(append(appendHex64(stack[:0], p.Origin.Epoch), '.'), p.Mark))
}

func parsePosition(s string) (epoch uint64, mark feature.Mark, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return 0, 0, fmt.Errorf("position %q: want epoch.sequence.index", s)
	}
	epoch, err1 := strconv.ParseUint(parts[0], 16, 64)
	seq, err2 := strconv.ParseUint(parts[1], 10, 48)
	index, err3 := strconv.ParseUint(parts[2], 10, 16)
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, 0, fmt.Errorf("position %q: %w", s, err)
	}
	return epoch, feature.MarkOf(seq, int(index)), nil
}

// feedSession publishes from one place on. One goroutine publishes and another one confirms.
type feedSession struct {
	feed *DecisionFeed
	pub  *publisher
	// at is used by the publishing goroutine only.
	at  place
	buf []byte
	// inFlight holds what was published and is not confirmed, and the ends of batches, in order.
	inFlight chan flight
}

// flight is a published event, or (with number 0) the end of a batch.
type flight struct {
	number   uint64
	seq      uint64 // that the event gets in the stream
	storedAt int64  // of the batch in the log
	pending  uint64 // batches behind this one
	batch    uint64 // the batch's sequence
}

// publish publishes the events of a batch.
func (s *feedSession) publish(ctx context.Context, b *Batch) error {
	if b.StoredAt >= s.at.notBefore {
		for i := range b.Records {
			if b.Seq == s.at.from && i < s.at.index {
				continue
			}
			if err := s.record(ctx, b, i); err != nil {
				return err
			}
		}
	}
	return s.push(ctx, flight{storedAt: b.StoredAt, pending: b.Pending, batch: b.Seq})
}

// record publishes the event of a record, if it has one.
func (s *feedSession) record(ctx context.Context, b *Batch, index int) error {
	p := b.Position(index)
	var subject string
	switch r := &b.Records[index]; {
	case r.Decision != nil:
		subject = r.Decision.Outcome.String()
		s.buf = appendDecisionEvent(s.buf[:0], p, r.Decision)
	case r.Retraction != nil && r.Retraction.Facts.Outcome != r.Retraction.WinnerOutcome:
		subject = "conflict"
		id, err := s.feed.transactionAt(ctx, r.Retraction.Loser)
		if err != nil {
			return err
		}
		s.buf = appendConflictEvent(s.buf[:0], p, r.Retraction, id, b.StoredAt)
	default:
		return nil
	}
	id := eventID(p)
	header := nats.Header{
		"Content-Type":                  []string{event.ApplicationCloudEventsJSON},
		positionHeader:                  []string{formatPosition(p)},
		jetstream.MsgIDHeader:           []string{id},
		jetstream.ExpectedLastSeqHeader: []string{strconv.FormatUint(s.at.expect, 10)},
	}
	if s.at.lastID != "" {
		// The sequence alone would do for a publish whose predecessor was acknowledged. Here the predecessor may be in flight, and may
		// lose its place to somebody else's message.
		header[jetstream.ExpectedLastMsgIDHeader] = []string{s.at.lastID}
	}
	number, err := s.pub.send(&nats.Msg{Subject: s.feed.prefix + subject, Data: s.buf, Header: header})
	if err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	s.at.expect++
	s.at.lastID = id
	return s.push(ctx, flight{number: number, seq: s.at.expect, storedAt: b.StoredAt, pending: b.Pending, batch: b.Seq})
}

func (s *feedSession) push(ctx context.Context, f flight) error {
	select {
	case s.inFlight <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transactionAt returns the id of the transaction whose decision stands at p, or "" when it is not in this log (any more).
func (f *DecisionFeed) transactionAt(ctx context.Context, p feature.Position) (string, error) {
	if p.Origin != f.log.Origin() {
		return "", nil
	}
	m, err := f.log.at(ctx, p.Mark.Seq())
	if err != nil {
		return "", fmt.Errorf("look up retracted decision: %w", err)
	}
	if m == nil {
		return "", nil
	}
	batch, err := wire.DecodeBatch(m.Data)
	if err != nil || p.Mark.Index() >= len(batch.Records) || batch.Records[p.Mark.Index()].Decision == nil {
		return "", nil //nolint:nilerr // a batch that nobody can decode has no id to tell
	}
	return batch.Records[p.Mark.Index()].Decision.Transaction.ID, nil
}

// confirm checks that everything in flight arrived where it should.
func (s *feedSession) confirm(ctx context.Context, retry *backoff) error {
	timer := time.NewTimer(s.feed.cfg.AckTimeout)
	defer timer.Stop()
	for {
		var f flight
		select {
		case f = <-s.inFlight:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.feed.metrics.waits(f, len(s.inFlight))
		if f.number != 0 {
			timer.Reset(s.feed.cfg.AckTimeout)
			if err := s.arrived(ctx, f, timer.C); err != nil {
				return err
			}
			s.feed.metrics.events.Inc()
			retry.reset()
		}
		if f.number == 0 {
			s.feed.next.Store(f.batch + 1)
		}
		s.feed.metrics.confirmed(f, len(s.inFlight))
	}
}

func (s *feedSession) arrived(ctx context.Context, f flight, timeout <-chan time.Time) error {
	select {
	case m := <-s.pub.replies:
		switch got := s.pub.parse(m); {
		case got.n != f.number:
			return fmt.Errorf("acknowledgement %d came instead of %d", got.n, f.number)
		case got.err != nil:
			return fmt.Errorf("event %d of %s: %w", f.seq, s.feed.stream, got.err)
		case got.seq != f.seq:
			return fmt.Errorf("event %d of %s was stored at %d", f.seq, s.feed.stream, got.seq)
		}
		return nil
	case <-timeout:
		return fmt.Errorf("event %d of %s: %w", f.seq, s.feed.stream, errNoAck)
	case <-ctx.Done():
		return ctx.Err()
	}
}
