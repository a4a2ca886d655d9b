"""A blend of all recommenders at hand, weighted by what users of a validation part chose next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.blend.blend_scorer import BlendScorer, led_by, rated_by
from lakerank.recommend.blend.blend_weights import learn
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.latent_factors.latent import LatentFactors
from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, Kind, Recommender, Scorer, Stored
from lakerank.recommend.models.biases import Biases
from lakerank.recommend.models.training_matrix import Training
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint

VALIDATION_USERS = 2_000  # whose last rating is held out; more change the weights little
SEED = 0
RATERS = ("lfm", "content", "neighbors")  # whose predicted ratings the blend takes, the best first
GROUPS = ("no", "1 to 5", "6 to 20", "more than 20")  # of users, by their number of ratings; the edges of the weights
NEED_ITEMS = ("content",)  # parts that learn from `items`

Fit = Callable[[Data, BlockStore], Recommender]


def kind(parts: Mapping[str, Kind]) -> Kind:
    """The line of `MODELS` for a blend of these."""

    def fit(data: Data, store: BlockStore) -> ArrayModel:
        chosen = {name: part.fit for name, part in parts.items() if data.items is not None or name not in NEED_ITEMS}
        weights = learned(chosen, data, store)
        return assembled({name: fit(data, store.below(name)) for name, fit in chosen.items()}, weights, data, store)

    def load(stored: Stored, data: Data, store: BlockStore) -> ArrayModel:
        facts: Mapping[str, Mapping[str, Any]] = stored.facts["parts"]
        models = {
            name: parts[name].load(Stored(stored.tables, own), data, store.below(name)) for name, own in facts.items()
        }
        return assembled(models, stored.facts["weights"], data, store)

    relations = {relation.name: relation for part in parts.values() for relation in part.relations}
    return Kind(fit, load, None, tuple(relations.values()), "recommend")


def learned(parts: Mapping[str, Fit], data: Data, store: BlockStore) -> NDArray[np.float64]:
    """Weights (G, M) of these parts.

    The parts are fitted without the last rating of `VALIDATION_USERS` users.

    Args:
        parts: how each is fitted.
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
        name: scorer_of(fit(known, store.below(f"valid-{name}")), store.below(name)) for name, fit in parts.items()
    }
    targets = parted.where("part = 'valid'").select("user_id", "item_id").sort("user_id").toArrow()
    own = train.join(parted.where("part = 'valid'").select("user_id"), "user_id", "left_semi").toArrow()
    no_items = next(iter(scorers.values())).items[:0]  # nothing but scores is asked of this blend
    blend = _scorer(scorers, np.ones((1, len(scorers))), (no_items, Biases(0.0, np.zeros(0), 0.0, 0.0)))
    users = targets.column("user_id").combine_chunks()
    block = Histories.of(users, blend.items, own)
    places = pc.index_in(targets.column("item_id").combine_chunks(), value_set=blend.items).fill_null(-1)
    return learn(blend, block, places.to_numpy(zero_copy_only=False).astype(np.int64))


def assembled(models: Mapping[str, Recommender], weights: ArrayLike, data: Data, store: BlockStore) -> ArrayModel:
    """The blend of fitted parts.

    Args:
        models: the parts, in the order of the weights.
        weights: (G, M) from `learned`.
        data: the ratings that users have given; of its items those that are rated have biases.
        store: for arrays of the parts.
    """
    training = Training.collect(data.ratings, store)
    biases = Biases.fit(training.block, len(training.items))
    scorers = {name: scorer_of(model, store.below(name)) for name, model in models.items()}
    scorer = _scorer(scorers, np.asarray(weights, np.float64), (training.items, biases))
    facts = {
        "weights": np.asarray(weights).tolist(),
        "parts": {name: dict(model.facts()) for name, model in models.items()},
    }
    tables: dict[str, DataFrame] = {}
    for model in models.values():
        tables |= model.tables()
    return ArrayModel(scorer, data.ratings, scorer.biases, tables, facts, led_by, rated_by)


def scorer_of(model: Recommender, store: BlockStore) -> Scorer:
    """What a recommender knows, on arrays."""
    if isinstance(model, LatentFactors):
        return model.scorer(store)
    if isinstance(model, ArrayModel):
        return model.scorer
    raise TypeError(f"{type(model).__name__} has no scorer")


def _scorer(scorers: dict[str, Scorer], weights: NDArray[np.float64], biases: tuple[pa.Array, Biases]) -> BlendScorer:
    return BlendScorer.make(scorers, weights, biases, RATERS)
