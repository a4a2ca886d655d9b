"""implicit's ALS and BPR, and EASE, in an environment of their own (`build/peers-rec`), for `bench_implicit.py`.

FOLDER has `train.npz` and `all.npz` (users × items, scipy CSR of counts; `all` is train and valid) and `held.npz`
(CSR `valid` and `test` as `NAME-indptr`, `NAME-indices`). Each peer tries its grid on train → valid by nDCG@10; the
best is fitted to all and asked after each iteration, so that its curve over time is known; `NAME.npy` gets its ten best
unseen items of each user.

    python implicit_peers.py FOLDER [--quick] [--skip-ease]
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse

TOP, THREADS, MOST_USERS = 10, 2, 20_000
DISCOUNTS = 1 / np.log2(np.arange(2, TOP + 2))


def ndcg(scores_of, known, held):
    """Return nDCG@10 over the users with held-out items (some of many), and the ten best of each of these."""
    users = np.flatnonzero(np.diff(held.indptr))
    if len(users) > MOST_USERS:
        users = np.sort(np.random.default_rng(0).choice(users, MOST_USERS, replace=False))
    total, tops = 0.0, []
    for lo in range(0, len(users), 1000):
        mine = users[lo : lo + 1000]
        scores = np.array(scores_of(mine), np.float32)
        scores[known[mine].nonzero()] = -np.inf
        some = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(some, order, axis=1)
        tops.append(best)
        for row, user in zip(best, mine, strict=True):
            wanted = held.indices[held.indptr[user] : held.indptr[user + 1]]
            total += DISCOUNTS[np.isin(row, wanted)].sum() / DISCOUNTS[: len(wanted)].sum()
    return total / len(users), np.concatenate(tops)


def run_als(known, held, factors, reg, alpha, iterations=15):
    """Fit implicit's ALS (exact Cholesky solver); its confidence is 1 + alpha·count. Returns its curve."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=factors, regularization=reg, alpha=alpha, iterations=iterations, num_threads=THREADS, random_state=0,
        use_cg=True,
    )  # fmt: skip
    return watched(model, known, held)


def run_bpr(known, held, factors, learning_rate, reg, iterations=100):
    """Fit implicit's BPR. Returns its curve."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=factors, learning_rate=learning_rate, regularization=reg, iterations=iterations, num_threads=THREADS,
        random_state=0,
    )  # fmt: skip
    return watched(model, known, held, every=10)


def watched(model, known, held, every=1):
    """Fit, and ask after some iterations; the time for asking is not counted. Returns [[seconds, nDCG], …], tops."""
    curve, spent, tops = [], [0.0], [None]
    begun = time.perf_counter()

    def ask(iteration, *_):
        now = time.perf_counter()
        if (iteration + 1) % every == 0:
            seconds = now - begun - spent[0]
            value, tops[0] = ndcg(lambda mine: model.user_factors[mine] @ model.item_factors.T, known, held)
            curve.append([seconds, value])
        spent[0] += time.perf_counter() - now

    model.fit(known, show_progress=False, callback=ask)
    return curve, tops[0]


def run_ease(known, held, reg):
    """Solve EASE (Steck 2019), by the smaller of its two Gram matrices."""
    begun = time.perf_counter()
    x = sparse.csr_matrix(known, copy=True)
    x.data[:] = 1.0
    if x.shape[0] < x.shape[1]:
        d = x.toarray().astype(np.float64)
        hat = d.T @ np.linalg.solve(d @ d.T + reg * np.eye(len(d)), d)
        weights = hat / (1.0 - np.diag(hat))
    else:
        p = np.linalg.inv((x.T @ x).toarray().astype(np.float64) + reg * np.eye(x.shape[1]))
        weights = -p / np.diag(p)
    np.fill_diagonal(weights, 0.0)
    seconds = time.perf_counter() - begun
    value, tops = ndcg(lambda mine: x[mine] @ weights, known, held)
    return [[seconds, value]], tops


def grids(quick):
    """Name → (how to run it, its settings): nine of each; implicit's λ is that of a whole row, ours of a click."""
    als = {
        "factors": [64] if quick else [128],
        "reg": [1.0] if quick else [1.0, 5.0, 25.0],
        "alpha": [2.0, 10.0] if quick else [2.0, 5.0, 20.0],
    }
    bpr = {
        "factors": [64],
        "learning_rate": [0.05] if quick else [0.02, 0.05, 0.1],
        "reg": [0.01, 0.001] if quick else [0.1, 0.01, 0.001],
    }
    found = {
        "implicit ALS": (run_als, als),
        "implicit BPR": (run_bpr, bpr),
        "EASE": (run_ease, {"reg": [200.0] if quick else [25.0 * 2.0**n for n in range(9)]}),
    }
    return {
        name: (run, [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())])
        for name, (run, lists) in found.items()
    }


def main():
    """Run all, print one JSON line."""
    folder, quick = Path(sys.argv[1]), "--quick" in sys.argv
    train, both = (sparse.load_npz(folder / f"{name}.npz").astype(np.float32).tocsr() for name in ("train", "all"))
    packed = np.load(folder / "held.npz")
    held = {
        name: sparse.csr_matrix(
            (np.ones(len(packed[f"{name}-indices"])), packed[f"{name}-indices"], packed[f"{name}-indptr"]), train.shape
        )
        for name in ("valid", "test")
    }
    told = {}
    for name, (run, settings) in grids(quick).items():
        if name == "EASE" and "--skip-ease" in sys.argv:
            continue
        tried = [(run(train, held["valid"], **one)[0][-1][1], one) for one in settings]
        valid, best = max(tried, key=lambda pair: pair[0])
        curve, tops = run(both, held["test"], **best)
        told[name] = {"settings": best, "valid": valid, "tried": len(tried), "curve": curve}
        np.save(folder / f"{name}.npy", tops)
        print(name, best, curve[-1], file=sys.stderr, flush=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
