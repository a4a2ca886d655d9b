"""The whole defence in one task, as the one-task plan of PageRank does it: links in, pages and farms out.

The one worker holds about 50 bytes for each link and 150 for each page (plus the text of ids that are text).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, no_nodes
from lakerank.graph.csr_block import Floats, pack
from lakerank.graph.local_plan import gather, to_chunks
from lakerank.graph.spam.defend import Verdict, defend
from lakerank.graph.spam.farms import TOWERS, share_from
from lakerank.graph.spam.web import Mask, Web
from lakerank.spark.checkpoint import checkpoint

OUT_ROWS = 1 << 17
PER_FARM = 100  # targets of one farm that are reported
_CHUNK = "ids binary, src binary, dst binary, weight binary"
_VALUES = ("pagerank", "trusted_rank", "support", "spam_mass", "spam_score")
_NUMBERS = ("farm", "pages", "links_in", "place", "trusted_place")


@dataclass(frozen=True)
class SpamConfig:
    """Settings of the defence.

    Attributes:
        damping: d, probability of following a link, in [0, 1).
        tol: stop ranking when ranks change by less in one iteration, L1 norm.
        max_iter: stop ranking after this many iterations at the latest, ≥ 1.
        smallest: clusters of fewer pages are never called farms, ≥ 2.
        scratch: folder for intermediate results where local checkpoints are refused (`checkpoint`).
    """

    damping: float = 0.85
    tol: float = 1e-8
    max_iter: int = 100
    smallest: int = 50
    scratch: str = ""


@dataclass(frozen=True)
class Defended:
    """What the defence found, as frames.

    Attributes:
        pages: relation `trust_ranks`.
        report: relation `spam_report`.
        counts: `nodes`, `edges`, `trusted`, `farms`, `flagged`, `cut`.
        plan: how it was computed, in words.
    """

    pages: DataFrame
    report: DataFrame
    counts: dict[str, int]
    plan: str


def run(graph: Graph, config: SpamConfig) -> Defended:
    """Find farms and defended ranks of a graph whose links fit into one worker.

    Args:
        graph: its `teleport`, if given, are the pages known to be good; their weights do not count.
        config: settings.

    Raises:
        UserError: no nodes, or a seed that is no page.
    """
    work = partial(solve, config=config, weighted=graph.weighted, seeded=graph.teleport is not None)
    chunks = _incidence(graph).mapInArrow(to_chunks, _CHUNK)
    found = checkpoint(chunks.repartition(1).mapInArrow(work, _out(graph.id_type)), config.scratch)
    notes = found.where("part NOT IN ('page', 'target')").select("part", "id", "pages").collect()
    counts = {row["part"]: int(row["pages"]) for row in notes}
    for row in notes:
        if row["part"] == "unknown":
            raise unknown_seed(row["id"])
    if not counts.get("nodes"):
        raise no_nodes()
    farm = F.nullif(F.col("farm"), F.lit(0)).cast("int").alias("farm")
    pages = found.where("part = 'page'").select("id", *_VALUES, farm)
    report = found.where("part = 'target'").select(
        farm, "id", "pagerank", "trusted_rank", "place", "trusted_place", "share", "pages", "links_in"
    )
    return Defended(pages, report, counts, "one task")


def unknown_seed(page: object) -> UserError:
    """The error for a seed that is not in the graph."""
    return UserError(f"seeds: id {page!r} is not a page of the graph")


def _out(id_type: str) -> str:
    values = ", ".join(f"{name} double" for name in (*_VALUES, "share"))
    return f"part string, id {id_type}, {values}, " + ", ".join(f"{name} bigint" for name in _NUMBERS)


def _incidence(graph: Graph) -> DataFrame:
    """All rows in one frame: links have a `dst`; nodes have none; seeds have a weight, too."""
    none, nothing = F.lit(None).cast("double"), F.lit(None).cast(graph.id_type).alias("dst")
    rows = graph.edges.select("src", "dst", F.col("weight") if graph.weighted else none.alias("weight"))
    if graph.nodes is not None:
        rows = rows.union(graph.nodes.select("id", nothing, none))
    if graph.teleport is not None:
        rows = rows.union(graph.teleport.select("id", nothing, F.lit(1.0)))
    return rows


def solve(
    batches: Iterator[pa.RecordBatch], *, config: SpamConfig, weighted: bool, seeded: bool
) -> Iterator[pa.RecordBatch]:
    """The whole computation on chunks (`one_task.to_chunks`): pages, targets and notes as rows (`part` says which).

    Args:
        batches: chunks of links, nodes and seeds.
        config: settings.
        weighted: whether the weights of links count.
        seeded: whether there are seeds; else a good part of the graph is looked for.
    """
    ids, src, dst, weight = gather(batches)
    nodes = len(ids)
    if not nodes:
        return
    link = dst >= 0
    seeds = None
    if seeded:
        named = src[~link & ~np.isnan(weight)] if len(weight) else src[:0]
        known = np.zeros(nodes, dtype=bool)
        known[dst[link]] = True
        known[src[link | np.isnan(weight)]] = True
        for number in named[~known[named]][:1]:
            yield _note(ids.type, "unknown", 0, ids[int(number)].as_py())
            return
        seeds = np.zeros(nodes, dtype=bool)
        seeds[named] = True
    src, dst = src[link], dst[link]
    shares = None
    if weighted:
        shares = weight[link] if len(weight) else np.zeros(len(src))
    web = Web(pack(src, dst, shares, nodes=nodes), config.damping)
    verdict = defend(web, seeds, config.smallest, config.tol, config.max_iter)
    flagged = verdict.farm > 0
    for part, count in (
        ("nodes", nodes),
        ("edges", web.block.edges),
        ("trusted", int(verdict.trusted.sum())),
        ("farms", len(verdict.farms)),
        ("flagged", int(flagged.sum())),
        ("cut", verdict.cut),
    ):
        yield _note(ids.type, part, count)
    yield from _targets(ids, web, verdict)
    for at in range(0, nodes, OUT_ROWS):
        yield _pages(ids, verdict, slice(at, at + OUT_ROWS))


def _targets(ids: pa.Array, web: Web, verdict: Verdict) -> Iterator[pa.RecordBatch]:
    """One row for each page that a farm lifts, the highest rank of each farm first."""
    before, after = places(verdict.pagerank), places(verdict.trusted_rank)
    for number, farm in enumerate(verdict.farms, start=1):
        others = farm.pages.copy()
        others[farm.target] = False
        high = farm.pages & (verdict.pagerank >= TOWERS * float(np.median(verdict.pagerank[farm.pages])))
        high[farm.target] = True
        lifted = np.flatnonzero(high)
        lifted = lifted[np.argsort(-verdict.pagerank[lifted], kind="stable")][:PER_FARM]
        rows = [
            {
                "part": "target",
                "id": ids[page].as_py(),
                "pagerank": float(verdict.pagerank[page]),
                "trusted_rank": float(verdict.trusted_rank[page]),
                "share": share_from(web, page, others),
                "farm": number,
                "pages": int(farm.pages.sum()),
                "links_in": links_into(web, farm.pages),
                "place": int(before[page]),
                "trusted_place": int(after[page]),
            }
            for page in lifted.tolist()
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=_schema(ids.type))


def places(ranks: Floats) -> NDArray[np.int64]:
    """int64[n]: 1 + the number of pages with a higher rank."""
    return len(ranks) - np.searchsorted(np.sort(ranks), ranks, side="right") + 1


def links_into(web: Web, pages: Mask) -> int:
    """Number of links from other pages into `pages`."""
    return int((pages[web.dst] & ~pages[web.src]).sum())


def _schema(id_type: pa.DataType) -> pa.Schema:
    plain = id_type if pa.types.is_integer(id_type) else pa.string()
    fields = [("part", pa.string()), ("id", plain)]
    fields += [(name, pa.float64()) for name in (*_VALUES, "share")]
    return pa.schema(fields + [(name, pa.int64()) for name in _NUMBERS])


def _note(id_type: pa.DataType, part: str, count: int, page: Any = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"part": part, "id": page, "pages": count}], schema=_schema(id_type))


def _pages(ids: pa.Array, verdict: Verdict, rows: slice) -> pa.RecordBatch:
    schema, chosen = _schema(ids.type), ids[rows]
    columns = {"part": pa.array(["page"] * len(chosen)), "id": chosen.cast(schema.field("id").type)}
    columns |= {name: pa.array(getattr(verdict, name)[rows]) for name in _VALUES}
    columns["farm"] = pa.array(verdict.farm[rows].astype(np.int64))
    for field in schema:
        columns.setdefault(field.name, pa.nulls(len(chosen), field.type))
    return pa.record_batch([columns[field.name] for field in schema], schema=schema)
