"""Ratings files and the lake: open a source, read and check its rows, write the tables and count what they hold."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.download import fetch, verify
from lakerank.cli.errors import UserError
from lakerank.cli.stores import has_scheme, is_in_object_store, local_copy, remove_folder, upload
from lakerank.lake.archive import listing, opened
from lakerank.lake.delta_table import TableRef, TableSink, is_catalog_name
from lakerank.lake.input_files import first_line, read_lines, read_rows, refuse_tables, table_format
from lakerank.lake.publications import Publications, publishing, undo_unpublished
from lakerank.lake.schemas import ITEMS, RATINGS, RATINGS_REJECTED, RELATIONS, TAGS, Relation
from lakerank.recommend.data import cleaning, delimited, movielens
from lakerank.recommend.data.cleaning import DUPLICATE, CheckedRows, RowCounts
from lakerank.spark.checkpoint import checkpoint


@dataclass(frozen=True)
class ReadOptions:
    """How to read a source's files; what is empty is told from the files.

    Attributes:
        columns: `user=…,item=…,rating=…[,time=…]`.
        header: whether a CSV file's first line holds the names.
        separator: between CSV fields.
        scale: `LOW,HIGH`, the lowest and the highest rating.
        counts: how rows of the same user and item become one count, see `count_pairs`; empty: they are ratings, of
            which the newest is kept.
    """

    columns: str = ""
    header: bool = True
    separator: str = ""
    scale: str = ""
    counts: str = ""


@dataclass(frozen=True)
class Source:
    """A file or folder of ratings, under the name that messages and `ratings_rejected` use.

    Attributes:
        path: where it is.
        label: what people know it as; of a zip that was unpacked, the zip's own path.
        note: what checking its sum has told.
    """

    path: str
    label: str
    note: str = ""

    def names(self) -> list[str]:
        """Return the names of the files, relative to the source if that is a folder."""
        return listing(self.path) if is_in_object_store(self.path) or Path(self.path).is_dir() else []

    def file(self, name: str) -> str:
        """Return a file's path from its relative name."""
        if has_scheme(self.path):
            return f"{self.path.rstrip('/')}/{name}" if name else self.path
        return str(Path(self.path) / name) if name else self.path

    def label_of(self, path: str) -> str:
        """Return the label of a path, as people know it."""
        return path.replace(self.path, self.label, 1)

    def lines(self, spark: SparkSession, paths: Sequence[str]) -> DataFrame:
        """Read numbered lines of some of the files."""
        return self.labelled(read_lines(spark, paths, "auto"))

    def labelled(self, rows: DataFrame) -> DataFrame:
        """Return rows whose `source` is the label of its path."""
        return rows.withColumn("source", F.replace("source", F.lit(self.path), F.lit(self.label)))

    def first_line(self, spark: SparkSession, path: str) -> str:
        """Read the first line of a file.

        Raises:
            UserError: it is empty, or the file is not text.
        """
        line = first_line(spark, path, "auto")
        if not line.strip():
            raise UserError(f"{self.label_of(path)}: is empty, or its first line is")
        if any(sign < " " and sign != "\t" for sign in line.strip()):
            raise UserError(f"{self.label_of(path)}: is not a text file")
        return line


def download_folder(lake: str) -> Path:
    """Return the folder of downloads and unpacked zips: in the lake if it is a local folder, else a temporary one."""
    location = TableRef.find("", RATINGS, lake).location
    if is_catalog_name(location) or has_scheme(location):
        return Path(tempfile.gettempdir()) / "lakerank-downloads"
    return Path(lake) / "_downloads"


