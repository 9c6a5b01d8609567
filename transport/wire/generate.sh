#!/bin/sh
# Makes scoremesh.pb.go from scoremesh.proto. Needs protoc (protobuf-compiler) and protoc-gen-go v1.36.12:
#   go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
set -eu
cd "$(dirname "$0")"
PATH="$PATH:$(go env GOBIN):$(go env GOPATH)/bin" protoc --go_out=. --go_opt=paths=source_relative scoremesh.proto
