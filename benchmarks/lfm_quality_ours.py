"""Our models in bench_lfm_quality.py: trained as the job does it, and asked for each test rating."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lfm_quality_folds import Part, as_array, as_frame
from numpy.typing import NDArray
from pyspark.sql import functions as F

from lakerank.recommend.latent_factors.build_blocks import unpack_ids
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.latent import LatentFactors
from lakerank.recommend.latent_factors.predictions import predictions
from lakerank.recommend.latent_factors.train import Trained, train
from lakerank.spark.array_store import BlockStore


def run_ours(
    train_on: Part, test: Part, settings: Mapping[str, Any], scratch: Path
) -> tuple[NDArray[np.float32], float]:
    """Train ours; return predictions and seconds, those of block building among them.

    A model with time effects gets the test ratings along, which it only scores: its factor tables alone do not say
    what a day changes, the blocks do.
    """
    config, store = LfmConfig(**settings), BlockStore.open(str(scratch), "scratch")
    rows = as_frame(train_on).withColumn("part", F.lit("train"))
    if config.time:
        rows = rows.unionByName(as_frame(test).withColumn("part", F.lit("test")))
    rows = rows.drop("row").cache()
    rows.count()
    begun = time.perf_counter()
    trained = train(rows, config, store)
    trained.item_factors.count()
    seconds = time.perf_counter() - begun
    if trained.ratings.days:
        guess = held_out(trained, train_on, test)
    else:
        model = LatentFactors(trained.user_factors, trained.item_factors, trained.mean, trained.low, trained.high)
        guess = as_array(model.predict(as_frame(test)), train_on)
    rows.unpersist()
    return guess, seconds


def held_out(trained: Trained, train_on: Part, test: Part) -> NDArray[np.float32]:
    """Predict the test ratings from their blocks, which know them by user, item (−1: unknown) and day."""
    data, found = trained.ratings, {}
    for p, q in itertools.product(range(data.blocks), repeat=2):
        block = data.get("test", p, q)
        if block is None:
            continue
        guess = np.mean([predictions(run, state, "test", p, q) for run, state in trained.states], axis=0)
        users, items = (unpack_ids(data.store.get(f"ids/{key}")).to_numpy() for key in (f"user-{p}", f"item-{q}"))
        keys = zip(_named(users, block["rows"]), _named(items, block["cols"]), block["days"].tolist(), strict=True)
        found.update(zip(keys, np.clip(guess, trained.low, trained.high).tolist(), strict=True))
    user, item = (
        np.where(np.isin(mine, theirs), mine, -1).tolist()
        for mine, theirs in ((test.user, train_on.user), (test.item, train_on.item))
    )
    wanted = zip(user, item, (test.second // 86400).tolist(), strict=True)
    return np.array([found[key] for key in wanted], np.float32)


def _named(ids: NDArray[np.int64], positions: NDArray[np.int32]) -> list[int]:
    """Return the ids of positions within a block, −1 for position −1."""
    return np.where(positions < 0, -1, ids[positions]).tolist()
