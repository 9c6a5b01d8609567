package region

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/zeebo/xxh3"

	"scoremesh/feature"
	"scoremesh/speedlayer"
)

// A snapshot is a file with the states of all shards as Redis holds them, and their watermarks from before the first was read. So every
// state reflects at least its shard's watermark, and says by its own vector what it reflects beyond; replaying the log from the watermarks
// completes it. It is a gzip stream: a line of magic, the header as one line of JSON, the entities (kind, partition, id, state; lengths as
// varints), an end mark with their number, and the xxh3 of everything before it.

const (
	snapshotMagic = "scoremesh snapshot 1\n"
	snapshotEnd   = 0xff
	// partialSnapshot is the name of a snapshot that is being written.
	partialSnapshot = ".snapshot-*"
	// maxSnapshotField bounds an id or a state in a snapshot, in bytes.
	maxSnapshotField = 64 << 20
	// restoreChunk is how many entities go into one flush when a snapshot is restored.
	restoreChunk = 500
)

// SnapshotHeader says what a snapshot holds.
type SnapshotHeader struct {
	Region     string `json:"region"`
	Epoch      uint64 `json:"epoch"`
	Schema     string `json:"schema"`
	SchemaHash uint64 `json:"schema_hash"`
	Partitions int    `json:"partitions"`
	// TakenAt in Unix milliseconds.
	TakenAt int64 `json:"taken_at"`
	// Watermarks by kind and partition.
	Watermarks []snapshotWatermark `json:"watermarks"`
}

type snapshotWatermark struct {
	Kind      feature.Kind `json:"kind"`
	Partition int          `json:"partition"`
	// Value is a speedlayer.Watermark in its stored form.
	Value []byte `json:"value"`
}

// reach returns the first sequence of the own log that has to be replayed on top of the snapshot: behind the least watermark.
func (h *SnapshotHeader) reach() (uint64, error) {
	own := feature.Origin{Region: h.Region, Epoch: h.Epoch}
	least := feature.Mark(1<<64 - 1)
	for _, w := range h.Watermarks {
		parsed, err := speedlayer.ParseWatermark(w.Value)
		if err != nil {
			return 0, fmt.Errorf("watermark of %s/%d: %w", w.Kind, w.Partition, err)
		}
		least = min(least, parsed.Vector.Get(own))
	}
	return behind(least), nil
}

// takeSnapshot writes a snapshot of the keyspace into dir and returns its path and the number of entities. The file appears under its name when
// it is whole.
func takeSnapshot(ctx context.Context, store *speedlayer.Store, schema *feature.Schema, region string, epoch uint64, partitions int, dir string, now int64) (string, int64, error) {
	reader, err := store.Reader(keyspace(schema, epoch, partitions))
	if err != nil {
		return "", 0, err
	}
	before, err := reader.Watermarks(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("read watermarks: %w", err)
	}
	header := SnapshotHeader{Region: region, Epoch: epoch, Schema: schema.Version(), SchemaHash: schema.Hash(), Partitions: partitions, TakenAt: now}
	for _, w := range before {
		header.Watermarks = append(header.Watermarks, snapshotWatermark{w.Kind, w.Partition, w.Watermark.Append(nil)})
	}
	file, err := os.CreateTemp(dir, partialSnapshot)
	if err != nil {
		return "", 0, fmt.Errorf("create snapshot: %w", err)
	}
	defer os.Remove(file.Name()) // gone already when it was renamed
	defer file.Close()
	count, err := writeSnapshot(ctx, file, &header, reader)
	if err != nil {
		return "", 0, err
	}
	if err := stillThere(ctx, reader, before); err != nil {
		return "", 0, err
	}
	path := filepath.Join(dir, snapshotName(&header))
	if err := os.Rename(file.Name(), path); err != nil {
		return "", 0, fmt.Errorf("name snapshot: %w", err)
	}
	return path, count, syncDir(dir)
}

// stillThere makes sure that Redis was not wiped while it was read.
func stillThere(ctx context.Context, reader *speedlayer.Reader, before []speedlayer.ShardWatermark) error {
	after, err := reader.Watermarks(ctx)
	if err != nil {
		return fmt.Errorf("read watermarks: %w", err)
	}
	for i := range before {
		if !after[i].Watermark.Vector.Dominates(before[i].Watermark.Vector) {
			return fmt.Errorf("redis was wiped or restored while the snapshot was taken (%s/%d)", before[i].Kind, before[i].Partition)
		}
	}
	return nil
}

