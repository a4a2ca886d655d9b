"""The MovieLens layouts: which files they have, and how their lines are read.

100K is tab-separated `u.data` with `|`-separated `u.item`; 1M and 10M separate with `::`; everything since
20M is CSV with a header. Titles of 100K and 1M are latin-1, later ones UTF-8; lines say which by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.input_files import without_packing
from lakerank.recommend.data.cleaning import BAD_TIME, NO_ITEM, NO_USER, parse_time
from lakerank.recommend.data.delimited import Shape, header_names, listed, split_fields
from lakerank.recommend.data.delimited import shape_of as csv_shape

DUPLICATE_ITEM = "duplicate item id: its first line is kept"
NO_TAG = "empty tag"
NO_GENRES = "(no genres listed)"
# u.genre of 100K, in the order of u.item's flags; used where that file is missing.
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War"),
    "Western",
)
# The year at the end: (1995), and of series (2006–2007) or (2006- ) the first.
_YEAR = r"\s*\(\s*((?:1[89]|20)[0-9]{2})\s*(?:[-–—]\s*(?:[0-9]{4})?\s*)?\)\s*$"


@dataclass(frozen=True)
class Layout:
    """One way MovieLens was published.

    Attributes:
        name: for people.
        scale: lowest and highest rating.
        files: role (`ratings`, `items`, `tags`, `genres`) → file name; only `ratings` must be there.
        shapes: role → how lines are cut; a role without one has a header that says it.
        sign: a file that tells this layout from another with the same ratings file.
    """

    name: str
    scale: tuple[float, float]
    files: Mapping[str, str]
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    sign: str = ""


def _shape(separator: str, *names: str, width: int = 0) -> Shape:
    return Shape(separator, width or len(names), {name: i for i, name in enumerate(names)})


_DAT_FILES = {"ratings": "ratings.dat", "items": "movies.dat", "tags": "tags.dat"}
_DAT_SHAPES = {
    "ratings": _shape("::", "user", "item", "rating", "time"),
    "items": _shape("::", "item", "title", "genres"),
    "tags": _shape("::", "user", "item", "tag", "time"),
}
# The first that fits is taken: 1M before 10M, which its user file tells apart.
LAYOUTS = (
    Layout("MovieLens 1M", (1, 5), _DAT_FILES, _DAT_SHAPES, sign="users.dat"),
    Layout("MovieLens 10M", (0.5, 5), _DAT_FILES, _DAT_SHAPES),
    Layout(
        "MovieLens 100K",
        (1, 5),
        {"ratings": "u.data", "items": "u.item", "genres": "u.genre"},
        {"ratings": _shape("\t", "user", "item", "rating", "time"), "genres": _shape("|", "name", "at")},
    ),
    Layout(
        "MovieLens csv (20M and later)",
        (0.5, 5),
        {"ratings": "ratings.csv", "items": "movies.csv", "tags": "tags.csv"},
    ),
)
HEADERS = {"items": ("movieId", "title", "genres"), "tags": ("userId", "movieId", "tag", "timestamp")}
KNOWN_FILES = frozenset(
    name for layout in LAYOUTS for name in (*layout.files.values(), layout.sign) if name
) | frozenset(f"{name}.gz" for layout in LAYOUTS for name in layout.files.values())


def is_headless(name: str) -> bool:
    """Tell whether a file of this name is a ratings file whose columns need no telling."""
    return name.removesuffix(".gz") in {x.files["ratings"] for x in LAYOUTS if "ratings" in x.shapes}


def is_ours(header: str) -> bool:
    """Tell whether this is the header of a MovieLens ratings.csv."""
    return header.startswith("userId,movieId,rating")


def is_table(name: str) -> bool:
    """Tell whether a file name says CSV or the like."""
    return without_packing(name).endswith((".csv", ".tsv", ".dat", ".data"))


def detect(names: Sequence[str], where: str) -> tuple[Layout, dict[str, str]]:
    """Find the layout of a folder and its files by role, from the relative paths of what is in it.

    Args:
        names: nearest first; the files of a layout stand in one folder, and may have `.gz` after their names.
        where: the folder, for messages.

    Raises:
        UserError: there is no layout's ratings file.
    """
    plain = {name.removesuffix(".gz"): name for name in reversed(names)}
    for layout in LAYOUTS:
        for name in (name.removesuffix(".gz") for name in names):
            folder = PurePosixPath(name).parent
            beside = {role: str(folder / file) for role, file in layout.files.items()}
            if name != beside["ratings"] or (layout.sign and str(folder / layout.sign) not in plain):
                continue
            return layout, {role: plain[path] for role, path in beside.items() if path in plain}
    wanted = ", ".join(dict.fromkeys(layout.files["ratings"] for layout in LAYOUTS))
    have = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    raise UserError(f"{where}: looked for {wanted} and found {have or 'no file'}; for others pass the file itself")


def shape_of(role: str, header: str, where: str) -> Shape:
    """Tell the shape of ratings.csv, movies.csv or tags.csv from its header.

    Raises:
        UserError: a column is missing.
    """
    if role == "ratings":
        return csv_shape(header, {}, True, ",", where)
    have = header_names(header, ",")
    at: dict[str, int] = {}
    fields = {"userId": "user", "movieId": "item", "timestamp": "time"}
    for column in HEADERS[role]:
        if column not in have:
            raise UserError(f"{where}: no column `{column}`; it has {listed(have)}")
        at[fields.get(column, column)] = list(have).index(column)
    return Shape(",", len(have), at, quoted=True)


def item_shape(genres: Collection[str]) -> Shape:
    """Give the shape of 100K's u.item: id, title, two dates, an address, and a flag for each genre."""
    flags = {f"flag{i}": 5 + i for i in range(len(genres))}
    return Shape("|", 5 + len(genres), {"item": 0, "title": 1, **flags})


