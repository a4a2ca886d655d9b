"""Recommend from an ordinary frame of ratings: `Neighbors(user_col="who").fit(ratings).recommend(top=5)`.

Frames go in as Spark DataFrames, pandas DataFrames or Arrow tables, with the user's own column names, and come out as
Spark DataFrames with these names. A frame that does not fit raises `UserError`, which names the column. Models from a
lake, and models kept in one, are the jobs' business (docs/recommenders.md).
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakerank.cli.errors import UserError
from lakerank.lake.input_files import quoted
from lakerank.recommend.models.base import Data, ModelSpec, Recommender
from lakerank.recommend.models.registry import model_spec
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.ml_persistence import workspace
from lakerank.spark.session import get_spark

Frame = Any  # a Spark or pandas DataFrame, or an Arrow table
OUTPUT = ("rank", "score", "reason", "prediction", "source", "similarity", "support", "position", "contribution")


@dataclass(frozen=True)
class RatingColumns:
    """The names of the columns of ratings.

    Attributes:
        user, item: ids, whole numbers or text.
        rating: any number.
        rated_at: a timestamp, a date or whole seconds since 1970; None: there are no times.
    """

    user: str
    item: str
    rating: str
    rated_at: str | None

    def __post_init__(self) -> None:
        named = [name for name in (self.user, self.item, self.rating, self.rated_at) if name is not None]
        if twice := [name for name in named if named.count(name) > 1]:
            raise UserError(f"column `{twice[0]}` is named for two things: user, item, rating and time are different")
        for flag, name in (("user_col", self.user), ("item_col", self.item)):
            if name in OUTPUT:
                raise UserError(f"{flag}: `{name}` is a column of the result: rename it in the frame")


class Estimator:
    """A recommender that can be fitted to ratings.

    Args:
        user_col, item_col: columns of ids, whole numbers or text.
        rating_col: column of ratings, numbers.
        rated_at_col: column of times (timestamp, date or whole seconds since 1970); None: there are none, and old
            ratings count as much as new ones.
        scratch: folder that all workers mount, for arrays of the model; empty takes this machine's temporary folder.
        settings: of the model, see the class's table in docs/recommenders.md.

    Raises:
        UserError: a setting is unknown, of the wrong type or out of its range.
    """

    model = ""

    def __init__(
        self,
        *,
        user_col: str = "user_id",
        item_col: str = "item_id",
        rating_col: str = "rating",
        rated_at_col: str | None = None,
        scratch: str = "",
        **settings: Any,
    ) -> None:
        self.columns = RatingColumns(user_col, item_col, rating_col, rated_at_col)
        self.scratch = scratch
        self.spec = self._spec()
        self.settings = self.spec.settings.from_values(settings, type(self).__name__)

    def _spec(self) -> ModelSpec:
        return model_spec(self.model)

    def fit(self, ratings: Frame, items: Frame | None = None, tags: Frame | None = None) -> FittedRecommender:
        """Return a model fitted to the ratings.

        Of several ratings of one item by one user the newest counts; of equally new ones, or without times, the
        highest.

        Args:
            ratings: frame with the columns named; others are ignored.
            items: frame with the item column and any of `title` (string), `year` (whole number) and `genres` (array of
                strings), for models that look at content.
            tags: frame with the item column and `tag` (string).

        Raises:
            UserError: a frame has no rows, or a column is missing, of the wrong type, or empty where it must not be.
        """
        if self.spec.needs_items and items is None:
            raise UserError(f"{type(self).__name__} learns from what items are about: give fit(ratings, items=…)")
        spark = _session(ratings)
        resources = ExitStack()
        try:
            store = resources.enter_context(workspace(spark, self.scratch, "scratch"))
            rated = _read_ratings(_spark_frame(spark, ratings, "ratings"), self.columns, store)
            item, item_type = self.columns.item, dict(rated.dtypes)["item_id"]
            data = Data(
                rated,
                None if items is None else _read_items(_spark_frame(spark, items, "items"), item, item_type),
                None if tags is None else _read_tags(_spark_frame(spark, tags, "tags"), item, item_type),
            )
            model = self.spec.fit(data, store.below("model"), self.settings)
        except BaseException:
            resources.close()
            raise
        return FittedRecommender(type(self).__name__, self.spec, model, rated, self.columns, resources)


class Popular(Estimator):
    """Recommends what most users have rated, the same to everybody."""

    model = "popular"


class Neighbors(Estimator):
    """Recommends what is rated by the same users as what a user has rated."""

    model = "neighbors"


class Linear(Estimator):
    """Recommends what a regression on all that a user has rated says (EASE)."""

    model = "linear"


class Ials(Estimator):
    """Recommends by factors fitted to who has clicked, played or bought what, and how often (implicit feedback)."""

    model = "ials"


class Content(Estimator):
    """Recommends what has the genres, years, tags and words of what a user has rated, also items nobody has rated."""

    model = "content"


class Blend(Estimator):
    """Recommends by several models together, weighted by what users chose next.

    Args:
        parts: names of the models, as `recommend --model` takes them; None takes all that are made for it.
        settings: as of every `Estimator`; the parts have their defaults.
    """

    model = "blend"

    def __init__(self, parts: Sequence[str] | None = None, **settings: Any) -> None:
        self.parts = "" if parts is None else ",".join(parts)
        super().__init__(**settings)

    def _spec(self) -> ModelSpec:
        return model_spec(self.model, self.parts)


class FittedRecommender:
    """A fitted model. Its arrays lie in a folder that is removed by `close`, or when Python ends; frames that it has
    returned can be read until then."""

    def __init__(
        self,
        name: str,
        spec: ModelSpec,
        model: Recommender,
        ratings: DataFrame,
        columns: RatingColumns,
        resources: ExitStack,
    ) -> None:
        self._name, self._spec, self._model, self._ratings = name, spec, model, ratings
        self._columns, self._resources = columns, resources
        self._types = dict(ratings.dtypes)
        atexit.register(resources.close)

    def recommend(
        self,
        users: Frame | Iterable[Any] | None = None,
        top: int = 10,
        exclude_seen: bool = True,
        items: Frame | Iterable[Any] | None = None,
    ) -> DataFrame:
        """Return the best items of each user: columns user, `rank` (from 1), item, `score`, `reason`.

        Args:
            users: frame with the user column, or ids; unknown ones are served by what is popular. None: all who rated.
            top: items for each; fewer come back if fewer are left.
            exclude_seen: leave out what the user has rated.
            items: frame with the item column, or ids, of the only items to choose from.

        Raises:
            UserError: a frame does not fit, or `top` is not above 0.
        """
        asked = self._ratings.select("user_id") if users is None else self._ids(users, "user")
        allowed = None if items is None else self._ids(items, "item")
        seen = self._ratings.select("user_id", "item_id")
        rows = self._model.recommend(asked.distinct(), seen if exclude_seen else seen.limit(0), _above_0(top), allowed)
        return rows.select(self._named("user"), "rank", self._named("item"), "score", "reason")

    def predict(self, pairs: Frame) -> DataFrame:
        """Return the rating of each pair of user and item: columns user, item, `prediction` (on the rating scale, never
        null) and `source`, what it comes from.

        Raises:
            UserError: the frame does not fit.
        """
        frame = _spark_frame(self._spark, pairs, "pairs")
        user, item = self._columns.user, self._columns.item
        asked = frame.select(
            _id(frame, "pairs", user, self._types["user_id"]).alias("user_id"),
            _id(frame, "pairs", item, self._types["item_id"]).alias("item_id"),
        )
        _no_nulls(asked, "pairs", {"user_id": user, "item_id": item})
        rows = self._model.predict(asked)
        return rows.select(self._named("user"), self._named("item"), "prediction", "source")

    def similar(self, items: Frame | Iterable[Any], top: int = 10) -> DataFrame:
        """Return the items most similar to each: columns item, `rank`, `other_` + item, `similarity`.

        Args:
            items: frame with the item column, or ids; unknown ones bring no rows.
            top: how many for each.

        Raises:
            UserError: the frame does not fit, or the model knows of no similarity.
        """
        if not self._spec.knows_similar:
            raise UserError(f"{self._name} knows of no similar items: take another model")
        rows = self._model.similar(self._ids(items, "item"), _above_0(top))
        other = F.col("other_id").alias(f"other_{self._columns.item}")
        return rows.select(self._named("item"), "rank", other, "similarity")

    def explain(self, recommendations: DataFrame, most: int = 5) -> DataFrame:
        """Return the summands of each score: columns user, `rank`, `position` (of the summand, from 1), `source`,
        `because_` + item (the rated item it comes from, or null) and `contribution`; they add up to the score.

        Args:
            recommendations: what `recommend` returned, or some rows of it.
            most: summands named; more than these become one, `all else`.

        Raises:
            UserError: the frame does not fit.
        """
        frame = _spark_frame(self._spark, recommendations, "recommendations")
        user, item = self._columns.user, self._columns.item
        rows = self._model.explain(
            frame.select(
                _id(frame, "recommendations", user, self._types["user_id"]).alias("user_id"),
                _number(frame, "recommendations", "rank").cast("int").alias("rank"),
                _id(frame, "recommendations", item, self._types["item_id"]).alias("item_id"),
            ),
            _above_0(most),
        )
        because = F.col("because_id").alias(f"because_{item}")
        return rows.select(self._named("user"), "rank", "position", "source", because, "contribution")

    def close(self) -> None:
        """Remove the model's arrays; it cannot be asked afterwards."""
        atexit.unregister(self._resources.close)
        self._resources.close()

    def __enter__(self) -> FittedRecommender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _spark(self) -> SparkSession:
        return self._ratings.sparkSession

    def _named(self, side: str) -> Column:
        return F.col(f"{side}_id").alias(getattr(self._columns, side))

    def _ids(self, given: Frame | Iterable[Any], side: str) -> DataFrame:
        """Read ids of users or items, from a frame with their column or from values, as the model has them."""
        what, name, kind = f"{side}s", getattr(self._columns, side), self._types[f"{side}_id"]
        if not _is_frame(given):
            given = _arrow_of_values(given, what, name, kind)
        frame = _spark_frame(self._spark, given, what)
        ids = frame.select(_id(frame, what, name, kind).alias(f"{side}_id"))
        _no_nulls(ids, what, {f"{side}_id": name})
        return ids


