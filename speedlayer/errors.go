package speedlayer

import "errors"

// What a call to the speed layer can end with. Match with errors.Is; the cause, where there is one, is wrapped beside it.
var (
	// ErrTimeout: Redis did not answer within the read budget, the flush timeout or the caller's deadline.
	ErrTimeout = errors.New("redis timed out")
	// ErrUnavailable: Redis cannot be reached, answered with an error, or the circuit breaker is open.
	ErrUnavailable = errors.New("redis unavailable")
	// ErrOverloaded: the queue of waiting reads or flushes is full.
	ErrOverloaded = errors.New("speed layer queue full")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("speed layer closed")
	// ErrShard: a reference names a kind or a partition that the keyspace does not have.
	ErrShard = errors.New("no such shard")
	// ErrFlush: a flush breaks a rule of Flush; it was not sent.
	ErrFlush = errors.New("invalid flush")
	// ErrMalformed: bytes that are not an entity value or a watermark value of this version.
	ErrMalformed = errors.New("malformed value")
)

// Why a flush was refused (FlushResult.Reason). Nothing was written.
var (
	// ErrBaseMissing: the stored watermark does not dominate the flush's base. Redis was wiped or restored: rebuild.
	ErrBaseMissing = errors.New("stored watermark lacks the flush's base")
	// ErrCorruptWatermark: the stored watermark cannot be read.
	ErrCorruptWatermark = errors.New("stored watermark is corrupt")
	// ErrCorruptEntity: a stored entity of the flush cannot be read; FlushResult.Corrupt names it.
	ErrCorruptEntity = errors.New("stored entity is corrupt")
)