@contextmanager
def open_source(
    source: str, dataset: str, mirror: str, scratch: Path, any_file: bool = False, lake: str = ""
) -> Iterator[Source]:
    """Open a source, downloaded and unpacked as needed; what was unpacked is removed in the end.

    Args:
        source: file or folder; empty downloads `dataset`.
        dataset: a MovieLens edition; with `source`, the one to check it against.
        mirror: address of the folder that has the zips.
        scratch: folder for downloads and what is unpacked.
        any_file: unpack all of a zip, not only what MovieLens's layouts have.
        lake: where the ratings go; if that is an object store, what is unpacked goes there on its way.

    Raises:
        UserError: neither is given, or the source is missing or broken.
    """
    note, wanted = "", () if any_file else movielens.KNOWN_FILES
    if not source:
        if not dataset:
            raise UserError("say what to read: --source PATH, or --dataset NAME to download it")
        source = str(fetch(dataset, scratch, mirror))
    elif dataset and Path(source).is_file():
        note = f"{source}: {verify(Path(source), dataset)}"
    if is_in_object_store(source) and source.lower().endswith(".zip"):
        with local_copy(source, "--source") as packed, opened(packed, scratch, wanted) as path:
            yield from _shipped(path, lake, source, verify(packed, dataset) if dataset else note)
        return
    if has_scheme(source) or (is_catalog_name(source) and not Path(source).exists()):
        yield Source(source, source, note)
        return
    with opened(Path(source), scratch, wanted) as path:
        if path == Path(source):
            yield Source(str(path), source, note)
        else:
            yield from _shipped(path, lake, source, note)


def _shipped(path: Path, lake: str, label: str, note: str) -> Iterator[Source]:
    """Yield what was unpacked here; for a lake in an object store from there, since its workers may share no disk."""
    if not is_in_object_store(lake):
        yield Source(str(path), label, note)
        return
    place = f"{lake.rstrip('/')}/_downloads/{path.name}"
    try:
        upload(path, place)
        yield Source(place, label, note)
    finally:
        remove_folder(place)


def read_source(spark: SparkSession, source: Source, options: ReadOptions, scratch: str) -> CheckedRows:
    """Read a source's rows with their reasons: by MovieLens's layout if it has one, else by columns.

    Args:
        spark: the session.
        source: where they are.
        options: how to read them.
        scratch: folder for checkpoints.

    Raises:
        UserError: a file or column is missing or cannot be read.
    """
    if (table := delta_table(spark, source.path)) is not None:
        return CheckedRows(_read_table(source, table.frame(spark), options))
    refuse_tables(source.path)
    names = source.names()
    parquet = [name for name in names or [source.path] if name.endswith(".parquet")]
    if options.columns or parquet or not (names or movielens.is_headless(Path(source.path).name)):
        return CheckedRows(_read_columns(spark, source, options, parquet))
    if names:
        layout, files = movielens.detect(names, source.label)
        paths = {role: source.file(name) for role, name in files.items()}
    else:
        layout, _ = movielens.detect([Path(source.path).name], source.label)
        paths = {"ratings": source.path}
    scale = cleaning.read_scale(options.scale) if options.scale else layout.scale
    genres: Sequence[str] = ()
    shapes = dict(layout.shapes)
    if "u.item" in layout.files.values():
        genres = _genres(source.lines(spark, [paths["genres"]])) if "genres" in paths else movielens.GENRES_100K
        shapes["items"] = movielens.item_shape(genres)
    lines = {}
    for role in ("ratings", "items", "tags"):
        if role in paths:
            lines[role] = source.lines(spark, [paths[role]])
            if role not in shapes:
                header = source.first_line(spark, paths[role])
                shapes[role] = movielens.shape_of(role, header, source.label_of(paths[role]))
                lines[role] = lines[role].where("line > 1")
    ratings = cleaning.check_ratings(cleaning.from_lines(lines["ratings"], shapes["ratings"]), scale)
    items = None
    if "items" in lines:  # looked at for every rating, and few
        items = checkpoint(movielens.items(lines["items"], shapes["items"], genres), scratch)
    tags = movielens.tags(lines["tags"], shapes["tags"]) if "tags" in lines else None
    if items is not None:
        ratings = cleaning.mark_unknown_items(ratings, items, layout.files["items"])
        tags = tags if tags is None else cleaning.mark_unknown_items(tags, items, layout.files["items"])
    layout_note = f"{layout.name}: {', '.join(Path(path).name for path in paths.values())}; scale {scale}"
    return CheckedRows(ratings, items, tags, layout_note)


