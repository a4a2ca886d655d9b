"""Content: an item is recommended for its genres, year, tags and title. It can speak of items nobody has rated.

Two methods: `model` learns from all users' ratings what features are worth and who chooses items with them;
`heuristic` compares profiles by their cosine and learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOT_NEGATIVE, POSITIVE, CheckedSettings, flag
from lakerank.lake.schemas import ITEM_PROFILES, USER_PROFILES
from lakerank.recommend.content.features import Features, from_named, make_features
from lakerank.recommend.content.scorer import LearnedContent, ProfileCosine
from lakerank.recommend.content.solver import Ratings, Taste, directions, shared_factors, shared_quality
from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, ModelSpec, SavedModel
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.models.user_histories import Biases, Histories, recency_weights
from lakerank.spark.array_store import BlockStore

NAME = "content"
METHODS = ("model", "heuristic")
SHOWN = 20  # features of a user's profile


@dataclass(frozen=True)
class ContentConfig(CheckedSettings):
    """Settings.

    Attributes:
        method: `model` or `heuristic`.
        factors: directions of choice, K.
        reg: L2 weight of the features that choices are explained by, per rated item.
        reg_quality: L2 weight of the features that ratings are explained by, in items.
        recency: see `recency_weights`; 0 takes old ratings for as good as new ones.
    """

    method: str = flag(
        "model", "model: learned from all users' ratings; heuristic: cosine of profiles", choices=list(METHODS)
    )
    factors: int = flag(64, "model: directions of choice, K", within=POSITIVE)
    reg: float = flag(0.1, "model: L2 weight for choices, per rated item", within=POSITIVE)
    reg_quality: float = flag(100.0, "model: L2 weight for ratings, in items", within=POSITIVE)
    recency: float = flag(0.3, "power by which older ratings count less; 0: all alike", within=NOT_NEGATIVE)


@dataclass(frozen=True)
class ContentModel(ArrayModel):
    """An `ArrayModel` whose tables are made when they are asked for."""

    def tables(self) -> Mapping[str, DataFrame]:
        """Return `item_profiles`, and `user_profiles` of the users at hand."""
        scorer = self.scorer
        assert isinstance(scorer, LearnedContent | ProfileCosine)
        spark = self.history.sparkSession
        return {
            ITEM_PROFILES.name: spark.createDataFrame(_item_rows(scorer)),
            USER_PROFILES.name: spark.createDataFrame(_user_rows(scorer, self.history)),
        }


def fit(data: Data, store: BlockStore, settings: ContentConfig | None = None, /) -> ContentModel:
    """Read the catalogue's features and, by `method`, learn from the ratings; on the driver.

    Raises:
        UserError: there is no catalogue, or no rating.
    """
    config = settings or ContentConfig()
    if data.items is None:
        raise UserError("content needs the table `items`: run ingest_ratings with a source that lists its items")
    training = TrainingMatrix.collect(data.ratings, store)
    tags = None if data.tags is None else data.tags.select("item_id", "tag").toArrow()
    items = data.items.select("item_id", "title", "year", "genres").toArrow()
    features = make_features(items, tags, training.items)
    block = _moved(training, features.items)
    learned = learn(block, features, config) if config.method == "model" else {}
    return _model(block, features, learned, data.ratings, store, config)


def learn(block: Histories, features: Features, config: ContentConfig) -> dict[str, Any]:
    """Return the arguments of `LearnedContent.make` but for `typical`.

    Args:
        block: all training ratings; positions are positions in the catalogue.
        features: of the catalogue.
        config: settings.
    """
    ratings = Ratings(block.starts, block.positions, block.ratings.astype(np.float64))
    mean, quality_I = shared_quality(ratings, features.x_IF, config.reg_quality)
    left = Ratings(block.starts, block.positions, ratings.values - mean - quality_I[block.positions])
    taste = Taste.learn(left, features.z_ID)
    rated = np.bincount(block.positions, minlength=len(features.items)) > 0
    v_IK = directions(block.matrix(np.ones(len(block.positions)), len(features.items)), config.factors)
    q_IK = shared_factors(features.x_IF, v_IK, rated, config.reg)
    return {"mean": mean, "quality": quality_I, "taste": taste, "directions": v_IK, "factors": q_IK}


def load(saved: SavedModel, data: Data, store: BlockStore) -> ContentModel:
    """Return the model with the profiles that were saved, and the biases and popularity of the ratings at hand."""
    params = dict(saved.params)
    rows = saved.tables[ITEM_PROFILES.name].toArrow()
    columns = {name: rows.column(name).combine_chunks() for name in rows.column_names}
    named = (columns[name].to_pylist() for name in ("features", "weights"))
    features = from_named(columns["item_id"], params.pop("names"), *named)
    order = pc.sort_indices(columns["item_id"])
    learned = dict(params.pop("learned", {}))
    if learned:
        learned["quality"] = columns["quality"].take(order).to_numpy()
        learned["taste"] = Taste(np.array(learned.pop("precision")), learned.pop("noise"))
        for name in ("directions", "factors"):
            flat = columns[name].take(order).flatten().to_numpy()
            learned[name] = flat.reshape(len(order), -1)
    training = TrainingMatrix.collect(data.ratings, store)
    config = ContentConfig(**params["settings"])
    return _model(_moved(training, features.items), features, learned, data.ratings, store, config)


def _moved(training: TrainingMatrix, items: pa.Array) -> Histories:
    """Return the training ratings by position in the catalogue."""
    return training.block.reindex(pc.index_in(training.items, value_set=items).fill_null(-1).to_numpy())


def _model(
    block: Histories,
    features: Features,
    learned: dict[str, Any],
    history: DataFrame,
    store: BlockStore,
    config: ContentConfig,
) -> ContentModel:
    biases = Biases.fit(block, len(features.items))
    scorer = make_scorer(block, features, learned, biases, store, config)
    params: dict[str, Any] = {"settings": asdict(config), "names": list(features.names)}
    if learned:
        taste = learned["taste"]
        params["learned"] = {"mean": learned["mean"], "precision": taste.precision.tolist(), "noise": taste.noise}
    return ContentModel(scorer, history, biases, {}, params)


def make_scorer(
    block: Histories,
    features: Features,
    learned: dict[str, Any],
    biases: Biases,
    store: BlockStore,
    config: ContentConfig,
) -> LearnedContent | ProfileCosine:
    """Return the scorer of `config.method`, out of the training ratings and what `learn` returned."""
    n_items = len(features.items)
    if config.method == "heuristic":
        counts = np.bincount(block.positions, minlength=n_items)
        return ProfileCosine.make(NAME, features, biases, counts, store, config.recency)
    chosen = block.matrix(recency_weights(block, config.recency), n_items)
    typical = np.asarray(chosen.sum(axis=0)).ravel() @ learned["directions"] / max(len(block), 1)
    return LearnedContent.make(NAME, features, store, config.recency, typical=typical, **learned)


def _item_rows(scorer: LearnedContent | ProfileCosine) -> pa.Table:
    """Return the `item_profiles` relation."""
    names, values = scorer.features().named()
    n = len(scorer.items)
    quality, parts = np.zeros(n), {"directions": np.empty((n, 0)), "factors": np.empty((n, 0))}
    if isinstance(scorer, LearnedContent):
        quality = np.asarray(scorer.arrays["quality"])
        parts = {"directions": scorer.arrays["directions"], "factors": scorer.arrays["factors_KI"].T}
    lists = {name: pa.array(list(np.ascontiguousarray(part)), pa.list_(pa.float64())) for name, part in parts.items()}
    return pa.table(
        {
            "item_id": scorer.items,
            "features": pa.array(names, pa.list_(pa.string())),
            "weights": pa.array(values, pa.list_(pa.float64())),
            "quality": pa.array(quality),
            **lists,
        }
    )


def _user_rows(scorer: LearnedContent | ProfileCosine, history: DataFrame) -> pa.Table:
    """Return the `user_profiles` relation: the features of largest weight for each user."""
    rows = history.select("user_id", "item_id", "rating").toArrow()
    ids = rows.column("user_id").combine_chunks().unique()
    block = Histories.of(ids.take(pc.sort_indices(ids)), scorer.items, rows)
    names, values = [], []
    for _, weights, labels in scorer.tastes(block):
        best = np.lexsort((np.array(labels), -np.abs(weights)))[:SHOWN]
        kept = [k for k in best.tolist() if weights[k]]
        names.append([labels[k] for k in kept])
        values.append([float(weights[k]) for k in kept])
    return pa.table(
        {
            "user_id": block.users,
            "ratings": pa.array(block.counts),
            "features": pa.array(names, pa.list_(pa.string())),
            "weights": pa.array(values, pa.list_(pa.float64())),
        }
    )


def format_profiles(profiles: DataFrame, n_users: int = 3, n_features: int = 6) -> Iterator[str]:
    """Yield lines that say what the first few users of `user_profiles` like."""
    for row in profiles.sort("user_id").limit(n_users).collect():
        pairs = list(zip(row["features"], row["weights"], strict=True))[:n_features]
        liked = ", ".join(f"{name} {weight:+.2f}" for name, weight in pairs)
        yield f"user {row['user_id']} ({row['ratings']} ratings): {liked}"


SPEC = ModelSpec(
    NAME, fit, load, ContentConfig, (ITEM_PROFILES, USER_PROFILES), "content", needs_items=True, rating_priority=2
)
