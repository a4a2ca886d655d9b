"""The link-spam defence on arrays, without Spark: webs with farms of many shapes, and what it must leave alone."""

from __future__ import annotations

import sys
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from conftest import SHARED
from numpy.typing import NDArray
from scipy import sparse
from tests_root import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from link_farms import SHAPES, Attacked, attack, links
from site_webs import FARMS, STYLES, SiteWeb, attempt, defend_sites, inside, once, read_sites, sites, weigh

from lakerank.graph.csr_block import pack
from lakerank.graph.encode_ids import to_chunks
from lakerank.graph.spam import groups, plans
from lakerank.graph.spam.defend import Verdict, defend
from lakerank.graph.spam.farms import kept_pages, robust_deviation, share_from
from lakerank.graph.spam.web import Web, grow, support

PAGES = 1500
RANDOMLY_HIJACKED = [shape for shape in SHAPES if shape not in ("camouflage_one_way",)]


def web(edges: Any, nodes: int, weight: Any = None) -> Web:
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    return Web(pack(edges[:, 0], edges[:, 1], weight, nodes=nodes))


def good_edges(seed: int = 0, nodes: int = PAGES, popularity: float = 1.3) -> NDArray[np.int64]:
    """A web whose ranks range as widely as real ones: 3 to 30 links on each page, to popular pages and a few random."""
    rng = np.random.default_rng(seed)
    count = rng.integers(3, 31, nodes)
    weight = (np.arange(nodes) + 5.0) ** -popularity
    src = np.repeat(np.arange(nodes), count)
    dst = rng.choice(nodes, int(count.sum()), p=weight / weight.sum())
    dst = np.where(rng.random(len(dst)) < 0.1, rng.integers(0, nodes, len(dst)), dst)
    edges = np.unique(np.column_stack([src, dst]), axis=0)
    return edges[edges[:, 0] != edges[:, 1]]


GOOD = good_edges()
CLEAN = defend(web(GOOD, PAGES))


def honest_place(graph: Attacked) -> float:
    """Where the links of honest pages alone, talked into them or not, put the target: share of those ranking higher."""
    ranks = defend(web(graph.edges[graph.edges[:, 0] < graph.good], graph.nodes)).pagerank
    return float((ranks[: graph.good] > ranks[graph.target]).mean())


def behind_honest_links(graph: Attacked, verdict: Verdict) -> bool:
    """Whether the target stands behind where honest links alone put it, or outside of the best quarter."""
    place = float((verdict.trusted_rank[: graph.good] > verdict.trusted_rank[graph.target]).mean())
    return place >= min(honest_place(graph) - 0.01, 0.25)


def figures(verdict: Verdict, good: int, target: int) -> tuple[float, float]:
    """AUC, Spearman with the clean ranks."""
    from scipy.stats import rankdata, spearmanr

    bad = len(verdict.farm) - good
    auc = (rankdata(verdict.spam_score)[good:].sum() - bad * (bad + 1) / 2) / (bad * good)
    return float(auc), float(spearmanr(verdict.trusted_rank[:good], CLEAN.pagerank).statistic)


def test_a_web_without_farms_keeps_its_ranks() -> None:
    assert CLEAN.farms == []
    assert CLEAN.links_cut == 0
    np.testing.assert_array_equal(CLEAN.trusted_rank, CLEAN.pagerank)
    assert CLEAN.spam_score.max() <= 0.5
    assert CLEAN.trusted.mean() > 0.8


@pytest.mark.parametrize("hijacked", [5, 50])
@pytest.mark.parametrize("shape", RANDOMLY_HIJACKED)
def test_farms_of_every_shape_lose_their_rank_and_nobody_else_does(shape: str, hijacked: int) -> None:
    graph = attack(GOOD, PAGES, 600, hijacked, shape, seed=hijacked)
    verdict = defend(web(graph.edges, graph.nodes))
    assert (verdict.pagerank >= verdict.pagerank[graph.target]).mean() < 0.1, "the farm does not work: nothing to test"
    auc, spearman = figures(verdict, PAGES, graph.target)
    assert behind_honest_links(graph, verdict)
    assert auc >= 0.95
    assert spearman >= 0.95
    assert verdict.farm[graph.target] > 0
    assert (verdict.farm[:PAGES] > 0).sum() <= hijacked
    assert verdict.trusted_rank.sum() == pytest.approx(1, abs=1e-9)
    assert verdict.trusted_rank.min() > 0