def _read_columns(spark: SparkSession, source: Source, options: ReadOptions, parquet: Sequence[str]) -> DataFrame:
    """Read ratings from any CSV or Parquet files, their columns given or known by their usual names."""
    counted = bool(options.counts)
    mapping = delimited.read_mapping(options.columns, counted) if options.columns else {}
    scale = cleaning.read_scale(options.scale) if options.scale else None
    if parquet:
        paths = [source.file(name) for name in (source.names() and parquet) or [""]]
        rows = source.labelled(read_rows(spark, paths))
        have = rows.select("row.*").columns
        at = delimited.find_columns(have, mapping, source.label, counted)
        return cleaning.check_ratings(cleaning.from_columns(rows, {n: have[i] for n, i in at.items()}), scale)
    tables = [name for name in source.names() if movielens.is_table(name)] or source.names() or [""]
    paths = [source.file(name) for name in tables]
    first = {path: source.first_line(spark, path) for path in paths}
    separator = options.separator.replace("\\t", "\t")
    label = source.label_of(paths[0])
    shape = delimited.shape_of(first[paths[0]], mapping, options.header, separator, label, counted)
    ours = movielens.is_ours(first[paths[0]])
    lines = source.lines(spark, paths)
    if not ours:  # numbers alone have no quotes, and looking for them is another pass over the file
        lines = delimited.join_quoted(lines, shape.separator)
    if options.header:
        lines = lines.where("line > 1")
        if other := next((path for path in paths if first[path] != first[paths[0]]), ""):
            raise UserError(
                f"{source.label_of(other)}: its header is different from that of {source.label_of(paths[0])}; pass "
                "one file"
            )
    if not options.columns and not options.scale and ours:
        scale = movielens.LAYOUTS[-1].scale
    return cleaning.check_ratings(cleaning.from_lines(lines, shape), scale)


def delta_table(spark: SparkSession, where: str) -> TableRef | None:
    """Return the Delta table that a folder, a place in a store or a catalog name is; None if it is none."""
    if table_format(where) == "Delta" or has_scheme(where) or (is_catalog_name(where) and not Path(where).exists()):
        ref = TableRef(where)
        return ref if ref.exists(spark) else None
    return None


def _read_table(source: Source, table: DataFrame, options: ReadOptions) -> DataFrame:
    """Read ratings from a table, their columns given or known by their usual names; its rows have no numbers."""
    mapping = delimited.read_mapping(options.columns) if options.columns else {}
    at = delimited.find_columns(table.columns, mapping, source.label)
    rows = table.select(
        F.lit(source.label).alias("source"),
        F.lit(None).cast("bigint").alias("line"),
        F.struct(*(F.col(f"`{name}`") for name in table.columns)).alias("row"),
    )
    scale = cleaning.read_scale(options.scale) if options.scale else None
    return cleaning.check_ratings(cleaning.from_columns(rows, {n: table.columns[i] for n, i in at.items()}), scale)


def _genres(lines: DataFrame) -> list[str]:
    """Read the names in u.genre (`name|position`), in the order of the flags."""
    rows = delimited.split_fields(lines, delimited.Shape("|", 2, {"name": 0, "at": 1})).where("problem IS NULL")
    return [row["name"] for row in rows.orderBy(F.col("at").try_cast("int")).collect()]


MODES = ("overwrite", "append", "merge")
NEWER = "t.rated_at IS NULL OR s.rated_at IS NULL OR s.rated_at >= t.rated_at"


