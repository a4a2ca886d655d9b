"""The graphs PageRank is measured on: R-MAT by seed, Wikispeedia, and the links of the NumPy documentation.

R-MAT: D. Chakrabarti, Y. Zhan, C. Faloutsos, "R-MAT: A Recursive Model for Graph Mining", SDM 2004, with the
parameters of Graph500 (A .57, B .19, C .19, D .05; 16 links a node; nodes renamed at random). Links that repeat and
links from a node to itself are dropped, as GraphX and igraph would otherwise count them in ways of their own.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
EDGE_FACTOR = 16
A, B, C = 0.57, 0.19, 0.19
Links = NDArray[np.int64]  # [e, 2]: source, destination; each once


@njit(cache=True)
def _draw(scale: int, count: int, rng: np.random.Generator) -> Any:
    ends = np.empty((count, 2), np.int64)
    for i in range(count):
        row, column = 0, 0
        for _ in range(scale):
            drawn = rng.random()
            down = drawn >= A + B
            right = (A <= drawn < A + B) or drawn >= A + B + C
            row, column = 2 * row + down, 2 * column + right
        ends[i, 0], ends[i, 1] = row, column
    return ends


def distinct(links: Links, nodes: int) -> Links:
    """Return each link once, none from a node to itself, in random order."""
    key = np.unique(links[:, 0] * nodes + links[:, 1])
    src, dst = key // nodes, key % nodes
    kept = src != dst
    order = np.random.default_rng(1).permutation(int(kept.sum()))
    return np.stack([src[kept][order], dst[kept][order]], axis=1)


def r_mat(scale: int, seed: int = 0) -> tuple[Links, int]:
    """Generate links and number of nodes (2^scale, those without links among them) of an R-MAT graph."""
    nodes, rng = 1 << scale, np.random.default_rng(seed)
    links = _draw(scale, EDGE_FACTOR * nodes, rng)
    return distinct(rng.permutation(nodes)[links], nodes), nodes


def wikispeedia() -> tuple[Links, int]:
    """Read links between Wikipedia articles of the Wikispeedia game."""
    lines = (DATA / "graphs" / "wikispeedia" / "links.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return _numbered(np.array([line.split("\t") for line in lines]))


def numpy_docs() -> tuple[Links, int]:
    """Read links between the pages of the NumPy documentation, boilerplate included, by their addresses."""
    from urllib.parse import urldefrag, urljoin

    from selectolax.lexbor import LexborHTMLParser

    base = "https://numpy.org/doc/2.5/"
    pairs = []
    with tarfile.open(DATA / "web" / "numpy-docs.tar.gz") as archive:
        for member in archive:
            if not member.name.endswith(".html") or (content := archive.extractfile(member)) is None:
                continue
            here = base + member.name.removeprefix("./")
            for link in LexborHTMLParser(content.read()).css("a[href]"):
                target = urldefrag(urljoin(here, link.attributes["href"] or "")).url
                if target.startswith(base):
                    pairs.append((here, target))
    return _numbered(np.array(pairs))


def _numbered(pairs: NDArray[np.str_]) -> tuple[Links, int]:
    names, numbers = np.unique(pairs, return_inverse=True)
    return distinct(numbers.reshape(-1, 2).astype(np.int64), len(names)), len(names)


def graph(name: str, seed: int = 0) -> tuple[Links, int]:
    """Load the graph `rmat-N`, `wikispeedia` or `numpy-docs`: links and number of nodes."""
    if name.startswith("rmat-"):
        return r_mat(int(name.removeprefix("rmat-")), seed)
    return {"wikispeedia": wikispeedia, "numpy-docs": numpy_docs}[name]()
