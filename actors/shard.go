package actors

import (
	"time"

	"scoremesh/feature"
)

// status is where a shard is in its life. See the diagram in the package comment.
type status uint8

const (
	statusStarting   status = iota // waits for Start
	statusReplaying                // folds behind the watermark; Redis is trusted
	statusRebuilding               // folds from the beginning; Redis is not trusted
	statusServing
)

// String returns "starting", "replaying", "rebuilding" or "serving".
func (s status) String() string {
	return [...]string{"starting", "replaying", "rebuilding", "serving"}[s]
}

// shard is the state machine of one shard.
type shard struct {
	id     ShardID
	config Config
	schema *feature.Schema
	// origin is the own log; obligations of its region are this shard's.
	origin feature.Origin

	status status
	// served says that the shard has served since it was made: attempts no longer wait for replays.
	served bool
	// generation counts the restarts and rebuilds; results of orders of an earlier one are void.
	generation uint64

	// applied is the vector folded in. Invariant: w0 <= applied <= received.
	applied feature.Vector
	// received is applied and what waits in queue.
	received feature.Vector
	// w0 is the last watermark that was confirmed to this owner.
	w0 feature.Vector
	// foldedAt is the time of the newest beacon folded.
	foldedAt int64

	// catching says that a replay runs; wantReplay that one must be asked for; goal is where the ended one must have brought us.
	catching   bool
	wantReplay bool
	goal       *feature.Vector

	// hot holds every entity in memory; recency orders them.
	hot     map[string]*hot
	recency recency
	// busy lists the entities with attempts: registered or waiting.
	busy []*hot
	// queue are the folds that wait for loads or for a flush. Their entities are pinned.
	queue []*fold
	// wanted are the entities to load at the end of the step, urgent those of them that requests wait for.
	wanted  []*hot
	urgent  []*hot
	loading int
	loads   backoff

	// dirty lists the entities with h.dirty, in the order in which they became so.
	dirty []*hot
	// unpassed of them were written, or are of before a rebuild, and wait for the watermark to pass them.
	unpassed int
	inFlight *FlushRequest
	// lastFlush is when the last flush was ordered or, at first, a point that spreads the shards over the period.
	lastFlush int64
	flushes   backoff
	// failing says that the last flush ended in an error.
	failing bool

	// lobby are attempts that wait for the first replay.
	lobby []*attempt
	// waiting counts the attempts in the lobby and in h.waiting.
	waiting int
	// pendings counts registered attempts.
	pendings int
	// answering and showing are what is being answered, until it has its reply: a panic must not leave it without.
	answering *attempt
	showing   *viewing

	open    openCards
	emitter emitter

	// closing says that a drain has begun: no attempt is taken any more. draining are the ones who asked and were not told its end.
	closing  bool
	draining []chan struct{}
	// drainTo is the vector that the watermark must reach; set when the last attempt is gone.
	drainTo *feature.Vector

	crashes backoff
	crashed bool
	query   feature.Query
	counts  counts
	out     effects
}

// counts only grow; the shell publishes their differences.
type counts struct {
	folds, records, gaps, applyErrors, rebuilds, flushFailures, incomparable, evictions, decodeErrors, loadFailures, shed uint64
}

func newShard(id ShardID, config Config, schema *feature.Schema, origin feature.Origin) *shard {
	s := &shard{id: id, config: config, schema: schema, origin: origin, hot: map[string]*hot{}}
	s.recency.init()
	s.open.init()
	b := backoff{low: config.RetryMin.Milliseconds(), high: config.RetryMax.Milliseconds()}
	s.loads, s.flushes, s.crashes, s.emitter.backoff = b, b, b, b
	return s
}

// step takes in one message at time now (Unix milliseconds) and says what to do. The effects are valid until the next step.
func (s *shard) step(now int64, m message) *effects {
	s.out.reset()
	switch m := m.(type) {
	case *attempt:
		s.attempt(now, m)
	case *notice:
		s.notice(now, m)
	case *fold:
		s.fold(now, m)
	case *loaded:
		s.loaded(now, m)
	case *flushed:
		s.flushed(now, m)
	case *tick:
		s.tick(now)
	case *Start:
		s.start(now, m)
	case *Restore:
		s.restore(now, m)
	case *caughtUp:
		s.caughtUp(m)
	case *lastIs:
		s.lastIs(now, m)
	case *emitted:
		s.emitted(now, m)
	case *viewing:
		s.viewing(now, m)
	case *draining:
		s.drain(m)
	}
	s.progress(now)
	return &s.out
}

// progress does what has become possible: fold what waits, serve, flush, order loads, end a drain.
func (s *shard) progress(now int64) {
	if len(s.queue) > 0 {
		s.drainQueue(now)
	}
	if s.goal != nil {
		s.reachGoal(now)
	}
	s.maybeFlush(now)
	s.orderLoads()
	if len(s.draining) > 0 {
		s.checkDrained()
	}
}

// tick lets time pass: deadlines, retries, emissions, evictions.
func (s *shard) tick(now int64) {
	if s.crashed && s.crashes.due(now) {
		s.crashed = false
		s.out.restart = true
	}
	s.sweepAttempts(now)
	if s.status == statusStarting {
		return
	}
	if s.status == statusServing && now > s.crashes.until+s.crashes.high {
		s.crashes.succeed()
	}
	s.retryLoads(now)
	if s.wantReplay && !s.catching {
		s.askReplay()
	}
	s.emit(now)
	s.evict(now)
}

// crash is called after a panic in a step: nothing in memory can be trusted but the attempts. The shard begins again from what is stored.
func (s *shard) crash(now int64) *effects {
	s.out.loads, s.out.flush, s.out.replay, s.out.emit, s.out.askLast = nil, nil, nil, nil, nil
	s.unanswered()
	s.forget()
	s.status = statusStarting
	s.crashed = true
	s.crashes.fail(now)
	return &s.out
}

// backoff spaces retries: low, then twice as long each time, up to high. All in milliseconds.
type backoff struct {
	low, high int64
	wait      int64
	until     int64
}

// due is true also when the clock was set back behind the failure.
func (b *backoff) due(now int64) bool { return now >= b.until || now < b.until-b.wait }

func (b *backoff) fail(now int64) {
	b.wait = min(max(2*b.wait, b.low), b.high)
	b.until = now + b.wait
}

func (b *backoff) succeed() { b.wait, b.until = 0, 0 }

func millis(d time.Duration) int64 { return d.Milliseconds() }
