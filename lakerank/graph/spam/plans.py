"""Link-spam defence of a graph in frames, by the plan that fits its size, and the printed report.

In one task of a worker the whole defence runs, as the local plan of PageRank does: links in, pages and farms out. The
worker holds about 50 bytes for each link and 150 for each page (plus the text of ids that are text).

Where the links do not fit into one worker, TrustRank and spam mass are two runs of the PageRank engine. What is not
distributed is the search for clusters, so the two plans stand here side by side and are not one: beyond one worker
there is no farm to name, links from good pages into farms still count, and without seeds from the user the good pages
are the ones with the most kinds of supporters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph import store
from lakerank.graph.base import Graph, PageRankConfig, iterations_needed, no_nodes
from lakerank.graph.build_graph import BEFORE_HOST, HOST
from lakerank.graph.csr_block import Floats, pack
from lakerank.graph.encode_ids import CHUNK, gather, to_chunks
from lakerank.graph.engines import run_native, say
from lakerank.graph.local_graph import incidence, plain_ids
from lakerank.graph.local_plan import OUT_ROWS
from lakerank.graph.spam.defend import Verdict, defend
from lakerank.graph.spam.farms import MIN_STARTS, START_SHARE, TOWERS, mask, share_from
from lakerank.graph.spam.web import Mask, Web
from lakerank.spark.checkpoint import checkpoint

PER_FARM = 100  # targets of one farm that are reported
_VALUES = ("pagerank", "trusted_rank", "support", "spam_mass", "spam_score")
_NUMBERS = ("farm", "pages", "links_in", "position", "trusted_position")
ELSEWHERE = 1e-3  # fresh starts outside of the seeds, so that no rank is 0
SUSPECT = 0.75  # reported: pages whose rank is to so great a part not from trusted pages,
HIGH = 10.0  # and is so many times the average
_HEAD = f"{'farm':>4}  {'pages':>7}  {'links in':>8}  {'rank from it':>12}  {'position':>17}  {'pagerank':>23}  page"


@dataclass(frozen=True)
class SpamConfig:
    """Hold the settings of the defence.

    Attributes:
        damping: d, probability of following a link, in [0, 1).
        tol: stop ranking when ranks change by less in one iteration, L1 norm.
        max_iter: stop ranking after this many iterations at the latest; 0: as many as `damping` and `tol` can take.
        smallest: clusters of fewer pages are never called farms, ≥ 2.
        one_task_edges: up to this many links farms are looked for in one task; beyond, TrustRank only.
        scratch: folder for intermediate results where local checkpoints are refused (`lakerank.spark.checkpoint`).
    """

    damping: float = 0.85
    tol: float = 1e-8
    max_iter: int = 0
    smallest: int = 50
    one_task_edges: int = 20_000_000
    scratch: str = ""

    def __post_init__(self) -> None:
        if not self.max_iter:
            object.__setattr__(self, "max_iter", iterations_needed(self.damping, self.tol))


@dataclass(frozen=True)
class Defended:
    """Hold what the defence found, as frames.

    Attributes:
        pages: relation `trust_ranks`.
        report: relation `spam_report`.
        counts: `nodes`, `edges`, `trusted`, `farms`, `flagged`, `links_cut`.
        plan: how it was computed, in words.
    """

    pages: DataFrame
    report: DataFrame
    counts: dict[str, int]
    plan: str


def defend_links(
    spark: SparkSession,
    args: store.LinkArgs,
    config: SpamConfig,
    *,
    seeds: str = "",
    tell: Callable[[str], Any] = say,
) -> tuple[Defended, store.Links]:
    """Find the farms in the links that `args` names, and ranks without them; return both and what was read.

    Args:
        spark: the session.
        args: where the links and nodes are.
        config: settings.
        seeds: file or table of ids of pages known to be good; empty: a good part is looked for.
        tell: takes lines of text on what is being done.

    Raises:
        UserError: an input is missing or cannot be used, or a seed is no page.
    """
    location = store.links_location(spark, args)
    links = store.read_links(spark, args, location, teleport=seeds, nofollow=True)
    graph = links.graph
    rows = graph.edges.count() if graph.rows is None else graph.rows
    try:
        if rows <= config.one_task_edges:
            return run_one_task(graph, config, store.hosts_at(spark, args.lake, location)), links
        tell(f"link_spam: {rows} links: TrustRank and spam mass only; to find farms raise --one-task-edges")
        return run_distributed(graph, config), links
    except UserError as error:
        raise UserError(f"{seeds or location}: {str(error).removeprefix('seeds: ')}") from error


def run_one_task(graph: Graph, config: SpamConfig, hosts: DataFrame | None = None) -> Defended:
    """Find farms and defended ranks of a graph whose links fit into one worker.

    Args:
        graph: its `teleport`, if given, are the pages known to be good; their weights do not count.
        config: settings.
        hosts: `id`, `host` double ≥ 1, the number of each page's host; None: those in ids that are addresses.

    Raises:
        UserError: no nodes, or a seed that is no page.
    """
    work = partial(solve, config=config, weighted=graph.weighted, seeded=graph.teleport is not None)
    seeds = None if graph.teleport is None else graph.teleport.select("id", F.lit(1.0).alias("weight"))
    # Hosts travel where earlier ranks do, as negative weights: nothing here starts from earlier ranks.
    numbers = None if hosts is None or graph.id_type == "string" else hosts.withColumnRenamed("host", "pagerank")
    chunks = incidence(replace(graph, teleport=seeds, warm_start=numbers)).mapInArrow(to_chunks, CHUNK)
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
        farm, "id", "pagerank", "trusted_rank", "position", "trusted_position", "share", "pages", "links_in"
    )
    return Defended(pages, report, counts, "one task")


def unknown_seed(page: object) -> UserError:
    """Return the error for a seed that is not in the graph."""
    return UserError(f"seeds: id {page!r} is not a page of the graph")


def _out(id_type: str) -> str:
    values = ", ".join(f"{name} double" for name in (*_VALUES, "share"))
    return f"part string, id {id_type}, {values}, " + ", ".join(f"{name} bigint" for name in _NUMBERS)


def solve(
    batches: Iterator[pa.RecordBatch], *, config: SpamConfig, weighted: bool, seeded: bool
) -> Iterator[pa.RecordBatch]:
    """Run the defence on chunks (`encode_ids.to_chunks`): pages, targets and notes as rows (`part` says which).

    Args:
        batches: chunks of links, nodes and seeds.
        config: settings.
        weighted: whether the weights of links count.
        seeded: whether there are seeds; else a good part of the graph is looked for.
    """
    ids, src, dst, weight = gather(batches)
    link = dst >= 0
    seeds = numbers = None
    if seeded or len(weight):
        seed, hosted = (~link & (weight >= 0), ~link & (weight < 0)) if len(weight) else (np.zeros(len(src), bool),) * 2
        known = np.zeros(len(ids), dtype=bool)
        known[dst[link]] = True
        known[src[~seed & ~hosted]] = True
        for number in src[seed & ~known[src]][:1]:
            yield _count_row(ids.type, "unknown", 0, ids[int(number)].as_py())
            return
        if seeded:
            seeds = mask(len(ids), src[seed].astype(np.int64))[known]
        if hosted.any():
            numbers = np.zeros(len(ids), dtype=np.int64)
            numbers[src[hosted]] = weight[hosted].astype(np.int64)
            numbers = numbers[known]
        if not known.all():  # hosts of pages that are not in these links
            place = np.cumsum(known, dtype=np.int32) - np.int32(1)
            ids, src, dst = ids.filter(pa.array(known)), place[src], np.where(link, place[dst], dst)
    nodes = len(ids)
    if not nodes:
        return
    hosts = hosts_in(ids) if numbers is None else hosts_or_none(numbers, numbers < 0)
    src, dst = src[link], dst[link]
    shares = None
    if weighted:
        shares = weight[link] if len(weight) else np.zeros(len(src))
    web = Web(pack(src, dst, shares, nodes=nodes), config.damping, hosts)
    verdict = defend(web, seeds, config.smallest, config.tol, config.max_iter)
    flagged = verdict.farm > 0
    for part, count in (
        ("nodes", nodes),
        ("edges", web.block.edges),
        ("trusted", int(verdict.trusted.sum())),
        ("farms", len(verdict.farms)),
        ("flagged", int(flagged.sum())),
        ("links_cut", verdict.links_cut),
    ):
        yield _count_row(ids.type, part, count)
    yield from _targets(ids, web, verdict)
    for at in range(0, nodes, OUT_ROWS):
        yield _pages(ids, verdict, slice(at, at + OUT_ROWS))


def hosts_in(ids: pa.Array) -> NDArray[np.int64] | None:
    """Return the number of the host in each address, int64[n]; None where ids are no addresses, or all of one host."""
    if pa.types.is_integer(ids.type):
        return None
    found = pc.extract_regex(plain_ids(ids), f"{BEFORE_HOST}(?P<host>{HOST})")
    hosts = pc.utf8_lower(pc.struct_field(found, "host"))
    codes = pc.dictionary_encode(pc.utf8_rtrim(hosts, ".")).indices
    return hosts_or_none(pc.fill_null(codes, 0).to_numpy(zero_copy_only=False), pc.is_valid(codes).to_numpy(False))


def hosts_or_none(hosts: NDArray[Any], known: Mask) -> NDArray[np.int64] | None:
    """Return hosts as numbers from 0, each unknown one apart; None where fewer than two are known."""
    numbers, code = np.unique(hosts[known], return_inverse=True)
    if len(numbers) < 2:
        return None
    out = np.empty(len(hosts), np.int64)
    out[known] = code
    out[~known] = len(numbers) + np.arange(int((~known).sum()))
    return out


def _targets(ids: pa.Array, web: Web, verdict: Verdict) -> Iterator[pa.RecordBatch]:
    """Yield one row for each page that a farm lifts, the highest rank of each farm first."""
    before, after = positions(verdict.pagerank), positions(verdict.trusted_rank)
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
                "position": int(before[page]),
                "trusted_position": int(after[page]),
            }
            for page in lifted.tolist()
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=_schema(ids.type))


def positions(ranks: Floats) -> NDArray[np.int64]:
    """Return for each page 1 + the number of pages with a higher rank, int64[n]."""
    return len(ranks) - np.searchsorted(np.sort(ranks), ranks, side="right") + 1


def links_into(web: Web, pages: Mask) -> int:
    """Count the links from other pages into `pages`."""
    return int((pages[web.dst] & ~pages[web.src]).sum())


def _schema(id_type: pa.DataType) -> pa.Schema:
    plain = id_type if pa.types.is_integer(id_type) else pa.string()
    fields = [("part", pa.string()), ("id", plain)]
    fields += [(name, pa.float64()) for name in (*_VALUES, "share")]
    return pa.schema(fields + [(name, pa.int64()) for name in _NUMBERS])


def _count_row(id_type: pa.DataType, part: str, count: int, page: Any = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"part": part, "id": page, "pages": count}], schema=_schema(id_type))


def _pages(ids: pa.Array, verdict: Verdict, rows: slice) -> pa.RecordBatch:
    schema, chosen = _schema(ids.type), ids[rows]
    columns = {"part": pa.array(["page"] * len(chosen)), "id": plain_ids(chosen)}
    columns |= {name: pa.array(getattr(verdict, name)[rows]) for name in _VALUES}
    columns["farm"] = pa.array(verdict.farm[rows].astype(np.int64))
    for field in schema:
        columns.setdefault(field.name, pa.nulls(len(chosen), field.type))
    return pa.record_batch([columns[field.name] for field in schema], schema=schema)


def run_distributed(graph: Graph, config: SpamConfig) -> Defended:
    """Compute ranks from trusted starts only, and how they compare with PageRank.

    Args:
        graph: its `teleport`, if given, are the pages known to be good.
        config: settings; `smallest` is not used.

    Raises:
        UserError: no nodes, a seed that is no page, or no page has supporters of several kinds.
    """
    engine = PageRankConfig(config.damping, config.tol, config.max_iter, config.one_task_edges, scratch=config.scratch)
    plain = replace(graph, teleport=None)
    ids = checkpoint(plain.ids, config.scratch)
    nodes = ids.count()
    if not nodes:
        raise no_nodes()
    if graph.teleport is None:
        seeds = _most_varied(plain, max(MIN_STARTS, int(START_SHARE * nodes)))
    else:
        seeds = graph.teleport.select("id").distinct()
        for row in seeds.join(ids, "id", "left_anti").orderBy("id").head(1):
            raise unknown_seed(row["id"])
    seeds = checkpoint(seeds, config.scratch)
    count = seeds.count()
    if not count:
        raise UserError("no page is linked to: give --seeds, a file of pages known to be good")
    before = run_native(plain, engine)
    starts = seeds.select("id", F.lit((1 - ELSEWHERE) / count).alias("weight")).union(
        ids.select("id", F.lit(ELSEWHERE / nodes).alias("weight"))
    )
    after = run_native(replace(plain, teleport=starts), engine)
    both = before.ranks.join(after.ranks.withColumnRenamed("pagerank", "trusted_rank"), "id")
    ratio = F.least(F.col("trusted_rank") / F.col("pagerank"), F.lit(1.0))
    pages = both.select(
        "id",
        "pagerank",
        "trusted_rank",
        ratio.alias("support"),
        (1 - ratio).alias("spam_mass"),
        (1 - ratio).alias("spam_score"),
        F.lit(None).cast("int").alias("farm"),
    )
    pages = checkpoint(pages, config.scratch)
    report = pages.where((F.col("spam_mass") >= SUSPECT) & (F.col("pagerank") * nodes >= HIGH)).select(
        "farm",
        "id",
        "pagerank",
        "trusted_rank",
        *(F.lit(None).cast("bigint").alias(name) for name in ("position", "trusted_position")),
        F.col("spam_mass").alias("share"),
        *(F.lit(None).cast("bigint").alias(name) for name in ("pages", "links_in")),
    )
    counts = {"nodes": nodes, "edges": before.edges, "trusted": count, "farms": 0, "flagged": 0, "links_cut": 0}
    return Defended(pages, report, counts, f"TrustRank and spam mass only, {after.engine}")


def _most_varied(graph: Graph, count: int) -> DataFrame:
    """Return `id` of the `count` pages with the most kinds of supporters (`Web.variety`); equal ones in order of id."""
    links = graph.edges.where("weight > 0") if graph.weighted else graph.edges
    links = links.select("src", "dst").distinct()
    links_in = links.groupBy(F.col("dst").alias("id")).agg(F.count("*").alias("links_in"))
    links_out = links.groupBy(F.col("src").alias("id")).agg(F.count("*").alias("links_out"))
    kinds = links_out.join(links_in, "id", "left").select(
        F.col("id").alias("src"), F.struct(F.coalesce("links_in", F.lit(0)), "links_out").alias("kind")
    )
    variety = links.join(kinds, "src").groupBy(F.col("dst").alias("id")).agg(F.countDistinct("kind").alias("variety"))
    return variety.orderBy(F.desc("variety"), "id").limit(count).select("id")


def worst(report: DataFrame, count: int) -> list[Row]:
    """Return the `count` reported pages with the highest PageRank; equal ranks in order of id."""
    return report.orderBy(F.desc("pagerank"), "id").limit(count).collect()


def as_text(rows: Sequence[Row], names: Mapping[Any, str]) -> str:
    """Return rows of `spam_report` as lines of text: what was before, and what is after."""
    if not rows:
        return "  no page owes its rank to a farm"
    lines = [_HEAD]
    for row in rows:
        position = f"{_known(row['position'])} → {_known(row['trusted_position'])}"
        rank = f"{row['pagerank']:.3g} → {row['trusted_rank']:.3g}"
        lines.append(
            f"{_known(row['farm']):>4}  {_known(row['pages']):>7}  {_known(row['links_in']):>8}  "
            f"{row['share']:>12.1%}  {position:>17}  {rank:>23}  {names.get(row['id'], row['id'])}"
        )
    return "\n".join(lines)


def _known(value: int | None) -> str:
    return "–" if value is None else str(value)
