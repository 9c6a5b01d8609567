package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"scoremesh/feature"
)

// epochKey is where a log's stream holds its epoch, as 16 hex digits.
const epochKey = "scoremesh-epoch"

// LogConfig says which log, and how a new one is made. What exists already is never changed.
type LogConfig struct {
	// Region is the region's name: 1 to 64 letters, digits, '-' and '_'.
	Region string
	// Replicas is the number of servers that hold a new log: 1, 3 or 5.
	Replicas int
	// MaxBytes is a backstop for a new log: when it is full, appends are refused. 0 is no limit. Retention is by Trim.
	MaxBytes int64
	// RequestTimeout bounds one request to NATS.
	RequestTimeout time.Duration
	// RetryMin and RetryMax bound the pause between attempts while NATS cannot be reached; the pause doubles.
	RetryMin, RetryMax time.Duration
	// RegressPatience is how long the log may look shorter than it was before it counts as replaced.
	RegressPatience time.Duration
	// Waiting, if set, is told by OpenLog after each failed attempt why the log cannot be opened yet.
	Waiting func(error)
}

// DefaultLogConfig is an unlimited log on one server; Region has to be set.
func DefaultLogConfig() LogConfig {
	return LogConfig{Replicas: 1, RequestTimeout: 2 * time.Second, RetryMin: 20 * time.Millisecond, RetryMax: time.Second,
		RegressPatience: 15 * time.Second}
}

var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate names the first field that is out of bounds.
func (c *LogConfig) Validate() error {
	switch {
	case !tokenPattern.MatchString(c.Region):
		return badConfig("log.region", "want 1 to 64 letters, digits, '-' and '_'")
	case c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		return badConfig("log.replicas", "want 1, 3 or 5")
	case c.MaxBytes < 0:
		return badConfig("log.max_bytes", "want 0 or more")
	case c.RequestTimeout <= 0:
		return badConfig("log.request_timeout", "want more than 0")
	case c.RetryMin <= 0 || c.RetryMax < c.RetryMin:
		return badConfig("log.retry_min", "want more than 0 and at most retry_max")
	case c.RegressPatience <= 0:
		return badConfig("log.regress_patience", "want more than 0")
	}
	return nil
}

// Log is one incarnation of a region's own log. All methods may be called from any goroutine. It holds no resources: there is
// nothing to close.
type Log struct {
	cfg     LogConfig
	js      jetstream.JetStream
	nc      *nats.Conn
	log     zerolog.Logger
	metrics *readMetrics
	stream  string
	epoch   uint64
}

// OpenLog opens the region's log, and creates it where there is none. Of nodes that create it at once, one does, and all agree on
// its epoch. It tries until ctx ends while NATS cannot be reached.
func OpenLog(ctx context.Context, js jetstream.JetStream, cfg LogConfig, logger zerolog.Logger, reg prometheus.Registerer) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, js: js, nc: js.Conn(), stream: "LOG_" + cfg.Region,
		log: logger.With().Str("component", "log").Str("log", cfg.Region).Logger()}
	retry := backoff{min: cfg.RetryMin, max: cfg.RetryMax}
	said := "" // what was logged last
	for {
		info, err := l.openOrCreate(ctx)
		err = plain(err)
		if err == nil {
			l.epoch, err = epochOf(info)
			if err != nil {
				return nil, err
			}
			break
		}
		if !retry.wait(ctx) {
			return nil, fmt.Errorf("open log %s: %w", l.stream, err)
		}
		if cfg.Waiting != nil {
			cfg.Waiting(err)
		}
		if text := err.Error(); text != said {
			said = text
			l.log.Warn().Err(err).Msg("log cannot be opened yet")
		}
	}
	var err error
	if l.metrics, err = newReadMetrics(reg, cfg.Region); err != nil {
		return nil, err
	}
	return l, nil
}

