"""One run of another recommender, in its own interpreter (see `peers.py`): `lfm_peers.py NAME FOLDER`.

FOLDER holds
    train.npz      u, i: int32 indexes from 0; r: float32 ratings (N)
    test.npz       u, i, r likewise (M); users and items that train lacks are allowed
    settings.json  keyword arguments of the function below that bears the name
and gets predictions.npy, float32 (M), clipped to the training ratings' range. The last line printed is JSON:
    seconds          training alone: no Python start, no loading, no prediction
    load_seconds     reading the npz files
    predict_seconds  predicting the test ratings
    rmse             of the test ratings
    peak_rss_mib     of the whole process

Names: libmf, surprise-svd, surprise-svdpp, myfm.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Pairs = dict[str, Any]  # u, i, r
Predict = Callable[[Pairs], Any]
Fit = Callable[[], Predict]  # what is timed


def libmf(train: Pairs, *, k: int, l2: float, epochs: int, eta: float = 0.1, threads: int = 2, bins: int = 26) -> Fit:
    """Train LIBMF (C++, SSE, per-row AdaGrad): squared loss, no biases; its own default bins and learning rate."""
    from libmf import mf  # type: ignore[import-not-found]

    model = mf.MF(
        k=k, nr_iters=epochs, lambda_p2=l2, lambda_q2=l2, lambda_p1=0.0, lambda_q1=0.0, eta=eta,
        nr_threads=threads, nr_bins=bins, quiet=True,
    )  # fmt: skip
    rows = np.column_stack([train["u"], train["i"], train["r"]]).astype(np.float32)

    def fit() -> Predict:
        model.fit(rows)
        return predict

    def predict(test: Pairs) -> Any:
        # Not MF.predict: that of 0.9.2 takes other pairs than it is given. This is what LIBMF's mf_predict does.
        p, q = model.p_factors(), model.q_factors()
        known = (test["u"] < len(p)) & (test["i"] < len(q))
        guess = np.full(len(known), np.nan, np.float32)
        guess[known] = np.einsum("nk,nk->n", p[test["u"][known]], q[test["i"][known]])
        return np.where(np.isnan(guess), np.float32(model.model.b), guess)

    return fit


def surprise(kind: str, train: Pairs, *, k: int, epochs: int, lr: float, reg: float, seed: int = 0) -> Fit:
    """Train Surprise's SVD or SVD++ (Cython, plain SGD with biases)."""
    from surprise import SVD, SVDpp  # type: ignore[import-not-found]
    from surprise.trainset import Trainset  # type: ignore[import-not-found]

    model = {"svd": SVD, "svdpp": SVDpp}[kind](n_factors=k, n_epochs=epochs, lr_all=lr, reg_all=reg, random_state=seed)
    users, u = np.unique(train["u"], return_inverse=True)
    items, i = np.unique(train["i"], return_inverse=True)
    by_user: dict[int, list[tuple[int, float]]] = {n: [] for n in range(len(users))}
    by_item: dict[int, list[tuple[int, float]]] = {n: [] for n in range(len(items))}
    for a, b, r in zip(u.tolist(), i.tolist(), train["r"].tolist(), strict=True):
        by_user[a].append((b, r))
        by_item[b].append((a, r))
    scale = (float(train["r"].min()), float(train["r"].max()))
    known_users = {int(name): n for n, name in enumerate(users)}
    known_items = {int(name): n for n, name in enumerate(items)}
    trainset = Trainset(
        by_user, by_item, len(users), len(items), len(u), scale, known_users, known_items
    )  # fmt: skip

    def fit() -> Predict:
        model.fit(trainset)
        return lambda test: np.array(
            [model.predict(a, b).est for a, b in zip(test["u"].tolist(), test["i"].tolist(), strict=True)]
        )

    return fit


def myfm(train: Pairs, *, k: int, epochs: int, kept: int = 0, implicit: str = "none", seed: int = 0) -> Fit:
    """Train myFM: Bayesian factorisation machine by Gibbs sampling (C++, one thread).

    Args:
        kept: samples averaged, the last ones; 0 keeps all but the first tenth.
        implicit: `none` (Bayesian MF), `user` (SVD++: what a user rated), `both` ("flipped": who rated an item, too).
    """
    import myfm as package  # type: ignore[import-not-found]
    from scipy import sparse  # type: ignore[import-untyped]

    n_users, n_items = int(train["u"].max()) + 1, int(train["i"].max()) + 1
    model = package.MyFMRegressor(rank=k, random_seed=seed)
    rated = sparse.csr_matrix((np.ones(len(train["u"])), (train["u"], train["i"])), shape=(n_users, n_items))

    def scaled(rows: Any) -> Any:
        return sparse.diags(1 / np.sqrt(np.maximum(rows.getnnz(axis=1), 1))) @ rows

    # One row more on each side: all zeros, for whoever is not in train.
    sides = []
    for n, other, wanted in ((n_users, rated, ("user", "both")), (n_items, rated.T.tocsr(), ("both",))):
        features = [sparse.identity(n, format="csr")] + ([scaled(other)] if implicit in wanted else [])
        rows = sparse.hstack(features, format="csr")
        sides.append((sparse.vstack([rows, sparse.csr_matrix((1, rows.shape[1]))], format="csr"), features))
    shapes = [part.shape[1] for _, features in sides for part in features]

    def relations(pairs: Pairs) -> list[Any]:
        known = zip((n_users, n_items), ("u", "i"), sides, strict=True)
        return [
            package.RelationBlock(np.where(pairs[name] < n, pairs[name], n).astype(np.int64), rows)
            for n, name, (rows, _) in known
        ]

    def fit() -> Predict:
        samples = kept or epochs - epochs // 10
        model.fit(None, train["r"], X_rel=relations(train), n_iter=epochs, n_kept_samples=samples, group_shapes=shapes)
        return lambda test: model.predict(None, X_rel=relations(test))

    return fit


def main(name: str, folder: Path) -> None:
    """Load, train, predict, print."""
    begun = time.perf_counter()
    train, test = (dict(np.load(folder / f"{part}.npz")) for part in ("train", "test"))
    load_seconds = time.perf_counter() - begun
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    if name.startswith("surprise-"):
        fit = surprise(name.removeprefix("surprise-"), train, **settings)
    else:
        fit = {"libmf": libmf, "myfm": myfm}[name](train, **settings)
    begun = time.perf_counter()
    predict = fit()
    seconds = time.perf_counter() - begun
    guess = np.clip(predict(test), train["r"].min(), train["r"].max()).astype(np.float32)
    predict_seconds = time.perf_counter() - begun - seconds
    np.save(folder / "predictions.npy", guess)
    facts = {
        "seconds": round(seconds, 3),
        "load_seconds": round(load_seconds, 3),
        "predict_seconds": round(predict_seconds, 3),
        "rmse": float(np.sqrt(np.mean((guess.astype(np.float64) - test["r"]) ** 2))),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print("\n" + json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