@pytest.mark.parametrize("shape", ["star", "one_way", "random_links", "ring", "popular"])
def test_hijacking_the_best_pages_does_not_help(shape: str) -> None:
    graph = attack(GOOD, PAGES, 1000, 30, shape, best=True)
    verdict = defend(web(graph.edges, graph.nodes))
    auc, spearman = figures(verdict, PAGES, graph.target)
    assert (behind_honest_links(graph, verdict), auc >= 0.95, spearman >= 0.95) == (True, True, True)


def test_all_targets_of_a_farm_are_of_it() -> None:
    graph = attack(GOOD, PAGES, 600, 10, "many_targets")
    verdict = defend(web(graph.edges, graph.nodes))
    assert (verdict.farm[PAGES:] > 0).all()
    assert behind_honest_links(graph, verdict)


def test_a_farm_larger_than_the_web_is_still_the_farm() -> None:
    graph = attack(GOOD, PAGES, 4 * PAGES, 10)
    verdict = defend(web(graph.edges, graph.nodes))
    assert set(np.flatnonzero(verdict.farm == 0)) == set(range(PAGES))


@pytest.mark.parametrize("known", [0, 10])
def test_two_sites_that_do_not_know_each_other_are_both_good(known: int) -> None:
    # Also when only pages of the first are known to be good.
    sites = [good_edges(popularity=1.0), good_edges(seed=1, nodes=800, popularity=1.0) + PAGES]
    both = np.concatenate(sites)
    graph = attack(both, PAGES + 800, 700, 20)
    seeds = np.arange(graph.nodes) < known if known else None
    verdict = defend(web(graph.edges, graph.nodes), seeds)
    assert not (verdict.farm[: graph.good] > 0).any()
    assert (verdict.farm[graph.good :] > 0).all()


def test_small_clusters_are_no_farms_unless_asked() -> None:
    graph = attack(GOOD, PAGES, 40, 2)
    assert defend(web(graph.edges, graph.nodes)).farms == []
    found = defend(web(graph.edges, graph.nodes), smallest=20)
    assert [farm.target for farm in found.farms] == [graph.target]
    assert found.farms[0].pages[PAGES:].all()


def test_seeds_decide_what_structure_cannot() -> None:
    # A farm that copies a whole web and owes it nothing but one link: only someone who knows can say which is which.
    mirror = good_edges(seed=2)
    target = 2 * PAGES
    lifted = [(page + PAGES, target) for page in range(PAGES)] + [(target, page + PAGES) for page in range(PAGES)]
    edges = np.concatenate([GOOD, mirror + PAGES, np.array([*lifted, (3, target)])])
    seeds = np.zeros(target + 1, bool)
    seeds[:20] = True
    verdict = defend(web(edges, target + 1), seeds)
    assert not verdict.trusted[PAGES:].any()
    assert verdict.trusted[:PAGES].mean() > 0.8


def test_permuting_the_pages_permutes_the_verdict() -> None:
    graph = attack(GOOD, PAGES, 600, 20, "chain")
    order = np.random.default_rng(3).permutation(graph.nodes)
    one, other = defend(web(graph.edges, graph.nodes)), defend(web(order[graph.edges], graph.nodes))
    np.testing.assert_array_equal(one.farm > 0, other.farm[order] > 0)
    np.testing.assert_allclose(one.trusted_rank, other.trusted_rank[order], rtol=1e-6, atol=1e-12)


