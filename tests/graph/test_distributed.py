"""What makes the distributed plan cheap, seen in Spark's own plan."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import REMOTE
from graph_oracles import Case, by_steps, l1
from pyspark.sql import SparkSession
from tests_root import ROOT

from lakerank.graph import distributed_plan
from lakerank.graph.base import Graph
from lakerank.graph.iterate import StoppingRule

# In the third delivery the worker of one block kills itself, once.
DYING = """
import json, os, signal, sys
os.environ["PYSPARK_SUBMIT_ARGS"] = "--conf spark.sql.shuffle.partitions=2 pyspark-shell"
from pathlib import Path
import pyarrow as pa
from lakerank.graph import distributed_plan
from lakerank.graph.base import Graph, PageRankConfig
from lakerank.spark.session import get_spark
spark = get_spark("dying", "local[2,4]")
spark.sparkContext.setLogLevel("OFF")
links = [(i, i * 7 % 50) for i in range(50)] + [(i, (i + 1) % 50) for i in range(40)]
src, dst = zip(*links)
frame = spark.createDataFrame(pa.table({"src": list(src), "dst": list(dst)}))
step, marker, deliveries = distributed_plan.step, Path(sys.argv[1]), [0]
exchange = distributed_plan.exchange
def counted(packed, messages, nodes, blocks, damping, rule):
    deliveries[0] += 1
    if deliveries[0] != 3:
        return exchange(packed, messages, nodes, blocks, damping, rule)
    def dying(p, m, *, nodes, blocks, damping, rule):
        if p.column("block")[0].as_py() == 1 and not marker.exists():
            marker.write_text("died")
            os.kill(os.getpid(), signal.SIGKILL)
        return step(p, m, nodes=nodes, blocks=blocks, damping=damping, rule=rule)
    delivered = messages.repartitionById(blocks, "block").groupBy("block")
    return packed.groupBy("block").cogroup(delivered).applyInArrow(
        lambda p, m: dying(p, m, nodes=nodes, blocks=blocks, damping=damping, rule=rule), distributed_plan.MESSAGES)
distributed_plan.exchange = counted
found = distributed_plan.run(Graph(frame), PageRankConfig(tol=0.0, max_iter=4, block_edges=40))
print(json.dumps({row["id"]: row["pagerank"] for row in found.ranks.collect()}))
spark.stop()
"""


@pytest.mark.connect
def test_an_iteration_moves_messages_and_no_links(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    edges = spark.createDataFrame(pa.table({"src": [1, 2, 3, 4, 5], "dst": [2, 3, 1, 1, 9]}))
    numbered = spark.createDataFrame(pa.table({"id": [1, 2, 3, 4, 5, 9], "number": [0, 1, 2, 3, 4, 5]}))
    packed = distributed_plan.pack_blocks(Graph(edges), numbered, 6, 3)
    assert spark.conf.get("spark.sql.adaptive.enabled") == "true"  # put back
    messages = distributed_plan.first_messages(Graph(edges), numbered, 6, 3, 0.85)
    sent = distributed_plan.exchange(packed, messages, 6, 3, 0.85, StoppingRule())
    sent.explain()
    plan = capsys.readouterr().out
    moved = re.findall(r"Exchange .*", plan)
    assert len(moved) == 1, plan
    assert "REPARTITION_BY_NUM" in moved[0]  # a number of our own, which adaptive execution leaves alone
    # One task per block, and nobody waits for two.
    where = packed.selectExpr("block", "spark_partition_id() AS p").collect()
    assert sorted((row["block"], row["p"]) for row in where) == [(0, 0), (1, 1), (2, 2)]
    assert [row["edges"] for row in packed.orderBy("block").collect()] == [2, 2, 1]


@pytest.mark.slow
@pytest.mark.skipif(bool(REMOTE), reason="has a session of its own")
def test_a_worker_that_dies_costs_a_task_and_not_the_job(tmp_path: Path) -> None:
    # A session of its own: one that tries a task again, which local[2] does not.
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path / "died")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "died").exists(), "nobody died: nothing was tested"
    ranks = json.loads(done.stdout.splitlines()[-1])
    case = Case("ring", [(i, i * 7 % 50) for i in range(50)] + [(i, (i + 1) % 50) for i in range(40)])
    assert l1({int(node): rank for node, rank in ranks.items()}, by_steps(case, 4)) < 1e-12
