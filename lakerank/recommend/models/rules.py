"""Apply business rules to recommendations: exclude, allow or boost items or genres, cap the number of a genre.

Rules are a table with a row for each; the job `recommend` and the web server apply them by the same code.
Shape suffixes: U users of a block, I items, N best items, G genres with a cap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import GetSpark, read_any
from lakerank.lake.schemas import whole_id
from lakerank.spark.jit import compiled

KINDS = ("exclude", "allow", "boost", "cap")
COLUMNS = ("rule", "item_id", "genre", "user_id", "value")
EACH = "*"  # of a cap: each genre by itself
BOOSTED = "boosted by a rule"
_LARGEST_BOOST = 1e6  # standard deviations; more would leave nothing of the scores themselves
_MORE = 4  # times as many items as are asked for are ranked before caps are looked at


@dataclass(frozen=True)
class Rules:
    """Rules for one catalogue.

    Attributes:
        items: (I) ids, ascending.
        hidden: bool (I), what is excluded for everybody, or not allowed.
        boost: float64 (I), standard deviations of a user's scores that are added to the item's.
        starts, groups: int64 (I + 1) and int32, which capped genres each item has.
        caps: int64 (G), items of each that a user may get.
        excluded: by user, positions of the items excluded for them alone.
    """

    items: pa.Array
    hidden: NDArray[np.bool_]
    boost: NDArray[np.float64]
    starts: NDArray[np.int64]
    groups: NDArray[np.int32]
    caps: NDArray[np.int64]
    excluded: Mapping[Any, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def only_hides(self) -> bool:
        """Whether they do nothing but hide items from everybody."""
        return not (self.boost.any() or len(self.caps) or self.excluded)

    def hide(self, users: list[Any], hidden_UI: NDArray[np.bool_]) -> None:
        """Mark what each of these users may not get, in place."""
        hidden_UI |= self.hidden
        for row, user in enumerate(users):
            if user in self.excluded:
                hidden_UI[row, self.excluded[user]] = True

    def boosted(self, scores_UI: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores with the boosts added, (U, I)."""
        scores = np.asarray(scores_UI, np.float64)
        if not self.boost.any():
            return scores
        return np.asarray(scores + self.deviation(scores)[:, None] * self.boost)

    @staticmethod
    def deviation(scores_UI: NDArray[Any]) -> NDArray[np.float64]:
        """Return the standard deviation of each user's scores, (U); those that are no numbers do not count."""
        scores = np.asarray(scores_UI, np.float64)
        return np.array([row[np.isfinite(row)].std() if np.isfinite(row).any() else 0.0 for row in scores])

    def described(self, words: list[str], positions: NDArray[Any]) -> list[str]:
        """Return the reasons of recommended items, which say where a rule has moved one."""
        boosts = self.boost[positions].tolist()
        return [f"{word}; {BOOSTED}" if boost else word for word, boost in zip(words, boosts, strict=True)]

    def choose(
        self, scores_UI: NDArray[np.float64], hidden_UI: NDArray[np.bool_], top: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return positions and scores of each user's best items as `top_n.top_k` does, within the caps.

        Items are taken from the best on; one that has a genre whose cap is reached is passed over.
        """
        from lakerank.recommend.models.top_n import top_k

        if not len(self.groups):
            found: tuple[NDArray[np.int32], NDArray[np.float64]] = top_k(scores_UI, hidden_UI, top)
            return found
        shape = len(scores_UI), min(top, scores_UI.shape[1])
        positions, best = np.full(shape, -1, np.int32), np.full(shape, -np.inf)
        first_UN, _ = top_k(scores_UI, hidden_UI, _MORE * top)
        for row in range(len(scores_UI)):
            candidates = first_UN[row][first_UN[row] >= 0]
            chosen = self._within_caps(candidates, shape[1])
            if len(chosen) < shape[1] and len(candidates) == first_UN.shape[1]:  # further down there may be others
                order = np.argsort(-scores_UI[row], kind="stable")
                usable = np.isfinite(scores_UI[row]) & ~hidden_UI[row]
                chosen = self._within_caps(order[usable[order]], shape[1])
            positions[row, : len(chosen)] = chosen
            best[row, : len(chosen)] = scores_UI[row, chosen]
        return positions, best

    def _within_caps(self, order: NDArray[Any], top: int) -> NDArray[np.int64]:
        chosen = np.empty(top, np.int64)
        taken = _take_within_caps(order.astype(np.int64), self.starts, self.groups, self.caps.copy(), chosen)
        return chosen[:taken]


@compiled(nogil=True)
def _take_within_caps(
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    groups: NDArray[np.int32],
    left: NDArray[np.int64],
    chosen: NDArray[np.int64],
) -> int:
    """Take items in order unless one of their groups is used up; return how many, at most as `chosen` holds."""
    taken = 0
    for item in order:
        if taken == len(chosen):
            break
        fits = True
        for group in groups[starts[item] : starts[item + 1]]:
            fits = fits and left[group] > 0
        if fits:
            for group in groups[starts[item] : starts[item + 1]]:
                left[group] -= 1
            chosen[taken] = item
            taken += 1
    return taken


def read_rules(flag: str, where: str, get_spark: GetSpark) -> pa.Table:
    """Read a table of rules: columns `rule`, `item_id` or `genre`, and where they are needed `user_id` and `value`.

    Args:
        flag: that names it, for messages.
        where: a Delta table, or a CSV or Parquet file with a header.
        get_spark: gives a session, for tables that only Spark can read.

    Returns:
        The columns as text, those that are missing as nulls.

    Raises:
        UserError: it cannot be read, or has no column `rule`, or neither `item_id` nor `genre`.
    """
    table = read_any(flag, where, get_spark)
    names = {name.strip().lower(): name for name in table.column_names}
    if "rule" not in names or not {"item_id", "genre"} & set(names):
        raise UserError(
            f"{flag} {where}: rules need the columns `rule` ({', '.join(KINDS)}) and `item_id` or `genre`; this has "
            f"{', '.join(table.column_names)}"
        )
    columns = {}
    for name in COLUMNS:
        column = table.column(names[name]) if name in names else pa.nulls(table.num_rows, pa.string())
        try:
            if pa.types.is_floating(column.type) and name != "value":  # ids beside empty cells, as pandas keeps them
                column = column.cast(pa.int64())
            text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UserError(f"{flag} {where}: column `{name}` must be text or numbers, not {column.type}") from error
        columns[name] = pc.if_else(pc.equal(text, ""), None, text)
    return pa.table(columns)


def exclusions(items: pa.Array) -> pa.Table:
    """Return rules, as `read_rules` does, that exclude these items."""
    n = len(items)
    columns = {name: pa.nulls(n, pa.string()) for name in COLUMNS}
    return pa.table(columns | {"rule": pa.array(["exclude"] * n, pa.string()), "item_id": items.cast(pa.string())})


def make_rules(flag: str, table: pa.Table, items: pa.Array, catalogue: pa.Table | None, users: pa.DataType) -> Rules:
    """Return the rules for a catalogue.

    Boosts of an item and of its genres add up; of several caps of a genre the smallest holds. Unknown items and users
    do no harm.

    Args:
        flag: with the place of the table, for messages.
        table: see `read_rules`.
        items: (I) ids of the model's items, ascending.
        catalogue: `item_id` and `genres`, for rules by genre; None where the lake has none.
        users: type of the ids of users.

    Raises:
        UserError: a row is no rule; the message names it by its number.
    """
    genres = genre_positions(items, catalogue)
    n = len(items)
    excluded, allowed, boost = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n)
    caps: dict[str, int] = {}
    alone: dict[Any, list[NDArray[np.int64]]] = {}
    allows = False
    position_of = _positions(table, items)
    for number, row in enumerate(table.to_pylist(), start=1):
        try:
            kind, value = _checked(row)
            if kind == "cap":
                if not genres:
                    raise ValueError("`items` has no genres to cap")
                for name in genres if row["genre"] == EACH else [_genre(row["genre"], genres)]:
                    caps[name] = min(int(value), caps.get(name, int(value)))
                continue
            if row["genre"] is not None:
                at = genres[_genre(row["genre"], genres)]
            else:
                found = position_of.get(typed_id(row["item_id"], items.type, "item"))
                at = np.array([] if found is None else [found], np.int64)
            if row["user_id"] is not None:
                alone.setdefault(typed_id(row["user_id"], users, "user"), []).append(at)
            elif kind == "exclude":
                excluded[at] = True
            elif kind == "allow":
                allowed[at], allows = True, True
            else:
                boost[at] += value
        except ValueError as error:
            raise UserError(f"{flag}, rule {number}: {error}") from error
    starts, groups = _capped(n, genres, list(caps))
    hidden = excluded | ~allowed if allows else excluded
    limits = np.array(list(caps.values()), np.int64)
    own = {user: np.concatenate(parts) for user, parts in alone.items()}
    return Rules(items, hidden, boost, starts, groups, limits, own)


def _checked(row: Mapping[str, Any]) -> tuple[str, float]:
    """Return kind and value of a rule.

    Raises:
        ValueError: it is none.
    """
    kind = (row["rule"] or "").lower()
    if kind not in KINDS:
        raise ValueError(f"`rule` is {row['rule'] or 'empty'}: it must be one of {', '.join(KINDS)}")
    if (row["item_id"] is None) == (row["genre"] is None):
        raise ValueError(f"{kind} needs either `item_id` or `genre`")
    if row["user_id"] is not None and kind != "exclude":
        raise ValueError(f"only exclude can be for one `user_id`, and this is {kind}")
    if kind in ("exclude", "allow"):
        if row["value"] is not None:
            raise ValueError(f"{kind} takes no `value`, and this has {row['value']}")
        return kind, 0.0
    try:
        value = float(row["value"] or "")
    except ValueError:
        value = math.nan
    if kind == "boost" and not abs(value) <= _LARGEST_BOOST:
        raise ValueError(f"boost needs a number as `value`, in standard deviations, not {row['value'] or 'nothing'}")
    if kind == "cap" and (row["genre"] is None or not (0 <= value < 1 << 31 and value == value // 1)):
        raise ValueError(f"cap needs a `genre` and a whole number from 0 as `value`, not {row['value'] or 'nothing'}")
    return kind, value


def typed_id(text: str, kind: pa.DataType, side: str) -> Any:
    """Return an id as its type has it, out of text.

    Raises:
        ValueError: it must be a whole number and is none.
    """
    if not pa.types.is_integer(kind):
        return text
    number = whole_id(text)
    if number is None:
        raise ValueError(f"`{side}_id` must be a whole number, as in the ratings, not {text[:40]}")
    return number


def _positions(table: pa.Table, items: pa.Array) -> dict[Any, int]:
    """Return the positions of all items that rules name, where there are such items."""
    wanted = []
    for text in table.column("item_id").drop_null().unique().to_pylist():
        with suppress(ValueError):  # said with the number of its row
            wanted.append(typed_id(text, items.type, "item"))
    found = pc.index_in(pa.array(wanted, items.type), value_set=items).to_pylist()
    return {item: at for item, at in zip(wanted, found, strict=True) if at is not None}


def genre_positions(items: pa.Array, catalogue: pa.Table | None) -> dict[str, NDArray[np.int64]]:
    """Return the positions of the items of each genre; of several spellings by case the first counts for all."""
    if catalogue is None:
        return {}
    at = pc.index_in(catalogue.column("item_id").cast(items.type), value_set=items)
    lists = catalogue.append_column("at", at).filter(pc.is_valid(at)).select(["at", "genres"])
    owners: dict[str, list[int]] = {}
    spelling: dict[str, str] = {}
    for position, names in zip(lists.column("at").to_pylist(), lists.column("genres").to_pylist(), strict=True):
        for name in dict.fromkeys(spelling.setdefault(name.lower(), name) for name in names or ()):
            owners.setdefault(name, []).append(position)
    return {name: np.array(positions, np.int64) for name, positions in sorted(owners.items())}


def _genre(wanted: str, genres: Mapping[str, Any]) -> str:
    for name in genres:
        if name.lower() == wanted.lower():
            return name
    known = ", ".join(genres) or "none: `items` has no genres"
    raise ValueError(f"no item has the genre {wanted}; there are {known}")


def _capped(
    n_items: int, genres: Mapping[str, NDArray[np.int64]], names: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return which of these genres each item has, as (I + 1) starts and their numbers."""
    owners = np.concatenate([np.empty(0, np.int64), *(genres[name] for name in names)])
    numbers = np.repeat(np.arange(len(names), dtype=np.int32), [len(genres[name]) for name in names])
    order = np.argsort(owners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n_items))]).astype(np.int64)
    return starts, numbers[order]