def test_leaky_ranks_are_those_of_networkx_without_dangling_pages_and_add_up() -> None:
    here = web([(0, 1), (1, 2), (2, 0), (2, 1), (3, 0)], 4)
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (2, 1), (3, 0)])
    exact = nx.pagerank(graph, tol=1e-14, max_iter=1000)
    assert dict(enumerate(here.pagerank.tolist())) == pytest.approx(exact, abs=1e-6)
    part = np.array([True, False, True, False])
    total = here.rank_from(part, 1e-12) + here.rank_from(~part, 1e-12)
    np.testing.assert_allclose(total, here.rank_from(np.ones(4, bool), 1e-12), atol=1e-10)


def test_variety_counts_kinds_of_supporters() -> None:
    # 1, 2 and 3 link to 0 only and nobody links to them: one kind. 4 has a link in: another.
    here = web([(1, 0), (2, 0), (3, 0), (4, 0), (0, 4)], 5)
    assert here.variety.tolist() == [2, 0, 0, 0, 1]


def test_weights_of_links_count() -> None:
    here = web([(0, 1), (0, 2), (1, 0), (2, 0)], 3, np.array([3.0, 1.0, 1.0, 1.0]))
    assert sorted(zip(here.src.tolist(), here.dst.tolist(), here.share.tolist(), strict=True)) == [
        (0, 1, 0.75),
        (0, 2, 0.25),
        (1, 0, 1.0),
        (2, 0, 1.0),
    ]
    assert share_from(here, 0, np.array([False, True, False])) == pytest.approx(0.75, abs=0.05)


def test_kept_pages_are_those_that_live_on_the_page_they_link_to() -> None:
    # 0 keeps 1 and 2. 3 hears more from 24 others and has much to say. Nobody links to those, and 0 not back to 4.
    others = range(5, 29)
    edges = [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0), (4, 0), *((page, 3) for page in others)]
    here = web([*edges, *((3, page + 24) for page in others)], 53)
    kept = kept_pages(here)
    assert set(zip(here.src[kept].tolist(), here.dst[kept].tolist(), strict=True)) == {(1, 0), (2, 0)}


def test_trust_stays_where_it_is_not_passed_on() -> None:
    edges = [(0, 1), (1, 2), (2, 0), (1, 0), (3, 4), (4, 5), (5, 3), (4, 3)]
    here = web(edges, 6)
    start = np.array([True, *[False] * 5])
    assert grow(here, start, keep=True).tolist() == [True] * 3 + [False] * 3
    assert (support(here, start)[3:] == 0).all()


def test_the_robust_deviation_ignores_a_few_strangers() -> None:
    rng = np.random.default_rng(0)
    assert robust_deviation(rng.normal(0, 2, 4000)) == pytest.approx(2, rel=0.05)
    assert robust_deviation(np.array([1.0] * 95 + [9.0] * 5)) == 0.0


def test_positions_are_shared_when_ranks_are_equal() -> None:
    assert plans.positions(np.array([0.5, 0.2, 0.5, 0.1])).tolist() == [1, 3, 1, 4]


def solved(rows: list[tuple[int, int | None, float | None]], **about: Any) -> list[dict[str, Any]]:
    """What the task gives for links, nodes (no second page) and seeds (a weight, too)."""
    schema = pa.schema([("src", pa.int64()), ("dst", pa.int64()), ("weight", pa.float64())])
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)]
    chunks = to_chunks(iter([pa.record_batch(columns, schema=schema)]))
    out = plans.solve(chunks, config=plans.SpamConfig(), **about)
    return [row for batch in out for row in batch.to_pylist()]


