package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"scoremesh/decision"
)

// bulk serves a request that is either one JSON text, all or nothing, or NDJSON, committed in its order up to the first line that is at
// fault. Both functions return how far they came, also with an error.
func (x *exchange) bulk(whole func(context.Context) (int, error), lines func(context.Context) (progress, error)) error {
	if err := x.noQuery(); err != nil {
		return err
	}
	media, err := x.media(mediaJSON, mediaNDJSON)
	if err != nil {
		return err
	}
	ctx, cancel, err := x.withDeadline(x.e.config.BulkDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	x.private = true
	if media == mediaJSON {
		// A slow body holds no slot. NDJSON has to: it is committed while it comes in.
		if err := x.readBody(x.e.config.MaxBatchBytes); err != nil {
			return err
		}
	}
	if !x.e.bulk.admit(1) {
		x.e.metrics.shed[x.route.endpoint].Inc()
		return x.e.overloaded
	}
	defer x.e.bulk.release(1)

	if media == mediaNDJSON {
		p, err := lines(ctx)
		if err != nil {
			x.refuse(err, &p)
			return nil
		}
		x.writeCommitted(p.committed)
		return nil
	}
	n, err := whole(ctx)
	if err != nil {
		x.refuse(err, &progress{})
		return nil
	}
	x.writeCommitted(n)
	return nil
}

// The bounds of what a stream collects before it is committed.
const (
	maxChunkLines = 512
	maxChunkBytes = 1 << 20
)

// stream reads NDJSON. take gets every line that is not blank; commit commits what was taken since the last commit, and returns how many
// that were. After an error everything before progress.line is committed, and nothing from that line on is confirmed.
func (x *exchange) stream(ctx context.Context, take func(line []byte) error, commit func() (int, error)) (progress, error) {
	if x.r.ContentLength > int64(x.e.config.MaxBulkBytes) {
		return progress{line: 1}, tooLarge(x.e.config.MaxBulkBytes)
	}
	in := lineReader{limit: x.e.config.MaxBulkBytes, buffer: bufio.NewReaderSize(x.r.Body, x.e.config.MaxScoreBytes+1)}
	p := progress{line: 1}
	chunkLines, chunkBytes := 0, 0
	flush := func(next int) error {
		n, err := commit()
		if err != nil {
			return err
		}
		p.committed += n
		p.line = next
		chunkLines, chunkBytes = 0, 0
		return nil
	}
	for number := 1; ; number++ {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return p, flush(number)
		}
		if err != nil {
			err = x.lineFault(err)
		} else if line = bytes.TrimSpace(line); len(line) > 0 {
			err = take(line)
		}
		if err != nil {
			// What came before the faulty line is committed, so that the answer can say so in one number.
			if flushed := flush(number); flushed != nil {
				err = flushed
			}
			return p, err
		}
		chunkLines++
		chunkBytes += len(line)
		if chunkLines >= maxChunkLines || chunkBytes >= maxChunkBytes {
			if err := flush(number + 1); err != nil {
				return p, err
			}
		}
	}
}

// lineReader cuts a body into lines. Lines are bounded by the buffer's size, the body by limit.
type lineReader struct {
	buffer *bufio.Reader
	limit  int
	read   int
}

var errBodyTooLong = errors.New("body too long")

// next returns a line, valid until the next call. The last one need not end in a newline; after it comes io.EOF.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.buffer.ReadSlice('\n')
	l.read += len(line)
	if l.read > l.limit {
		return nil, errBodyTooLong
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	return line, err
}

// lineFault says why a line could not be read.
func (x *exchange) lineFault(err error) error {
	switch {
	case errors.Is(err, errBodyTooLong):
		return tooLarge(x.e.config.MaxBulkBytes)
	case errors.Is(err, bufio.ErrBufferFull):
		return &decision.Error{Code: CodeTooLarge, Field: "body", Detail: fmt.Sprintf("a line has at most %d bytes", x.e.config.MaxScoreBytes)}
	}
	return x.unread(err)
}
