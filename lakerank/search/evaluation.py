"""Measure how good rankings are, by trec_eval's own code (through ir_measures)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import ir_measures
from ir_measures import AP, RR, P, R, nDCG

from lakerank.cli.errors import UserError

_GRADE = re.compile(r"[-+]?[0-9]{1,9}")  # more digits fit into no number of trec_eval's
MEASURES = {"ndcg": nDCG, "map": AP, "p": P, "mrr": RR, "recall": R}
USUAL = "ndcg@10,map,p@10,mrr,recall@1000"

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def read_measures(text: str) -> dict[str, ir_measures.Measure]:
    """Read measures by name, as `ndcg@10,map`; p and recall need a number of results.

    Raises:
        UserError: a name is unknown, or its number is missing or not one.
    """
    found = {}
    for name in filter(None, (part.strip().lower() for part in text.split(","))):
        kind, at, cutoff = name.partition("@")
        if kind not in MEASURES or (at and not (cutoff.isdecimal() and len(cutoff) < 7 and int(cutoff))):
            raise UserError(f"--metrics: `{name}` is not one of {', '.join(MEASURES)}, each with or without @N")
        if kind in ("p", "recall") and not at:
            raise UserError(f"--metrics: `{name}` needs a number of results, as {name}@10")
        found[name] = MEASURES[kind] @ int(cutoff) if at else MEASURES[kind]
    if not found:
        raise UserError(f"--metrics: name at least one, as {USUAL}")
    return found


def read_qrels(text: str, where: str) -> Qrels:
    """Read judgements, `query 0 document grade` lines.

    Raises:
        UserError: a line is not of this form, or there is none.
    """
    qrels: Qrels = {}
    for number, fields in _rows(text):
        if len(fields) != 4 or not _GRADE.fullmatch(fields[3]):
            raise UserError(f"{where}: line {number}: not `query 0 document grade`")
        qrels.setdefault(fields[0], {})[fields[2]] = int(fields[3])
    if not qrels:
        raise UserError(f"{where}: there is no judgement in it")
    return qrels


def read_run(text: str, where: str) -> Run:
    """Read the answers of a run, `query Q0 document rank score tag` lines.

    Raises:
        UserError: a line is not of this form, a document stands twice, or there is none.
    """
    run: Run = {}
    for number, fields in _rows(text):
        try:
            query, _, document, _, score, _ = fields
            value = float(score)
        except ValueError:
            raise UserError(f"{where}: line {number}: not `query Q0 document rank score tag`") from None
        if not math.isfinite(value):
            raise UserError(f"{where}: line {number}: the score is {score}")
        if document in run.setdefault(query, {}):
            raise UserError(f"{where}: line {number}: document {document} stands twice for query {query}")
        run[query][document] = value
    if not run:
        raise UserError(f"{where}: there is no answer in it")
    return run


def _rows(text: str) -> list[tuple[int, list[str]]]:
    return [(number, line.split()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def evaluate(run: Run, qrels: Qrels, measures: Mapping[str, ir_measures.Measure]) -> dict[str, float]:
    """Compute means over all judged queries; one without answers counts 0 (trec_eval -c)."""
    judged = {query: run.get(query, {}) for query in qrels}
    values = ir_measures.calc_aggregate(list(measures.values()), qrels, judged)
    return {name: float(values[measure]) for name, measure in measures.items()}


def by_query(run: Run, qrels: Qrels, measure: ir_measures.Measure) -> dict[str, float]:
    """Compute one measure for each judged query."""
    judged = {query: run.get(query, {}) for query in qrels}
    return {one.query_id: float(one.value) for one in ir_measures.iter_calc([measure], qrels, judged)}


def as_table(rows: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    """Return the measures of several runs as a table, a line each."""
    width = max(len("run"), *(len(name) for name in rows))
    lines = [f"{'run':<{width}}" + "".join(f"  {name:>11}" for name in names)]
    for run, values in rows.items():
        lines.append(f"{run:<{width}}" + "".join(f"  {values[name]:>11.4f}" for name in names))
    return "\n".join(lines)
