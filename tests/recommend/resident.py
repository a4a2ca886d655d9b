"""Rating blocks and training without Spark: the same functions that workers run, in this process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from lakerank.recommend.latent_factors import als, gibbs, sgd
from lakerank.recommend.latent_factors.build_blocks import arrange, pack_ids
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.run_state import RatingBlocks, Run, make_layouts
from lakerank.recommend.latent_factors.train import _kept_epochs, _load_progress, _train_epochs
from lakerank.spark.array_store import BlockStore, in_process


def blocks_of(folder: Path, parts: dict[str, tuple], blocks: int = 1, bins: int = 4) -> RatingBlocks:
    """Blocks of {part: (users, items, ratings[, days])}, numbers from 0; held-out strangers are −1."""
    store = BlockStore.open(str(folder), "")
    users, items, ratings, *days = (np.asarray(column) for column in parts["train"])
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1
    for side, n in (("user", n_users), ("item", n_items)):
        for p in range(blocks):
            store.put(f"ids/{side}-{p}", pack_ids(pa.array(np.arange(p, n, blocks))))
    empty = set()
    for part, columns in parts.items():
        u, i, r, *d = (np.asarray(column) for column in columns)
        for p in range(blocks):
            for q in range(blocks):
                mine = (u % blocks == p) & (i % blocks == q)
                if mine.any():
                    own = (column[mine] for column in (u.astype(np.int32), i.astype(np.int32), r))
                    store.put(f"ratings/{part}-{p}-{q}", arrange(*own, blocks, n_items, d[0][mine] if d else None))
                else:
                    empty.add(f"{part}-{p}-{q}")
    return RatingBlocks(
        root=store.root,
        blocks=blocks,
        n_users=n_users,
        n_items=n_items,
        counts={part: len(columns[0]) for part, columns in parts.items()},
        mean=float(ratings.mean()),
        deviation=float(ratings.std()),
        low=float(ratings.min()),
        high=float(ratings.max()),
        days=bool(days),
        edges=tuple(int(edge) for edge in np.quantile(days[0], np.arange(1, bins) / bins)) if days else (),
        empty=frozenset(empty),
    )


def trained(folder: Path, data: RatingBlocks, config: LfmConfig) -> tuple[Run, list, list[int]]:
    """Train; returns the run, its curve, and the epochs whose factors make the model."""
    run = Run(config, data, BlockStore.open(str(folder), "").root)
    runner = partial(in_process, data.blocks)
    if not run.store.has("epoch-0") and not _load_progress(run)[0]:
        if run.needs_layouts:
            runner(partial(make_layouts, data))
        (als if config.by_least_squares else gibbs if config.bayesian else sgd).start(run, runner)
    _train_epochs(run, runner, float("inf"))
    history, best = _load_progress(run)
    return run, history, _kept_epochs(config, history, best)
