"""Pages taken apart: text, titles, links and what they ask for."""

from __future__ import annotations

import time

import pytest
from html_pages import DOCS, LAYOUTS, TABLES

from lakerank.search.pages.document import Link, parse_html
from lakerank.search.pages.encodings import decode_html

URL = "https://otter.org/doc/guide.html"


@pytest.mark.parametrize(("name", "html", "has", "lacks"), LAYOUTS, ids=[layout[0] for layout in LAYOUTS])
def test_main_text_of_layouts(name: str, html: str, has: list[str], lacks: list[str]) -> None:
    text = parse_html(html, URL).text
    assert all(part in text for part in has), text
    assert not [part for part in lacks if part in text], text


def test_links_know_their_zone_and_text() -> None:
    page = parse_html(DOCS, URL)
    assert page.links == [
        Link("https://otter.org/", "Home", False, "navigation", 0.1),
        Link("https://otter.org/doc/a.html", "Menuword", False, "navigation", 0.1),
        Link("https://otter.org/doc/other.html", "the other", False, "main", 1.0),
    ]
    assert (page.title, page.headings, page.language) == ("Guide — Otters", ["Guide"], "en")
    by_url = {link.dst_url[-5:]: link.zone for link in parse_html(TABLES, URL).links}
    assert by_url == {f"{n}.htm": "navigation" if n < 5 else "main" for n in range(1, 6)}


def test_what_is_no_link_to_another_page_is_left_out() -> None:
    html = """<base href="/b/"><main><p><a href="#x">here</a><a href="mailto:a@b.c">m</a><a href="javascript:x()">j</a>
    <a href="https://otter.org/doc/guide.html#self">self</a><a href="http://[bad">bad</a>
    <a href=" z " rel="ugc Nofollow"><img alt="a  picture"></a><a href=z rel=ugc> a picture</a>"""
    links = parse_html(html.replace('"#x"', '"https://otter.org/doc/guide.html#x"'), URL).links
    assert links == [Link("https://otter.org/b/z", "a picture", True, "main", 0.0)]


def test_what_a_page_says_of_itself() -> None:
    html = """<head><meta name=robots content="NOINDEX, nofollow"><meta property=og:description content="shared">
    <link rel="alternate canonical" href="/c#f"><meta http-equiv=Refresh content="0; URL='next.html'"></head>
    <h1>Only heading</h1><p><a href=x>x</a>"""
    page = parse_html(html, URL)
    assert (page.noindex, page.description, page.canonical_url) == (True, "shared", "https://otter.org/c")
    assert (page.refresh, page.title) == ("https://otter.org/doc/next.html", "Only heading")
    assert [link.nofollow for link in page.links] == [True]
    later = parse_html(html.replace("0; URL", "5; URL").replace("NOINDEX, nofollow", "all"), URL, "none")
    assert (later.refresh, later.noindex, later.links[0].nofollow) == (None, True, True)


def test_content_hash_follows_content_alone() -> None:
    one = parse_html("<title>a</title><nav>x</nav><p>b  c</p>", URL).content_hash
    assert one == parse_html("<title>a</title><p>b c</p><script>1</script>", "https://b.org/").content_hash
    assert one != parse_html("<title>a</title><p>b d</p>", URL).content_hash


def test_language_is_the_texts_own_where_it_is_certain() -> None:
    german = (
        "<html lang=en><p>" + "Der Fischotter schwimmt am Morgen im Fluss und schläft am Ufer unter den Bäumen. " * 4
    )
    assert parse_html(german, URL).language == "de"
    assert parse_html("<html lang=pt-BR><p>Olá", URL).language == "pt"
    assert parse_html("<p>1 2 3", URL).language is None


def test_encodings() -> None:
    text = "<p>Übermäßig schöne Grüße, çà et là"
    assert decode_html(text.encode()) == text
    assert decode_html(text.encode("latin-1"), "ISO-8859-1") == text
    meta = "<meta charset=koi8-r><p>Привет"
    assert decode_html(meta.encode("koi8-r")) == meta
    assert decode_html(b"\xff\xfe" + text.encode("utf-16-le")) == text
    assert decode_html(b"<p>a\0b", "no-such-encoding") == "<p>ab"
    japanese = "<p>" + "日本語の文章です。川の岸で眠る。" * 5
    assert decode_html(japanese.encode("shift-jis")) == japanese


HOSTILE = {
    "deep": "<div>" * 100_000 + "x" + "</div>" * 100_000,
    "formatting": "".join(f"<font a={i}>" for i in range(50_000)) + "<p>x" * 50_000,
    "attributes": "<p " + " ".join(f"a{i}=1" for i in range(200_000)) + ">x",
    "one line": "<p>" + "x" * 10_000_000,
    "comments": "<!--" * 200_000,
    "nested lists": "<ul><li>" * 50_000 + "<a href=x>x</a>",
    "nested code": "<pre>" * 3_000 + "x" + "<pre>" * 3_000,
    "nested menus": "<nav><div class=menu>" * 2_000 + "<a href=x>x</a>",
    "frames": "<frameset><frame src=x></frameset>",
    "lone surrogate": "<title>\ud800</title><p>x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_seconds_at_most(name: str) -> None:
    begun = time.process_time()
    parse_html(HOSTILE[name], URL)
    assert time.process_time() - begun < 10


def test_defined_terms_stand_with_the_headings() -> None:
    html = """<main><h1>API</h1><dl><dt id="f"><code>mod.</code><code>f</code>(<em>x</em>, y=1)<a class="headerlink"
        href="#f">¶</a></dt><dd>Does it.</dd><dt>no id</dt><dd>x</dd></dl>
        <p>A <dfn>stride</dfn> is a step.</p></main>"""
    assert parse_html(html, "https://x.org/").headings == ["API", "mod.f", "stride"]
