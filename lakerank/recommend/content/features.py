"""Items as numbers: genres, years, tags and the words of titles.

Shape suffixes: I items, F features, D of them the dense ones that each user has an own weight for.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from lakerank.recommend.models.training_matrix import MemmapArrays
from lakerank.spark.array_store import BlockStore

_WORD = re.compile(r"[^\W_]+")
CONSTANT, TAGGED = "constant", "tagged"
GENRE, YEAR, TAG, WORD = "genre:", "year:", "tag:", "word:"
DENSE = (CONSTANT, GENRE, YEAR)
YEARS_APART = 10
# How many items must have a tag's or title's word, how many such words there may be, and what their TF-IDF counts
# beside a genre's 1; chosen on held-out items (docs/content.md).
FEWEST = {TAG: 2, WORD: 3}
MOST = {TAG: 1500, WORD: 2500}
SCALE = {TAG: 0.3, WORD: 0.4}


@dataclass(frozen=True)
class Features:
    """The catalogue.

    Attributes:
        items: (I) ids, ascending.
        names: (F) such as `genre:Comedy`, `year:1990`, `tag:pixar`, `word:toy`; the D dense ones first.
        x_IF: float64 values; rows are not normalised.
    """

    items: pa.Array
    names: tuple[str, ...]
    x_IF: sparse.csr_matrix

    @property
    def dense(self) -> int:
        """D."""
        return sum(name.startswith(DENSE) for name in self.names)

    @property
    def z_ID(self) -> sparse.csr_matrix:
        """The dense features: constant, genres, years."""
        return self.x_IF[:, : self.dense].tocsr()

    def profiles(self) -> sparse.csr_matrix:
        """Return the item profiles, (I, F): rows of length 1 for cosines, without the constant and `tagged`; a row
        without features stays 0."""
        kept = np.array([float(name not in (CONSTANT, TAGGED)) for name in self.names])
        x_IF = sparse.csr_matrix(self.x_IF @ sparse.diags(kept))
        x_IF.eliminate_zeros()
        lengths = np.sqrt(np.asarray(x_IF.multiply(x_IF).sum(axis=1)).ravel())
        return sparse.csr_matrix(sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ x_IF)

    def named(self) -> tuple[list[list[str]], list[list[float]]]:
        """Return names and values of each item's features, without the constant."""
        x, first = self.x_IF, int(self.names[:1] == (CONSTANT,))
        rows = [slice(a, b) for a, b in zip(x.indptr[:-1], x.indptr[1:], strict=True)]
        kept = [[(int(f), float(v)) for f, v in zip(x.indices[s], x.data[s], strict=True) if f >= first] for s in rows]
        return [[self.names[f] for f, _ in row] for row in kept], [[v for _, v in row] for row in kept]


