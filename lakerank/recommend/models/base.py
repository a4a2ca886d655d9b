"""What a recommender is: how it is fitted, asked, kept and found again (`tests/contracts/test_models.py`).

There are two levels. A `Scorer` knows plain arrays only: for a block of users with what they have rated it scores all
items. A `Recommender` answers in frames. `array_model.ArrayModel` makes the second out of the first, so a new model is
a `Scorer`, a function that fits it, one that loads it, and a line in `MODELS` (`registry.py`). Jobs keep models and
find them again by `lake/recommender_tables.py`.

Shape suffixes: U users of a block, I items, N items asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from lakerank.lake.schemas import Relation
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Data:
    """What a model may learn from.

    Attributes:
        ratings: the `ratings` relation.
        items, tags: those relations, where the lake has them. A model that needs them raises `UserError` without.
    """

    ratings: DataFrame
    items: DataFrame | None = None
    tags: DataFrame | None = None


@dataclass(frozen=True)
class Reason:
    """One summand of a score.

    Attributes:
        source: what it comes from, in words, e.g. `linear`, `item bias`.
        because: position of the rated item it comes from; −1 if it comes from none.
        value: how much of the score it is.
    """

    source: str
    because: int
    value: float


class Scorer(Protocol):
    """A fitted model on plain arrays. It is pickled into workers: large arrays belong in a `Kept` (`kept.py`).

    Attributes:
        name: what it is called where a prediction or recommendation says where it comes from.
        items: (I) ids, ascending: the catalogue that it ranks; positions of histories are positions in it.
        known: bool (I), the items it has learned something of.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def items(self) -> pa.Array:
        """See the class."""
        ...

    @property
    def known(self) -> NDArray[np.bool_]:
        """See the class."""
        ...

    def serves(self, block: Histories) -> NDArray[np.bool_]:
        """(U) whose scores are personal; the others get the fallback, the same for everybody."""
        ...

    def scores(self, block: Histories) -> Floats:
        """(U, I) finite numbers that the items are ranked by, also for users without ratings. A user's row must not
        depend on who else is in the block."""
        ...

    def ratings(self, block: Histories) -> Floats:
        """(U, I) finite predicted ratings, not yet clipped to the scale. A model that only ranks gives
        μ + b_u + b_i (`biases.py`)."""
        ...

    def likeness(self, places: NDArray[np.int64]) -> Floats:
        """(N, I) how alike items are to those at `places`; −∞ where that is not known, and for an item with itself."""
        ...

    def explain(self, block: Histories, row: int, place: int) -> list[Reason]:
        """The summands of `scores(block)[row, place]`; they add up to it (1e-5 of the largest)."""
        ...


class Recommender(Protocol):
    """What every model can do with frames."""

    def predict(self, pairs: DataFrame) -> DataFrame:
        """Add `prediction` (double, on the rating scale, never null or NaN) and `source` to (user_id, item_id).

        `source` is the scorer's name, or of the fallbacks `user bias` (unknown item), `item bias` (unknown user) and
        `mean`. Rows may repeat and have other columns.
        """
        ...

    def score(self, pairs: DataFrame) -> DataFrame:
        """Add `score` (double, never null or NaN) to (user_id, item_id): what `recommend` ranks by. An item the model
        knows nothing of gets `array_model.UNKNOWN_ITEM`, less than all others."""
        ...

    def recommend(self, users: DataFrame, seen: DataFrame, top: int, allowed: DataFrame | None = None) -> DataFrame:
        """The `recommendations` relation for (user_id), distinct, without the pairs in `seen`.

        Args:
            users: frame (user_id), distinct; unknown ones are served by a fallback, which `reason` names.
            seen: frame (user_id, item_id) to leave out.
            top: how many; fewer come back if fewer are left. Equal scores are ordered by item id.
            allowed: frame (item_id) of the only items to choose from; None allows all.
        """
        ...

    def explain(self, recommendations: DataFrame, most: int = 5) -> DataFrame:
        """The `explanations` relation for (user_id, rank, item_id), as `recommend` returned them."""
        ...

    def similar(self, items: DataFrame, top: int) -> DataFrame:
        """The `similar_items` relation for (item_id): the `top` most alike others, best first; unknown items and
        models without such a notion bring no rows."""
        ...

    def with_ratings(self, ratings: DataFrame) -> Recommender:
        """The same model, asked about users who have rated this (the `ratings` relation): for newcomers, and for
        strong generalisation. What was learned about items stays."""
        ...

    def tables(self) -> Mapping[str, DataFrame]:
        """What to keep, by the relation's name; `Kind.load` takes it back."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Numbers and settings to keep with the tables, fit for JSON."""
        ...


@dataclass(frozen=True)
class Stored:
    """A model as it was kept: frames by the relation's name, and facts."""

    tables: Mapping[str, DataFrame]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A line of `MODELS`.

    Attributes:
        fit: learns from data; the store is a folder all workers see, and must stay while the model is in use.
            Settings of the model are keyword arguments of its own `fit`; here they have their defaults.
        refit: the same with the settings in `facts`, of a model that was kept.
        load: the model that was kept, asked about the users in `data.ratings`.
        relations: the tables it is kept in.
        producer: the job that keeps it.
    """

    fit: Callable[[Data, BlockStore], Recommender]
    load: Callable[[Stored, Data, BlockStore], Recommender]
    refit: Callable[[Mapping[str, Any], Data, BlockStore], Recommender] | None = None
    relations: tuple[Relation, ...] = ()
    producer: str = "recommend"
