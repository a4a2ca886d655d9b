"""Formats of graph files: which one the first lines of a file are in, and what of it is an edge list.

Read are plain edge lists, KONECT's (`% sym unweighted`, then edges), MatrixMarket coordinates and METIS adjacency
(`.graph`, `.metis`). Formats that are no lines of edges (GraphML, GEXF, GML, Pajek, DIMACS, DOT, JSON) are refused by
name: to take the first two words of their lines for an edge would give ranks of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError

HASH_COMMENT, PERCENT_COMMENT = r"^\s*(#|$)", r"^\s*([#%]|$)"
_REFUSED = (
    ("GEXF", r"<gexf\b"),
    ("GraphML", r"<graphml\b|<\?xml"),
    ("XML", r"<!?[A-Za-z]+[\s>]"),
    ("Pajek", r"(?i)\*(vertices|network|arcs|edges)\b"),
    ("DIMACS", r"p\s+(sp|edge|edges|col|max|min|asn|aux)\b|c(\s.*)?$"),
    ("DOT", r"(strict\s+)?(di)?graph\b[^\[]*\{"),
    ("GML", r"graph\s*(\[.*)?$|Creator\s+\""),
    ("JSON", r"[{\[]\s*([\"{\[]|$)"),
)
_ENDINGS = {
    "GraphML": (".graphml",), "GEXF": (".gexf",), "GML": (".gml",), "Pajek": (".net", ".paj"), "DOT": (".dot", ".gv"),
    "JSON": (".json", ".jsonl", ".ndjson"), "DIMACS": (".gr", ".dimacs"),
}  # fmt: skip
_METIS_HEADER = re.compile(r"[0-9]{1,18} [0-9]{1,18}( [01]{1,3}( [0-9]{1,4})?)?")
_METIS_ENDINGS = (".graph", ".metis")
_PACKED = (".gz", ".bz2", ".zst", ".xz")


@dataclass(frozen=True)
class GraphFormat:
    """What the lines of a graph file mean.

    Attributes:
        name: `edge list`, `KONECT`, `MatrixMarket` or `METIS`.
        comments: pattern of lines that say nothing.
        size_line: whether the first line that is no comment tells sizes.
        both_ways: whether each edge leads both ways.
        weighted: whether its third column is a weight; None: the format does not say.
    """

    name: str = "edge list"
    comments: str = HASH_COMMENT
    size_line: bool = False
    both_ways: bool = False
    weighted: bool | None = None


def recognize(lines: Sequence[str], source: str, where: str) -> GraphFormat:
    """Recognize the format of a file by its first lines and its name's ending.

    Args:
        lines: the first lines of the file, comments included.
        source: its address, for the ending.
        where: as the user wrote it, for messages.

    Raises:
        UserError: the format is not read; it is named.
    """
    first = next((line.strip() for line in lines if line.strip()), "")
    ending = _ending(source)
    if first.startswith("%%MatrixMarket"):
        return _matrix_market(first, where)
    for name, pattern in _REFUSED:
        by_name = ending in _ENDINGS.get(name, ()) and (name != "DIMACS" or bool(re.match("[cpa] ", first)))
        said = re.match(pattern, first) and (name != "DIMACS" or _is_dimacs(lines))
        if by_name or said:
            raise UserError(
                f"{where}: this is {name}, which is not read: write the graph as lines `source,target` (with networkx: "
                "write_edgelist), or as a table with columns src and dst"
            )
    if ending in _METIS_ENDINGS:
        return GraphFormat("METIS", r"^%", size_line=True, both_ways=False)
    # A comment of KONECT's is a sign and a space: `%C3%89douard` is an id.
    if re.match(r"%\s", first):
        return GraphFormat("KONECT", PERCENT_COMMENT, both_ways=_is_undirected(first, where))
    return GraphFormat()


def _ending(source: str) -> str:
    name = source.rsplit("/", 1)[-1].lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return name[name.rfind(".") :] if "." in name else ""


def _is_dimacs(lines: Sequence[str]) -> bool:
    """Tell whether there is a problem line among comments and arcs: `c` alone begins many an edge list of words."""
    return any(re.match(r"p\s+\w+\s+\d+", line) for line in lines) and all(
        re.match(r"[cpaen]\b", line) for line in lines if line.strip()
    )


def _is_undirected(first: str, where: str) -> bool:
    """Tell whether KONECT's first line says that edges lead both ways.

    Raises:
        UserError: it says that sources and targets are two sets, whose ids overlap.
    """
    words = first.lower().split()
    if "bip" in words:
        raise UserError(f"{where}: KONECT says that this graph is bipartite: its source 1 and its target 1 differ")
    return "sym" in words


def _matrix_market(first: str, where: str) -> GraphFormat:
    """Return what MatrixMarket's first line says; see https://math.nist.gov/MatrixMarket/formats.html.

    Raises:
        UserError: it is no matrix of coordinates.
    """
    words = [*first.lower().split()[1:], "", "", "", ""][:4]
    what, form, field, symmetry = words
    if (what, form) != ("matrix", "coordinate"):
        raise UserError(f"{where}: this is a MatrixMarket {what} {form}: only `matrix coordinate` is a list of edges")
    if field not in ("real", "integer", "pattern", "double") or symmetry not in ("general", "symmetric"):
        raise UserError(f"{where}: this MatrixMarket matrix is {field} {symmetry}, which are no links with weights")
    return GraphFormat("MatrixMarket", PERCENT_COMMENT, True, symmetry == "symmetric", field != "pattern")


def metis_edges(lines: DataFrame, where: str) -> tuple[DataFrame, GraphFormat]:
    """Convert METIS's adjacency lists to lines `source<TAB>target[<TAB>weight]`; every line names its neighbours.

    Args:
        lines: `source`, `line`, `value` of one file.
        where: as the user wrote it, for messages.

    Raises:
        UserError: the first line is no header, or the file has other lines than it says.
    """
    comments = [row["line"] for row in lines.where(F.col("value").rlike(r"^\s*%")).select("line").collect()]
    data = lines.where(~F.col("value").rlike(r"^\s*%"))
    head = data.orderBy("line").head(1)
    words = head[0]["value"].split() if head else []
    if not _METIS_HEADER.fullmatch(" ".join(words)):
        raise UserError(f"{where}: its first line is not METIS's header `nodes edges [format [weights]]`")
    kind = (words[2] if len(words) > 2 else "0").zfill(3)
    skipped = int(kind[0]) + (int(words[3]) if len(words) > 3 else int(kind[1]))
    step = 2 if kind[2] == "1" else 1
    before = F.size(F.filter(F.array(*map(F.lit, comments or [-1])), lambda one: (one >= 0) & (one < F.col("line"))))
    node = (F.col("line") - F.lit(head[0]["line"]) - before + F.lit(sum(c < head[0]["line"] for c in comments))).cast(
        "string"
    )
    text = F.trim(F.regexp_replace("value", r"\s+", " "))
    cells = F.filter(F.split(text, " "), lambda one: one != "")
    cells = F.slice(cells, skipped + 1, F.greatest(F.size(cells) - skipped, F.lit(0)))
    starts = F.sequence(F.lit(0), F.greatest(F.size("cells") - 1, F.lit(0)), F.lit(step))
    rows = data.where(F.col("line") > head[0]["line"]).select(
        "source", "line", node.alias("node"), cells.alias("cells")
    )
    listed = rows.where(F.size("cells") > 0).select("source", "line", "node", "cells", F.explode(starts).alias("at"))
    value = F.concat_ws("\t", "node", F.get("cells", "at"), *([F.get("cells", F.col("at") + 1)] if step == 2 else []))
    found = rows.agg(F.max(F.col("node").cast("bigint")).alias("last")).collect()[0]["last"] or 0
    if found > int(words[0]):
        raise UserError(f"{where}: METIS's header says {words[0]} nodes, and there are {found} lines of neighbours")
    return listed.select("source", "line", value.alias("value")), GraphFormat("METIS", weighted=step == 2)
