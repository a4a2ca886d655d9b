"""The pages as a browser gets them: what is on them, what is escaped, what is refused."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from html import unescape
from typing import Any
from xml.etree import ElementTree

import httpx
import pyarrow as pa
import pytest
from search_oracles import pages_table, segments
from starlette.testclient import TestClient
from webapp.small_lake import BIG, small_engine, small_site

from lakerank.search.index.fields import Weighting
from lakerank.search.query.engine import Counts, SearchEngine
from lakerank.search.query.index import _TEXTS, Index, build_arrays
from lakerank.search.query.parse import parse
from lakerank.webapp.app import LONGEST_QUERY, create_app
from lakerank.webapp.limits import HEADERS, host_of
from lakerank.webapp.site import Site
from lakerank.webapp.view_model import address, beginning, facets, linkable, milliseconds, number_of

ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def site() -> Site:
    return small_site()


@pytest.fixture(scope="module")
def client(site: Site) -> TestClient:
    return TestClient(create_app(lambda: site), base_url=ADDRESS, raise_server_exceptions=False)


def plain(html: str) -> str:
    """What a reader sees, roughly."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_without_a_query_there_is_the_box_and_the_size(client: TestClient) -> None:
    for path in ("/", "/?q=", "/?q=%20%20"):
        page = client.get(path)
        assert page.status_code == 200
        assert "30 pages in the index" in plain(page.text)
        assert 'name="q"' in page.text
        assert "<ol" not in page.text


def test_a_result_has_marks_address_rank_and_reasons(client: TestClient) -> None:
    page = client.get("/", params={"q": "broadcasting arrays"}).text
    assert "<mark>Broadcasting</mark> <mark>arrays</mark></bdi></a></h2>" in page
    assert "stretches small <mark>arrays</mark>" in page
    assert 'href="https://example.org/1" rel="noopener noreferrer"' in page
    assert 'aria-label="Rank by links: 100 of 100"' in page
    assert 'href="/page/1?q=broadcasting%20arrays"' in page
    first = page.split("</li>")[0]
    rows = re.findall(
        r'<th scope="row">(.*?)</th><td>(.*?)</td><td class="figure">.*?(-?[\d.]+)</td>', first, re.DOTALL
    )
    names = [plain(name) for name, _, _ in rows]
    assert {"broadcasting", "arrays", "links", "sum"} <= set(names)
    assert sum(float(share) for _, _, share in rows[:-1]) == pytest.approx(float(rows[-1][2]), abs=0.02)
    assert re.search(r"from 30 pages, [\d.,]+ ms", page)


def test_copies_are_folded_into_the_best(client: TestClient) -> None:
    page = client.get("/", params={"q": "broadcasting copies"}).text
    assert "Same content: 1 more" in page
    assert len(re.findall(r'<a href="https://example.org/[12]" rel', page)) == 1
    assert len(re.findall(r'class="address" href="https://example.org/[12]"', page)) == 1