def _is_frame(given: Any) -> bool:
    return isinstance(given, DataFrame | pa.Table | pa.RecordBatch) or _is_pandas(given)


def _is_pandas(given: Any) -> bool:
    return type(given).__module__.startswith("pandas.") and type(given).__name__ == "DataFrame"


def _session(frame: Frame) -> SparkSession:
    """Return the session of a Spark frame, or the active one, or a new one."""
    if isinstance(frame, DataFrame):
        return frame.sparkSession
    return SparkSession.getActiveSession() or get_spark("lakerank", "", "")


def _spark_frame(spark: SparkSession, frame: Frame, what: str) -> DataFrame:
    if isinstance(frame, DataFrame):
        return frame
    if not _is_frame(frame):
        raise UserError(f"{what}: must be a Spark DataFrame, a pandas DataFrame or an Arrow table, not {type(frame)}")
    try:
        if _is_pandas(frame):
            frame = pa.Table.from_pandas(frame, preserve_index=False)
        elif isinstance(frame, pa.RecordBatch):
            frame = pa.Table.from_batches([frame])
        return spark.createDataFrame(frame)
    except (pa.ArrowException, PySparkException, TypeError, ValueError) as error:
        raise UserError(f"{what}: Spark cannot take this frame: {' '.join(str(error).split())[:300]}") from error


