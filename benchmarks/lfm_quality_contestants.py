"""Who takes part in bench_lfm_quality.py, the settings each is tuned over, and how each is trained and asked.

A contestant is a function (training part, test part, settings, scratch folder) → (predictions, seconds of
training). Predictions are clipped to the range of the training ratings; whom a contestant does not know gets what
the contestant itself has for such cases, and the training mean if that is nothing (ALS says NaN).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lfm_quality_folds import Part, as_array, as_frame
from lfm_quality_ours import run_ours
from numpy.typing import NDArray
from peers import run_peer
from pyspark.ml.recommendation import ALS

Settings = Mapping[str, Any]
Outcome = tuple[NDArray[np.float32], float]
Run = Callable[[Part, Part, Settings, Path], Outcome]


@dataclass(frozen=True)
class Contestant:
    """One line of the table.

    Attributes:
        title: for people.
        run: trains and predicts.
        grid: settings to choose among on validation ratings.
        ours: whether it is ours.
    """

    title: str
    run: Run
    grid: Sequence[Settings]
    ours: bool = False


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Return all combinations of settings."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


BLOCKS = 2  # of ALS: one a core; its default of 10 only costs time on a set of this size
# Keyword arguments of LfmConfig that our models are tuned over: one setting each, the job's defaults but for the number
# of sweeps and samples.
SAMPLES = {"model": "bayesian", "epochs": 160, "average": 70}
OURS: dict[str, list[dict[str, Any]]] = {
    "ours-mf": [{}],
    "ours-svdpp": [{"model": "svdpp"}],
    "ours-timesvdpp": [{"model": "timesvdpp"}],
    "ours-bayesian-no-time": [{**SAMPLES, "time": False}],
    "ours-bayesian": [SAMPLES],
}
ALS_GRID = grid(rank=(8, 16, 32, 64), reg=(0.1, 0.15, 0.2), iterations=(10,))
SVD_GRID = grid(k=(20, 100, 200), epochs=(40, 80), lr=(0.005, 0.01), reg=(0.05, 0.1, 0.15))
# Minutes for each, so there are only three: Surprise's defaults, and two with more regularisation.
SVDPP_GRID = [
    {"k": 20, "epochs": 20, "lr": 0.007, "reg": 0.02},
    {"k": 20, "epochs": 30, "lr": 0.007, "reg": 0.05},
    {"k": 20, "epochs": 40, "lr": 0.01, "reg": 0.1},
]
LIBMF_GRID = grid(k=(32, 128, 256), l2=(0.05, 0.07, 0.1), epochs=(30, 60), eta=(0.05, 0.1))
# With K = 10 and 300 sweeps implicit feedback of both sides was better than none (0.8475 against 0.8647 on the
# validation ratings); K = 32 takes ten times as long.
MYFM_GRID = grid(k=(10,), epochs=(300,), kept=(250,), implicit=("both",))


def contestants() -> dict[str, Contestant]:
    """Return all contestants by name: peers, then ours."""
    peers = {
        "als": Contestant("MLlib ALS", run_als, ALS_GRID),
        "libmf": Contestant("LIBMF", partial(_peer, "libmf"), LIBMF_GRID),
        "surprise-svd": Contestant("Surprise SVD", partial(_peer, "surprise-svd"), SVD_GRID),
        "surprise-svdpp": Contestant("Surprise SVD++", partial(_peer, "surprise-svdpp"), SVDPP_GRID),
        "myfm": Contestant("myFM, Bayesian", partial(_peer, "myfm"), MYFM_GRID),
    }
    ours = {name: Contestant(name.replace("-", " "), run_ours, settings, ours=True) for name, settings in OURS.items()}
    return peers | ours


def _peer(name: str, train_on: Part, test: Part, settings: Settings, scratch: Path) -> Outcome:
    """Run one of `lfm_peers.py`, in a process of its own."""
    for file, part in (("train", train_on), ("test", test)):
        np.savez(scratch / f"{file}.npz", u=part.user, i=part.item, r=part.rating)
    seconds = float(run_peer(name, scratch, dict(settings))["seconds"])
    return np.load(scratch / "predictions.npy"), seconds


def run_als(train_on: Part, test: Part, settings: Settings, scratch: Path) -> Outcome:
    """Train MLlib's ALS, its ratings cached."""
    rows = as_frame(train_on).cache()
    rows.count()
    als = ALS(
        rank=settings["rank"], regParam=settings["reg"], maxIter=settings["iterations"], seed=0,
        numUserBlocks=BLOCKS, numItemBlocks=BLOCKS, userCol="user_id", itemCol="item_id",
    )  # fmt: skip
    begun = time.perf_counter()
    model = als.fit(rows)
    seconds = time.perf_counter() - begun
    guess = as_array(model.transform(as_frame(test)), train_on)
    rows.unpersist()
    return guess, seconds