def test_the_task_ranks_weighted_links_and_pages_without_any() -> None:
    rows = solved([(1, 2, 3.0), (1, 3, 1.0), (2, 1, 1.0), (3, 1, 1.0), (9, None, None)], weighted=True, seeded=False)
    ranks = {row["id"]: row["trusted_rank"] for row in rows if row["part"] == "page"}
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([(1, 2, 3.0), (1, 3, 1.0), (2, 1, 1.0), (3, 1, 1.0)])
    graph.add_node(9)
    assert ranks == pytest.approx(nx.pagerank(graph, tol=1e-12, max_iter=1000), abs=1e-7)
    notes = {row["part"]: row["pages"] for row in rows if row["part"] not in ("page", "target")}
    assert (notes["nodes"], notes["edges"], notes["farms"], notes["links_cut"]) == (4, 4, 0, 0)


def test_the_task_names_a_seed_that_is_no_page_and_survives_a_web_without_links() -> None:
    rows = solved([(1, 2, None), (2, 1, None), (7, None, 1.0)], weighted=False, seeded=True)
    assert [(row["part"], row["id"]) for row in rows] == [("unknown", 7)]
    rows = solved([(5, None, None), (6, None, None)], weighted=False, seeded=False)
    assert [row["trusted_rank"] for row in rows if row["part"] == "page"] == [0.5, 0.5]


def test_pages_of_which_only_the_host_is_known_are_none() -> None:
    # Hosts come as negative weights; 4 is in no link. The host of 9, a page without links, is known, too.
    hosts = [(page, None, -float(host)) for page, host in ((1, 1), (2, 1), (3, 2), (4, 2), (9, 3))]
    rows = solved([(1, 2, None), (2, 1, None), (3, 1, None), (9, None, None), *hosts], weighted=False, seeded=False)
    assert sorted(row["id"] for row in rows if row["part"] == "page") == [1, 2, 3, 9]
    assert [row["pages"] for row in rows if row["part"] == "nodes"] == [4]
    plain = solved([(1, 2, None), (2, 1, None), (3, 1, None), (9, None, None)], weighted=False, seeded=False)
    ranks = [{row["id"]: row["trusted_rank"] for row in some if row["part"] == "page"} for some in (rows, plain)]
    assert ranks[0] == pytest.approx(ranks[1], abs=1e-12)
    rows = solved([(1, 2, None), (2, 1, None), *hosts, (4, None, 1.0)], weighted=False, seeded=True)
    assert [(row["part"], row["id"]) for row in rows] == [("unknown", 4)]


def hosts_of(ids: list[str]) -> list[int] | None:
    found = plans.hosts_in(pa.array(ids))
    return None if found is None else found.tolist()


def test_hosts_are_read_from_addresses_and_told_apart() -> None:
    ids = ["http://a.org/x", "https://A.org.:8080/y", "no address", "http://me@b.org", "neither"]
    a, same, alone, b, other = hosts_of(ids) or []
    assert a == same
    assert len({a, alone, b, other}) == 4
    assert hosts_of(["http://a.org/x", "http://a.org/y"]) is None, "one host tells nothing"
    assert hosts_of(["x", "y"]) is None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("known", [True, False])
def test_honest_sites_with_menus_are_no_farms(style: str, known: bool) -> None:
    made = sites(12, style, seed=5)
    verdict = defend_sites(made.edges, made.hosts if known else None, len(made.hosts))
    assert not verdict.farm.any()
    np.testing.assert_array_equal(verdict.trusted_rank, verdict.pagerank)


def test_the_honest_sites_of_the_cases_are_no_farms() -> None:
    path = SHARED.parent / "cases" / "graphs" / "honest_sites.tsv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    made, names = read_sites(path)
    seeds = np.isin(names, path.with_suffix(".seeds.txt").read_text(encoding="utf-8").split())
    for start in (None, seeds):
        assert not defend_sites(made.edges, made.hosts, len(made.hosts), start).farm.any()


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("shape", [*FARMS, "first"])
def test_attacks_on_honest_sites_gain_nothing_and_honest_pages_lose_nothing(shape: str, spread: bool) -> None:
    made = sites(12, seed=6)
    found = weigh(made, attempt(made, shape, spread, seed=1))
    assert found.missed == 0.0
    assert found.lost <= 0.05
    assert found.flagged <= 1


