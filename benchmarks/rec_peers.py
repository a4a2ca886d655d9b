"""Top-N recommenders of others, run in an environment of their own (`build/peers-rec`) by `bench_recommenders.py`.

FOLDER has `train.npz` and `all.npz` (users × items, scipy CSR of ones; `all` is train and valid) and `held.npz`
(`valid` and `test`: the item each user is asked for, −1 for none). Each peer tries its grid on train → valid, the best
is fitted to all; `NAME.npy` gets its ten best unseen items of each user. implicit is the library; RecBole's ItemKNN,
PureSVD and EASE are their formulas in scipy, written down here.

    python rec_peers.py FOLDER [--quick]
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

TOP = 10


def best_unseen(scores, x):
    """Return the ten best unseen items of each user, equal scores by number."""
    scores = np.asarray(scores, dtype=np.float64).copy()
    scores[x.nonzero()] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :TOP]


def from_implicit(kind, **settings):
    """Recommend by one of implicit's item-item models."""

    def run(x):
        from implicit import nearest_neighbours

        model = getattr(nearest_neighbours, kind)(num_threads=2, **settings)
        model.fit(x.astype(np.float64), show_progress=False)
        positions, _ = model.recommend(
            np.arange(x.shape[0]), x.astype(np.float64), N=TOP, filter_already_liked_items=True
        )
        return positions

    return run


def recbole_item_knn(k, shrink):
    """Run RecBole 1.2 `ItemKNN`: cosine with `shrink` in the denominator, the k nearest of each item, scores X·W.

    recbole/model/general_recommender/itemknn.py, ComputeSimilarity: similarity = xᵢ·xⱼ / (‖xᵢ‖‖xⱼ‖ + shrink + 1e-6),
    the k largest of each column.
    """

    def run(x):
        dot = (x.T @ x).toarray()
        np.fill_diagonal(dot, 0.0)
        length = np.sqrt(np.asarray(x.sum(axis=0)).ravel())
        like = dot / (np.outer(length, length) + shrink + 1e-6)
        bar = -np.partition(-like, k - 1, axis=0)[k - 1]
        return best_unseen(x @ np.where(like >= bar, like, 0.0), x)

    return run


def pure_svd(k):
    """Run PureSVD (Cremonesi, Koren and Turrin 2010): X·V·Vᵀ with the k leading right singular vectors."""

    def run(x):
        _, _, vt = svds(x.astype(np.float64), k=k, random_state=0)
        return best_unseen((x @ vt.T) @ vt, x)

    return run


def ease(reg):
    """Solve EASE (Steck 2019) by the inverse of users² (Woodbury), as items are many here."""

    def run(x):
        d = x.toarray().astype(np.float64)
        m = np.linalg.inv(d @ d.T + reg * np.eye(len(d)))
        hat = d.T @ (m @ d)
        weights = hat / (1.0 - np.diag(hat))
        np.fill_diagonal(weights, 0.0)
        return best_unseen(x @ weights, x)

    return run


def grids(quick):
    """Name → list of (settings, how to run them)."""
    ks = [20, 100] if quick else [5, 20, 50, 100, 200]

    def each(make, **lists):
        return [
            (settings, make(**settings))
            for values in itertools.product(*lists.values())
            for settings in [dict(zip(lists, values, strict=True))]
        ]

    return {
        "implicit cosine": each(lambda **s: from_implicit("CosineRecommender", **s), K=ks),
        "implicit TF-IDF": each(lambda **s: from_implicit("TFIDFRecommender", **s), K=ks),
        "implicit BM25": each(
            lambda **s: from_implicit("BM25Recommender", **s),
            K=ks,
            K1=[1.2] if quick else [0.4, 1.2, 10.0, 100.0],
            B=[0.75] if quick else [0.0, 0.4, 0.8],
        ),
        "RecBole ItemKNN": each(
            recbole_item_knn,
            k=[100] if quick else [20, 50, 100, 200, 500],
            shrink=[0.0] if quick else [0.0, 10.0, 50.0],
        ),
        "PureSVD": each(pure_svd, k=[20] if quick else [5, 10, 20, 30, 50, 100, 200, 300]),
        "EASE": each(ease, reg=[200.0] if quick else [30.0, 100.0, 200.0, 400.0, 800.0]),
    }


def gain(top, held):
    """Compute nDCG@10 of one held-out item a user, and a mask of the users who count."""
    hit = top == held[:, None]
    return np.where(hit.any(axis=1), 1.0 / np.log2(hit.argmax(axis=1) + 2.0), 0.0)[held >= 0].mean()


def main():
    """Run all, print one JSON line."""
    folder, quick = Path(sys.argv[1]), "--quick" in sys.argv
    train, both = (sparse.load_npz(folder / f"{name}.npz").astype(np.float64).tocsr() for name in ("train", "all"))
    valid = np.load(folder / "held.npz")["valid"]
    told = {}
    for name, grid in grids(quick).items():
        tried = []
        for settings, run in grid:
            tried.append((float(gain(run(train), valid)), settings, run))
        score, settings, run = max(tried, key=lambda one: one[0])
        begun = time.perf_counter()
        top = run(both)
        told[name] = {"settings": settings, "valid": score, "seconds": time.perf_counter() - begun, "tried": len(grid)}
        np.save(folder / f"{name}.npy", top)
        print(name, told[name], file=sys.stderr, flush=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
