"""Link farms of many shapes, added to a real graph, and the two real graphs they are added to.

A farm is `size` pages made to lift one more page, the target, with links from good pages that were talked into it.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Edges = NDArray[np.int64]
CLIQUE = 50
CHAIN = 10
BASE_URL = "https://numpy.org/doc/2.5/"


@dataclass(frozen=True)
class Attacked:
    """A graph with a farm.

    Attributes:
        edges: int64[e, 2], each link once; pages below `good` are the original graph's.
        nodes: number of pages.
        good: how many of them are good.
        target: number of the page that is lifted.
    """

    edges: Edges
    nodes: int
    good: int
    target: int


def links(src: Any, dst: Any) -> Edges:
    """Make links int64[k, 2] from two arrays, or an array and one number."""
    return np.column_stack(np.broadcast_arrays(np.asarray(src, np.int64), np.asarray(dst, np.int64)))


def both_ways(target: int, farm: Edges) -> list[Edges]:
    """Build a farm in which all pages link to the target and it to all."""
    return [links(farm, target), links(target, farm)]


def copied(rng: np.random.Generator, good: Edges, nodes: int, farm: Edges) -> list[Edges]:
    """Build a farm in which each page has the outgoing links of a good page drawn at random."""
    ordered = good[np.argsort(good[:, 0], kind="stable")]
    first = np.searchsorted(ordered[:, 0], np.arange(nodes + 1))
    model = rng.integers(nodes, size=len(farm))
    return [links(page, ordered[first[m] : first[m + 1], 1]) for page, m in zip(farm, model, strict=True)]


def star(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a star, the usual farm: all link to the target, it links back to all."""
    return both_ways(target, farm)


