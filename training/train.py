#!/usr/bin/env python3
"""Trains the fraud model of the demo from features that `node backtest` wrote, and holds it to later transactions.

The split is by time: the first days train, a week is left out so that every label of the training part could be known by
then, and the rest tests. The same inputs, seed and library version give the same model.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import pandas as pd
import xgboost

DAY = pd.Timedelta(days=1)
# Left out of the inputs: what the policy itself decided, which a model would learn back from it, and what is published from
# outside, which the generated data does not have.
EXCLUDED = ["card_refused_1h", "card_credit_limit", "merchant_watchlist"]
PARAMETERS = {
    "objective": "binary:logistic",
    "max_depth": 5,
    "eta": 0.12,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "lambda": 2,
    "base_score": 0.5,
    "tree_method": "hist",
    "nthread": 1,
}
TREES = 80
MAX_BYTES = 300_000


def main():
    args = arguments()
    data, inputs = load(args.data)
    train, test = split(data, args.warmup_days, args.gap_days, args.test_share)
    booster = fit(train, inputs, args.seed)
    test = test.assign(score=booster.predict(matrix(test, inputs)))
    figures = evaluate(test, args.step_up)
    write(args.out, booster, inputs, figures, args.version, describe(train, test))
    json.dump(figures, sys.stdout, indent=2)
    print()


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=pathlib.Path, required=True, help="folder of transactions, labels, patterns and features .csv")
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder for model.json and model.yaml")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--version", type=int, default=1, help="the model's version in the manifest")
    p.add_argument("--warmup-days", type=float, default=0, help="first days to leave out; with 0 the model learns from empty windows too")
    p.add_argument("--gap-days", type=float, default=7, help="days between training and test")
    p.add_argument("--test-share", type=float, default=0.3, help="share of the time after the warm-up that tests")
    p.add_argument("--step-up", type=float, default=0.2, help="score from which a fraud counts as found: the policy's threshold")
    return p.parse_args()


def load(folder):
    """Returns the transactions in time order with features and truth, and the names of the model's inputs."""
    features = pd.read_csv(folder / "features.csv")
    # transaction_id, every feature of the schema in its order, score, outcome
    if features.columns[0] != "transaction_id" or list(features.columns[-2:]) != ["score", "outcome"]:
        sys.exit(f"{folder}/features.csv: want transaction_id, features, score, outcome; got {', '.join(features.columns)}")
    inputs = [c for c in features.columns[1:-2] if c not in EXCLUDED]
    transactions = pd.read_csv(folder / "transactions.csv", usecols=["transaction_id", "timestamp"], parse_dates=["timestamp"])
    labels = pd.read_csv(folder / "labels.csv", usecols=["transaction_id", "fraud"])
    patterns = pd.read_csv(folder / "patterns.csv")
    data = (
        transactions.merge(features.drop(columns=["score", "outcome"]), on="transaction_id", how="left", validate="1:1", indicator=True)
        .merge(labels, on="transaction_id", how="left", validate="1:1")
        .merge(patterns, on="transaction_id", how="left", validate="1:1")
    )
    missing = int((data["_merge"] != "both").sum())
    if missing:
        sys.exit(f"{folder}/features.csv: {missing} of {len(data)} transactions are missing")
    data["fraud"] = data["fraud"].fillna(False).astype(bool)
    return data, inputs


def split(data, warmup_days, gap_days, test_share):
    first, last = data["timestamp"].iloc[0], data["timestamp"].iloc[-1]
    begin = first + warmup_days * DAY
    test_begin = last - test_share * (last - begin)
    train = data[(data["timestamp"] >= begin) & (data["timestamp"] < test_begin - gap_days * DAY)]
    test = data[data["timestamp"] >= test_begin]
    for name, part in [("training", train), ("test", test)]:
        if part["fraud"].sum() < 100:
            sys.exit(f"the {name} part has {part['fraud'].sum()} frauds, want at least 100: export more transactions")
    return train, test


def matrix(part, inputs, label=None):
    return xgboost.DMatrix(part[inputs].to_numpy(np.float32), label=label)


def fit(train, inputs, seed):
    label = train["fraud"].to_numpy(np.float32)
    return xgboost.train({**PARAMETERS, "seed": seed}, matrix(train, inputs, label), num_boost_round=TREES)


def evaluate(test, step_up):
    fraud, score = test["fraud"].to_numpy(), test["score"].to_numpy()
    found = score >= step_up
    figures = {
        "auc_roc": auc_roc(fraud, score),
        "average_precision": average_precision(fraud, score),
        "precision_at_step_up": float(fraud[found].mean()) if found.any() else 0.0,
        "recall_at_step_up": float(found[fraud].mean()),
    }
    for pattern, part in test[fraud].groupby("pattern"):
        figures[f"recall_{pattern}"] = float((part["score"] >= step_up).mean())
    return {name: round(value, 4) for name, value in figures.items()}


def auc_roc(fraud, score):
    """The chance that a fraud scores higher than a genuine transaction, ties counting half (Mann and Whitney 1947)."""
    ranks = pd.Series(score).rank(method="average").to_numpy()
    frauds, genuine = fraud.sum(), (~fraud).sum()
    return float((ranks[fraud].sum() - frauds * (frauds + 1) / 2) / (frauds * genuine))


def average_precision(fraud, score):
    """The sum of precision times the step in recall over the distinct scores, as scikit-learn defines it."""
    order = np.argsort(-score, kind="stable")
    hits, ends = np.cumsum(fraud[order]), np.append(np.diff(score[order]) != 0, True)
    precision = hits[ends] / (np.flatnonzero(ends) + 1)
    recall = hits[ends] / hits[-1]
    return float((np.diff(recall, prepend=0) * precision).sum())


def describe(train, test):
    def part(p):
        return f"{len(p)} transactions of {p['timestamp'].iloc[0]:%Y-%m-%d} to {p['timestamp'].iloc[-1]:%Y-%m-%d}, {int(p['fraud'].sum())} frauds"

    return f"Synthetic payments. Trained on {part(train)}; figures from {part(test)}."


def write(out, booster, inputs, figures, version, description):
    out.mkdir(parents=True, exist_ok=True)
    booster.save_model(out / "model.json")
    size = (out / "model.json").stat().st_size
    if size > MAX_BYTES:
        sys.exit(f"{out}/model.json: {size} bytes, at most {MAX_BYTES} are wanted")
    lines = [
        "# Written by training/train.py. The metrics are from transactions after those that trained it.",
        "name: demo",
        f"version: {version}",
        "format: xgboost-json",
        "file: model.json",
        f"description: {json.dumps(description)}",
        "inputs:",
        *[f"  - {name}" for name in inputs],
        "metrics:",
        *[f"  {name}: {value}" for name, value in figures.items()],
    ]
    (out / "model.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
