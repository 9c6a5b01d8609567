#!/usr/bin/env python3
"""Writes the models of this folder, and what XGBoost itself says of them, from random numbers of a fixed seed.

    python3 generate.py          # with XGBoost 1.7.4, as Debian 12 packages it

Each NAME.json is a booster's save_model; NAME.expect.json holds rows (null: missing) with XGBoost's margin, prediction and
pred_contribs (bias last). Nothing here comes from real payments.
"""
import json
import pathlib

import numpy as np
import xgboost

HERE = pathlib.Path(__file__).parent
FEATURES = 5
TRAIN, SHOWN = 400, 40


def data(rng, missing):
    x = rng.normal(size=(TRAIN, FEATURES)).astype(np.float32)
    x[:, 2] = rng.integers(0, 4, TRAIN)  # ties, and values that equal thresholds
    if missing:
        x[rng.random(x.shape) < missing] = np.nan
    z = np.nan_to_num(x)
    signal = z[:, 0] * z[:, 1] + (z[:, 2] > 1) + 0.5 * z[:, 3]
    return x, signal + rng.normal(scale=0.3, size=TRAIN)


def make(name, seed, rounds, label, missing=0.0, **params):
    rng = np.random.default_rng(seed)
    x, signal = data(rng, missing)
    params = {"seed": seed, "nthread": 1, "tree_method": "exact", "max_depth": 4, **params}
    booster = xgboost.train(params, xgboost.DMatrix(x, label=label(signal)), rounds)
    booster.save_model(HERE / f"{name}.json")

    shown = x[:SHOWN].copy()
    # Rows that are exactly on a threshold, and one with nothing known.
    for i, cut in enumerate(booster.trees_to_dataframe()["Split"].dropna()[:10]):
        shown[i, :] = np.float32(cut)
    shown[-1, :] = np.nan
    matrix = xgboost.DMatrix(shown)
    expect = {
        "rows": [[None if np.isnan(v) else float(v) for v in row] for row in shown],
        "margin": booster.predict(matrix, output_margin=True).tolist(),
        "prediction": booster.predict(matrix).tolist(),
        "contribs": booster.predict(matrix, pred_contribs=True).tolist(),
    }
    (HERE / f"{name}.expect.json").write_text(json.dumps(expect) + "\n")


def binary(signal):
    return (signal > 0.7).astype(np.float32)


def real(signal):
    return signal.astype(np.float32)


def positive(signal):
    return np.exp(signal / 2).astype(np.float32)


def share(signal):
    return (1 / (1 + np.exp(-signal))).astype(np.float32)


make("logistic_missing", 1, 12, binary, missing=0.3, objective="binary:logistic")
make("logistic_base", 2, 6, binary, objective="binary:logistic", base_score=0.07)
make("logitraw_base", 3, 4, binary, objective="binary:logitraw", base_score=0.3)
make("reglogistic", 4, 4, share, objective="reg:logistic", base_score=0.9)
make("squarederror", 5, 8, real, missing=0.1, objective="reg:squarederror")
make("squarederror_base", 6, 4, real, objective="reg:squarederror", base_score=-3.25)
make("squaredlogerror", 7, 4, positive, objective="reg:squaredlogerror")
make("pseudohubererror", 8, 4, real, objective="reg:pseudohubererror")
make("absoluteerror", 9, 4, real, objective="reg:absoluteerror")
make("gamma", 10, 4, positive, objective="reg:gamma", base_score=1.7)
make("tweedie", 11, 4, positive, objective="reg:tweedie", base_score=0.6)
make("deep", 12, 2, real, missing=0.1, objective="reg:squarederror", max_depth=14, min_child_weight=0, reg_lambda=0)
make("lossguide", 13, 2, real, objective="reg:squarederror", tree_method="hist", grow_policy="lossguide", max_depth=0,
     max_leaves=40)
make("single_leaf", 14, 3, binary, objective="binary:logistic", gamma=1e6)
make("pruned", 15, 4, binary, objective="binary:logistic", gamma=1.5, max_depth=6)
make("forest", 16, 2, binary, objective="binary:logistic", num_parallel_tree=4, subsample=0.6, learning_rate=1)
