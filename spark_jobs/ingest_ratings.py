"""Read ratings into the lake: every MovieLens edition, or any CSV or Parquet file with three or four columns.

Writes the tables ratings, ratings_rejected and, where the source has them, items and tags. The guide is
docs/ratings.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.download import EDITIONS, MIRROR, fetch, verify
from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.archive import listing, opened
from lakerank.lake.delta_table import TableRef, TableSink, has_scheme, is_catalog_name
from lakerank.lake.input_files import first_line, read_lines, read_rows
from lakerank.lake.schemas import RATINGS, RATINGS_REJECTED, RELATIONS
from lakerank.recommend.data import cleaning, delimited, movielens
from lakerank.recommend.data.cleaning import DUPLICATE
from lakerank.recommend.data.deduplicate import Judged, Survey, survey, with_ids, without_duplicates
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    source: str = flag("", "MovieLens folder or .zip, or a CSV (also .gz) or Parquet file", metavar="PATH")
    dataset: str = flag(
        "",
        f"MovieLens edition to download, or to check --source against: {', '.join(EDITIONS)}",
        metavar="NAME",
        check=lambda name: not name or name in EDITIONS,
        must=f"be one of {', '.join(EDITIONS)}",
    )
    columns: str = flag(
        "",
        "which column is what: user=…,item=…,rating=…[,time=…]; names, or positions from 1 with --header no",
        metavar="MAP",
    )
    header: str = flag("yes", "whether a CSV file's first line holds the names", choices=("yes", "no"))
    separator: str = flag("", "between CSV fields; \\t is tab (default: told from the first line)")
    scale: str = flag("", "lowest and highest rating, as 0.5,5 (default: the edition's, else any)", metavar="L,H")
    mirror: str = flag(MIRROR, "address of the folder that has the zips of --dataset", metavar="URL")


@dataclass(frozen=True)
class Source:
    """Where the source is, and what messages and `ratings_rejected` call it (a zip by its own path)."""

    place: str
    shown: str

    def names(self) -> list[str]:
        """The files, relative to the source if that is a folder."""
        return listing(Path(self.place)) if Path(self.place).is_dir() else []

    def path(self, name: str) -> str:
        """A file's path from its relative name."""
        return str(Path(self.place) / name) if name else self.place

    def called(self, path: str) -> str:
        """What people know a path as."""
        return path.replace(self.place, self.shown, 1)

    def lines(self, spark: SparkSession, paths: Sequence[str]) -> DataFrame:
        """Numbered lines of some of the files."""
        return self.named(read_lines(spark, paths, "auto"))

    def named(self, rows: DataFrame) -> DataFrame:
        """Rows whose `source` is what people know."""
        return rows.withColumn("source", F.replace("source", F.lit(self.place), F.lit(self.shown)))


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Read, judge, settle duplicates, write, check the counts."""
    started = time.monotonic()
    scratch = _scratch(args)
    with open_source(args, scratch) as source:
        judged = read_source(spark, args, source)
        found = survey(judged)
        frames = with_ids(judged, found)
        good = frames["ratings"].where("reason IS NULL")
        kept, losers, lost = without_duplicates(good, str(scratch))
        by_reason = dict(found.reasons["ratings"]) | ({DUPLICATE: lost} if lost else {})
        if not found.good["ratings"]:
            raise UserError(_nothing_good(source.shown, by_reason))
        # No second pass over tables without a bad row; of an empty frame Spark plans no scan.
        refused = [frames[t].where("reason IS NOT NULL") for t in frames if found.reasons[t]] + [losers]
        names = [column.name for column in RATINGS_REJECTED.columns]
        rejected_rows = reduce(DataFrame.unionAll, (frame.select(*names) for frame in refused))
        tables = {name: frames[name].where("reason IS NULL") for name in frames} | {"ratings": kept}
        for name, frame in ({"ratings_rejected": rejected_rows} | tables).items():
            relation = RELATIONS[name]
            columns = [column.name for column in relation.columns]
            TableSink(TableRef.find("", relation, args.lake), relation).write(frame.select(*columns))
    for name in ("items", "tags"):
        if name not in frames and TableRef.find("", RELATIONS[name], args.lake).exists(spark):
            print(f"note: this source has no {name}; the table of an earlier run stays as it is")
    other = {f"{t}: {reason}": n for t in frames if t != "ratings" for reason, n in found.reasons[t].items()}
    summary = _check(spark, args, found, by_reason, other)
    _report(summary)
    return summary | {"seconds": round(time.monotonic() - started, 2)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_job(run, Args, "ingest_ratings", __doc__, argv)


def _scratch(args: Args) -> Path:
    """Where downloads are kept and zips unpacked: in the lake if it is a local folder, else a temporary one."""
    location = TableRef.find("", RATINGS, args.lake).location
    if is_catalog_name(location) or has_scheme(location):
        return Path(tempfile.gettempdir()) / "lakerank-downloads"
    return Path(args.lake) / "_downloads"


@contextmanager
def open_source(args: Args, scratch: Path) -> Iterator[Source]:
    """The source, downloaded and unpacked as needed."""
    source = args.source
    if not source:
        if not args.dataset:
            raise UserError("say what to read: --source PATH, or --dataset NAME to download it")
        source = str(fetch(args.dataset, scratch, args.mirror))
    elif args.dataset and Path(source).is_file():
        print(f"{source}: {verify(Path(source), args.dataset)}")
    if has_scheme(source):
        yield Source(source, source)
        return
    with opened(Path(source), scratch, () if args.columns else movielens.KNOWN_FILES) as place:
        yield Source(str(place), source)


def read_source(spark: SparkSession, args: Args, source: Source) -> Judged:
    """The source's rows with their reasons: by layout if it has one, else by columns."""
    names = source.names()
    parquet = [name for name in names or [source.place] if name.endswith(".parquet")]
    if args.columns or parquet or not (names or movielens.is_headless(Path(source.place).name)):
        return Judged(_read_columns(spark, args, source, parquet))
    if names:
        layout, files = movielens.detect(names, source.shown)
        paths = {role: source.path(name) for role, name in files.items()}
    else:
        layout, _ = movielens.detect([Path(source.place).name], source.shown)
        paths = {"ratings": source.place}
    scale = cleaning.read_scale(args.scale) if args.scale else layout.scale
    print(f"{source.shown}: {layout.name}: {', '.join(Path(p).name for p in paths.values())}; scale {scale}")
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
                header = _first_line(spark, paths[role], source)
                shapes[role] = movielens.shape_of(role, header, source.called(paths[role]))
                lines[role] = lines[role].where("line > 1")
    ratings = cleaning.judge(cleaning.from_lines(lines["ratings"], shapes["ratings"]), scale)
    items = None
    if "items" in lines:  # looked at for every rating, and few
        items = checkpoint(movielens.items(lines["items"], shapes["items"], genres), str(_scratch(args)))
    tags = movielens.tags(lines["tags"], shapes["tags"]) if "tags" in lines else None
    if items is not None:
        ratings = cleaning.only_known(ratings, items, layout.files["items"])
        tags = tags if tags is None else cleaning.only_known(tags, items, layout.files["items"])
    return Judged(ratings, items, tags)