def words(text: str) -> list[str]:
    """Return words of a title or tag: small letters, without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(c for c in plain if not unicodedata.combining(c)))


def make_features(items: pa.Table, tags: pa.Table | None = None, rated: pa.Array | None = None) -> Features:
    """Return features of all items.

    Args:
        items: `item_id`, `title`, `year`, `genres`.
        tags: `item_id`, `tag`; those of unknown items are left out.
        rated: ids that may be missing in `items`; they get the constant only.
    """
    ids = items.column("item_id").combine_chunks()
    everything = ids if rated is None else pa.chunked_array([ids, rated.cast(ids.type)]).combine_chunks()
    everything = everything.unique()
    everything = everything.take(pc.sort_indices(everything))
    position = pc.index_in(ids, value_set=everything).to_numpy(zero_copy_only=False)
    n = len(everything)
    genres: list[list[str]] = [[] for _ in range(n)]
    titles: list[list[str]] = [[] for _ in range(n)]
    years = np.full(n, np.nan)
    rows = zip(position.tolist(), *(items.column(c).to_pylist() for c in ("title", "year", "genres")), strict=True)
    for at, title, year, listed in rows:
        genres[at], titles[at] = list(dict.fromkeys(listed or [])), words(title or "")
        years[at] = np.nan if year is None else year
    tagged: list[list[str]] = [[] for _ in range(n)]
    if tags is not None:
        where = pc.index_in(tags.column("item_id").combine_chunks().cast(ids.type), value_set=everything)
        for at, tag in zip(where.to_pylist(), tags.column("tag").to_pylist(), strict=True):
            if at is not None:
                tagged[at] += words(tag)
    blocks = [_ones([[CONSTANT]] * n), _ones([[GENRE + g for g in row] for row in genres]), _years(years)]
    blocks += [_tf_idf(TAG, tagged), _ones([[TAGGED] if row else [] for row in tagged]), _tf_idf(WORD, titles)]
    names = tuple(name for block in blocks for name in block[0])
    return Features(everything, names, sparse.csr_matrix(sparse.hstack([x for _, x in blocks], "csr", np.float64)))


Block = tuple[list[str], sparse.csr_matrix]


def _ones(rows: Sequence[Iterable[str]]) -> Block:
    return _matrix([dict.fromkeys(row, 1.0) for row in rows])


def _years(years: NDArray[np.float64]) -> Block:
    """Place each year between two decades: 1994 is 0.6 of 1990 and 0.4 of 2000."""
    rows: list[dict[str, float]] = []
    for year in years.tolist():
        if np.isnan(year):
            rows.append({})
            continue
        decade, rest = divmod(int(year), YEARS_APART)
        share = rest / YEARS_APART
        pair = {f"{YEAR}{decade * YEARS_APART}": 1 - share, f"{YEAR}{(decade + 1) * YEARS_APART}": share}
        rows.append({name: value for name, value in pair.items() if value})
    return _matrix(rows)


def _tf_idf(kind: str, rows: Sequence[Sequence[str]]) -> Block:
    """Compute tf-idf, scaled by kind.

    (1 + ln count) · ln(1 + I / items with it) (Manning, Raghavan and Schütze 2008, chapter 6).
    """
    n_with = Counter(word for row in rows for word in set(row))
    enough = [word for word, n in n_with.items() if n >= FEWEST[kind]]
    kept = set(sorted(enough, key=lambda word: (-n_with[word], word))[: MOST[kind]])
    weight = {word: SCALE[kind] * np.log1p(len(rows) / n_with[word]) for word in kept}
    counted = [Counter(word for word in row if word in kept) for row in rows]
    return _matrix([{kind + w: (1 + np.log(c)) * weight[w] for w, c in row.items()} for row in counted])


def _matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str] | None = None) -> Block:
    listed = sorted({name for row in rows for name in row}) if names is None else list(names)
    at = {name: k for k, name in enumerate(listed)}
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    positions = np.fromiter((at[name] for row in rows for name in row), np.int32, starts[-1])
    values = np.fromiter((value for row in rows for value in row.values()), np.float64, starts[-1])
    matrix = sparse.csr_matrix((values, positions, starts), shape=(len(rows), len(listed)))
    matrix.sort_indices()
    return listed, matrix


def from_named(
    items: pa.Array, names: Sequence[str], features: Sequence[Sequence[str]], values: Sequence[Sequence[float]]
) -> Features:
    """Return features from the lists that `named` gave, for items in any order of ids, with the constant put back."""
    rows = [{CONSTANT: 1.0, **dict(zip(f, v, strict=True))} for f, v in zip(features, values, strict=True)]
    order = pc.sort_indices(items).to_numpy()
    return Features(items.take(pa.array(order)), tuple(names), _matrix([rows[k] for k in order], names)[1])


@dataclass(frozen=True)
class MemmapFeatures:
    """`Features` in a store.

    Attributes:
        arrays: features and profiles as `x_` and `p_` starts, positions, values (see `sparse.csr_matrix`).
        names: (F).
        dense: D.
        known: (I) whether an item has any feature of its own.
    """

    arrays: MemmapArrays
    names: list[str]
    dense: int
    known: NDArray[np.bool_]

    @classmethod
    def put(cls, store: BlockStore, key: str, features: Features) -> MemmapFeatures:
        """Write them; what stood under the key is replaced."""
        x, p = features.x_IF, features.profiles()
        kept = MemmapArrays.put(
            store, key,
            x_starts=x.indptr, x_positions=x.indices, x_values=x.data,
            p_starts=p.indptr, p_positions=p.indices, p_values=p.data,
        )  # fmt: skip
        own = np.diff(x.indptr) > int(CONSTANT in features.names)
        return cls(kept, list(features.names), features.dense, own)

    def features(self, items: pa.Array) -> Features:
        """Return features from stored arrays, with the ids that belong to them."""
        return Features(items, tuple(self.names), self._matrix("x"))

    @property
    def z_ID(self) -> sparse.csr_matrix:
        """The dense features, (I, D)."""
        return self._matrix("x")[:, : self.dense].tocsr()

    @property
    def profiles(self) -> sparse.csr_matrix:
        """The item profiles, (I, F); see `Features.profiles`."""
        return self._matrix("p")

    def item_similarity(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines of the profiles at `positions` with all, (N, I); −∞ where both share no feature."""
        profiles = self.profiles
        like = (profiles[positions] @ profiles.T).toarray()
        like[like <= 0] = -np.inf
        like[np.arange(len(positions)), positions] = -np.inf
        return np.asarray(like)

    def _matrix(self, which: str) -> sparse.csr_matrix:
        parts = tuple(np.asarray(self.arrays[f"{which}_{name}"]) for name in ("values", "positions", "starts"))
        return sparse.csr_matrix(parts, shape=(len(self.known), len(self.names)))