def test_stored_fields_with_a_label_are_shown_wherever_hits_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of `pages` with `shown` needs no edit elsewhere: here two are declared, one of them a list."""
    labels = {"author": "Author", "tags": "Tags"}
    monkeypatch.setattr("lakerank.search.query.index.SHOWN", labels)
    monkeypatch.setattr("lakerank.search.query.index._TEXTS", (*_TEXTS, *labels))
    docs = [{"page_id": n, "title": f"Page {n}", "text": "arrays"} for n in (1, 2, 3)]
    postings, documents = segments([docs])
    pages = pages_table(docs).append_column("author", pa.array(["<b>Ada</b>", None, ""]))
    pages = pages.append_column("tags", pa.array([["x", "y"], None, []], pa.list_(pa.string())))
    engine = SearchEngine(Index(build_arrays(documents, postings, pages, Weighting(), "en"), Weighting()))
    first, *others = engine.search("arrays").hits
    assert "     Author: <b>Ada</b>\n     Tags: x, y" in first.as_text()
    assert first.as_json()["fields"] == {"author": "<b>Ada</b>", "tags": "x, y"}
    assert [hit.fields for hit in others] == [(), ()], "null and empty are left out"
    client = TestClient(create_app(lambda: Site.of(engine, None, 1)), base_url=ADDRESS)
    for path in ("/?q=arrays", "/page/1"):
        page = client.get(path).text
        assert page.count("<dt>Author</dt>") == 1
        assert '<dt>Author</dt><dd dir="auto">&lt;b&gt;Ada&lt;/b&gt;</dd>' in page
        assert "x, y" in page
    assert "Author" not in client.get("/page/2").text
    rows = client.get("/api/search?q=arrays").json()["results"]
    assert [row["fields"] for row in rows] == [{"author": "<b>Ada</b>", "tags": "x, y"}, {}, {}]


def test_markup_in_queries_titles_texts_and_links_is_text(client: TestClient) -> None:
    for path, params in (("/", {"q": '<script>alert("q")</script> hostile arrays'}), ("/page/3", {}), ("/page/1", {})):
        page = client.get(path, params=params).text
        assert page.count("<script") == 1, "our own file"
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(" in page
        assert 'href="javascript:' not in page
        assert " style=" not in page  # the policy forbids it, so it would not be seen
    assert 'value="&lt;script&gt;' in client.get("/", params={"q": '<script>"'}).text


def test_a_page_without_a_web_address_leads_to_its_own_view(client: TestClient) -> None:
    page = client.get("/", params={"q": "hostile"}).text
    assert '<h2><a href="/page/3?q=hostile">' in page


def test_pages_of_results_follow_one_another(client: TestClient) -> None:
    pages = []
    for number, (back, on) in {1: (False, True), 2: (True, True), 3: (True, False)}.items():
        page = client.get("/", params={"q": "zebra", "page": str(number)}).text
        assert ('rel="prev"' in page, 'rel="next"' in page) == (back, on)
        pages += re.findall(r'href="/page/(\d+)\?', page)
    assert sorted(pages) == [str(100 + i) for i in range(25)]
    assert "There are no further results" in client.get("/?q=zebra&page=4").text


@pytest.mark.parametrize("number", ["0", "-1", "101", "x", "1e3", "²"])
def test_a_page_number_that_is_none_is_refused(client: TestClient, number: str) -> None:
    page = client.get("/", params={"q": "zebra", "page": number})
    assert page.status_code == 400
    assert "from 1 to 100" in page.text


def test_nothing_found_and_a_suggestion(client: TestClient) -> None:
    page = client.get("/", params={"q": "brodcasting"})
    assert page.status_code == 200
    assert "No page matches" in page.text
    assert '<a href="/?q=broadcasting"><bdi>broadcasting</bdi></a>?' in page.text


@pytest.mark.parametrize("query", ["!!!", '"', "-", "site:", "\x00", "OR OR", "+-+", "\u202eabc", "日本", "a" * 500])
def test_any_text_is_a_query(client: TestClient, query: str) -> None:
    assert client.get("/", params={"q": query}).status_code == 200


def test_a_query_beyond_the_limit_is_refused(client: TestClient) -> None:
    page = client.get("/", params={"q": "a " * LONGEST_QUERY})
    assert page.status_code == 400
    assert "may have 500 characters; this one has 999" in page.text


def test_words_that_were_added_are_said(site: Site) -> None:
    class Expanding:
        index = site.engine.index
        related = site.engine.related

        def search(self, *args: Any, **kwargs: Any) -> Any:
            return replace(site.engine.search(*args, **kwargs), expanded=True)

    client = TestClient(create_app(lambda: replace(site, engine=Expanding())), base_url=ADDRESS)
    said = "Words that the first results share were added to the query."
    assert said in client.get("/?q=arrays").text
    assert said not in TestClient(create_app(lambda: site), base_url=ADDRESS).get("/?q=arrays").text


def test_the_view_of_a_page(client: TestClient) -> None:
    page = client.get("/page/1?q=arrays").text
    seen = plain(page)
    assert "Broadcasting arrays" in seen
    assert "How shapes are matched" in seen
    assert "over large arrays. No copies" in seen  # without the empty lines
    assert "PageRank 0.4 Rank by links 1 of 30 Pages linking here 3 Pages linked 2" in seen
    assert "← Results for arrays" in seen
    incoming = page.split('id="incoming"')[1].split('id="outgoing"')[0]
    assert re.findall(r'href="/page/(-?\d+)', incoming) == ["3", str(BIG), "5"]
    assert "<q><bdi>stretching arrays</bdi></q>" in incoming
    assert "in a menu, nofollow" in incoming
    related = page.split('id="related"')[1].split('id="incoming"')[0]
    assert re.findall(r'href="/page/(-?\d+)', related)[0] in ("3", str(BIG))
    assert "/page/2?" not in related


def test_ranks_with_equals_and_unknown(client: TestClient) -> None:
    for page_id in (3, BIG):
        assert "Rank by links 2 of 30" in plain(client.get(f"/page/{page_id}").text)
    assert "PageRank unknown" in plain(client.get("/page/5").text)


def test_long_lists_of_links_say_how_long(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakerank.webapp.site.LINKS_SHOWN", 10)
    page = client.get("/page/100").text
    assert "10 of 24 pages, those first that pass on most rank." in page
    assert len(re.findall("<li>", page.split('id="incoming"')[1])) == 10


def test_a_lake_without_links_and_ranks() -> None:
    bare = Site.of(small_engine([{"page_id": 1, "title": "One", "text": "alone"}]), None, 1)
    client = TestClient(create_app(lambda: bare), base_url=ADDRESS)
    assert "no table of links" in client.get("/page/1").text
    assert "1 page in the index" in plain(client.get("/").text)
    page = client.get("/?q=alone").text
    assert "Rank by links" not in page
    assert "no rank" in page


@pytest.mark.parametrize(
    "path", ["/page/77", "/page/x", "/page/1.0", "/page/" + "9" * 30, "/nothing", "/page/1/2", "/a/b"]
)
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 404
    assert "Not found" in page.text
    assert "text/html" in page.headers["content-type"]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/../../etc/passwd",
            "/..%2f..%2fetc%2fpasswd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/style.css/../../../etc/passwd",
        ),
        *("//etc/passwd", "/%2Fetc%2Fpasswd", "/page/..%2f..%2fetc%2fpasswd", "/file:%2f%2f%2fetc%2fpasswd"),
        *("/..%5c..%5capp.py", "/site.html.j2", "/style.css%00", "/app.py"),
    ],
)
def test_no_path_leads_to_a_file(client: TestClient, path: str) -> None:
    page = client.get(httpx.URL(ADDRESS).copy_with(raw_path=path.encode()))
    assert page.status_code == 404
    assert "root:" not in page.text


def test_only_reading_is_allowed(client: TestClient) -> None:
    page = client.post("/")
    assert page.status_code == 405
    assert set(page.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert "can only be read" in page.text


def test_our_mistake_is_a_plain_page_without_trace() -> None:
    def broken() -> Site:
        raise RuntimeError("secret /path/to/lake")

    client = TestClient(create_app(broken), base_url=ADDRESS, raise_server_exceptions=False)
    page = client.get("/?q=x")
    assert page.status_code == 500
    assert "Something went wrong" in page.text
    assert "secret" not in page.text
    assert "Traceback" not in page.text
    assert page.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/", "/?q=arrays", "/page/1", "/page/77", "/style.css", "/api/search?q=a", "/healthz"]
)
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self';" in policy, "our own file, nothing within pages"
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::2]:8080"])
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/?q=arrays", headers={"Host": host})
    assert answer.status_code == 400
    assert "mark" not in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_names_that_are_given_are_answered_to(site: Site) -> None:
    client = TestClient(create_app(lambda: site, ["Search.Example", "::ffff"]), base_url=ADDRESS)
    for host in ("localhost", "LOCALHOST:80", "search.example:8080", "search.example.", "[::1]:8080", "[0:0::FFFF]:1"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200
    assert host_of("[::1]:8080") == "::1"


def test_the_same_as_json(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "broadcasting", "top": "2"}).json()
    assert answer["query"] == "broadcasting"
    assert answer["pages_indexed"] == 30
    assert [row["rank"] for row in answer["results"]] == [1, 2]
    best, second = answer["results"]
    assert (best["page_id"], best["url"], best["copies"]) == ("1", "https://example.org/1", ["https://example.org/2"])
    assert second["page_id"] == str(BIG)  # text: JavaScript's numbers have 53 bits
    assert {"text": "Broadcasting", "match": True} in best["snippet"]
    assert best["score"] > second["score"] > 0
    assert "reasons" not in best
    reasons = client.get("/api/search?q=broadcasting&top=1&explain=1").json()["results"][0]["reasons"]
    assert sum(one["share"] for one in reasons) == pytest.approx(best["score"], abs=1e-5)
    assert client.get("/api/search?q=zebra&page=3").json()["more"] is False


@pytest.mark.parametrize("params", ["", "q=", "q=a&top=0", "q=a&top=101", "q=a&page=x", "q=" + "a" * 501])
def test_a_wrong_question_in_json_is_one_sentence(client: TestClient, params: str) -> None:
    answer = client.get(f"/api/search?{params}")
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


def test_health_and_files(client: TestClient, site: Site) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "pages": 30, "version": 1}
    for name, media_type in re.findall(r'href="(/\w+\.\w+\?\w+)"(?: type="(.*?)")?>', client.get("/").text):
        file = client.get(name)
        assert file.status_code == 200
        assert file.headers["content-type"].startswith(media_type or "text/css")
        assert "max-age" in file.headers["cache-control"]


def test_a_new_version_is_shown_from_the_next_request_on(site: Site) -> None:
    now = [site]
    client = TestClient(create_app(lambda: now[0]), base_url=ADDRESS)
    assert client.get("/healthz").json()["version"] == 1
    now[0] = Site.of(small_engine([{"page_id": 9, "title": "New", "text": "fresh arrays"}]), None, 2)
    assert client.get("/healthz").json() == {"status": "ok", "pages": 1, "version": 2}
    assert client.get("/page/1").status_code == 404
    assert "/page/9?" in client.get("/?q=arrays").text


def test_numbers_and_addresses_as_people_read_them() -> None:
    assert [number_of(x) for x in (0, 0.4, 0.00226789, 3.14e-7)] == ["0", "0.4", "0.00227", "3.1·10⁻⁷"]
    assert [milliseconds(x) for x in (0.0042, 0.0123, 2.5)] == ["4.2 ms", "12 ms", "2,500 ms"]
    assert address("https://example.org/a") == "example.org/a"
    long = "https://example.org/" + "x" * 300 + "/end.html"
    assert address(long).startswith("example.org/xxx")
    assert address(long).endswith("xxx/end.html")
    assert len(address(long)) == 110
    assert beginning("  one\n\n \n two \n") == "one\ntwo"
    assert beginning("word " * 1000).endswith("word …")
    assert len(beginning("word " * 1000)) <= 903


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "javascript://a.b/%0aalert(1)",
        "ftp://a.b/c",
        "//a.b/c",
        "http:",
        "http://[",
        "data:,x",
        "",
    ],
)
def test_only_web_addresses_become_links(url: str) -> None:
    assert not linkable(url)
    assert linkable("https://a.b/c")
    assert linkable("http://a")


DATED: list[dict[str, Any]] = [
    {
        "page_id": n,
        "title": f"Solar energy {n}",
        "text": f"Solar panels and wind number {n}.",
        "url": f"https://{'www.a.org' if n % 3 else 'b.org'}/{n}",
        "fetched_at": datetime.datetime(2023 + n % 2, 5, n, tzinfo=datetime.UTC) if n != 9 else None,
    }
    for n in range(1, 10)
]


@pytest.fixture(scope="module")
def dated() -> TestClient:
    site = Site.of(small_engine(DATED), None, 1)
    return TestClient(create_app(lambda: site), base_url=ADDRESS)


def links(html: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'href="(/\?q=[^"]*)"', html)]


def test_matches_are_counted_by_site_and_time_and_each_count_is_a_filter(dated: TestClient) -> None:
    page = dated.get("/?q=solar").text
    assert "of 9 that match, from 9 pages" in plain(page)
    filters = page.split('aria-label="Filters"')[1].split("</nav>")[0]
    assert "www.a.org 6 b.org 3" in plain(filters)
    assert "2024 4 2023 4" in plain(filters)
    for path in links(filters):
        told = int(re.search(re.escape(path.replace("&", "&amp;")) + r'"[^0-9]*[^<]*</bdi> <[^>]*>(\d+)<', filters)[1])
        assert f"of {told} that match" in plain(dated.get(path).text), path
    page = dated.get("/?q=solar site:b.org after:2024 before:2024-06").text
    assert "of 1 that match" in plain(page), "page 3 is of 2024, 6 of 2023, 9 of nobody knows when"
    assert links(page.split('aria-label="Filters"')[1].split("</nav>")[0]) == [
        "/?q=solar%20after%3A2024%20before%3A2024-06",
        "/?q=solar%20site%3Ab.org",
    ]


@pytest.mark.parametrize(
    ("query", "bare"),
    [
        ('solar "wind num', 'solar "wind num'),
        ("solar NOT", "solar NOT"),
        ("NOT site:a.org solar", "solar"),
        ('"see site:foo bar" solar', '"see site:foo bar" solar'),
        ("-site:b.org solar", "solar"),
    ],
)
def test_filters_leave_the_rest_of_a_query_as_it_is(query: str, bare: str) -> None:
    counts = Counts(9, (("a.org", 6), ("b.org", 3)), ())
    ((kind, choices),) = facets(query, counts)
    assert kind == "Site"
    if bare == query:
        assert [one.query for one in choices] == [f"site:a.org {bare}", f"site:b.org {bare}"]
        assert parse(choices[0].query).clauses == parse(query).clauses
    else:
        assert [one.query for one in choices] == [bare]


def test_examples_are_links_that_find_something_here(dated: TestClient, client: TestClient) -> None:
    for asked in (dated, client):
        shown = links(asked.get("/").text)
        assert len(shown) >= 3
        for path in shown:
            assert '<ol class="results"' in asked.get(path).text, path
    assert any("site%3Awww.a.org" in path for path in links(dated.get("/").text))
    assert any("after%3A202" in path for path in links(dated.get("/").text))


def test_suggestions_come_from_titles_and_words(client: TestClient) -> None:
    answer = client.get("/suggest", params={"q": "broad"})
    assert answer.headers["content-type"] == "application/x-suggestions+json"
    typed, found = answer.json()
    assert typed == "broad"
    assert found[0] == "Broadcasting arrays"
    assert "broadcasting" in found
    assert "Broadcasting arrays" in client.get("/suggest?q=arr").json()[1], "by any of its words"
    assert "title:zebra" in client.get("/suggest?q=title:ze").json()[1]
    assert "salt +pepper" in client.get("/suggest", params={"q": "salt +pep"}).json()[1]
    for nothing in ("", "  ", "qqq", "\x00", '"', "site:exa"):
        assert client.get("/suggest", params={"q": nothing}).json()[1] == []


def test_the_cached_text_is_whole_marked_and_escaped(client: TestClient) -> None:
    page = client.get("/page/100/text?q=zebras").text
    assert "<mark>zebra</mark>" in page
    page = client.get("/page/3/text?q=arrays").text
    assert "Hostile &lt;img src=x onerror=alert(1)&gt; <mark>arrays</mark> stand here." in page
    assert 'href="/page/1/text?q=arrays"' in client.get("/?q=arrays").text
    assert client.get("/page/77/text").status_code == 404


def test_what_is_wrong_keeps_the_query(client: TestClient) -> None:
    for path in ("/page/77?q=salt", "/?q=salt&page=x", "/nothing?q=salt"):
        assert 'value="salt"' in client.get(path).text
    assert 'value="&lt;b&gt;"' in client.get("/page/77?q=<b>").text


def test_signs_that_mean_nothing_are_said(client: TestClient) -> None:
    assert "arr*: a * stands for a whole word within quotes" in client.get("/?q=arr*").text
    assert "after:soon is no date" in client.get("/?q=salt after:soon").text
    assert client.get("/api/search?q=salt~2").json()["notes"] == [
        "Signs for similar words (~) and for weights (^) mean nothing here; they were left out."
    ]
    assert client.get("/api/search", params={"q": '"large * arrays" +salt -a_b*'}).json()["notes"] != []
    assert client.get("/api/search", params={"q": '"no * made" C++ f(x) a^b'}).json()["notes"] == []


def test_browsers_are_told_how_to_search_here(client: TestClient) -> None:
    link = re.search(r'<link rel="search" href="([^"]*)"', client.get("/").text)[1]
    told = client.get(link)
    assert told.headers["content-type"].startswith("application/opensearchdescription+xml")
    space = "{http://a9.com/-/spec/opensearch/1.1/}"
    urls = {url.get("type"): url.get("template") for url in ElementTree.fromstring(told.text).iter(f"{space}Url")}
    for kind, template in urls.items():
        asked = re.sub(r"\{\w+\?\}", "1", template.replace("{searchTerms}", "salt"))
        assert asked.startswith(ADDRESS)
        assert client.get(asked).headers["content-type"].startswith(kind)


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "array": list}
    kinds["object"] = dict
    wanted = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if not any(isinstance(value, kinds[kind]) for kind in wanted):
        return False
    if isinstance(value, list) and "items" in schema:
        return all(conforms(one, schema["items"]) for one in value)
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return set(known) == set(value) and all(conforms(value[name], known[name]) for name in known)
    return True


def test_answers_are_what_the_schema_says(client: TestClient, dated: TestClient) -> None:
    schema = client.get("/api/schema.json").json()
    answer = dated.get("/api/search?q=solar&top=3").json()
    assert conforms(answer, schema)
    assert not conforms(answer | {"more": None}, schema)
    assert (answer["matches"], answer["sites"][0]) == (9, {"site": "www.a.org", "pages": 6})
    assert answer["fetched"][0] == {"after": "2024", "before": "2025", "pages": 4}
    page = client.get("/api").text
    assert all(f"<code>{name}</code>" in page for name in (*schema["properties"], "prominence", "page_id"))
