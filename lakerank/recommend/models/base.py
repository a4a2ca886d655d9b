"""Define what a recommender is: how it is fitted, asked, saved and loaded (`tests/contracts/test_models.py`).

There are two levels. A `Scorer` knows plain arrays only: for a block of users with what they have rated it scores all
items. A `Recommender` answers in frames. `array_model.ArrayModel` makes the second out of the first, so a new model is
a module with a `Scorer`, a function that fits it, one that loads it and its `ModelSpec`, and a line in `registry.py`.
`store.py` saves models in the lake and finds them again.

Shape suffixes: U users of a block, I items, N items asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from lakerank.cli.settings import CheckedSettings
from lakerank.lake.schemas import Relation
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Data:
    """The inputs that a model may learn from.

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
    """A fitted model on plain arrays. It is pickled into workers: large arrays belong in `MemmapArrays`.

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

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with personal scores, bool (U); the others get the fallback that all share."""
        ...

    def scores(self, block: Histories) -> Floats:
        """Return the scores that items are ranked by, (U, I), finite, also for users without ratings.

        A user's row must not depend on the other users of the block.
        """
        ...

    def ratings(self, block: Histories) -> Floats:
        """Return the predicted ratings, (U, I), finite, not yet clipped to the scale. A model that only ranks gives
        μ + b_u + b_i (`biases.py`)."""
        ...

    def item_similarity(self, positions: NDArray[np.int64]) -> Floats:
        """Return the similarity of items to those at `positions`, (N, I); −∞ where that is not known, and for an item
        itself."""
        ...

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return the summands of `scores(block)[row, position]`; they add up to it (1e-5 of the largest)."""
        ...


class Recommender(Protocol):
    """A model's operations on frames."""

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
        """Return the `recommendations` relation for (user_id), distinct, without the pairs in `seen`.

        Args:
            users: frame (user_id), distinct; unknown ones are served by a fallback, which `reason` names.
            seen: frame (user_id, item_id) to leave out.
            top: how many; fewer come back if fewer are left. Equal scores are ordered by item id.
            allowed: frame (item_id) of the only items to choose from; None allows all.
        """
        ...

    def explain(self, recommendations: DataFrame, most: int = 5) -> DataFrame:
        """Return the `explanations` relation for (user_id, rank, item_id), as `recommend` returned them."""
        ...

    def similar(self, items: DataFrame, top: int) -> DataFrame:
        """Return the `similar_items` relation for (item_id): the `top` most alike others, best first; unknown items and
        models without such a notion bring no rows."""
        ...

    def with_ratings(self, ratings: DataFrame) -> Recommender:
        """Return this model for users with these histories (the `ratings` relation): for newcomers, and for strong
        generalisation. Everything learned about items stays."""
        ...

    def as_scorer(self, store: BlockStore) -> Scorer:
        """Return the scorer, this model on arrays; large ones go to the store."""
        ...

    def tables(self) -> Mapping[str, DataFrame]:
        """Return the tables to save, by the relation's name; `ModelSpec.load` takes it back."""
        ...

    def params(self) -> Mapping[str, Any]:
        """Return the parameters to save beside the tables, fit for JSON: numbers, and `settings` as a mapping."""
        ...


@dataclass(frozen=True)
class SavedModel:
    """A model as it was saved.

    Attributes:
        tables: frames by the relation's name.
        params: what `Recommender.params` said.
        run_id: of the run that saved it; empty if nothing needs saving.
    """

    tables: Mapping[str, DataFrame]
    params: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""


@dataclass(frozen=True)
class NoSettings(CheckedSettings):
    """Settings of a model that has none."""


class Fit(Protocol):
    """How a model learns."""

    def __call__(self, data: Data, store: BlockStore, settings: Any = None, /) -> Recommender:
        """Return a model fitted to the data.

        Args:
            data: what to learn from.
            store: a folder that all workers see; it must stay while the model is in use.
            settings: of the class `ModelSpec.settings`; None takes the defaults.
        """
        ...


def _no_remarks(params: Mapping[str, Any]) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class ModelSpec:
    """All that jobs, the blend, the evaluation and the contract suite know of a model (`registry.py`).

    Attributes:
        name: what it is called in the registry and on command lines.
        fit: see `Fit`.
        load: the model that was saved, asked about the users in `data.ratings`.
        settings: class of its settings; `params()["settings"]` are its fields.
        relations: the tables it is saved in; a model without any is fitted instead of loaded, and needs no job.
        producer: the job that saves it.
        needs_items: whether it learns from `items`.
        blended: whether it is a part of the blend unless other parts are named.
        rating_priority: where it stands among the parts whose predicted ratings the blend takes, from 1; 0: it is none.
        personal: whether what it recommends depends on the user.
        knows_similar: whether it can name similar items.
        ranks_by_value: whether its scores follow how high items were rated, not only which were.
        parts: for a blend, the models in it.
        remarks: lines to print about a fitted model, out of its `params()`.
    """

    name: str
    fit: Fit
    load: Callable[[SavedModel, Data, BlockStore], Recommender]
    settings: type[Any] = NoSettings
    relations: tuple[Relation, ...] = ()
    producer: str = "recommend"
    needs_items: bool = False
    blended: bool = True
    rating_priority: int = 0
    personal: bool = True
    knows_similar: bool = True
    ranks_by_value: bool = False
    parts: Mapping[str, ModelSpec] = field(default_factory=dict)
    remarks: Callable[[Mapping[str, Any]], Sequence[str]] = _no_remarks

    def refit(self, params: Mapping[str, Any], data: Data, store: BlockStore) -> Recommender:
        """Return a model fitted with the settings of one that was saved."""
        return self.fit(data, store, self.settings(**params.get("settings", {})))