def _read_columns(spark: SparkSession, args: Args, source: Source, parquet: Sequence[str]) -> DataFrame:
    """Ratings from any CSV or Parquet files, their columns given or known by their usual names."""
    mapping = delimited.read_mapping(args.columns) if args.columns else {}
    scale = cleaning.read_scale(args.scale) if args.scale else None
    if parquet:
        rows = source.named(read_rows(spark, [source.path(name) for name in (source.names() and parquet) or [""]]))
        have = rows.select("row.*").columns
        at = delimited.find_columns(have, mapping, source.shown)
        return cleaning.judge(cleaning.from_columns(rows, {n: have[i] for n, i in at.items()}), scale)
    tables = [name for name in source.names() if movielens.is_table(name)] or source.names() or [""]
    paths = [source.path(name) for name in tables]
    first = {path: _first_line(spark, path, source) for path in paths}
    shape = delimited.shape_of(
        first[paths[0]], mapping, args.header == "yes", args.separator.replace("\\t", "\t"), source.called(paths[0])
    )
    lines = source.lines(spark, paths)
    if args.header == "yes":
        lines = lines.where("line > 1")
        if other := next((path for path in paths if first[path] != first[paths[0]]), ""):
            raise UserError(
                f"{source.called(other)}: its header is different from that of {source.called(paths[0])}; pass one file"
            )
    if not args.columns and not args.scale and movielens.is_ours(first[paths[0]]):
        scale = movielens.LAYOUTS[-1].scale
    return cleaning.judge(cleaning.from_lines(lines, shape), scale)


