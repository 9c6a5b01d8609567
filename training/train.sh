#!/bin/sh
# Makes the demo model from nothing: invents traffic, computes its features as the service would, trains, and holds the model to
# later traffic. Run it from anywhere; the environment may set what stands below.
set -eu
cd "$(dirname "$0")/.."

SEED=${SEED:-1}
TRANSACTIONS=${TRANSACTIONS:-600000} # sixty days
VERSION=${VERSION:-1}
OUT=${OUT:-configs/demo/model}
PYTHON=${PYTHON:-/usr/bin/python3} # Debian's, which has python3-xgboost and python3-pandas
if [ -z "${DATA:-}" ]; then
	DATA=$(mktemp -d)
	trap 'rm -rf "$DATA"' EXIT
fi

go run ./cmd/node demo --export "$DATA" --seed "$SEED" --transactions "$TRANSACTIONS"
go run ./cmd/node backtest \
	--schema configs/demo/schema.yaml --policy configs/demo/policy.yaml --model none \
	--transactions "$DATA/transactions.csv" --labels "$DATA/labels.csv" --out "$DATA/features.csv"
"$PYTHON" training/train.py --data "$DATA" --out "$OUT" --seed "$SEED" --version "$VERSION"
