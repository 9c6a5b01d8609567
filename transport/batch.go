package transport

import "scoremesh/feature"

// Batch is one message of a log, as a reader gets it.
type Batch struct {
	// Origin and Seq say where it stands.
	Origin feature.Origin
	Seq    uint64
	// StoredAt is the server's clock when it was appended, in Unix milliseconds.
	StoredAt int64
	// Pending is how many batches were behind this one in the log when the server sent it; 0 means that this was the head.
	Pending uint64
	// Records are the batch's records; none when the batch could not be decoded. They are the receiver's to keep, but
	// share memory with each other (see wire.DecodeBatch), so copy a few that are to stay for long.
	Records []feature.Record
}

// Position is where the record at index stands.
func (b *Batch) Position(index int) feature.Position {
	return feature.Position{Origin: b.Origin, Mark: feature.MarkOf(b.Seq, index)}
}
