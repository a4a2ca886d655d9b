"""Input and output of the report: tables and who wrote them, results of super-resolution, the file of the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.files import read_json_lines
from lakerank.cli.stores import download, has_scheme, is_in_object_store
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import ID, PAGES, RANKS, RELATIONS, Relation

MOST_PICTURES = 3
MOST_BYTES = 1_500_000  # of one picture on the page
BEFORE, AFTER = "-bicubic", "-model"
# Of web pages only the titles are wanted: any table with these two columns will do, whatever its ids are.
_TITLES = {"page_id": ID, "title": "string"}


@dataclass(frozen=True)
class Upscaled:
    """A picture upscaled twice: by bicubic interpolation and by the network; both PNG."""

    name: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class SrResults:
    """Results of super-resolution.

    Attributes:
        history: lines of `history.jsonl`: `step`, `seconds`, losses, `psnr_y` (dB) where there was a validation.
        sets: name → upscaler (`bicubic`, `model`) → metric → mean; and `pictures`, how many.
        pictures: some of those that were scored.
    """

    history: Sequence[Mapping[str, float]] = ()
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pictures: Sequence[Upscaled] = ()


@dataclass(frozen=True)
class Written:
    """The version of a table that is read, when it was written (UTC), and by which run, if that is known."""

    version: int
    at: str
    run: str


@dataclass(frozen=True)
class Lake:
    """The inputs of the report.

    Attributes:
        tables: those that exist, by name, checked.
        written: the newest commit of each.
        sr: results of super-resolution.
        spark: version of Spark.
        users: whose recommendations to show; empty: typical ones.
    """

    tables: Mapping[str, DataFrame]
    written: Mapping[str, Written] = field(default_factory=dict)
    sr: SrResults = field(default_factory=SrResults)
    spark: str = ""
    users: Sequence[str] = ()

    def run_of(self, relation: Relation) -> str:
        """Return the run that wrote a table last; empty if it is not known."""
        return self.written[relation.name].run if relation.name in self.written else ""


def read_lake(spark: SparkSession, lake: str, sr: str = "") -> Lake:
    """Open the tables of a lake and read the results of super-resolution beside them.

    Args:
        spark: the session.
        lake: a folder or `catalog.schema`.
        sr: folder of results; empty: `super-resolution` in the lake.

    Raises:
        UserError: there is no table, one is not as its schema says, or results cannot be read.
    """
    titles = replace(
        PAGES,
        columns=tuple(
            replace(column, type=_TITLES[column.name], nullable=column.name == "title")
            for column in PAGES.columns
            if column.name in _TITLES
        ),
    )
    relations = {**RELATIONS, PAGES.name: titles}
    published = Publications.read(lake, lambda: spark)
    refs = {}
    for name, relation in relations.items():
        try:
            ref = published.table(relation)
        except UserError as error:
            print(f"report: left out: {error}", file=sys.stderr)
            continue
        if ref.exists(spark):
            refs[name] = ref
    if not refs:
        raise UserError(f"no tables in {lake}: run ingest_ratings or pagerank first")
    return Lake(
        {name: relations[name].check(ref.frame(spark), ref.location) for name, ref in refs.items()},
        {name: _written(spark, published, ref) for name, ref in sorted(refs.items())},
        _sr_results(sr or f"{lake.removeprefix('file:')}/super-resolution"),
        spark.version,
    )


def _written(spark: SparkSession, published: Publications, ref: TableRef) -> Written:
    by, version = published.of(ref), ref.version(spark)
    if by is not None:
        return Written(version, f"{by.published_at:%Y-%m-%d %H:%M:%S}", by.run_id)
    row = spark.sql(f"DESCRIBE HISTORY {ref.sql}").where(F.col("version") == version).select("timestamp").first()
    return Written(version, "" if row is None else f"{row['timestamp']:%Y-%m-%d %H:%M:%S}", "")


def _sr_results(place: str) -> SrResults:
    """Read results in a folder, also of a store: of what lies there only what the page needs."""
    if not has_scheme(place):
        return read_sr_results(Path(place))
    with TemporaryDirectory() as folder:
        wanted = ("history.jsonl", "scores.json", ".png")
        download(place, Path(folder), lambda name: name.endswith(wanted) and not name.startswith("samples/"))
        return read_sr_results(Path(folder))


def read_sr_results(folder: Path) -> SrResults:
    """Read the results in `folder` (what `train --out` or `evaluate --out` named) and its `evaluation`; empty if none.

    Raises:
        UserError: a file in it is not what the commands write.
    """
    path = folder / "history.jsonl"
    try:
        history = tuple(read_json_lines(path, "step", "report"))
        scores = next((p for p in (folder / "scores.json", folder / "evaluation" / "scores.json") if p.is_file()), None)
        if scores is None:
            return SrResults(history)
        path = scores
        sets = dict(json.loads(path.read_text(encoding="utf-8"))["sets"])
        pictures = [_upscaled(file, scores.parent) for file in sorted(scores.parent.glob(f"*/*{AFTER}.png"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error}); is it from sr_model?") from error
    return SrResults(history, sets, [picture for picture in pictures if picture is not None][:MOST_PICTURES])


def _upscaled(after: Path, folder: Path) -> Upscaled | None:
    before = after.with_name(after.name.replace(f"{AFTER}.png", f"{BEFORE}.png"))
    if not before.is_file() or max(before.stat().st_size, after.stat().st_size) > MOST_BYTES:
        return None
    name = after.relative_to(folder).as_posix().removesuffix(f"{AFTER}.png")
    return Upscaled(name, before.read_bytes(), after.read_bytes())


def report_file(lake: str, out: str) -> Path | str:
    """Return the path of the page: `out`, or report/index.html in the lake; a folder that exists gets an index.html.

    Raises:
        UserError: the lake is a catalog, or in a store that Python cannot write to, and `out` is empty.
    """
    location = TableRef.find("", RANKS, lake).location
    place = out or (f"{lake.rstrip('/')}/report/index.html" if has_scheme(location) else "")
    if is_in_object_store(place):
        return place if place.endswith((".html", ".htm")) else f"{place.rstrip('/')}/index.html"
    if has_scheme(place) or (not out and is_catalog_name(location)):
        raise UserError(f"the report is a file and {out or lake} has no place for it: give --out FILE")
    path = Path(out) if out else Path(lake.removeprefix("file:")) / "report" / "index.html"
    return (path / "index.html" if path.is_dir() else path).resolve()