@pytest.mark.parametrize("shape", ["expired", "exchange"])
def test_votes_that_honest_pages_were_made_to_give_do_not_count(shape: str) -> None:
    made = sites(12, seed=6)
    found = weigh(made, attempt(made, shape, False, seed=1))
    assert found.plain > found.missed
    assert found.missed <= 0.05
    assert (found.flagged, found.lost <= 0.05) == (0, True)


INNER = ("related", "hierarchies", "menus", "no home", "blog")


def closed_site(built: str, pages: int, heard: int, leaving: int = 0, seed: int = 0) -> tuple[SiteWeb, slice]:
    """Honest sites and one more that leads back to none of them, and its pages.

    `heard` pages of others link to it, mostly to its home; `leaving` of its pages to 60 pages that were not crawled.
    """
    rng = np.random.default_rng(seed)
    made, own = sites(12, seed=5), np.arange(pages)
    if built == "no home":
        count = rng.integers(2, 15, pages)
        popular = 1 / (own + 3.0)
        inner = [links(np.repeat(own, count), rng.choice(pages, count.sum(), p=popular / popular.sum()))]
        inner.append(links(rng.integers(0, pages, pages), own))
    elif built == "blog":  # a home with all posts, the one before and the one after, and two of seven tags
        posts = np.repeat(own[8:], 2)
        tags = rng.choice(own[1:8], len(posts))
        inner = [links(own, 0), links(0, own[8:]), links(own[1:], own[:-1]), links(own[:-1], own[1:])]
        inner += [links(posts, tags), links(tags, posts)]
    else:
        inner = inside(rng, own, built)
    first = len(made.hosts)
    talkers = rng.choice(first, heard, replace=False)
    to = np.where(rng.random(heard) < 0.8, 0, rng.integers(0, pages, heard))
    parts = [made.edges, links(talkers, to + first), *(part + first for part in inner)]
    away = first + pages + rng.integers(0, 60, leaving)
    parts.append(links(first + rng.permutation(pages)[:leaving], away))
    elsewhere = 60 if leaving else 0
    hosts = np.concatenate([made.hosts, np.full(pages, 12), 13 + np.arange(elsewhere)])
    return SiteWeb(once(*parts), hosts), slice(first, first + pages)


@pytest.mark.parametrize("heard", [5, 40])
@pytest.mark.parametrize("pages", [60, 300])
@pytest.mark.parametrize("built", INNER)
def test_sites_that_link_to_nobody_are_no_farms_if_they_are_built_like_sites(
    built: str, pages: int, heard: int
) -> None:
    for seed in (0, 1):
        made, _ = closed_site(built, pages, heard, seed=seed)
        assert not defend_sites(made.edges, made.hosts, len(made.hosts)).farm.any()


@pytest.mark.parametrize("heard", [5, 40])
@pytest.mark.parametrize("built", INNER)
def test_sites_that_lead_out_of_the_crawl_are_no_farms(built: str, heard: int) -> None:
    made, _ = closed_site(built, 300, heard, leaving=150)
    assert not defend_sites(made.edges, made.hosts, len(made.hosts)).farm.any()


def test_a_wiki_with_an_ordinary_star_of_a_home_is_open_if_it_leads_out_of_the_crawl() -> None:
    # All pages link to the home and the next only: a farm, were it not for the pages that were not crawled.
    made, own = closed_site("related", 300, 5, leaving=150)
    away = made.edges[(made.edges[:, 1] >= own.stop) | (made.edges[:, 0] < own.start)]
    pages = np.arange(own.start, own.stop)
    ring = [links(pages, own.start), links(own.start, pages), links(pages[:-1], pages[1:])]
    for kept, farms in ((away, 0), (away[away[:, 1] < own.stop], 1)):
        verdict = defend_sites(once(kept, *ring), made.hosts, len(made.hosts))
        assert len(verdict.farms) == farms
    # Nor do links to one such page open it: that may be what it lifts. It then is part of the farm.
    one = once(away[away[:, 1] < own.stop], *ring, links(pages[::2], own.stop))
    verdict = defend_sites(one, made.hosts, len(made.hosts))
    assert (verdict.farm[own.start : own.stop + 1] == 1).all()


