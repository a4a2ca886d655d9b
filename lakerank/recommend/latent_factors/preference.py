"""Rank by preferences behind clicks and counts: users are folded in from what they have seen, with the model's loss.

Users' factors are not read from a table but solved for from their ratings at hand: x = A⁻¹ Σ w q_j over the items j
they have seen (`als.py`). So newcomers and what was seen a minute ago count at once, and the score of an item i is a
sum over what the user has seen, Σ_j w·q_iᵀA⁻¹q_j, which explains it (Hu, Koren and Volinsky 2008, section 5). What was
chosen long ago counts as chosen to a share only, and as unseen to the rest, where that ranks better (`recency`).

Shape suffixes: U users of a block, I items, K factors, P ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.settings import flag
from lakerank.lake.schemas import ITEM_FACTORS, USER_FACTORS
from lakerank.recommend.latent_factors import bpr
from lakerank.recommend.latent_factors.als import LEAST_RIDGE, fold_in_users, gram_of, observations, ridges
from lakerank.recommend.latent_factors.config import RANKING, LfmConfig
from lakerank.recommend.latent_factors.train import train
from lakerank.recommend.models.array_model import ArrayModel, default_sources
from lakerank.recommend.models.base import Data, ModelSpec, Reason, SavedModel, Scorer
from lakerank.recommend.models.training_matrix import MemmapArrays
from lakerank.recommend.models.user_histories import (
    ITEM_PRIOR,
    POPULARITY_SHARE,
    Biases,
    Histories,
    recency_weights,
)
from lakerank.spark.array_store import BlockStore

NAME = "ials"
_FIRST_NUMBER = 1e-12


@dataclass(frozen=True)
class PreferenceScorer:
    """A `Scorer`.

    Attributes:
        items: (I) ids of the items in training, ascending.
        arrays: `q` float64 (I, K), the items' factors; `gram` float64 (K, K), Σ q qᵀ.
        config: settings of the training.
        biases: of the ratings at hand: predicted ratings, which the model itself has none of.
        popularity: float64 (I), ratings of each item over the most that one has; orders what is left equal.
        name: see `Scorer`.
        rates: whether it predicts ratings of its own.
    """

    items: pa.Array
    arrays: MemmapArrays | Mapping[str, NDArray[Any]]
    config: LfmConfig
    biases: Biases
    popularity: NDArray[np.float64]
    name: str = "latent factors"
    rates: bool = False

    @property
    def known(self) -> NDArray[np.bool_]:
        """A mask of the known items, bool (I): all, as others have no factors."""
        return np.ones(len(self.items), np.bool_)

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with ratings, bool (U)."""
        return np.asarray(block.counts > 0)

    def users(self, block: Histories) -> NDArray[np.float64]:
        """Solve for the factors of users, (U, K); zeros for those without ratings."""
        q_IK = np.asarray(self.arrays["q"])
        return fold_in_users(self.config, block, q_IK, np.asarray(self.arrays["gram"]))

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return the preferences x·q, (U, I), and a millionth of the popularity."""
        return np.asarray(self.users(block) @ np.asarray(self.arrays["q"]).T + POPULARITY_SHARE * self.popularity)

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """Return the predicted ratings μ + b_u + b_i, (U, I)."""
        return self.biases.ratings(block)

    def item_similarity(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines of the factors, (N, I)."""
        q = np.asarray(self.arrays["q"])
        q = q / np.maximum(np.linalg.norm(q, axis=1), _FIRST_NUMBER)[:, None]
        like = q[positions] @ q.T
        like[np.arange(len(positions)), positions] = -np.inf
        return np.asarray(like)

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return one summand w·q_iᵀA⁻¹q_j for each item j seen; see the module."""
        one, q_IK = block.part(row, row + 1), np.asarray(self.arrays["q"])
        popular = Reason("popularity", -1, float(POPULARITY_SHARE * self.popularity[position]))
        if not len(one.positions):
            return [popular]
        weights, targets, _ = observations(self.config, one.ratings.astype(np.float64))
        shares = recency_weights(one, self.config.recency or 0.0)
        weights, targets = weights * shares, targets * shares
        seen = np.asarray(q_IK[one.positions])
        preferred = one.ratings > 0 if self.config.reg_scale == "ratings" else one.ratings == one.ratings
        ridge = ridges(self.config, np.array([shares[preferred].sum()]), len(q_IK))[0]
        a = self.config.unobserved * np.asarray(self.arrays["gram"]) + (seen.T * weights) @ seen
        a[np.diag_indices(len(a))] += ridge + least_ridge(a)
        free = np.ones(len(a), np.bool_)
        if self.config.nonnegative:  # of these the constraint holds the others at 0
            free = self.users(one)[0] > 0
        pull = np.linalg.solve(a[np.ix_(free, free)], q_IK[position][free])
        values = targets * (seen[:, free] @ pull)
        found = [Reason(self.name, int(one.positions[p]), float(values[p])) for p in np.flatnonzero(values)]
        return [*found, popular]


@dataclass(frozen=True)
class PairwiseScorer(PreferenceScorer):
    """A `Scorer` of a model that was trained on pairs (`bpr`); `arrays` has `item_bias` float64 (I), too."""

    def users(self, block: Histories) -> NDArray[np.float64]:
        """Descend to the factors of users, (U, K); zeros for those without ratings."""
        q_IK, bias_I = (np.asarray(self.arrays[name], np.float32) for name in ("q", "item_bias"))
        return bpr.fold_in(self.config, block.starts, block.positions, block.ratings, q_IK, bias_I).astype(np.float64)

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return x·q and the items' biases, (U, I), and a millionth of the popularity."""
        return np.asarray(super().scores(block) + np.asarray(self.arrays["item_bias"]))

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return the product of the factors, the item's bias and its share of the popularity: no sum over items."""
        fit = float(self.users(block.part(row, row + 1))[0] @ np.asarray(self.arrays["q"])[position])
        return [
            Reason(self.name, -1, fit),
            Reason("item bias", -1, float(self.arrays["item_bias"][position])),
            Reason("popularity", -1, float(POPULARITY_SHARE * self.popularity[position])),
        ]