def items(lines: DataFrame, shape: Shape, genres: Sequence[str] = ()) -> DataFrame:
    """Check items and type them: `source, line, raw, item, title, year, genres, reason`.

    Args:
        lines: of the items file.
        shape: of its lines, with `genres` or with `flag0…`.
        genres: the names of the flags.
    """
    rows = split_fields(lines, shape)
    named = _flagged(genres) if genres else _listed(F.col("genres"))
    reason = F.coalesce("problem", F.when(F.coalesce("item", F.lit("")) == "", NO_ITEM))
    title, year = split_title(F.col("title"))
    typed = rows.select(
        "source",
        "line",
        "raw",
        "item",
        title.alias("title"),
        year.alias("year"),
        named.alias("genres"),
        reason.alias("reason"),
    )
    first = Window.partitionBy("item").orderBy(F.col("reason").isNotNull(), "line")
    again = F.when(F.row_number().over(first) > 1, DUPLICATE_ITEM)
    return typed.withColumn("reason", F.coalesce("reason", again))


def tags(lines: DataFrame, shape: Shape) -> DataFrame:
    """Check tags and type them: `source, line, raw, user, item, tag, tagged_at, reason`."""
    rows = parse_time(split_fields(lines, shape), "time", "tagged_at")
    reason = (
        F.when(F.col("problem").isNotNull(), F.col("problem"))
        .when(F.col("user") == "", NO_USER)
        .when(F.col("item") == "", NO_ITEM)
        .when(F.col("tag") == "", NO_TAG)
        .when(F.col("tagged_at").isNull(), BAD_TIME)
    )
    return rows.select("source", "line", "raw", "user", "item", "tag", "tagged_at", reason.alias("reason"))


def split_title(title: Column) -> tuple[Column, Column]:
    """Split `Toy Story (1995)` into title `Toy Story` and year 1995; a title that is only a year stays one."""
    bare = F.trim(F.regexp_replace(title, _YEAR, ""))
    has_name = bare != ""
    year = F.regexp_extract(title, _YEAR, 1).try_cast("int")
    return F.when(has_name, bare).otherwise(F.trim(title)), F.when(has_name, year)


def _listed(text: Column) -> Column:
    names = F.transform(F.split(text, r"\|"), lambda name: F.trim(name))
    return F.filter(names, lambda name: (name != "") & (name != NO_GENRES))


def _flagged(genres: Sequence[str]) -> Column:
    named = F.array(*(F.when(F.col(f"flag{i}") == "1", name) for i, name in enumerate(genres)))
    return F.array_compact(named)