def write_ratings(
    spark: SparkSession,
    lake: str,
    checked: CheckedRows,
    label: str,
    scratch: str,
    mode: str = "overwrite",
    counts: str = "",
) -> dict[str, Any]:
    """Drop or count duplicates, write the good rows and the rejected ones, and count what stands in the tables.

    Args:
        spark: the session.
        lake: where to.
        checked: rows with their reasons.
        label: the source, for messages.
        scratch: folder for checkpoints.
        mode: `overwrite` the tables; `append` ratings of users and items that are not rated yet; `merge`: these, and
            newer ratings of those that are. Whoever reads the table sees each of the last two as one commit.
        counts: see `ReadOptions`.

    Returns:
        Numbers of rows: read, kept, counted (rows that became part of another's count), rejected, rejected_by_reason,
        rejected_elsewhere (of items and tags), users, items, rated_items, tags.

    Raises:
        UserError: no rating can be used, or ids are of another type than those of the table; nothing is written then.
    """
    found = cleaning.count_rows(checked)
    target = TableRef.find("", RATINGS, lake)
    added_to = mode != "overwrite" and Publications.read(lake, lambda: spark).result(RATINGS) is not None
    if added_to:
        found = _as_the_table_has(found, target, spark, label)
    frames = cleaning.cast_ids(checked, found)
    good = frames["ratings"].where("reason IS NULL")
    if counts:
        kept, losers, lost = checkpoint(cleaning.count_pairs(good, counts), scratch), good.limit(0), 0
        merged = found.good["ratings"] - kept.count()
    else:
        kept, losers, lost = cleaning.drop_duplicates(good, scratch)
        merged = 0
    by_reason = dict(found.reasons["ratings"]) | ({DUPLICATE: lost} if lost else {})
    if not found.good["ratings"]:
        raise UserError(_nothing_good(label, by_reason))
    # No second pass over tables without a bad row; of an empty frame Spark plans no scan.
    refused = [frames[t].where("reason IS NOT NULL") for t in frames if found.reasons[t]] + [losers]
    other = {f"{t}: {reason}": n for t in frames if t != "ratings" for reason, n in found.reasons[t].items()}
    tables = {name: frames[name].where("reason IS NULL") for name in frames} | {"ratings": kept}
    if added_to:
        return _add_to_tables(spark, lake, tables, refused, found, by_reason, other, mode, scratch)
    rejected = _rejected(refused)
    with publishing(lambda: spark, lake, RATINGS.name) as run:
        written = {
            name: run.write(RELATIONS[name], frame.select(*RELATIONS[name].names))
            for name, frame in ({RATINGS_REJECTED.name: rejected} | tables).items()
        }
    return _count_tables(spark, written, found, by_reason, other, merged)


def _rejected(refused: Sequence[DataFrame]) -> DataFrame:
    names = [column.name for column in RATINGS_REJECTED.columns]
    return reduce(DataFrame.unionAll, (frame.select(*names) for frame in refused))


def _as_the_table_has(found: RowCounts, target: TableRef, spark: SparkSession, label: str) -> RowCounts:
    """Return the counts with the types of ids that the ratings table has.

    Raises:
        UserError: its ids are whole numbers, and those read are not.
    """
    kinds = dict(target.read(spark, RATINGS).dtypes)
    for side, kind in (("user", found.user_type), ("item", found.item_type)):
        if kinds[f"{side}_id"] == "bigint" and kind == "string":
            raise UserError(
                f"{label}: some {side} ids are no whole numbers, as those in {target.location} are: mend them, or read "
                "all ratings anew with --mode overwrite"
            )
    return replace(found, user_type=kinds["user_id"], item_type=kinds["item_id"])


def _add_to_tables(
    spark: SparkSession,
    lake: str,
    tables: Mapping[str, DataFrame],
    refused: Sequence[DataFrame],
    found: RowCounts,
    by_reason: Mapping[str, int],
    other: Mapping[str, int],
    mode: str,
    scratch: str,
) -> dict[str, Any]:
    """Append or merge rows, one commit for each table, and count; see `write_ratings`.

    The commits have no stamp: readers take such a change of ratings, items and tags as it stands. That needs no
    publication, and of two jobs at once Delta's own rules decide, so that neither loses rows. The ratings come last: a
    job that is killed before has added what nobody asks for yet, and added again it changes nothing.
    """
    published = Publications.read(lake, lambda: spark)
    whole = {relation for relation in (RATINGS, ITEMS, TAGS) if published.result(relation) is not None}
    for relation in whole:
        if relation.name in tables:
            undo_unpublished(lambda: spark, lake, relation)
    target = TableRef.find("", RATINGS, lake)
    marked = checkpoint(cleaning.mark_against(tables["ratings"], target.read(spark, RATINGS), mode), scratch)
    late = marked.where("reason IS NOT NULL")
    counted = {row["reason"]: int(row["n"]) for row in late.groupBy("reason").agg(F.count("*").alias("n")).collect()}
    fresh = marked.where("reason IS NULL").select(*RATINGS.names)
    if ITEMS.name in tables:
        rows = tables[ITEMS.name].select(*ITEMS.names)
        ref = TableRef.find("", ITEMS, lake)
        if ITEMS in whole:
            TableSink(ref, ITEMS).upsert(rows, "true" if mode == "merge" else "")
        else:
            TableSink(ref, ITEMS).write(rows)
    if TAGS.name in tables:
        _append_new(TAGS, lake, tables[TAGS.name].select(*TAGS.names), TAGS in whole)
    reasons = dict(by_reason) | counted
    if reasons or other:
        _append_new(RATINGS_REJECTED, lake, _rejected([*refused, late]), published.result(RATINGS_REJECTED) is not None)
    TableSink(target, RATINGS).upsert(fresh, NEWER if mode == "merge" else "")
    rejected = sum(reasons.values())
    read = found.good["ratings"] + sum(found.reasons["ratings"].values())
    ratings = target.frame(spark)
    users, items, total = ratings.agg(F.count_distinct("user_id"), F.count_distinct("item_id"), F.count("*")).collect()[
        0
    ]
    return {
        "read": read,
        "kept": read - rejected,
        "rejected": rejected,
        "rejected_by_reason": reasons,
        "rejected_elsewhere": dict(other),
        "users": users,
        "items": items,
        "rated_items": items,
        "tags": found.good.get("tags", 0),
        "ratings": total,
    }


