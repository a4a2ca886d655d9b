"""Published models as a server and an export read them: tables of one publication, and arrays made of them once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable, GetSpark
from lakerank.lake.publications import Publication, Publications, located
from lakerank.lake.schemas import ITEM_FACTORS, ITEMS, LINEAR_WEIGHTS, RATINGS, SIMILAR_ITEMS, USER_FACTORS, Relation
from lakerank.lake.table_log import TableLog
from lakerank.recommend.latent_factors.als import gram_of
from lakerank.recommend.latent_factors.build_blocks import pack_ids
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.models.top_n import longest_vector
from lakerank.recommend.models.user_histories import Biases, Histories, items_of
from lakerank.recommend.serving.model import ServedModel
from lakerank.spark.array_cache import cached, remove_leftovers, trim
from lakerank.spark.array_store import Block, BlockStore

Factors = Mapping[str, tuple[pa.Array, NDArray[np.float32], NDArray[np.float32]]]
FORMAT = 1  # of the arrays; another one is made anew
CACHE_BYTES = 20e9
_IDLE_SECONDS = 300.0  # a feed of ratings makes a version a minute; what is mapped survives its removal
SERVED: Mapping[str, tuple[Relation, ...]] = {
    "lfm": (USER_FACTORS, ITEM_FACTORS),
    "linear": (LINEAR_WEIGHTS,),
    "neighbors": (SIMILAR_ITEMS,),
}
_WEIGHT_COLUMNS = {"linear": "weight", "neighbors": "similarity"}
_RATING_COLUMNS = ("user_id", "item_id", "rating", "rated_at")


@dataclass(frozen=True)
class PublishedModel:
    """The tables of a model that one publication names, with the ratings and items that go with them.

    Attributes:
        name: of the model.
        publication: which names the tables.
        tables: of the model, and `ratings` and `items` where they are there, opened at their versions.
        marks: of the commits that made their rows.
    """

    name: str
    publication: Publication
    tables: Mapping[str, ArrowTable]
    marks: Mapping[str, str]

    @classmethod
    def find(cls, lake: str, name: str, get_spark: GetSpark) -> PublishedModel | None:
        """Find the newest publication of a model; None if there is none.

        Raises:
            UserError: a table that it names is gone, or there is no such model to serve.
        """
        if name not in SERVED:
            raise UserError(
                f"--model {name}: served are {', '.join(SERVED)}; `recommend --model {name}` writes a table"
            )
        published = Publications.read(lake, get_spark)
        newest = published.newest(name)
        if newest is None:
            return None
        tables = {}
        for relation in SERVED[name]:
            member = newest.table(relation)
            if member is None:
                raise UserError(f"{lake}: `{name}` has no `{relation.name}`: run {relation.producer} again")
            tables[relation.name] = ArrowTable(published.member(member, relation), relation, get_spark)
        source = next((member for member in newest.sources if member.name == RATINGS.name), None)
        places = {RATINGS: located(lake, source.place) if source else "", ITEMS: ""}
        for relation, place in places.items():
            found = ArrowTable.find(published.table(relation, place), relation, get_spark)
            if found is not None:
                tables[relation.name] = found
        marks = {name: TableLog(table.ref, get_spark).mark(table.rows_version) for name, table in tables.items()}
        return cls(name, newest, tables, marks)

    @property
    def key(self) -> str:
        """What tells these versions of the tables from others."""
        versions = {name: [table.identity, table.version] for name, table in self.tables.items()}
        made_from = [self.name, self.publication.stamp, versions, self.marks, FORMAT]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:20]

    def mapped(self, cache_dir: str) -> ServedModel:
        """Map its arrays, made first if no process has done so yet.

        Args:
            cache_dir: folder for arrays.
        """
        parent = BlockStore.open(cache_dir, "--cache-dir")
        remove_leftovers(parent)
        block = cached(parent.below(self.key), "arrays", self._arrays)
        trim(parent, CACHE_BYTES, {self.key}, _IDLE_SECONDS)
        catalogue = self.tables.get(ITEMS.name)
        rows = None if catalogue is None else catalogue.read(ITEMS.names)
        return ServedModel.of(self.name, self.publication, block, rows)

    def _arrays(self) -> Block:
        ratings = self.tables.get(RATINGS.name)
        rated = None if ratings is None else ratings.read(_RATING_COLUMNS)
        block, items, users = (self._factors if self.name == "lfm" else self._weights)(rated)
        if rated is None:
            rated = pa.table({"user_id": users[:0], "item_id": items[:0], "rating": pa.array([], pa.float32())})
        own = rated.column("user_id").combine_chunks().unique().cast(users.type)
        trained = len(users)
        more = own.filter(pc.invert(pc.is_in(own, value_set=users)))
        every = pa.concat_arrays([users, more])
        order = pc.sort_indices(every)
        every = every.take(order)
        histories = Histories.of(every, items, rated)
        biases = Biases.fit(histories, len(items))
        counts = np.bincount(histories.positions, minlength=len(items))
        at = order.to_numpy().astype(np.int64)
        return {
            **block,
            **{f"item-{name}": values for name, values in pack_ids(items).items()},
            **{f"user-{name}": values for name, values in pack_ids(every).items()},
            "trained": np.where(at < trained, at, -1),
            "starts": histories.starts,
            "positions": histories.positions,
            "ratings": histories.ratings,
            "seconds": histories.seconds,
            "rating_bias": biases.of_items,
            "scale": np.array([biases.mean, biases.low, biases.high]),
            "popularity": counts / max(counts.max(initial=0), 1),
            "counts": counts,
        }

    def _factors(self, rated: pa.Table | None) -> tuple[Block, pa.Array, pa.Array]:
        found: dict[str, NDArray[Any]] = {}
        ids = {}
        for side, relation in (("user", USER_FACTORS), ("item", ITEM_FACTORS)):
            rows = factor_rows(self.tables[relation.name].read(relation.names), f"{side}_id")
            ids[side], found[f"{side}_factors"], found[f"{side}_bias"] = rows
        q_IK = found.pop("item_factors")
        ranks = LfmConfig.from_mapping(self.publication.settings["params"]["settings"]).ranks
        if ranks:
            q = q_IK.astype(np.float64)
            return (
                {"q": q, "gram": gram_of(q), "item_bias": found["item_bias"].astype(np.float64)},
                ids["item"],
                (ids["user"][:0]),
            )
        vectors = np.column_stack([q_IK, found["item_bias"]]).astype(np.float32)
        arrays = {"p": found["user_factors"], "user_bias": found["user_bias"], "vectors": vectors}
        return arrays | {"longest": np.array([longest_vector(vectors)])}, ids["item"], ids["user"]

    def _weights(self, rated: pa.Table | None) -> tuple[Block, pa.Array, pa.Array]:
        if rated is None:
            raise UserError(f"`{self.name}` recommends by what users have rated, and there is no table `ratings`")
        relation, value = SERVED[self.name][0], _WEIGHT_COLUMNS[self.name]
        rows, items = self.tables[relation.name].read(("item_id", "other_id", value)), items_of(rated)
        at = [
            pc.index_in(_flat(rows.column(name)).cast(items.type), value_set=items) for name in ("other_id", "item_id")
        ]
        kept = pc.and_(pc.is_valid(at[0]), pc.is_valid(at[1]))
        other, item = (column.filter(kept).to_numpy() for column in at)
        values = _flat(rows.column(value)).filter(kept).to_numpy(zero_copy_only=False).astype(np.float32)
        n = len(items)
        matrix = sparse.coo_matrix((values, (other, item)), shape=(n, n)).tocsr()
        matrix.sort_indices()
        arrays = {"w_starts": matrix.indptr.astype(np.int64), "w_positions": matrix.indices.astype(np.int32)}
        return arrays | {"w_values": matrix.data}, items, _flat(rated.column("user_id"))[:0]


def read_factors(lake: str, get_spark: GetSpark) -> tuple[Publication, Factors]:
    """Read the factors of the newest `lfm` model: its publication, and for `user` and `item` ids, factors and biases.

    Args:
        lake: where the tables are; they are read at the versions that one publication names.
        get_spark: gives a session for tables of a catalog.

    Raises:
        UserError: there is no model, or a table of it is gone.
    """
    published = Publications.read(lake, get_spark)
    newest = published.newest("lfm")
    if newest is None:
        raise UserError(f"{lake} has no model `lfm`: run lfm first")
    found = {}
    for side, relation in (("user", USER_FACTORS), ("item", ITEM_FACTORS)):
        member = newest.table(relation)
        if member is None:
            raise UserError(f"{lake}: `lfm` has no `{relation.name}`: run lfm again")
        table = ArrowTable(published.member(member, relation), relation, get_spark)
        found[side] = factor_rows(table.read(relation.names), f"{side}_id")
    return newest, found


def factor_rows(table: pa.Table, key: str) -> tuple[pa.Array, NDArray[np.float32], NDArray[np.float32]]:
    """Return ids, ascending, factors (N, K) and biases (N) of a table of factors."""
    rows = table.sort_by(key)
    ids, lists = _flat(rows.column(key)), _flat(rows.column("factors"))
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return ids, flat.reshape(len(ids), -1 if len(ids) else 1), rows.column("bias").to_numpy().astype(np.float32)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