def _arrow_of_values(values: Iterable[Any], what: str, name: str, kind: str) -> pa.Table:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UserError(f"{what}: must be a frame with the column `{name}`, or a list of ids, not {values!r}")
    listed = [value.item() if hasattr(value, "item") else value for value in values]  # NumPy's numbers, too
    wanted = int if kind == "bigint" else str
    if wrong := [value for value in listed if not isinstance(value, wanted) or isinstance(value, bool)]:
        raise UserError(f"{what}: {wrong[0]!r} is no id: those of `{name}` are {kind}")
    return pa.table({name: pa.array(listed, pa.int64() if kind == "bigint" else pa.string())})


def _column(frame: DataFrame, what: str, name: str) -> tuple[Column, T.DataType]:
    """Return a column and its type.

    Raises:
        UserError: there is none of that name, or more than one.
    """
    if frame.columns.count(name) != 1:
        problem = "stands there twice" if name in frame.columns else "is missing"
        raise UserError(f"{what}: column `{name}` {problem}; the frame has {', '.join(frame.columns) or 'no columns'}")
    return quoted(name), frame.schema[name].dataType


def _id(frame: DataFrame, what: str, name: str, kind: str = "") -> Column:
    """Return a column of ids as bigint or string; `kind` is the type it must have."""
    column, given = _column(frame, what, name)
    if isinstance(given, T.IntegralType):
        found = "bigint"
    elif isinstance(given, T.StringType | T.VarcharType | T.CharType):
        found = "string"
    else:
        raise UserError(
            f"{what}: column `{name}` is {given.simpleString()}, but ids are whole numbers or text: cast it "
            "(whole numbers with gaps become double in pandas)"
        )
    if kind and found != kind:
        raise UserError(f"{what}: column `{name}` is {found}, but the ids of the ratings are {kind}: cast it")
    return column.cast(found)


def _number(frame: DataFrame, what: str, name: str) -> Column:
    column, given = _column(frame, what, name)
    if not isinstance(given, T.NumericType):
        raise UserError(f"{what}: column `{name}` is {given.simpleString()}, but must be a number: cast it")
    return column