def _append_new(relation: Relation, lake: str, rows: DataFrame, there: bool) -> None:
    """Append the rows that are not there yet, as a source may come again; or write them where nothing is there."""
    ref = TableRef.find("", relation, lake)
    if there:
        TableSink(ref, relation).append(rows.exceptAll(ref.frame(rows.sparkSession).select(*rows.columns)))
    else:
        TableSink(ref, relation).write(rows)


def tables_left(spark: SparkSession, lake: str, checked: CheckedRows) -> list[str]:
    """Name the tables of an earlier source that this one has nothing for; they stay as they are."""
    missing = (name for name in ("items", "tags") if name not in checked.tables())
    return [name for name in missing if TableRef.find("", RELATIONS[name], lake).exists(spark)]


def _nothing_good(label: str, by_reason: Mapping[str, int]) -> str:
    if not by_reason:
        return f"{label}: there is no rating in it; nothing was written"
    reason, n = max(by_reason.items(), key=lambda item: item[1])
    return (
        f"{label}: none of {sum(by_reason.values())} ratings can be used, {n} of them because: {reason}. Is it "
        "the right file, with the right --columns, --separator, --header and --scale? Nothing was written"
    )


def _count_tables(
    spark: SparkSession,
    written: Mapping[str, TableRef],
    found: RowCounts,
    by_reason: Mapping[str, int],
    other: Mapping[str, int],
    merged: int,
) -> dict[str, Any]:
    """Count what stands in the tables; more or fewer rows than were read is our mistake."""
    ratings = written[RATINGS.name].frame(spark)
    counted = [
        ratings.groupBy(key).agg(F.count("*").alias("n")).agg(F.lit(key), F.count("*"), F.sum("n"))
        for key in ("user_id", "item_id")
    ]
    rows = written[RATINGS_REJECTED.name].frame(spark).agg(F.lit("bad"), F.count("*"), F.lit(0))
    tally = {row[0]: (row[1], row[2]) for row in reduce(DataFrame.unionAll, [*counted, rows]).collect()}
    (users, kept), rated_items, refused = tally["user_id"], tally["item_id"][0], tally["bad"][0]
    rejected = sum(by_reason.values())
    read = found.good["ratings"] + sum(found.reasons["ratings"].values())
    if read != kept + merged + rejected or refused != rejected + sum(other.values()):
        raise RuntimeError(
            f"counts do not add up: read {read}, kept {kept}, counted {merged}, rejected {rejected} and "
            f"{dict(other)} of other tables, {refused} rows in ratings_rejected"
        )
    return {
        "read": read,
        "kept": kept,
        "counted": merged,
        "rejected": rejected,
        "rejected_by_reason": dict(by_reason),
        "rejected_elsewhere": dict(other),
        "users": users,
        "items": found.good.get("items", rated_items),
        "rated_items": rated_items,
        "tags": found.good.get("tags", 0),
    }
