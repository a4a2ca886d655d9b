"""Webs of many honest sites, made at random, and attacks on webs whose hosts are known.

A web is links between numbered pages and the number of each page's host. What an attack adds is put on one host, or
on one host for each page. `Attempt.honest` is the oracle: the same pages without the links that the attacker made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from link_farms import SHAPES, Edges, links
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lakerank.graph.csr_block import pack
from lakerank.graph.iterate import StoppingRule, power_iteration
from lakerank.graph.spam.defend import Verdict, defend
from lakerank.graph.spam.web import Web

Floats = NDArray[np.float64]
TOLERANCE = 0.01  # of all places: so far ahead of its honest place a target is still where honest links put it
OUTSIDE = 0.25  # or outside of this part of all places
Hosts = NDArray[np.int64]
STYLES = ("menus", "hierarchies", "related", "mixed")


@dataclass(frozen=True)
class SiteWeb:
    """Hold a web of honest sites (n pages, e links).

    Attributes:
        edges: int64[e, 2], each link once.
        hosts: int64[n], the number of each page's host.
    """

    edges: Edges
    hosts: Hosts


@dataclass(frozen=True)
class Attempt:
    """Hold an attacked web.

    Attributes:
        edges: int64[e, 2], all links.
        honest: int64[h, 2], those that the attacker neither made nor bought.
        hosts: int64[n].
        good: number of honest pages: those below.
        targets: int64[t], the pages that are lifted.
        members: int64[m], further pages below `good` that take part in the attack.
    """

    edges: Edges
    honest: Edges
    hosts: Hosts
    good: int
    targets: NDArray[np.int64]
    members: NDArray[np.int64]


def once(*parts: Edges) -> Edges:
    """Join links, each once, without those of a page to itself."""
    edges = np.unique(np.concatenate(parts), axis=0)
    return edges[edges[:, 0] != edges[:, 1]]


def inside(rng: np.random.Generator, pages: NDArray[np.int64], style: str) -> list[Edges]:
    """Make the links inside a site, whose first page is its home.

    menus: every page links to the home and to the 5 to 60 pages of the menu. hierarchies: a page links to its parent,
    the home and its own children. related: to the home and to 3 to 12 pages, popular ones more often.
    """
    n, home = len(pages), int(pages[0])
    made = [links(pages, home)]
    if style == "menus":
        menu = pages[: min(n, int(rng.integers(5, 60)))]
        made.append(links(np.repeat(pages, len(menu)), np.tile(menu, n)))
        made.append(links(pages[1:], pages[np.maximum(np.arange(1, n) - 1, 0)]))
        made.append(links(menu[np.arange(n) % len(menu)], pages))
    if style == "hierarchies":
        branch = int(rng.integers(3, 15))
        parents = pages[(np.arange(1, n) - 1) // branch]
        made += [links(pages[1:], parents), links(parents, pages[1:])]
    if style in ("related", "hierarchies"):
        count = rng.integers(3, 13, n)
        weight = 1 / (np.arange(n) + 3.0)
        src = np.repeat(pages, count)
        made.append(links(src, rng.choice(pages, len(src), p=weight / weight.sum())))
        made.append(links(pages[rng.integers(0, n, n)], pages))
    return made


def sites(count: int, style: str = "mixed", seed: int = 0) -> SiteWeb:
    """Make a web of `count` honest sites of 20 to 800 pages that link to one another, popular sites more often.

    One page in four links to one or two other sites, mostly to the home. A site gets links with Zipf's law; the least
    known one may get hardly any.
    """
    rng = np.random.default_rng(seed)
    sizes = np.clip(np.exp(rng.normal(4.3, 0.9, count)), 20, 800).astype(int)
    first = np.concatenate([[0], np.cumsum(sizes)])
    hosts = np.repeat(np.arange(count), sizes)
    made: list[Edges] = []
    for site in range(count):
        kind = style if style != "mixed" else STYLES[int(rng.integers(3))]
        made += inside(rng, np.arange(first[site], first[site + 1]), kind)
    popular = 1 / rng.permutation(np.arange(1, count + 1)) ** 0.8
    voters = np.flatnonzero(rng.random(len(hosts)) < 0.25)
    voters = np.concatenate([voters, voters[rng.random(len(voters)) < 0.5]])
    to = rng.choice(count, len(voters), p=popular / popular.sum())
    deep = (rng.random(len(voters)) ** 2 * sizes[to]).astype(int)
    target = first[to] + np.where(rng.random(len(voters)) < 0.8, 0, deep)
    away = to != hosts[voters]
    return SiteWeb(once(*made, links(voters[away], target[away])), hosts)


def votes(seed: int = 0, nodes: int = 7000) -> SiteWeb:
    """Make a graph like wiki-Vote: two thirds vote and are never voted for; votes follow a power law. No hosts."""
    rng = np.random.default_rng(seed)
    candidates = nodes // 3
    count = np.minimum(rng.zipf(1.6, nodes), 400)
    popular = 1 / (np.arange(candidates) + 20.0) ** 0.7
    src = np.repeat(np.arange(nodes), count)
    return SiteWeb(once(links(src, rng.choice(candidates, len(src), p=popular / popular.sum()))), np.arange(nodes))


def read_sites(path: Path) -> tuple[SiteWeb, list[str]]:
    """Read a file of links between addresses; returns the web, and the address of each page."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    pages, numbers = np.unique(rows, return_inverse=True)
    names = [page.split("/")[2] for page in pages.tolist()]
    hosts = np.unique(names, return_inverse=True)[1]
    return SiteWeb(once(numbers.reshape(-1, 2).astype(np.int64)), hosts.astype(np.int64)), pages.tolist()


