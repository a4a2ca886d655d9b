"""The search engines we compare with: bm25s and tantivy in `build/peers-search`, Lucene's jars in `build/peers-lucene`.

All of them get a folder with
    docs.bin     url, title and text of each page in UTF-8, each after its length (int32, big-endian)
    queries.txt  a query on each line
    wanted.txt   the address that each query is for; copies of a page have it before a `?`
and answer with JSON: pages, index_seconds (of each run), queries_per_second by way of asking, single_ms, found_in_10
(share of queries with the wanted page or a copy of it among the first ten: whether they do the same work).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from peer_environment import peer_python

ROOT = Path(__file__).resolve().parent.parent
PEERS, LUCENE = ROOT / "build" / "peers-search", ROOT / "build" / "peers-lucene"
# numba: the faster of bm25s's two backends. PyStemmer: the stems it is used with.
PACKAGES = ("numpy==2.4.6", "numba==0.68.1", "bm25s==0.3.16", "PyStemmer==3.1.0", "tantivy==0.27.0")
LUCENE_VERSION = "9.12.3"  # the newest that runs on Java 17
JARS = ("lucene-core", "lucene-analysis-common")
VERSIONS = {name: version for name, _, version in (package.partition("==") for package in PACKAGES[2:])}
VERSIONS["lucene"] = LUCENE_VERSION


def lucene_jars() -> str:
    """Return Lucene's class path; the first call downloads the jars with Maven."""
    jars = [LUCENE / f"{name}-{LUCENE_VERSION}.jar" for name in JARS]
    for name, jar in zip(JARS, jars, strict=True):
        if not jar.exists():
            print(f"downloading {jar.name} into {LUCENE.relative_to(ROOT)}", flush=True)
            wanted = f"-Dartifact=org.apache.lucene:{name}:{LUCENE_VERSION}"
            folders = [f"-Dmaven.repo.local={LUCENE / 'm2'}", f"-DoutputDirectory={LUCENE}"]
            subprocess.run(["mvn", "-q", *folders, "dependency:copy", wanted], check=True)
    return os.pathsep.join(map(str, jars))


def run_python_peer(name: str, folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Run `search_peer_runs.py NAME …`; its last line.

    Raises:
        RuntimeError: it failed; the end of its stderr is in the message.
    """
    script = str(ROOT / "benchmarks" / "search_peer_runs.py")
    return _last_line([str(peer_python(PEERS, PACKAGES)), script, name, str(folder), str(threads), str(repeats)])


def run_lucene(folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Run LuceneBench.java; its last line. Errors as `run_python_peer`."""
    source = str(ROOT / "benchmarks" / "LuceneBench.java")
    return _last_line(["java", "-Xmx4g", "-cp", lucene_jars(), source, str(folder), str(threads), str(repeats)])


def _last_line(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome
