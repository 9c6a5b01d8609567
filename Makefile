# Targets install what they need: Debian packages as root when they are missing, Go tools into bin/.
GO ?= go
BIN := $(CURDIR)/bin
GOLANGCI_VERSION := v2.15.0
PROTOC_GEN_GO_VERSION := v1.36.12

.PHONY: all build test test-race test-handbook lint bench fuzz proto clean deps e2e

all: lint test

build:
	$(GO) build -o $(BIN)/node ./cmd/node

# Everything, with the race detector; the handbook's 1.3 million transactions without it.
test: deps test-race test-handbook

test-race:
	$(GO) test -race -timeout 30m ./...

test-handbook:
	$(GO) test -count=1 -timeout 15m -run 'Handbook' ./region/backtest ./model

lint: $(BIN)/golangci-lint
	$(BIN)/golangci-lint run

$(BIN)/golangci-lint:
	GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

# The whole path beside the naive handler, then the benchmarks of the parts.
bench: deps
	$(GO) run ./cmd/node/bench
	$(GO) test -run '^$$' -bench . -benchmem ./feature ./model ./decision ./transport/wire ./api

# Black box, all faults, at full length (make test runs a shorter version).
e2e: deps
	SCOREMESH_E2E_ROUNDS=20 $(GO) test -count=1 -timeout 20m -v ./e2e

# A minute for each fuzz test.
FUZZTIME ?= 60s
fuzz:
	./.ci/fuzz $(FUZZTIME)

proto: $(BIN)/protoc-gen-go
	@command -v protoc >/dev/null || { apt-get update -q && apt-get install -y -q protobuf-compiler; }
	PATH=$(BIN):$$PATH $(GO) generate ./transport/wire

$(BIN)/protoc-gen-go:
	GOBIN=$(BIN) $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION)

# What the tests need: redis-server, and a C compiler for the race detector.
deps:
	@command -v gcc >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev; }
	@command -v redis-server >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server; }

clean:
	rm -rf $(BIN)
