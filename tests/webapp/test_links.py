"""Links in both directions: against plain dictionaries on random graphs, and the rules one by one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from webapp.small_lake import BIG, HOSTILE, LINKS, links_table, small_site

from lakerank.cli.errors import UserError
from lakerank.webapp.links import gather_links


@pytest.mark.parametrize("seed", range(12))
def test_every_link_is_found_from_both_sides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(rng.integers(-(2**62), 2**62, 12))
    strangers = np.concatenate([ids, rng.integers(-(2**62), 2**62, 4)])
    rows = [
        (
            int(rng.choice(strangers)),
            int(rng.choice(strangers)),
            f"text {rng.integers(3)}",
            bool(rng.integers(2)),
            False,
        )
        for _ in range(rng.integers(1, 120))
    ]
    ranks = rng.random(12) * (seed % 2)
    links = gather_links(links_table(rows), ids, ranks)

    share: dict[tuple[int, int], float] = {}
    texts: dict[tuple[int, int], set[str]] = {}
    total = {page: sum(1.0 if main else 0.1 for src, _, _, main, _ in rows if src == page) for page in ids.tolist()}
    number = {page: at for at, page in enumerate(ids.tolist())}
    for src, dst, text, main, _ in rows:
        if src in number and dst in number and src != dst:
            pair = number[src], number[dst]
            rank = ranks[number[src]] if seed % 2 else 1.0
            share[pair] = share.get(pair, 0.0) + rank * (1.0 if main else 0.1) / total[src]
            texts.setdefault(pair, set()).add(text)
    for page in range(12):
        incoming, n = links.incoming(page, 1000)
        assert n == len(incoming)
        assert {link.number for link in incoming} == {src for src, dst in share if dst == page}
        passed = [share[link.number, page] for link in incoming]
        assert all(a >= b - 1e-12 for a, b in pairwise(passed))
        assert all(set(link.anchors) == texts[link.number, page] for link in incoming)
        outgoing, n = links.outgoing(page, 1000)
        assert n == len(outgoing)
        assert {link.number for link in outgoing} == {dst for src, dst in share if src == page}
        keys = [(not link.main, -ranks[link.number]) for link in outgoing]
        assert keys == sorted(keys)


def test_parallel_links_are_one_and_texts_of_the_main_content_come_first() -> None:
    view = small_site().view(1)
    assert view is not None
    found, total = view.incoming
    assert total == 3
    # Page 3 passes its whole rank on; BIG's link counts nothing (nofollow), 5 has no rank: then the lower number.
    assert [one.page_id for one in found] == [3, BIG, 5]
    assert found[0].link.anchors == ("stretching arrays", "menu")
    assert found[0].link.main
    assert not found[0].link.nofollow  # one of three
    assert found[1].link.anchors == (HOSTILE,)
    assert found[1].link.nofollow
    assert found[2].link.anchors == ()
    found, total = view.outgoing
    assert [one.page_id for one in found] == [BIG, 3]  # neither itself nor what is not in the index


def test_as_many_as_are_wanted_and_how_many_there_are() -> None:
    links = gather_links(links_table(LINKS), np.arange(100, 125), np.zeros(25))
    found, total = links.incoming(0, 5)
    assert (len(found), total) == (5, 24)


def test_no_links_at_all() -> None:
    links = gather_links(links_table(LINKS), np.array([7, 8]), np.zeros(2))
    assert links.incoming(0, 5) == links.outgoing(1, 5) == ([], 0)


def test_ids_that_are_text_are_refused() -> None:
    table = links_table(LINKS)
    table = table.set_column(0, "src", table["src"].cast(pa.string()))
    with pytest.raises(UserError, match="`src` must be whole numbers"):
        gather_links(table, np.arange(3), np.zeros(3))
