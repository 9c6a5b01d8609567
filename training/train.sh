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

# Without a model the policy's fallback decides; what it decides is no input of the model. The rates are those of traffic.Rates.
go build -o "$DATA/node" ./cmd/node
"$DATA/node" demo --export "$DATA" --seed "$SEED" --transactions "$TRANSACTIONS"
"$DATA/node" backtest \
	--schema configs/demo/schema.yaml --policy configs/demo/policy.yaml \
	--rate CHF=1.07 --rate GBP=1.16 --rate JPY=0.0059 --rate PLN=0.235 --rate SEK=0.091 --rate USD=0.87 \
	--transactions "$DATA/transactions.csv" --labels "$DATA/labels.csv" --out "$DATA/features.csv"
"$PYTHON" training/train.py --data "$DATA" --out "$OUT" --seed "$SEED" --version "$VERSION"
