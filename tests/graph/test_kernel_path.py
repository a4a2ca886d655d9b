"""The native engine's arithmetic on many graphs, without Spark: the very functions the workers run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import SHARED
from graph_oracles import Case, by_igraph, by_networkx, by_steps, l1, random_case

from lakerank.cli.errors import UserError
from lakerank.graph import distributed_plan, encode_ids, local_plan
from lakerank.graph.base import PageRankConfig
from lakerank.graph.build_graph import EXACT, SEED
from lakerank.graph.csr_block import Block, block_size, pack
from lakerank.graph.iterate import Convergence, StoppingRule

LDBC = SHARED / "graphs" / "ldbc"


def batches(case: Case, size: int = 13) -> Iterator[pa.RecordBatch]:
    """The case as Spark would hand it over: links, then node rows, then teleport rows."""
    weights = case.weights or [None] * len(case.edges)
    rows = [(s, d, w) for (s, d), w in zip(case.edges, weights, strict=True)]
    rows += [(node, None, None) for node in case.nodes]
    rows += [(node, None, weight) for node, weight in (case.teleport or {}).items()]
    kind = pa.string() if rows and isinstance(rows[0][0], str) else pa.int64()
    schema = pa.schema([("src", kind), ("dst", kind), ("weight", pa.float64())])
    for at in range(0, len(rows), size):
        columns = zip(*rows[at : at + size], strict=True)
        yield pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def solve(case: Case, chunks: Any = None, **settings: Any) -> tuple[dict[Any, float], dict[str, Any]]:
    """Ranks and notes of the one-task plan."""
    config = PageRankConfig(case.damping, **{"tol": 1e-14, "max_iter": 2000} | settings)
    chunks = encode_ids.to_chunks(batches(case)) if chunks is None else chunks
    out = local_plan.solve(
        chunks, config=config, weighted=case.weights is not None, teleported=case.teleport is not None
    )
    rows = [row for batch in out for row in batch.to_pylist()]
    ranks = {row["id"]: row["pagerank"] for row in rows if row["note"] is None}
    return ranks, {row["note"]: row for row in rows if row["note"]}


def deliver(case: Case, blocks: int, steps: int, rule: StoppingRule) -> tuple[dict[Any, float], float]:
    """The distributed plan's own functions with a dictionary for a shuffle: ranks, and the last change by the rule."""
    ids = case.ids
    position = {node: i for i, node in enumerate(ids)}
    n = len(ids)
    rows: list[list[Any]] = [[] for _ in range(blocks)]
    for (s, d), w in zip(case.edges, case.weights or [1.0] * len(case.edges), strict=True):
        rows[position[s] % blocks].append((position[s] // blocks, position[d], w))
    packed = {}
    for number in range(blocks):
        table = pa.table(
            {
                "block": pa.array([number] * (len(rows[number]) + 1), pa.int32()),
                "s": pa.array([None, *(row[0] for row in rows[number])], pa.int64()),
                "d": pa.array([None, *(row[1] for row in rows[number])], pa.int64()),
                "weight": pa.array([None, *(row[2] for row in rows[number])], pa.float64()),
            }
        )
        packed[number] = distributed_plan._pack_group(table, nodes=n, blocks=blocks, weighted=case.weights is not None)
    share = np.zeros(n)
    for node, weight in (case.teleport or {}).items():
        share[position[node]] = weight / sum(case.teleport.values())
    starts = [share[number::blocks].tobytes() if case.teleport else b"" for number in range(blocks)]
    messages = distributed_plan.message_table([distributed_plan.state(b, starts[b]) for b in range(blocks)])
    for _ in range(steps + 1):
        out = []
        for number in range(blocks):
            mine = messages.filter(pa.compute.equal(messages["block"], number))
            settings = {"nodes": n, "blocks": blocks, "damping": case.damping, "rule": rule}
            out.append(distributed_plan.step(packed[number], mine, **settings))
        # Arrival in another order must not matter.
        messages = pa.concat_tables(out[::-1])
    x = np.zeros(n)
    for row in messages.to_pylist():
        if row["origin"] == distributed_plan.STATE and row["values"]:
            x[row["block"] :: blocks] = np.frombuffer(row["values"])
    changes = [row["change"] for row in messages.to_pylist() if row["origin"] == distributed_plan.STATE]
    return dict(zip(ids, x.tolist(), strict=True)), rule.combine(changes)


@pytest.mark.parametrize("seed", range(50))
def test_random_graphs_agree_with_networkx_and_igraph(seed: int) -> None:
    case = random_case(seed)
    ours, _ = solve(case)
    assert l1(ours, by_networkx(case)) < 1e-9
    if case.teleport is None:  # igraph spreads dangling mass evenly even then
        assert l1(ours, by_igraph(case)) < 1e-9
    assert sum(ours.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("blocks", [1, 3, 7])
@pytest.mark.parametrize("seed", range(0, 50, 4))
def test_blocks_and_messages_give_what_one_task_gives(seed: int, blocks: int) -> None:
    case = random_case(seed)
    ours, _ = solve(case, tol=0.0, max_iter=12)
    ranks, change = deliver(case, blocks, 12, StoppingRule())
    assert l1(ranks, ours) < 1e-12
    assert l1(by_steps(case, 12), ours) < 1e-12
    assert change == pytest.approx(l1(by_steps(case, 11), ours), abs=1e-12)


class LargestChange(StoppingRule):
    """Looks at the node that moved most."""

    def change(self, l1_change: float, before: Any, after: Any) -> float:
        return float(np.abs(after - before).max(initial=0.0))

    def combine(self, changes: Any) -> float:
        return max(changes)


@pytest.mark.parametrize("blocks", [1, 3, 7])
@pytest.mark.parametrize("seed", [2, 9, 17])
def test_another_rule_sees_the_same_in_blocks_as_in_one_piece(seed: int, blocks: int) -> None:
    case, rule = random_case(seed), LargestChange(1e-5)
    _, notes = solve(case, stopping=rule)
    steps = notes["iteration"]["number"]  # of the last one
    assert notes["iteration"]["converged"]
    moved = [deliver(case, blocks, number, rule)[1] for number in (steps - 1, steps)]
    assert moved[1] < rule.tol <= moved[0]
    last, before = by_steps(case, steps), by_steps(case, steps - 1)
    assert moved[1] == pytest.approx(max(abs(last[node] - before[node]) for node in last), abs=1e-14)


def test_convergence_records_and_stops() -> None:
    convergence = Convergence(StoppingRule(0.1), max_iter=3)
    assert convergence.l1_change == float("inf")
    assert not convergence.stops(0.5, 0.5, 0.2)
    assert convergence.stops(0.09, 0.09, 0.3)
    assert convergence.converged
    assert convergence.history == [(1, 0.5, 0.2), (2, 0.09, 0.3)]
    endless = Convergence(StoppingRule(0.0), max_iter=2)
    assert [endless.stops(0.0, 0.0) for _ in range(2)] == [False, True]
    assert not endless.converged


@pytest.mark.parametrize("name", EXACT)
def test_worked_examples_are_exact(name: str) -> None:
    edges, exact = EXACT[name]
    ours, notes = solve(Case(name, list(edges)), tol=1e-15)
    assert ours == pytest.approx({node: float(rank) for node, rank in exact.items()}, abs=1e-12)
    assert (notes["nodes"]["number"], notes["edges"]["number"]) == (3, len(set(edges)))


def test_the_seeds_first_step_by_hand() -> None:
    # Damping 1, one step from 1 each (ours: 1/3 each, sum 1).
    ours, _ = solve(Case("seed", list(SEED), damping=1.0), max_iter=1, tol=0.0)
    assert {k: v * 3 for k, v in ours.items()} == pytest.approx({"Amazon": 1.5, "Yahoo": 1, "Microsoft": 0.5})


@pytest.mark.skipif(not LDBC.exists(), reason=f"no LDBC reference graphs at {LDBC}")
@pytest.mark.parametrize(
    ("links", "result", "steps", "tolerance"),
    [
        ("example-directed.e", "example-directed-PR", 2, 1e-12),
        ("example-undirected.e", "example-undirected-PR", 2, 1e-12),
        ("dir-input", "dir-output", 15, 1e-6),  # where their run stopped
        ("undir-input", "undir-output", 26, 1e-6),
    ],
)
def test_ldbc_reference_outputs(links: str, result: str, steps: int, tolerance: float) -> None:
    edges = []
    for line in (LDBC / links).read_text(encoding="utf-8").splitlines():
        node, *others = map(float, line.split())
        for other in others[:1] if links.endswith(".e") else others:  # an edge and its weight, or all neighbours
            edges += [(int(node), int(other))] + [(int(other), int(node))] * ("undir" in links)
    lines = (LDBC / result).read_text(encoding="utf-8").splitlines()
    expected = {int(node): float(rank) for node, rank in (line.split() for line in lines)}
    ours, _ = solve(Case(links, edges, nodes=list(expected)), tol=0.0, max_iter=steps)
    assert ours == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("seed", range(5))
def test_renaming_the_nodes_renames_the_ranks(seed: int) -> None:
    case = random_case(seed)
    shuffled = np.random.default_rng(seed).permutation(len(case.ids)).tolist()
    new = dict(zip(case.ids, shuffled, strict=True))
    renamed = Case(
        "renamed",
        [(new[s], new[d]) for s, d in case.edges],
        case.weights,
        [new[node] for node in case.nodes],
        case.teleport and {new[node]: w for node, w in case.teleport.items()},
        case.damping,
    )
    ours, theirs = solve(case)[0], solve(renamed)[0]
    assert l1({new[node]: rank for node, rank in ours.items()}, theirs) < 1e-12


def test_the_order_of_chunks_and_rows_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_ids, "CHUNK_ROWS", 10)
    rng = np.random.default_rng(0)
    edges = [(int(s), int(d)) for s, d in rng.integers(0, 6, (200, 2))]  # each about five times
    case = Case("parallel", edges, rng.random(200).tolist())
    assert case.weights
    chunks = list(encode_ids.to_chunks(batches(case)))
    assert len(chunks) >= 3
    order = rng.permutation(len(case.edges))
    mixed = Case(
        "mixed",
        [case.edges[i] for i in order],
        [case.weights[i] for i in order],
        case.nodes,
        case.teleport,
        case.damping,
    )
    first = solve(case)[0]
    assert solve(case, iter(chunks[::-1]))[0] == first
    assert solve(mixed)[0] == first


def test_extreme_weights_neither_overflow_nor_vanish() -> None:
    edges = [(1, 2), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2)]
    huge = Case("huge", edges, [1e308, 1e308, 1e308, 5e-324, 5e-324, 5e-324])
    plain = Case("plain", edges, [1.0] * 6)
    assert l1(solve(huge)[0], solve(plain)[0]) < 1e-12


def test_no_edges_and_one_node() -> None:
    assert solve(Case("one", [], nodes=["a"]))[0] == {"a": 1.0}
    assert solve(Case("loop", [(5, 5)]))[0] == {5: 1.0}
    assert solve(Case("none", [], nodes=[1, 2, 3, 4]))[0] == pytest.approx(dict.fromkeys((1, 2, 3, 4), 0.25))
    assert solve(Case("empty", []))[0] == {}


def test_weights_without_any_link() -> None:
    assert solve(Case("none", [], weights=[], nodes=[1, 2]))[0] == pytest.approx({1: 0.5, 2: 0.5})


def test_unknown_and_empty_teleport_are_noted() -> None:
    assert solve(Case("t", [(1, 2)], teleport={9: 1.0}))[1]["unknown"]["id"] == 9
    assert "no teleport" in solve(Case("t", [(1, 2)], teleport={1: 0.0}))[1]


def test_null_source_is_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        list(encode_ids.to_chunks(batches(Case("null", [(None, 1)]))))


def test_pack_layout() -> None:
    # Block 1 of 2 over 5 nodes: sources 1 and 3 (local 0 and 1). Links 1→0 twice, 1→3, 3→4, 3→3.
    block = pack(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 3, 4, 3]), None, nodes=5, blocks=2, block=1)
    assert block.scale.tolist() == [0.5, 0.5]
    assert block.tile.tolist() == [0, 2, 3]  # even destinations 0 and 4 are local 0 and 2 of block 0; 3 is local 1
    assert (block.dst.tolist(), block.dst.dtype) == ([0, 2, 1], np.uint32)
    assert (block.ptr.tolist(), block.src.tolist()) == ([0, 1, 2, 4], [0, 1, 0, 1])
    assert block.propagate(np.array([0.4, 0.2])).tolist() == pytest.approx([0.2, 0.1, 0.3])
    again = Block.from_bytes(block.to_bytes())
    assert all(np.array_equal(getattr(again, name), getattr(block, name)) for name in ("scale", "tile", "src"))


@pytest.mark.parametrize("blocks", [1, 2, 3, 5, 9])
def test_block_sizes_add_up(blocks: int) -> None:
    for nodes in range(12):
        sizes = [block_size(nodes, blocks, b) for b in range(blocks)]
        assert sizes == [len(range(b, nodes, blocks)) for b in range(blocks)]


def test_too_many_nodes_for_a_block_is_said() -> None:
    with pytest.raises(ValueError, match="smaller blocks"):
        pack(np.array([0]), np.array([0]), None, nodes=1 << 40)


@pytest.mark.parametrize(
    "wrong", [{"damping": 1.5}, {"damping": float("nan")}, {"tol": -1.0}, {"max_iter": -1}, {"block_edges": 0}]
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "-")):
        PageRankConfig(**wrong)


@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85, 0.97])
def test_iterations_by_default_are_enough(damping: float) -> None:
    chain = [("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")]  # two sides in turn: the slowest there is
    config = PageRankConfig(damping)
    _, notes = solve(Case("chain", chain, damping=damping), max_iter=0, tol=1e-8)
    assert notes["iteration"]["converged"]
    assert notes["iteration"]["number"] <= config.max_iter
    assert PageRankConfig(1.0).max_iter == 10_000