def _time(frame: DataFrame, what: str, name: str) -> Column:
    column, given = _column(frame, what, name)
    if isinstance(given, T.IntegralType):
        return F.timestamp_seconds(column)
    if isinstance(given, T.TimestampType | T.TimestampNTZType | T.DateType):
        return column.cast("timestamp")
    raise UserError(
        f"{what}: column `{name}` is {given.simpleString()}, but must be a timestamp, a date or whole seconds since "
        "1970"
    )


def _no_nulls(frame: DataFrame, what: str, names: dict[str, str]) -> None:
    """Raise UserError if there is a null in a column; `names` has what the user calls it."""
    counts = frame.agg(*(F.count_if(F.col(column).isNull()).alias(column) for column in names)).collect()[0]
    for column, name in names.items():
        if counts[column]:
            raise UserError(f"{what}: column `{name}` is empty in {counts[column]} rows: drop them first")


def _above_0(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n <= 0:
        raise UserError(f"the number of rows wanted must be a whole number above 0, not {n!r}")
    return n


def _read_ratings(frame: DataFrame, columns: RatingColumns, store: BlockStore) -> DataFrame:
    """Read the `ratings` relation: one row for each user and item, computed once."""
    at = F.lit(None) if columns.rated_at is None else _time(frame, "ratings", columns.rated_at)
    rows = frame.select(
        _id(frame, "ratings", columns.user).alias("user_id"),
        _id(frame, "ratings", columns.item).alias("item_id"),
        _number(frame, "ratings", columns.rating).cast("float").alias("rating"),
        at.cast("timestamp").alias("rated_at"),
    )
    unusable = F.col("rating").isNull() | F.isnan("rating") | (F.abs("rating") == float("inf"))
    counts = rows.agg(
        F.count("*").alias("rows"),
        F.count_if(F.col("user_id").isNull()).alias(columns.user),
        F.count_if(F.col("item_id").isNull()).alias(columns.item),
        F.count_if(unusable).alias(columns.rating),
    ).collect()[0]
    if not counts[0]:
        raise UserError("ratings: the frame has no rows")
    words = ("is empty", "is empty", "is empty or not a finite number")
    for n, name, problem in zip(counts[1:], (columns.user, columns.item, columns.rating), words, strict=True):
        if n:
            raise UserError(f"ratings: column `{name}` {problem} in {n} rows: drop them first")
    best = F.max(F.struct("rated_at", "rating")).alias("best")
    one = rows.groupBy("user_id", "item_id").agg(best).select("user_id", "item_id", "best.rating", "best.rated_at")
    return checkpoint(one, store.root)


def _read_items(frame: DataFrame, item: str, item_type: str) -> DataFrame:
    """Read the `items` relation; columns that the frame lacks are null."""
    wanted: dict[str, tuple[type[T.DataType], str]] = {
        "title": (T.StringType, "string"), "year": (T.IntegralType, "int"), "genres": (T.ArrayType, "array<string>"),
    }  # fmt: skip
    if not set(wanted) & set(frame.columns):
        raise UserError(f"items: give at least one of the columns {', '.join(wanted)}: there is nothing to learn from")
    chosen = [_id(frame, "items", item, item_type).alias("item_id")]
    for name, (kind, written) in wanted.items():
        if name not in frame.columns:
            chosen.append(F.lit(None).cast(written).alias(name))
            continue
        column, given = _column(frame, "items", name)
        if not isinstance(given, kind):
            hint = ": split it, e.g. by F.split('genres', '[|]')" if name == "genres" else ": cast it"
            raise UserError(f"items: column `{name}` is {given.simpleString()}, but must be {written}{hint}")
        chosen.append(column.cast(written).alias(name))
    rows = frame.select(*chosen)
    _no_nulls(rows, "items", {"item_id": item})
    twice = rows.groupBy("item_id").count().where("count > 1").sort("item_id").first()
    if twice is not None:
        raise UserError(f"items: {twice['item_id']!r} stands in {twice['count']} rows of column `{item}`: keep one")
    return rows


def _read_tags(frame: DataFrame, item: str, item_type: str) -> DataFrame:
    """Read the item and tag of the `tags` relation."""
    tag, given = _column(frame, "tags", "tag")
    if not isinstance(given, T.StringType):
        raise UserError(f"tags: column `tag` is {given.simpleString()}, but must be string: cast it")
    return frame.select(_id(frame, "tags", item, item_type).alias("item_id"), tag.alias("tag")).dropna()