def test_sites_that_share_a_page_that_was_not_crawled_are_judged_each_alone() -> None:
    made, own = closed_site("no home", 300, 5)
    n = len(made.hosts)
    star = np.arange(n, n + 100)
    farm = [links(star, n), links(n, star), links([3, 4, 5, 6], n)]
    shared = [links(own.start + np.arange(3), n + 100), links(star[1:4], n + 100)]
    hosts = np.concatenate([made.hosts, np.full(100, 13), [14]])
    verdict = defend_sites(once(made.edges, *farm, *shared), hosts, n + 101)
    assert (verdict.farm[n : n + 100] == 1).all()
    assert not verdict.farm[:n].any()
    assert [farm.target for farm in verdict.farms] == [n]


def test_mentions_are_counted_a_bounded_number_of_links_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    links_to = sparse.csr_array((rng.random((300, 40)) < 0.2).astype(np.int32))
    src, dst = (rng.integers(0, 40, 500) for _ in range(2))
    links_in = np.asarray(links_to.sum(axis=0), np.int64)
    taken: list[int] = []

    class Watched(sparse.csc_array):
        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            taken.append(found.nnz)
            return found

    monkeypatch.setattr(groups, "_AT_ONCE", 1000)
    together = groups._mentions(Watched(links_to), links_in, src, dst)
    dense = links_to.toarray()
    np.testing.assert_array_equal(together, (dense[:, src] * dense[:, dst]).sum(axis=0))
    assert max(taken) <= 1000 + 2 * links_in.max()
    assert len(taken) > 10


def test_a_core_is_what_networkx_finds_and_a_long_tail_is_peeled_link_by_link() -> None:
    graph = nx.gnp_random_graph(200, 0.06, seed=1)
    links_both = sparse.csr_array(nx.to_scipy_sparse_array(graph, dtype=np.int32))
    left = groups._core(links_both, 8)
    assert set(np.flatnonzero(np.diff(left.indptr))) == set(nx.k_core(graph, 8)) != set()
    # 40,000 layers with one page each: by rounds over all links this would take minutes.
    n = 40_000
    path = sparse.csr_array(sparse.diags_array([1, 1], offsets=[-1, 1], shape=(n, n), dtype=np.int32))
    assert groups._core(path, 2).nnz == 0


def test_many_closed_groups_take_one_run_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    stars = [PAGES + 60 * k + np.arange(60) for k in range(30)]
    farms = [part for star in stars for part in (links(star, star[0]), links(star[0], star), links(3, star[0]))]
    here = web(once(GOOD, *farms), PAGES + 1800)
    runs: list[int] = []
    rank_from = Web.rank_from
    monkeypatch.setattr(Web, "rank_from", lambda *args: runs.append(1) or rank_from(*args))
    verdict = defend(here)
    assert [int(farm.pages.sum()) for farm in verdict.farms] == [60] * 30
    assert len(runs) <= 4


def test_funnels_are_found_all_at_once() -> None:
    # Two pages that six and seven expired ones link to, all mentioned by others; 40 pages with more to say.
    others = np.arange(40)
    parts = [links(others, (others + step) % 40) for step in (1, 2, 3)]
    parts += [links(np.arange(6), np.arange(42, 48)), links(np.arange(7), np.arange(48, 55))]
    bought = [links(np.arange(42, 48), 40), links(np.arange(48, 55), 41)]
    parts += [links(40, [1, 2]), links(41, [3, 4])]
    here = web(once(*parts, *bought), 55)
    found = groups.funnels(here)
    assert {tuple(one) for one in np.column_stack([here.src, here.dst])[found].tolist()} == {
        tuple(one) for one in np.concatenate(bought).tolist()
    }