def ring_tenth(rng: np.random.Generator, target: int, farm: NDArray[np.int64]) -> list[Edges]:
    """Make a ring of which every tenth page links to the target."""
    return [links(farm, np.roll(farm, 1)), links(farm[::10], target)]


def cells(rng: np.random.Generator, target: int, farm: NDArray[np.int64]) -> list[Edges]:
    """Make stars of 40 pages; the head of each links to the target and to its pages."""
    made: list[Edges] = []
    for at in range(0, len(farm), 40):
        head, rest = farm[at], farm[at + 1 : at + 40]
        made += [links(rest, head), links(head, rest), links([head], target)]
    return made


def tiers(rng: np.random.Generator, target: int, farm: NDArray[np.int64]) -> list[Edges]:
    """Make three tiers: many link to some, these to few, and the few to the target, which links to the many."""
    third, second, first = farm[60:], farm[10:60], farm[:10]
    return [
        links(third, second[np.arange(len(third)) % 50]),
        links(second, first[np.arange(50) % 10]),
        links(first, target),
        links(target, third),
    ]


OWN: dict[str, Callable[[np.random.Generator, int, NDArray[np.int64]], list[Edges]]] = {
    "ring_tenth": ring_tenth,
    "cells": cells,
    "tiers": tiers,
}
FARMS = ("star", "one_way", "ring", "cliques", "tree", "random_links", "camouflage", *OWN)
OTHERS = ("bought", "expired", "exchange", "first")