def one_way(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a star whose target does not link back."""
    return [links(farm, target)]


def random_links(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Add ten random links on each page to a star."""
    return [*both_ways(target, farm), links(np.repeat(farm, 10), rng.choice(farm, 10 * len(farm)))]


def cliques(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build cliques: groups of 50 in which everybody links to everybody."""
    groups = [farm[at : at + CLIQUE] for at in range(0, len(farm), CLIQUE)]
    return both_ways(target, farm) + [links(np.repeat(g, len(g)), np.tile(g, len(g))) for g in groups]


def ring(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a ring: each page links to the next one, too."""
    return [*both_ways(target, farm), links(farm, np.roll(farm, 1))]


def chain(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a chain of ten small stars; each one's target links to the target before it."""
    parts = np.array_split(farm, CHAIN)
    heads = [target] + [int(part[0]) for part in parts[1:]]
    made: list[Edges] = []
    for position, (head, part) in enumerate(zip(heads, parts, strict=True)):
        made += both_ways(head, part[part != head])
        if position:
            made.append(links([head], heads[position - 1]))
    return made


def tree(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a tree: each page links to its parent in a tree of ten branches, too."""
    return [*both_ways(target, farm), links(farm[1:], farm[(np.arange(1, len(farm)) - 1) // 10])]


def two_tiers(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build two tiers: the target links to one half; that half links to random pages of the other."""
    half = len(farm) // 2
    near, far = farm[:half], farm[half:]
    return [links(farm, target), links(target, near), links(np.repeat(near, 5), rng.choice(far, 5 * half))]


def many_targets(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Add twenty more targets that all pages link to."""
    heads, rest = farm[:20], farm[20:]
    return [*both_ways(target, rest), links(np.repeat(rest, 20), np.tile(heads, len(rest)))]


def popular(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Add 2 to 29 links on each page to farm pages, a few of which are popular (Zipf, exponent 0.8)."""
    weight = 1 / np.arange(1, len(farm) + 1) ** 0.8
    count = rng.integers(2, 30, len(farm))
    drawn = rng.choice(farm, int(count.sum()), p=weight / weight.sum())
    return [*both_ways(target, farm), links(np.repeat(farm, count), drawn)]


def name_dropping(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Add five links on each page to the twenty good pages with the most links in."""
    best = np.argsort(-np.bincount(good[:, 1], minlength=nodes), kind="stable")[:20]
    return [*both_ways(target, farm), links(np.repeat(farm, 5), rng.choice(best, 5 * len(farm)))]


def camouflage(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a camouflaged farm: each page copies all links of a good page."""
    return both_ways(target, farm) + copied(rng, good, nodes, farm)


def camouflage_one_way(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a camouflaged farm whose target does not link back."""
    return [links(farm, target), *copied(rng, good, nodes, farm)]


def camouflage_random(rng: np.random.Generator, good: Edges, nodes: int, target: int, farm: Edges) -> list[Edges]:
    """Build a camouflaged farm with ten random links within it."""
    return random_links(rng, good, nodes, target, farm) + copied(rng, good, nodes, farm)


Shape = Callable[[np.random.Generator, Edges, int, int, Edges], list[Edges]]
SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        star,
        one_way,
        random_links,
        cliques,
        ring,
        chain,
        tree,
        two_tiers,
        many_targets,
        popular,
        name_dropping,
        camouflage,
        camouflage_one_way,
        camouflage_random,
    )
}


def attack(
    good: Edges, nodes: int, size: int, hijacked: int, shape: str = "star", best: bool = False, seed: int = 0
) -> Attacked:
    """Add a farm.

    Args:
        good: int64[e, 2], the links of the graph.
        nodes: its number of pages.
        size: pages of the farm, without the target.
        hijacked: good pages, of those with links, that link to the target.
        shape: one of `SHAPES`.
        best: hijack the good pages with the most links in, not random ones.
        seed: of all choices.
    """
    rng = np.random.default_rng(seed)
    target, farm = nodes, np.arange(nodes + 1, nodes + 1 + size)
    if best:
        talked_into_it = np.argsort(-np.bincount(good[:, 1], minlength=nodes), kind="stable")[:hijacked]
    else:
        with_links = np.flatnonzero(np.bincount(good[:, 0], minlength=nodes))
        talked_into_it = rng.choice(with_links, hijacked, replace=False)
    made = SHAPES[shape](rng, good, nodes, target, farm)
    edges = np.unique(np.concatenate([good, *made, links(talked_into_it, target)]), axis=0)
    return Attacked(edges[edges[:, 0] != edges[:, 1]], nodes + 1 + size, nodes, target)


def wikispeedia(data: Path) -> tuple[Edges, int]:
    """Read the links between 4,592 Wikipedia articles, and the number of articles."""
    lines = (data / "graphs" / "wikispeedia" / "links.tsv").read_text(encoding="utf-8").splitlines()[1:]
    _, numbers = np.unique([line.split("\t") for line in lines], return_inverse=True)
    edges = numbers.reshape(-1, 2).astype(np.int64)
    return np.unique(edges, axis=0), int(edges.max()) + 1


def documentation(data: Path) -> tuple[Edges, int]:
    """Read the links between the pages of the NumPy documentation, menus included, and the number of pages."""
    import ada_url
    from selectolax.lexbor import LexborHTMLParser

    found: list[Edges] = []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(data / "web" / "numpy-docs.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        files = sorted(Path(folder).rglob("*.html"))
        root = next(file.parent for file in files if file.name == "genindex.html")
        number = {BASE_URL + file.relative_to(root).as_posix(): position for position, file in enumerate(files)}
        for url, position in number.items():
            to = set()
            for link in LexborHTMLParser(files[position].read_bytes()).css("a[href]"):
                try:
                    there = ada_url.join_url(url, link.attributes["href"] or "")
                except ValueError:
                    continue
                to.add(number.get(there.partition("#")[0], position))
            found.append(links(position, sorted(to - {position})))
    return np.concatenate(found), len(files)


GRAPHS = {"wikispeedia": wikispeedia, "NumPy documentation": documentation}