func snapshotName(h *SnapshotHeader) string {
	return fmt.Sprintf("snapshot-%s-%016x-%013d.gz", h.Schema, h.Epoch, h.TakenAt)
}

func writeSnapshot(ctx context.Context, file *os.File, header *SnapshotHeader, reader *speedlayer.Reader) (int64, error) {
	zip, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		return 0, fmt.Errorf("compress snapshot: %w", err)
	}
	sum := xxh3.New()
	w := bufio.NewWriterSize(io.MultiWriter(zip, sum), 1<<20)
	head, err := json.Marshal(header)
	if err != nil {
		return 0, fmt.Errorf("write snapshot header: %w", err)
	}
	fmt.Fprintf(w, "%s%s\n", snapshotMagic, head)
	var count int64
	var scratch []byte
	err = reader.Scan(ctx, func(kind feature.Kind, partition int, id string, state []byte) error {
		count++
		scratch = append(scratch[:0], byte(kind))
		scratch = binary.AppendUvarint(scratch, uint64(partition))
		scratch = append(binary.AppendUvarint(scratch, uint64(len(id))), id...)
		scratch = append(binary.AppendUvarint(scratch, uint64(len(state))), state...)
		_, err := w.Write(scratch)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("scan redis: %w", err)
	}
	w.Write(binary.AppendUvarint([]byte{snapshotEnd}, uint64(count)))
	if err := w.Flush(); err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	if _, err := zip.Write(sum.Sum(nil)); err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	if err := zip.Close(); err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	if err := file.Sync(); err != nil {
		return 0, fmt.Errorf("sync snapshot: %w", err)
	}
	return count, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// ErrSnapshot is wrapped by the errors of a snapshot that is cut, corrupt or of another kind.
var ErrSnapshot = errors.New("unusable snapshot")

// snapshotReader reads a snapshot's entities one by one.
type snapshotReader struct {
	path   string
	file   *os.File
	r      *bufio.Reader
	sum    hash.Hash
	header SnapshotHeader
	count  uint64
}

func openSnapshot(path string) (*snapshotReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	s := &snapshotReader{path: path, file: file, sum: xxh3.New()}
	zip, err := gzip.NewReader(bufio.NewReaderSize(file, 1<<20))
	if err == nil {
		s.r = bufio.NewReaderSize(zip, 1<<20)
		err = s.readHeader()
	}
	if err != nil {
		file.Close()
		return nil, s.bad(err)
	}
	return s, nil
}

func (s *snapshotReader) bad(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w %s: %w", ErrSnapshot, s.path, err)
}

func (s *snapshotReader) readHeader() error {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(s.r, magic); err != nil {
		return err
	}
	if string(magic) != snapshotMagic {
		return errors.New("not a snapshot of this version")
	}
	s.sum.Write(magic)
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxSnapshotField {
			return err
		}
	}
	s.sum.Write(line)
	return json.Unmarshal(line, &s.header)
}

// next returns the next entity; io.EOF behind the last one, when number and sum are right.
func (s *snapshotReader) next() (kind feature.Kind, partition int, id string, state []byte, err error) {
	b, err := s.byte()
	if err != nil {
		return 0, 0, "", nil, s.bad(err)
	}
	if b == snapshotEnd {
		return 0, 0, "", nil, s.end()
	}
	p, err := s.uvarint()
	if err == nil && (int(b) >= len(feature.Kinds) || p >= uint64(s.header.Partitions)) {
		err = fmt.Errorf("kind %d, partition %d", b, p)
	}
	var name []byte
	if err == nil {
		name, err = s.field()
	}
	if err == nil {
		state, err = s.field()
	}
	if err != nil {
		return 0, 0, "", nil, s.bad(err)
	}
	s.count++
	return feature.Kind(b), int(p), string(name), state, nil
}

func (s *snapshotReader) end() error {
	n, err := s.uvarint()
	if err != nil {
		return s.bad(err)
	}
	want := s.sum.Sum(nil)
	got, err := io.ReadAll(io.LimitReader(s.r, int64(len(want))+1))
	if err != nil {
		return s.bad(err)
	}
	if n != s.count || !bytes.Equal(got, want) {
		return s.bad(errors.New("its number of entities or its sum is wrong"))
	}
	return io.EOF
}

