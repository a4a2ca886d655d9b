"""Blend all recommenders at hand, weighted by what users of a validation part chose next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.blend.scorer import BlendScorer, leading_part, rating_source
from lakerank.recommend.blend.solver import learn
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, ModelSpec, NoSettings, Recommender, SavedModel
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.models.user_histories import Biases, Histories
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint

VALIDATION_USERS = 2_000  # whose last rating is held out; more change the weights little
SEED = 0
GROUPS = ("no", "1 to 5", "6 to 20", "more than 20")  # of users, by their number of ratings; the edges of the weights

Fit = Callable[[Data, BlockStore], Recommender]


def make_spec(name: str, parts: Mapping[str, ModelSpec]) -> ModelSpec:
    """Return the specification of a blend of these models."""

    def fit(data: Data, store: BlockStore, settings: NoSettings | None = None, /) -> ArrayModel:
        chosen = {name: part for name, part in parts.items() if data.items is not None or not part.needs_items}
        weights = learn_weights(chosen, {name: part.fit for name, part in chosen.items()}, data, store)
        fitted = {name: part.fit(data, store.below(name)) for name, part in chosen.items()}
        return build_blend(chosen, fitted, weights, data, store)

    def load(saved: SavedModel, data: Data, store: BlockStore) -> ArrayModel:
        params: Mapping[str, Mapping[str, Any]] = saved.params["parts"]
        weights = saved.params.get("weights")
        if weights is None:
            refits = {name: partial(parts[name].refit, own) for name, own in params.items()}
            weights = learn_weights(parts, refits, data, store.below("learning"))
        models = {
            name: parts[name].load(SavedModel(saved.tables, own), data, store.below(name))
            for name, own in params.items()
        }
        blend = build_blend(parts, models, weights, data, store)
        return replace(blend, saved_params={**blend.saved_params, "runs": saved.params.get("runs", {})})

    def remarks(params: Mapping[str, Any]) -> list[str]:
        missing = [name for name in parts if name not in params["parts"]]
        lines = [f"{name} goes without {', '.join(missing)}: not in the lake"] if missing else []
        for group, weights in zip(GROUPS, params["weights"], strict=True):
            each = ", ".join(f"{part} {weight:.2f}" for part, weight in zip(params["parts"], weights, strict=True))
            lines.append(f"weights for users with {group} ratings: {each}")
        return lines

    relations = {relation.name: relation for part in parts.values() for relation in part.relations}
    return ModelSpec(name, fit, load, relations=tuple(relations.values()), parts=parts, remarks=remarks)


def learn_weights(
    specs: Mapping[str, ModelSpec], fits: Mapping[str, Fit], data: Data, store: BlockStore
) -> NDArray[np.float64]:
    """Return the weights (G, M) of these parts, which are fitted without the last rating of `VALIDATION_USERS` users.

    Args:
        specs: what the parts are.
        fits: how each is fitted.
        data: all ratings.
        store: for the parts; nothing of it is needed afterwards.
    """
    n_users = data.ratings.select("user_id").distinct().count()
    # By user alone: which of the ratings is held out is the split's business.
    share = F.pmod(F.xxhash64("user_id", F.lit(SEED)), F.lit(1 << 20)) < F.lit(
        int(min(1.0, VALIDATION_USERS / max(n_users, 1)) * (1 << 20))
    )
    split = split_ratings(data.ratings, data.ratings, Split("leave-one-out"), SEED)
    held = (F.col("part") == "test") & share
    parted = checkpoint(split.withColumn("part", F.when(held, "valid").otherwise("train")), store.root)
    train = parted.where("part = 'train'").drop("part")
    known = Data(train, data.items, data.tags)
    scorers = {
        name: fit(known, store.below(f"valid-{name}")).as_scorer(store.below(name)) for name, fit in fits.items()
    }
    targets = parted.where("part = 'valid'").select("user_id", "item_id").sort("user_id").toArrow()
    own = train.join(parted.where("part = 'valid'").select("user_id"), "user_id", "left_semi").toArrow()
    no_items = next(iter(scorers.values())).items[:0]  # nothing but scores is asked of this blend
    no_biases = (no_items, Biases(0.0, np.zeros(0), 0.0, 0.0))
    blend = BlendScorer.make(scorers, np.ones((1, len(scorers))), no_biases, raters(specs))
    users = targets.column("user_id").combine_chunks()
    block = Histories.of(users, blend.items, own)
    positions = pc.index_in(targets.column("item_id").combine_chunks(), value_set=blend.items).fill_null(-1)
    return learn(blend, block, positions.to_numpy(zero_copy_only=False).astype(np.int64))


def build_blend(
    specs: Mapping[str, ModelSpec],
    models: Mapping[str, Recommender],
    weights: ArrayLike,
    data: Data,
    store: BlockStore,
) -> ArrayModel:
    """Return the blend of fitted parts.

    Args:
        specs: what the parts are.
        models: the parts, in the order of the weights.
        weights: (G, M) from `learn_weights`.
        data: the ratings that users have given; of its items those that are rated have biases.
        store: for arrays of the parts.
    """
    training = TrainingMatrix.collect(data.ratings, store)
    biases = Biases.fit(training.block, len(training.items))
    scorers = {name: model.as_scorer(store.below(name)) for name, model in models.items()}
    weights_GM = np.asarray(weights, np.float64)
    scorer = BlendScorer.make(scorers, weights_GM, (training.items, biases), raters(specs))
    params = {"weights": weights_GM.tolist(), "parts": {name: dict(model.params()) for name, model in models.items()}}
    tables: dict[str, DataFrame] = {}
    for model in models.values():
        tables |= model.tables()
    return ArrayModel(scorer, data.ratings, scorer.biases, tables, params, leading_part, rating_source)


def raters(specs: Mapping[str, ModelSpec]) -> tuple[str, ...]:
    """Return the names of the parts whose predicted ratings the blend takes, the best first."""
    chosen = [spec for spec in specs.values() if spec.rating_priority]
    return tuple(spec.name for spec in sorted(chosen, key=lambda spec: spec.rating_priority))
