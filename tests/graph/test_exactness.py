"""How exact ranks are said to be, starting from earlier ranks, and what a worker of the distributed plan holds."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from graph_oracles import Case, by_networkx, l1, random_case
from pyspark.sql import Row
from test_kernel_path import batches

from lakerank.graph import distributed_plan, local_plan
from lakerank.graph.base import PageRankConfig, RankResult
from lakerank.graph.csr_block import Block, block_size, pack, rounding
from lakerank.graph.encode_ids import gather, to_chunks
from lakerank.graph.iterate import StoppingRule, iterate
from lakerank.graph.summary import certain_ranks


def exact(links: set[tuple[int, int]], n: int, damping: Fraction) -> list[Fraction]:
    """PageRank in fractions, by Gauss and Jordan."""
    out = [sum(1 for s, _ in links if s == node) for node in range(n)]
    follow = [[Fraction(0)] * n for _ in range(n)]
    for source in range(n):
        for target in range(n):
            if out[source]:
                follow[target][source] = Fraction(1, out[source]) if (source, target) in links else Fraction(0)
            else:
                follow[target][source] = Fraction(1, n)
    rows = [[(Fraction(i == j) - damping * follow[i][j]) for j in range(n)] + [(1 - damping) / n] for i in range(n)]
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for r in range(n):
            if r != i and rows[r][i]:
                rows[r] = [a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[n] for row in rows]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [1, 5, 20, 400])
def test_the_error_is_never_above_its_bound(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 14))
    links = {(int(s), int(d)) for s, d in rng.integers(0, n, (2 * n, 2)) if s != 1}  # 1 dangles
    src, dst = (np.array([link[end] for link in sorted(links)]) for end in (0, 1))
    block = pack(src, dst, None, nodes=n)
    before = x = np.full(n, 1 / n)
    delta = 0.0
    for number, (given, after, change, _) in enumerate(iterate(block, x.copy(), 0.85), start=1):
        before, x, delta = given, after, change
        if number == steps:
            break
    moved = rounding(block, before, block.propagate(before))
    result = RankResult(None, steps, [(steps, delta, 0.0)], n, len(links), "", False, moved)  # type: ignore[arg-type]
    bound = result.error_bound(0.85)
    truth = exact(links, n, Fraction(0.85))
    error = float(sum(abs(Fraction(float(rank)) - right) for rank, right in zip(x, truth, strict=True)))
    assert bound is not None
    assert error <= bound
    if steps == 400:  # nothing but rounding is left, and its bound is not absurd
        assert 0 < bound < 5e-12


def test_ranks_are_certain_where_gaps_are_wider_than_the_error() -> None:
    best = [Row(id=i, pagerank=rank) for i, rank in enumerate((0.5, 0.3, 0.101, 0.1, 0.05))]
    assert certain_ranks(best, 0.01, 4) == 2
    assert certain_ranks(best, 1e-9, 4) == 4
    assert certain_ranks(best, 0.2, 4) == 0
    assert certain_ranks(best, None, 4) is None
    assert certain_ranks(best[:2], 0.01, 4) == 2  # the graph has no more


def ranked(case: Case, earlier: dict[Any, float] | None = None, **settings: Any) -> tuple[dict[Any, float], int]:
    """Ranks of the one-task plan that starts from earlier ranks, and its iterations."""
    rows = list(batches(case))
    if earlier:
        kind = rows[0].schema.field("src").type
        columns = [
            pa.array(earlier, kind),
            pa.nulls(len(earlier), kind),
            pa.array([-rank for rank in earlier.values()]),
        ]
        rows.append(pa.record_batch(columns, schema=rows[0].schema))
    config = PageRankConfig(case.damping, **{"tol": 1e-12, "max_iter": 2000} | settings)
    out = local_plan.solve(
        to_chunks(iter(rows)), config=config, weighted=case.weights is not None, teleported=case.teleport is not None
    )
    found = [row for batch in out for row in batch.to_pylist()]
    ranks = {row["id"]: row["pagerank"] for row in found if row["note"] is None}
    return ranks, sum(row["note"] == "iteration" for row in found)


@pytest.mark.parametrize("seed", [2, 4, 9, 17])
def test_earlier_ranks_save_iterations_and_change_nothing_else(seed: int) -> None:
    case = random_case(seed)
    cold, many = ranked(case)
    again, few = ranked(case, cold)
    assert few <= 2 < many
    assert l1(again, cold) < 1e-10
    # Ranks of nodes that are gone do not count, and nodes that are new are ranked all the same.
    gone = "gone" if isinstance(case.ids[0], str) else 10**6
    odd = {node: rank for node, rank in cold.items() if node != case.ids[0]} | {gone: 0.5}
    changed, _ = ranked(case, odd)
    assert l1(changed, by_networkx(case)) < 1e-9


def test_a_changed_web_needs_fewer_iterations_from_earlier_ranks() -> None:
    # Neighbourhoods that hardly know one another: rank creeps from one to the next.
    rng = np.random.default_rng(1)
    nodes, part = 4000, 200
    src = rng.integers(0, nodes, 40_000)
    dst = np.where(rng.random(40_000) < 0.01, rng.integers(0, nodes, 40_000), src // part * part)
    dst = np.minimum(dst + (part * rng.random(40_000) ** 3).astype(int), nodes - 1)
    case = Case("before", list(zip(src.tolist(), dst.tolist(), strict=True)), nodes=list(range(nodes)))
    ranks, _ = ranked(case)
    moved = rng.choice(len(dst), len(dst) // 100, replace=False)
    dst[moved] = rng.permutation(dst[moved])
    after = Case("after", list(zip(src.tolist(), dst.tolist(), strict=True)), nodes=list(range(nodes)))
    (cold, many), (warm, few) = ranked(after, tol=1e-8), ranked(after, ranks, tol=1e-8)
    assert few <= many / 2
    assert l1(cold, warm) < 1e-6
    assert sum(warm.values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "ids",
    [
        [2**63 - 1, -(2**63), 0, 5],  # too far apart for distances
        [2**53, 2**53 + 1, 2**53 + 2, 2**53 + 3],  # one and the same as floats
        [-(2**63), -(2**63) + 1, -(2**63) + 3, -(2**63) + 2],
        [0, 2**31 - 3, 7, 2**30],  # distances, but no table
        ["b", "a", "é", ""],
    ],
)
def test_ids_of_every_kind_are_kept_exactly(ids: list[Any]) -> None:
    rows = [(ids[0], ids[1], None), (ids[1], ids[2], None), (ids[2], ids[0], None), (ids[3], None, None)]
    kind = pa.array(ids).type
    columns = [
        pa.array(column, t) for column, t in zip(zip(*rows, strict=True), (kind, kind, pa.float64()), strict=True)
    ]
    chunks = to_chunks(iter([pa.record_batch(columns, names=["src", "dst", "weight"])]))
    found, src, dst, _ = gather(chunks)
    named = found.to_pylist()
    assert named == sorted(ids)
    back = [(named[s], None if d < 0 else named[d], None) for s, d in zip(src.tolist(), dst.tolist(), strict=True)]
    assert back == rows


def test_chunks_of_distances_and_of_dictionaries_join() -> None:
    def chunk(src: list[int], dst: list[int]) -> pa.RecordBatch:
        table = {"src": pa.array(src), "dst": pa.array(dst), "weight": pa.nulls(len(src), pa.float64())}
        return next(to_chunks(iter([pa.record_batch(table)])))

    near, far = chunk([3, 5], [5, 3]), chunk([2**62, 3], [-4, 2**62])
    ids, src, dst, _ = gather(iter([near, far]))
    assert ids.to_pylist() == [-4, 3, 5, 2**62]
    assert (src.tolist(), dst.tolist()) == ([1, 2, 3, 1], [2, 1, 0, 3])


@pytest.mark.parametrize("blocks", [5, 16])
def test_a_worker_of_the_distributed_plan_holds_its_slice_only(blocks: int) -> None:
    """Blocks of sources, tiles of destinations: every array a worker sees belongs to its stripe or its own links."""
    rng = np.random.default_rng(2)
    n, edges = 2000, 12_000
    src, dst = rng.integers(0, n // 2, edges), rng.integers(0, n, edges)
    packed = {}
    for number in range(blocks):
        mine = src % blocks == number
        table = {
            "block": pa.array([number] * int(mine.sum()), pa.int32()),
            "s": src[mine] // blocks,
            "d": dst[mine],
            "weight": pa.nulls(int(mine.sum()), pa.float64()),
        }
        packed[number] = distributed_plan._pack_group(pa.table(table), nodes=n, blocks=blocks, weighted=False)
    messages = distributed_plan.message_table([distributed_plan.state(b) for b in range(blocks)])
    stripe, x = block_size(n, blocks, 0), np.empty(n)
    for _ in range(40):
        sent = []
        for number in range(blocks):
            received = messages.filter(pa.compute.equal(messages["block"], number))
            block = Block.from_bytes(packed[number].to_pylist()[0])
            assert len(block.scale) <= stripe
            assert block.edges <= (src % blocks == number).sum()
            for message in received.to_pylist():
                assert len(message["values"]) <= 8 * stripe
            into = int((dst % blocks == number).sum())
            assert received.nbytes <= 12 * min(into, n) + 100 * blocks + 8 * stripe
            sent.append(
                distributed_plan.step(
                    packed[number], received, nodes=n, blocks=blocks, damping=0.85, rule=StoppingRule()
                )
            )
        messages = pa.concat_tables(sent)
    for row in messages.to_pylist():
        if row["origin"] == distributed_plan.STATE:
            x[row["block"] :: blocks] = np.frombuffer(row["values"])
    links = list(zip(src.tolist(), dst.tolist(), strict=True))
    assert l1(dict(enumerate(x.tolist())), by_networkx(Case("all", links, nodes=list(range(n))))) < 1e-10