// openOrCreate makes one attempt. What it returns was read back from the stream, whoever created it.
func (l *Log) openOrCreate(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, err := l.info(ctx)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return info, err
	}
	epoch, err := newEpoch()
	if err != nil {
		return nil, err
	}
	limit := l.cfg.MaxBytes
	if limit == 0 {
		limit = -1
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	_, err = l.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        l.stream,
		Description: "scoremesh log of region " + l.cfg.Region,
		Subjects:    []string{subjectPrefix(l.cfg.Region, epoch) + ">"},
		Storage:     jetstream.FileStorage,
		Replicas:    l.cfg.Replicas,
		MaxBytes:    limit,
		Discard:     jetstream.DiscardNew,
		AllowDirect: true,
		DenyDelete:  true,
		Metadata:    map[string]string{epochKey: fmt.Sprintf("%016x", epoch)},
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil, fmt.Errorf("create stream: %w", err)
	}
	return l.info(ctx)
}

// newEpoch draws an epoch: random, not 0.
func newEpoch() (uint64, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<64-1))
	if err != nil {
		return 0, fmt.Errorf("draw epoch: %w", err)
	}
	return n.Uint64() + 1, nil
}

func epochOf(info *jetstream.StreamInfo) (uint64, error) {
	epoch, err := strconv.ParseUint(info.Config.Metadata[epochKey], 16, 64)
	if err != nil || epoch == 0 {
		return 0, fmt.Errorf("stream %s: %w", info.Config.Name, ErrNotALog)
	}
	return epoch, nil
}

// subjectPrefix is what all subjects of one incarnation begin with. An append that was meant for another incarnation finds
// nobody who listens.
func subjectPrefix(region string, epoch uint64) string {
	return fmt.Sprintf("log.%s.%016x.", region, epoch)
}

// Origin is the log's region and epoch.
func (l *Log) Origin() feature.Origin { return feature.Origin{Region: l.cfg.Region, Epoch: l.epoch} }

// Bounds returns the first and the last sequence of the log and its size in bytes on disk. A log that never had a
// batch has last 0; first is last+1 when nothing is left in it.
func (l *Log) Bounds(ctx context.Context) (first, last, bytes uint64, err error) {
	info, err := l.current(ctx)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("bounds of log %s: %w", l.stream, err)
	}
	first, last = info.State.FirstSeq, info.State.LastSeq
	if info.State.Msgs == 0 {
		first = last + 1
	}
	return first, last, info.State.Bytes, nil
}

// Trim drops the batches below the sequence before. It keeps at least the newest batch, so that the log never forgets where it is. A
// sequence beyond the log's end is refused.
func (l *Log) Trim(ctx context.Context, before uint64) error {
	_, last, _, err := l.Bounds(ctx)
	switch {
	case err != nil:
		return err
	case before > last+1:
		return fmt.Errorf("trim log %s before %d: it ends at %d", l.stream, before, last)
	}
	before = min(before, last)
	if before <= 1 { // the server takes 0 for "everything"
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return fmt.Errorf("trim log %s: %w", l.stream, err)
	}
	if epoch, err := epochOf(stream.CachedInfo()); err != nil || epoch != l.epoch {
		return fmt.Errorf("trim log %s: %w", l.stream, ErrLogReplaced)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return fmt.Errorf("trim log %s before %d: %w", l.stream, before, err)
	}
	return nil
}

// info asks the stream's leader what the stream is.
func (l *Log) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return nil, fmt.Errorf("look up stream: %w", err)
	}
	return stream.CachedInfo(), nil
}

// current is info of the incarnation that was opened; of any other it is ErrLogReplaced.
func (l *Log) current(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, err := l.info(ctx)
	if err != nil {
		return nil, err
	}
	if epoch, err := epochOf(info); err != nil || epoch != l.epoch {
		return nil, ErrLogReplaced
	}
	return info, nil
}

// lastOn returns the subject's last message, or nil when it has none.
func (l *Log) lastOn(ctx context.Context, subject string) (*stored, error) {
	return askLeader(ctx, l.js, l.stream, l.cfg.RequestTimeout, storedQuery{Last: subject})
}

// at returns the message at a sequence, or nil when it is not there.
func (l *Log) at(ctx context.Context, seq uint64) (*stored, error) {
	return askLeader(ctx, l.js, l.stream, l.cfg.RequestTimeout, storedQuery{Seq: seq})
}