def attempt(web: SiteWeb, shape: str, spread: bool, seed: int, size: int = 600, hijacked: int = 10) -> Attempt:
    """Attack a web.

    Args:
        web: the honest pages.
        shape: one of `FARMS` or `OTHERS`.
        spread: each page of the farm on a host of its own; else all on one.
        seed: of all choices.
        size: pages of the farm.
        hijacked: honest pages talked into linking to the target.
    """
    rng = np.random.default_rng(seed)
    good, n = web.edges, len(web.hosts)
    with_links = np.flatnonzero(np.bincount(good[:, 0], minlength=n))
    top = int(web.hosts.max()) + 1
    none = np.empty(0, np.int64)
    target = n
    if shape == "first":
        first = int(np.argmax(np.bincount(good[:, 1], weights=1 / np.bincount(good[:, 0])[good[:, 0]], minlength=n)))
        farm = np.arange(n, n + 60)
        hosts = np.concatenate([web.hosts, top + np.arange(60) if spread else np.full(60, web.hosts[first])])
        made = once(good, links(farm, first), links(first, farm))
        return Attempt(made, good, hosts, n, np.array([first]), none)
    if shape == "exchange":
        pages = rng.choice(with_links, 60, replace=False)
        return Attempt(once(good, links(np.repeat(pages, 60), np.tile(pages, 60))), good, web.hosts, n, pages, pages)
    if shape == "bought":
        pages = rng.choice(with_links, 20, replace=False)
        return Attempt(once(good, links(pages, target)), good, np.append(web.hosts, top), n, np.array([n]), none)
    if shape == "expired":
        pages = rng.choice(with_links, 20, replace=False)
        honest = good[~np.isin(good[:, 0], pages)]
        return Attempt(once(honest, links(pages, target)), honest, np.append(web.hosts, top), n, np.array([n]), pages)
    farm = np.arange(n + 1, n + 1 + size)
    made_by = OWN[shape](rng, target, farm) if shape in OWN else SHAPES[shape](rng, good, n, target, farm)
    talked = links(rng.choice(with_links, hijacked, replace=False), target)
    hosts = np.concatenate([web.hosts, top + np.arange(size + 1) if spread else np.full(size + 1, top)])
    return Attempt(once(good, *made_by, talked), once(good, talked), hosts, n, np.array([target]), none)


@dataclass(frozen=True)
class Weighed:
    """Hold both kinds of error of the defence, and those of plain PageRank.

    Attributes:
        missed: part of the targets that stand ahead of where honest links alone put them, and in the best quarter.
        plain: the same without defence.
        flagged: honest pages called part of a farm.
        lost: most places that an honest page lost by the defence, in parts of all.
        place: median place of the targets, in parts of all honest pages; 0 is the first.
        honest_place: where honest links alone put them.
    """

    missed: float
    plain: float
    flagged: int
    lost: float
    place: float
    honest_place: float


def defend_sites(edges: Edges, hosts: Hosts | None, nodes: int, seeds: NDArray[np.bool_] | None = None) -> Verdict:
    """Run the defence on links between pages whose hosts are known, or not (None)."""
    return defend(Web(pack(edges[:, 0], edges[:, 1], None, nodes=nodes), 0.85, hosts), seeds)


def pagerank(edges: Edges, nodes: int) -> Floats:
    """Compute converged ranks, float64[n], sum 1."""
    block = pack(edges[:, 0], edges[:, 1], None, nodes=nodes)
    return power_iteration(block, np.full(nodes, 1 / nodes), 0.85, StoppingRule(1e-9), 500)[0]


def places(ranks: Floats, of: Floats) -> Floats:
    """Return for each of `of` the part of `ranks` that are higher, float64[k]; differences of 1e-5 do not count."""
    return 1.0 - np.searchsorted(np.sort(ranks), of * (1 + 1e-5), side="right") / len(ranks)


def weigh(web: SiteWeb, attacked: Attempt, known: bool = True) -> Weighed:
    """Measure the defence on one attacked web.

    Args:
        web: what was attacked.
        attacked: the attack.
        known: whether the defence is told the hosts.
    """
    nodes, good = len(attacked.hosts), attacked.good
    verdict = defend_sites(attacked.edges, attacked.hosts if known else None, nodes)
    before, oracle = pagerank(web.edges, good), pagerank(attacked.honest, nodes)
    honest = np.ones(good, dtype=bool)
    honest[attacked.targets[attacked.targets < good]] = False
    honest[attacked.members] = False

    def of_targets(ranks: Floats) -> Floats:
        return places(ranks[:good][honest], ranks[attacked.targets])

    now, alone, plain = (of_targets(ranks) for ranks in (verdict.trusted_rank, oracle, verdict.pagerank))
    ahead = [float(((at < alone - TOLERANCE) & (at <= OUTSIDE)).mean()) for at in (now, plain)]
    kept = [places(ranks[:good], ranks[:good]) for ranks in (before, verdict.pagerank, verdict.trusted_rank)]
    lost = float((kept[2] - np.maximum(kept[0], kept[1]))[honest].max())
    flagged = int((verdict.farm[:good] > 0)[honest].sum())
    return Weighed(ahead[0], ahead[1], flagged, lost, float(np.median(now)), float(np.median(alone)))