def preference_model(
    users: DataFrame,
    items: DataFrame,
    params: Mapping[str, Any],
    ratings: DataFrame,
    store: BlockStore,
    saved: bool = True,
) -> ArrayModel:
    """Return the recommender of factors that were trained for ranking, asked about the users in `ratings`.

    Args:
        users, items: tables of factors (id, bias, factors).
        params: as `LatentFactors.params` gives them; `settings` are those of the training.
        ratings: the `ratings` relation: what users have seen.
        store: a folder that all workers see.
        saved: whether the factors are tables to be saved.
    """
    table = items.select("item_id", "factors", "bias").sort("item_id").toArrow()
    ids = table.column("item_id").combine_chunks()
    lists = table.column("factors").combine_chunks()
    q_IK = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(ids), -1)
    biases, popularity = _item_statistics(ratings, ids)
    bias_I = table.column("bias").to_numpy().astype(np.float64)
    placed = MemmapArrays.put(store, "preferences", q=q_IK, gram=gram_of(q_IK), item_bias=bias_I)
    config = LfmConfig.from_mapping(params["settings"])
    kind = PreferenceScorer if config.by_least_squares else PairwiseScorer
    scorer = kind(ids, placed, config, biases, popularity)
    tables = {USER_FACTORS.name: users, ITEM_FACTORS.name: items} if saved else {}
    return ArrayModel(scorer, ratings, biases, tables, dict(params), sources=_sources)


@dataclass(frozen=True)
class IalsConfig(LfmConfig):
    """Settings of the recommender `ials`: those of training with another default model."""

    model: str = flag("ials", "what to train", choices=list(RANKING))


def fit(data: Data, store: BlockStore, settings: LfmConfig | None = None, /) -> ArrayModel:
    """Train on all of the ratings."""
    config = LfmConfig.from_mapping(asdict(settings or IalsConfig()))
    trained = train(data.ratings.withColumn("part", F.lit("train")), config, store.below(NAME))
    params = {"settings": asdict(trained.config)}
    return preference_model(trained.user_factors, trained.item_factors, params, data.ratings, store, saved=False)


def load(saved: SavedModel, data: Data, store: BlockStore) -> ArrayModel:
    """Train: nothing is saved of it. What `lfm --model ials` has saved is the recommender `lfm`."""
    return fit(data, store)


def _item_statistics(ratings: DataFrame, items: pa.Array) -> tuple[Biases, NDArray[np.float64]]:
    """Compute the biases of items and how popular they are, (I), in one job."""
    rating = F.col("rating").cast("double")
    found = (
        ratings.groupBy("item_id")
        .agg(
            F.count("*").alias("n"),
            F.sum(rating).alias("total"),
            F.min(rating).alias("low"),
            F.max(rating).alias("high"),
        )
        .sort("item_id")
        .toArrow()
    )
    if not found.num_rows:
        return Biases(0.0, np.zeros(len(items)), 0.0, 0.0), np.zeros(len(items))
    n, total, low, high = (found.column(name).to_numpy() for name in ("n", "total", "low", "high"))
    mean = float(total.sum() / n.sum())
    at = pc.index_in(items, value_set=found.column("item_id").combine_chunks()).fill_null(-1).to_numpy()
    of_items = np.append((total - n * mean) / (n + ITEM_PRIOR), 0.0)[at]
    popularity = np.append(n / n.max(), 0.0)[at]
    return Biases(mean, of_items, float(low.min()), float(high.max())), popularity


def _sources(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    """Return the sources of the predictions: preferences rank; ratings are predicted by biases alone."""
    found = default_sources(scorer, block, rows, positions)
    return ["user and item bias" if word == scorer.name else word for word in found]


def least_ridge(a: NDArray[np.float64]) -> float:
    """Return what the solver adds to the diagonal so that every system can be solved."""
    return float(LEAST_RIDGE * np.trace(a) / len(a) + 1e-30)


SPEC = ModelSpec(NAME, fit, load, IalsConfig, producer="lfm", blended=False)