def _first_line(spark: SparkSession, path: str, source: Source) -> str:
    line = first_line(spark, path, "auto")
    if not line.strip():
        raise UserError(f"{source.called(path)}: is empty, or its first line is")
    if any(sign < " " and sign != "\t" for sign in line.strip()):
        raise UserError(f"{source.called(path)}: is not a text file")
    return line


def _genres(lines: DataFrame) -> list[str]:
    """The names in u.genre (`name|position`), in the order of the flags."""
    rows = delimited.cut(lines, delimited.Shape("|", 2, {"name": 0, "at": 1})).where("problem IS NULL")
    return [row["name"] for row in rows.orderBy(F.col("at").try_cast("int")).collect()]


def _nothing_good(shown: str, by_reason: Mapping[str, int]) -> str:
    if not by_reason:
        return f"{shown}: there is no rating in it; nothing was written"
    reason, n = max(by_reason.items(), key=lambda item: item[1])
    return (
        f"{shown}: none of {sum(by_reason.values())} ratings can be used, {n} of them because: {reason}. Is it "
        "the right file, with the right --columns, --separator, --header and --scale? Nothing was written"
    )


def _check(
    spark: SparkSession, args: Args, found: Survey, by_reason: Mapping[str, int], other: Mapping[str, int]
) -> dict[str, Any]:
    """Count what stands in the tables; more or fewer rows than were read is our mistake."""

    ratings = TableRef.find("", RATINGS, args.lake).frame(spark)
    counted = [
        ratings.groupBy(key).agg(F.count("*").alias("n")).agg(F.lit(key), F.count("*"), F.sum("n"))
        for key in ("user_id", "item_id")
    ]
    rows = TableRef.find("", RATINGS_REJECTED, args.lake).frame(spark).agg(F.lit("bad"), F.count("*"), F.lit(0))
    tally = {row[0]: (row[1], row[2]) for row in reduce(DataFrame.unionAll, [*counted, rows]).collect()}
    (users, kept), rated_items, refused = tally["user_id"], tally["item_id"][0], tally["bad"][0]
    rejected = sum(by_reason.values())
    read = found.good["ratings"] + sum(found.reasons["ratings"].values())
    if read != kept + rejected or refused != rejected + sum(other.values()):
        raise RuntimeError(
            f"counts do not add up: read {read}, kept {kept}, rejected {rejected} and {dict(other)} of other "
            f"tables, {refused} rows in ratings_rejected"
        )
    return {
        "read": read,
        "kept": kept,
        "rejected": rejected,
        "rejected_by_reason": dict(by_reason),
        "rejected_elsewhere": dict(other),
        "users": users,
        "items": found.good.get("items", rated_items),
        "rated_items": rated_items,
        "tags": found.good.get("tags", 0),
    }


def _report(summary: Mapping[str, Any]) -> None:
    print(f"{summary['read']:>12,} ratings read = {summary['kept']:,} kept + {summary['rejected']:,} rejected")
    for reason, n in {**summary["rejected_by_reason"], **summary["rejected_elsewhere"]}.items():
        print(f"{n:>12,} rejected: {reason}")
    print(f"{summary['users']:>12,} users, {summary['items']:,} items, {summary['tags']:,} tags")


if __name__ == "__main__":
    sys.exit(main())
