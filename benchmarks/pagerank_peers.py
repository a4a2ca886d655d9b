"""PageRank in one process by igraph, NetworKit or scipy; prints one line of JSON. Runs in the peers' environment.

    python benchmarks/pagerank_peers.py PEER FOLDER TOL

Reads the Parquet files of the Delta table `links`, writes `ranks-PEER.npy`. scipy and NetworKit stop when ranks change
by less than TOL (NetworKit: L1), igraph (PRPACK) has a rule of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

DAMPING = 0.85


def by_scipy(src: Any, dst: Any, n: int, tol: float) -> tuple[float, Any, int]:
    """Compute PageRank by a power iteration on a CSR matrix."""
    import scipy.sparse as sp

    out = np.bincount(src, minlength=n)
    share = np.divide(1.0, out, out=np.zeros(n), where=out > 0)
    matrix = sp.csr_matrix((share[src], (dst, src)), shape=(n, n))
    loaded = time.perf_counter()
    sinks, x, number, delta = np.flatnonzero(out == 0), np.full(n, 1 / n), 0, 1.0
    while delta >= tol and number < 1000:
        after = DAMPING * (matrix @ x)
        after += (1 - DAMPING + DAMPING * x[sinks].sum()) / n
        delta, x, number = float(np.abs(after - x).sum()), after, number + 1
    return loaded, x, number


def by_igraph(src: Any, dst: Any, n: int, tol: float) -> tuple[float, Any, int]:
    """Compute PageRank by igraph's PRPACK."""
    import igraph

    graph = igraph.Graph(n=n, edges=np.stack([src, dst], axis=1), directed=True)
    loaded = time.perf_counter()
    return loaded, np.array(graph.pagerank(damping=DAMPING)), -1


def by_networkit(src: Any, dst: Any, n: int, tol: float) -> tuple[float, Any, int]:
    """Compute NetworKit's PageRank with sinks handled."""
    import networkit as nk
    import scipy.sparse as sp

    nk.setNumberOfThreads(2)
    graph = nk.GraphFromCoo(sp.coo_matrix((np.ones(len(src)), (src, dst)), shape=(n, n)), n=n, directed=True)
    loaded = time.perf_counter()
    ranker = nk.centrality.PageRank(graph, DAMPING, tol, distributeSinks=nk.centrality.SinkHandling.DistributeSinks)
    ranker.norm = nk.centrality.Norm.L1_NORM
    ranker.run()
    ranks = np.array(ranker.scores())
    return loaded, ranks / ranks.sum(), ranker.numberOfIterations()


def main() -> None:
    """Run, write, print."""
    peer, folder, tol = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    n = int((folder / "nodes.txt").read_text(encoding="utf-8"))
    used, begun = time.process_time(), time.perf_counter()
    table = pq.ParquetDataset([str(file) for file in (folder / "links").glob("*.parquet")]).read()
    src, dst = table.column("src").to_numpy(), table.column("dst").to_numpy()
    loaded, ranks, iterations = {"scipy": by_scipy, "igraph": by_igraph, "networkit": by_networkit}[peer](
        src, dst, n, tol
    )
    done, used = time.perf_counter(), time.process_time() - used
    np.save(folder / f"ranks-{peer}.npy", ranks)
    said = {
        "graph": folder.name, "iterations": iterations if iterations > 0 else None,
        "load_seconds": round(loaded - begun, 3), "solve_seconds": round(done - loaded, 3),
        "seconds": round(done - begun, 3), "cpu_seconds": round(used, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip
    print(json.dumps(said))


if __name__ == "__main__":
    main()