func (s *snapshotReader) byte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
	}
	return b, err
}

// ReadByte lets binary.ReadUvarint read and sum.
func (s *snapshotReader) ReadByte() (byte, error) { return s.byte() }

func (s *snapshotReader) uvarint() (uint64, error) { return binary.ReadUvarint(s) }

func (s *snapshotReader) field() ([]byte, error) {
	n, err := s.uvarint()
	if err != nil {
		return nil, err
	}
	if n > maxSnapshotField {
		return nil, fmt.Errorf("a field of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, err
	}
	s.sum.Write(b)
	return b, nil
}

func (s *snapshotReader) close() { s.file.Close() }

// verifySnapshot reads a snapshot to its end.
func verifySnapshot(path string) (*SnapshotHeader, error) {
	s, err := openSnapshot(path)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for {
		if _, _, _, _, err := s.next(); errors.Is(err, io.EOF) {
			return &s.header, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// restoreSnapshot flushes a snapshot into Redis: states first, watermarks last, so that a restore that is cut off claims nothing. What Redis
// has of a newer state stays. The file is read twice: nothing is written before its sum is known to be right.
func restoreSnapshot(ctx context.Context, store *speedlayer.Store, schema *feature.Schema, path string, logger zerolog.Logger) (int64, error) {
	header, err := verifySnapshot(path)
	if err != nil {
		return 0, err
	}
	if header.SchemaHash != schema.Hash() {
		return 0, fmt.Errorf("%w %s: it is of schema %s with another meaning than the configured %s", ErrSnapshot, path, header.Schema, schema.Version())
	}
	writer, err := store.Writer(keyspace(schema, header.Epoch, header.Partitions))
	if err != nil {
		return 0, err
	}
	s, err := openSnapshot(path)
	if err != nil {
		return 0, err
	}
	defer s.close()
	r := &restore{ctx: ctx, writer: writer, schema: schema, origin: feature.Origin{Region: header.Region, Epoch: header.Epoch},
		chunks: map[shardKey]*speedlayer.Flush{}}
	for {
		kind, partition, id, state, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if err := r.add(shardKey{kind, partition}, id, state); err != nil {
			return 0, err
		}
	}
	for _, w := range header.Watermarks {
		parsed, err := speedlayer.ParseWatermark(w.Value)
		if err != nil {
			return 0, s.bad(err)
		}
		if err := r.finish(shardKey{w.Kind, w.Partition}, parsed); err != nil {
			return 0, err
		}
	}
	logger.Info().Str("snapshot", path).Uint64("entities", s.count).Int64("restored", r.restored).Msg("snapshot restored into redis")
	return r.restored, nil
}

type shardKey struct {
	kind      feature.Kind
	partition int
}

// restore collects a snapshot's entities into flushes of their shards.
type restore struct {
	ctx    context.Context
	writer *speedlayer.Writer
	schema *feature.Schema
	origin feature.Origin
	chunks map[shardKey]*speedlayer.Flush
	// restored counts the states that were written; Redis had the others, or newer ones.
	restored int64
}

func (r *restore) chunk(k shardKey) *speedlayer.Flush {
	f := r.chunks[k]
	if f == nil {
		f = &speedlayer.Flush{Kind: k.kind, Partition: k.partition}
		r.chunks[k] = f
	}
	return f
}

func (r *restore) add(k shardKey, id string, state []byte) error {
	f := r.chunk(k)
	entity, err := r.schema.Decode(k.kind, state)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	f.Entities = append(f.Entities, speedlayer.EntityState{ID: id, State: state})
	if entity.Owes(r.origin) {
		f.OpenAdd = append(f.OpenAdd, id)
	}
	if len(f.Entities) < restoreChunk {
		return nil
	}
	return r.flush(k)
}

// finish flushes the rest of a shard together with its watermark.
func (r *restore) finish(k shardKey, w speedlayer.Watermark) error {
	f := r.chunk(k)
	f.Target, f.FoldedAt = w.Vector, w.FoldedAt
	return r.flush(k)
}

func (r *restore) flush(k shardKey) error {
	got, err := r.writer.Flush(r.ctx, *r.chunks[k])
	delete(r.chunks, k)
	switch {
	case err != nil:
		return fmt.Errorf("restore %s/%d: %w", k.kind, k.partition, err)
	case got.Refused:
		return fmt.Errorf("restore %s/%d: %w", k.kind, k.partition, got.Reason)
	case len(got.Incomparable) > 0:
		return fmt.Errorf("restore %s/%d: %d states are neither older nor newer than what redis has", k.kind, k.partition, len(got.Incomparable))
	}
	r.restored += int64(got.Written)
	return nil
}

// listSnapshots returns the paths of a schema's snapshots of one epoch, the oldest first.
func listSnapshots(dir, schema string, epoch uint64) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	prefix := fmt.Sprintf("snapshot-%s-%016x-", schema, epoch)
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), ".gz") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// newestSnapshot returns the newest snapshot on which the log can build that begins at the sequence first.
func (r *Region) newestSnapshot(first uint64) (string, error) {
	paths, err := listSnapshots(r.config.snapshotDir(), r.rules.Load().schema.Version(), r.log.Origin().Epoch)
	if err != nil {
		return "", err
	}
	for _, path := range slices.Backward(paths) {
		header, err := verifySnapshot(path)
		if err != nil {
			r.logger.Error().Err(err).Msg("a snapshot cannot be used")
			continue
		}
		if reach, err := header.reach(); err == nil && reach >= first {
			return path, nil
		}
	}
	return "", fmt.Errorf("%d snapshots in %s, and none reaches the log, which begins at %d", len(paths), r.config.snapshotDir(), first)
}

// snapshots takes a snapshot at every interval, drops old ones, and trims the log.
func (r *Region) snapshots(ctx context.Context) {
	if r.config.Snapshots.Every == 0 {
		return
	}
	for pause(ctx, r.config.Snapshots.Every) {
		if err := r.Snapshot(ctx); err != nil && ctx.Err() == nil {
			r.metrics.snapshotFailures.Inc()
			r.logger.Error().Err(err).Msg("snapshot was not taken")
			continue
		}
		if err := r.trim(ctx); err != nil && ctx.Err() == nil {
			r.logger.Error().Err(err).Msg("log was not trimmed")
		}
	}
}

// useful makes sure that a snapshot that was just taken can be completed by the log. One of a Redis that was wiped cannot, and must not take the
// place of one that can.
func (r *Region) useful(ctx context.Context, path string, rebuilds uint64) error {
	s, err := openSnapshot(path)
	if err != nil {
		return err
	}
	s.close()
	reach, err := s.header.reach()
	if err != nil {
		return s.bad(err)
	}
	first, _, _, err := r.log.Bounds(ctx)
	switch {
	case err != nil:
		return err
	case reach < first:
		return fmt.Errorf("redis reflects the log up to %d, and the log begins at %d: redis lost what the log no longer has", reach-1, first)
	case r.rebuilds.Load() != rebuilds:
		return errors.New("redis was wiped or restored, and shards were rebuilt, while the snapshot was taken")
	}
	return nil
}

// Snapshot takes one now, and drops those beyond the number to keep. One that would be of no use is not kept.
func (r *Region) Snapshot(ctx context.Context) error {
	began := time.Now()
	schema := r.rules.Load().schema
	epoch := r.log.Origin().Epoch
	rebuilds := r.rebuilds.Load()
	path, count, err := takeSnapshot(ctx, r.store, schema, r.config.Region, epoch, r.config.Shards.Partitions, r.config.snapshotDir(), r.now())
	if err != nil {
		return err
	}
	if err := r.useful(ctx, path, rebuilds); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	r.metrics.snapshotTaken(r.now(), time.Since(began))
	r.logger.Info().Str("snapshot", filepath.Base(path)).Int64("entities", count).Dur("took_ms", time.Since(began)).Msg("snapshot taken")
	paths, err := listSnapshots(r.config.snapshotDir(), schema.Version(), epoch)
	if err != nil {
		return err
	}
	for _, old := range paths[:max(len(paths)-r.config.Snapshots.Keep, 0)] {
		if err := os.Remove(old); err != nil {
			return fmt.Errorf("drop snapshot: %w", err)
		}
	}
	return nil
}
