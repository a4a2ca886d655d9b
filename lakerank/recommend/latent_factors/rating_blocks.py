"""Ratings as B × B blocks by user and item, with the ids of their rows: what every iterative recommender trains on.

Blocks are kept in a `BlockStore`, so that an epoch ships only their names, and a second run on the same table starts
at once. The order within a block is a hash of user and item: it does not depend on the order in which Spark delivers
the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from lakerank.recommend.latent_factors.build_blocks import Building
from lakerank.spark.array_store import Block, BlockStore
from lakerank.spark.session import cores

# A worker sorts the ratings of its user block in memory when blocks are built.
MOST_RATINGS_PER_USER_BLOCK = 20_000_000
# Below this a worker finishes sooner (10 ms) than Spark starts the next one (100 ms).
FEWEST_RATINGS_PER_USER_BLOCK = 250_000


@dataclass(frozen=True)
class RatingBlocks:
    """Where the blocks are, and what they hold. Users and items are numbered by sorted id; number n stands in block
    n mod B at place n div B.

    Attributes:
        root: folder of the store.
        blocks: B.
        n_users, n_items: of the training ratings; a held-out rating of anyone else has place −1.
        counts: number of ratings by part.
        mean, deviation, low, high: of the training ratings.
        days: whether each rating's day is kept, for time effects.
        edges: days that divide the training ratings into parts of equal size, ascending; for an item's time bins.
    """

    root: str
    blocks: int
    n_users: int
    n_items: int
    counts: dict[str, int]
    mean: float
    deviation: float
    low: float
    high: float
    days: bool
    edges: tuple[int, ...] = ()

    @property
    def store(self) -> BlockStore:
        """The blocks: `ratings/PART-P-Q` and `ids/SIDE-P`."""
        return BlockStore(self.root)

    @property
    def held(self) -> tuple[str, ...]:
        """The parts held out that have ratings."""
        return tuple(part for part in ("valid", "test") if self.counts.get(part))

    def size(self, side: str) -> int:
        """Number of users or items."""
        return self.n_users if side == "user" else self.n_items

    def rows(self, side: str, p: int) -> int:
        """Number of users or items in block p."""
        return len(range(p, self.size(side), self.blocks))

    def get(self, part: str, p: int, q: int) -> Block | None:
        """The ratings of users p with items q: `rows`, `cols` (int32, −1 unknown), `ratings` (float32), `tiles`
        (int64 boundaries), and `days` (int32) if kept. None if there are none.
        """
        key = f"ratings/{part}-{p}-{q}"
        return self.store.get(key) if self.store.has(key) else None


def _block_count(spark: SparkSession, ratings: int) -> int:
    """One user block per core, fewer where they would be tiny, more where they would not fit a worker."""
    useful = min(cores(spark), ratings // FEWEST_RATINGS_PER_USER_BLOCK)
    return max(useful, -(-ratings // MOST_RATINGS_PER_USER_BLOCK))


def prepare(ratings: DataFrame, store: BlockStore, wanted: int = 0, days: bool = False, bins: int = 30) -> RatingBlocks:
    """Number users and items, cut the ratings into blocks and store them; a stored set is used again.

    Args:
        ratings: the `ratings` relation with `part` (see `splits`).
        store: where blocks go; it belongs to one set of ratings and one way to split them.
        wanted: B; 0 takes one per core, fewer for few ratings, more for very many.
        days: keep each rating's day, if the ratings have times.
        bins: number of parts that `edges` divide the training ratings into.

    Raises:
        UserError: there are no training ratings.
    """
    spark, days, build = ratings.sparkSession, days and "rated_at" in ratings.columns, None
    known = store.read_json("facts.json")
    if known is None:
        build = Building(store.below("raw").root, days)
        known = {"n": build.take(ratings)}
        store.write_json("facts.json", known)
    aim = wanted or _block_count(spark, known["n"])
    part = store.below(f"{aim}-blocks-{bins}-bins" if days else f"{aim}-blocks")
    noted = part.read_json("blocks.json")
    if noted is None:
        part.drop_where(lambda _: True)  # may be half there
        if build is None:
            build = Building(store.below("raw").root, days)
            build.take(ratings)
        noted = build.cut(spark, part, aim, bins)
        part.write_json("blocks.json", noted)
    if build is not None:
        store.drop("raw")
    return RatingBlocks(root=part.root, **(noted | {"edges": tuple(noted["edges"])}))
