// Package wire is the published format of a log: scoremesh.proto, the Go types that protoc makes of it for clients, and a
// hand-written codec of the same bytes between them and feature.Record, which is what the region itself uses.
//
// It promises: AppendRecord gives the bytes that the generated code gives; what it accepts, DecodeBatch accepts and gives
// back equal; fields that it does not know are skipped; and no input makes it panic. Both directions hold a record to the same bounds.
//
// It never does I/O, looks at a clock, or keeps what it was given. No error text contains an id.
package wire

//go:generate ./generate.sh
