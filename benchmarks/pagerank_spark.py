"""PageRank on Spark by one engine, on one graph after another in one warm session; a line of JSON for each.

    python benchmarks/pagerank_spark.py ENGINE REPEATS ITERATIONS FOLDER…

A folder holds Delta tables `links` and `nodes` and the text file `links.txt`; `out-ENGINE` is written beside them.
Engines: `driver`, `one task` and `distributed` are the job `pagerank`, from Delta to Delta, until ranks change by less
than 1e-11. `graphx` is the code behind GraphFrames: GraphLoader (the text file), then its static PageRank for
ITERATIONS iterations. `joins` is a power iteration of DataFrame joins and groupBy, each of ITERATIONS iterations
checkpointed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from pagerank_cost import Cost
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.spark.session import session
from spark_jobs import pagerank

TOL = 1e-11
DAMPING = 0.85
# Blocks of the bounded-memory plan: no worker holds more than about a fifth of the largest graph's links.
BLOCKS = ["--driver-edges", "0", "--one-task-edges", "0", "--block-edges", "4000000"]
OURS = {"driver": [], "one task": ["--driver-edges", "0"], "distributed": BLOCKS}


def ours(engine: str, folder: Path) -> dict[str, Any]:
    """Run the job as a user does; return its summary."""
    out = folder / f"out-{engine.replace(' ', '-')}"
    flags = ["--lake", str(out), "--links", str(folder / "links"), "--nodes", str(folder / "nodes")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pagerank.main([*flags, "--engine", "native", "--tol", str(TOL), "--top", "3", "--json", *OURS[engine]])
    if code:
        raise RuntimeError(said.getvalue())
    summary = json.loads(said.getvalue().splitlines()[-1])
    return {name: summary.get(name) for name in ("plan", "iterations", "error_bound", "worker_peak_mib")}


def graphx(spark: SparkSession, folder: Path, iterations: int) -> dict[str, Any]:
    """Run GraphX through py4j."""
    jvm, context = spark._jvm, spark._jsc.sc()
    level = jvm.org.apache.spark.storage.StorageLevel.MEMORY_AND_DISK()
    started = time.perf_counter()
    graph = jvm.org.apache.spark.graphx.GraphLoader.edgeListFile(
        context, str(folder / "links.txt"), False, 8, level, level
    )
    graph.edges().count()
    graph.vertices().count()
    loaded = time.perf_counter()
    tag = jvm.scala.reflect.ClassTag.Int()
    ranked = jvm.org.apache.spark.graphx.lib.PageRank.run(graph, iterations, 1 - DAMPING, tag, tag)
    ranked.vertices().count()
    done = time.perf_counter()
    out = folder / "out-graphx" / str(time.time_ns())
    ranked.vertices().saveAsTextFile(str(out))
    (folder / "out-graphx" / "newest").write_text(out.name, encoding="utf-8")
    ranked.unpersist(False)
    graph.unpersist(False)
    return {
        "iterations": iterations, "load_seconds": round(loaded - started, 2),
        "iteration_seconds": round((done - loaded) / iterations, 3),
    }  # fmt: skip


def joins(spark: SparkSession, folder: Path, iterations: int) -> dict[str, Any]:
    """Compute PageRank by joins of frames, as one writes it without an engine."""
    links = spark.read.format("delta").load(str(folder / "links"))
    nodes = spark.read.format("delta").load(str(folder / "nodes"))
    n = nodes.count()
    shares = links.groupBy("src").agg((1 / F.count("*")).alias("share"))
    links = links.join(shares, "src").localCheckpoint()
    ranks: DataFrame = nodes.select("id", F.lit(1.0 / n).alias("pagerank"))
    started = time.perf_counter()
    for _ in range(iterations):
        given = links.join(ranks.withColumnRenamed("id", "src"), "src")
        got = given.groupBy(F.col("dst").alias("id")).agg(F.sum(F.col("pagerank") * F.col("share")).alias("got"))
        followed = got.agg(F.sum("got")).collect()[0][0]
        lift = (1 - DAMPING * followed) / n
        ranks = nodes.join(got, "id", "left").select(
            "id", (F.coalesce(F.col("got"), F.lit(0.0)) * DAMPING + lift).alias("pagerank")
        )
        ranks = ranks.localCheckpoint()
    done = time.perf_counter()
    ranks.write.format("delta").mode("overwrite").save(str(folder / "out-joins" / "ranks"))
    return {"iterations": iterations, "iteration_seconds": round((done - started) / iterations, 3)}


def main() -> None:
    """Run and print."""
    engine, repeats, iterations = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with session(f"bench-{engine}", "local[2]") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        for folder in map(Path, sys.argv[4:]):
            for _ in range(repeats):
                with Cost() as cost:
                    if engine in OURS:
                        said = ours(engine, folder)
                    else:
                        said = {"graphx": graphx, "joins": joins}[engine](spark, folder, iterations)
                print(json.dumps({"graph": folder.name, **said, **cost.facts()}), flush=True)


if __name__ == "__main__":
    main()
