"""What is main text and what is not, on pages made for it and on the samples that once failed."""

from __future__ import annotations

import sys
import time
from statistics import fmean

import pytest
from conftest import SHARED
from tests_root import ROOT

from lakerank.search.pages import page_tree
from lakerank.search.pages.boilerplate import find_main
from lakerank.search.pages.document import parse_html
from lakerank.search.pages.encodings import decode_html
from lakerank.search.pages.page_tree import flatten

sys.path.insert(0, str(ROOT / "benchmarks"))
from annotated_pages import TEMPLATES, annotated_pages, shingle_f1

URL = "https://otter.org/doc/guide.html"
CASES = SHARED.parent / "cases" / "pages"
WORDS = "The otter swims in the river at dawn and sleeps on the bank when the sun is high. "
PAGES = {page.name: page for page in annotated_pages(variants=1, seed=7)}


def text(html: str) -> str:
    return parse_html(html, URL).text


@pytest.mark.parametrize("name", TEMPLATES)
def test_kinds_of_pages(name: str) -> None:
    page = PAGES[f"{name} 0"]
    precision, recall, _ = shingle_f1(page.text, text(page.html))
    assert recall >= 0.95
    assert precision >= 0.7


def test_kinds_of_pages_together() -> None:
    assert fmean(shingle_f1(page.text, text(page.html))[2] for page in PAGES.values()) >= 0.97


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is missing")
@pytest.mark.parametrize(
    ("name", "title", "has", "lacks"),
    [
        ("mainarticle/index.html", "River", "The report of the committee", ""),
        ("html/sidebar_class_wrapper.html", "Vox", "The air of the city", ""),
        ("html/softhyphen.html", "Schiff", "Die Donaudampfschifffahrt ist", "\xad"),
        ("html/svgtitle.html", "Real heading", "words", "svg"),
        ("html/xhtml_selfclose_title.html", "", "text after empty title", "<"),
        ("html/emptytitle.html", "OG title", "words only", ""),
        ("html/ruby.html", "ruby", "漢字 soft", "kan"),
        ("html/template.html", "tp", "visible", "tmpl"),
        ("html/gb2312_meta_gbk.html", "推荐系统", "镕㐀。", "\ufffd"),
        ("html/utf8_with_one_bad_byte.html", "Größe", "Übermaß", "Ã"),
        ("html/utf8_cut_mid_char.html", "Größe", "Übermaß", "Ã"),
        ("html/meta_description_charset.html", "Größe", "推荐系统", "\ufffd"),
        ("html/meta_in_comment.html", "Größe", "Größe des Hauses", "\ufffd"),
        ("html/refresh_noscript.html", "rns", "real content", ""),
        ("html/frames.html", "Frames", "", "no frames"),
    ],
)
def test_samples(name: str, title: str, has: str, lacks: str) -> None:
    page = parse_html(decode_html((CASES / name).read_bytes()), URL)
    assert page.title.startswith(title)
    assert has in page.text
    assert not lacks or lacks not in page.title + page.text
    assert page.refresh is None
    bad = {"html/utf8_with_one_bad_byte.html": 1, "html/utf8_cut_mid_char.html": 1}.get(name, 0)
    assert (page.title + page.text).count("\ufffd") == bad
    if name == "html/frames.html":
        assert [link.dst_url[-9:] for link in page.links] == ["menu.html", "body.html"]


def test_a_class_name_never_removes_the_largest_block() -> None:
    for name in ("sidebar", "ad", "widget", "related", "comments", "newsletter", "share", "hidden", "menu", "footer"):
        page = f"<body><nav><a href=/>x</a></nav><div class={name}><h1>T</h1><p>{WORDS * 9}</p></div></body>"
        assert "otter swims" in text(page), name


def test_a_name_counts_for_less_than_what_the_block_holds() -> None:
    other = f"<div class=x><p>Other. {WORDS * 4}</p></div>"
    assert "Wanted" in text(f"<body><div class=sidebar><p>Wanted. {WORDS * 6}</p></div>{other}</body>")
    claimed = f"<body><div class=menu-7><article><p>Wanted. {WORDS * 4}</p></article></div>{other}{WORDS}</body>"
    assert "Wanted" in text(claimed)
    assert "Wanted" not in text(claimed.replace("article", "div"))


def test_without_any_name_the_block_that_holds_nearly_all_counts() -> None:
    page = (
        f"<body><div><div><p>Wanted. {WORDS * 9}</p></div><div><p>Small words of another kind.</p></div></div></body>"
    )
    assert "Wanted" in text(page)
    assert "Small" not in text(page)


def test_names_take_out_small_blocks() -> None:
    main = f"<article><h1>T</h1><p>{WORDS * 9}</p></article>"
    for name in ("sidebar", "related-posts", "comments", "newsletter", "share-buttons", "cookie-notice", "siteFooter"):
        assert "Small" not in text(f"{main}<div class={name}><p>Small words of something else here.</p></div>"), name
        assert "Small" not in text(
            main.replace("</article>", f"<div class='x {name}'><p>Small words</p></div></article>")
        )


def test_names_that_mean_something_else() -> None:
    for name in ("category-cookies tag-menu type-post", "has-sidebar", "hidden md:block", "commentary", "footnotes"):
        page = f"<main><p>{WORDS * 9}</p><div class='{name}'><p>Wanted words of the page.</p></div></main>"
        assert "Wanted" in text(page), name
    for markup in ("<section id=menu>", "<h2 id=sidebar>", "<div class=section id=related-work>", "<aside class=note>"):
        assert "Wanted" in text(f"<main><p>{WORDS * 9}</p>{markup}Wanted words"), markup


@pytest.mark.parametrize(
    "name",
    [
        "nav-container", "with-footer", "newsletter-content", "share-container", "cmp-container", "layout-nav-footer",
        "latest-news-detail", "related-page", "cookies",
    ],
)  # fmt: skip
def test_a_sure_word_takes_no_more_than_it_leaves(name: str) -> None:
    legal = f"<div class=legal><p>Legal. {WORDS * 5}</p></div>"
    article = f"<h1>T</h1><p>Wanted. {WORDS * 40}</p>"
    assert "Wanted" in text(f"<body><div class={name}><main><article>{article}</article></main></div>{legal}")
    assert "Wanted" in text(f"<body><div class={name}>{article}</div>{legal}")
    assert "Wanted" in text(f"<body><div id='http-{name}'>{article}</div>{legal}")
    parts = f"<div class={name}><p>Wanted. {WORDS * 4}</p></div>" * 8
    assert "Wanted" in text(f"<body><h1>T</h1>{parts}{legal}")
    if not name.startswith("cmp"):
        small = f"<div class={name}><p>Other. {WORDS}</p></div>"
        assert "Other" not in text(f"<body><article>{article}</article>{small}{legal}")
        many = f"<div class={name}><p>Other. {WORDS * 9}</p></div>" * 8
        assert "Other" not in text(f"<body><article>{article}</article>{many}{legal}")


def test_words_of_other_languages_that_mean_something_else() -> None:
    names = (
        "colonne-principale", "pie-chart", "contributions", "anzeige", "delen", "partage-des-eaux", "cmp-text", "pied",
    )  # fmt: skip
    for name in names:
        assert "Wanted" in text(f"<main><p>{WORDS * 9}</p><div id={name}><p>Wanted words.</p></div></main>"), name
    for name in ("colonne-droite", "pie-de-pagina", "pied-de-page", "werbeanzeige", "qc-cmp2-container"):
        assert "Other" not in text(f"<main><p>{WORDS * 9}</p><div id={name}><p>Other words.</p></div></main>"), name


def test_small_articles_are_not_the_text() -> None:
    teasers = "".join(f"<article><h3>Teaser {n}</h3><p>{WORDS}</p></article>" for n in range(3))
    page = f"<body><div class=story-7><h1>T</h1><p>Wanted. {WORDS * 12}</p></div>{{}}</body>"
    assert "Wanted" in text(page.format(teasers))
    assert "Wanted" in text(page.format("<article><p>Teaser</p></article>"))
    posts = "".join(f"<article><h2>Post {n}</h2><p>{WORDS * 3}</p></article>" for n in range(3))
    assert all(f"Post {n}" in text(f"<main>{posts}</main>") for n in range(3))


def test_comments_are_the_text_where_there_is_no_other() -> None:
    comments = f"<div id=comments><div class=comment><p>Comment. {WORDS * 5}</p></div></div>"
    assert "Comment" in text(f"<h1>T</h1>{comments}")
    assert "Comment" not in text(f"<h1>T</h1><div class=entry-content><p>{WORDS * 3}</p></div>{comments}")


def test_lists_of_links_within_and_alone() -> None:
    links = "".join(f"<li><a href=/{n}>Another article on otters {n}</a></li>" for n in range(6))
    page = f"<article><p>{WORDS * 9}</p><h3>Related stories</h3><ul>{links}</ul></article>"
    assert text(page) == (WORDS * 9).strip()
    assert parse_html(page, URL).headings == []
    assert {link.zone for link in parse_html(page, URL).links} == {"main"}
    assert "on otters 5" in text(f"<main><h1>Index</h1><ul>{links}</ul></main>")
    assert "on otters 5" in text(f"<main><h1>Index</h1><p>{WORDS * 3}</p><ul>{links * 3}</ul></main>")


def test_pages_that_scripts_put_together() -> None:
    said = '<script type="application/ld+json">{"articleBody": "First.\\n\\nSecond \\u00e9. %s"}</script>' % (WORDS * 4)
    assert text(f"<body><div id=app></div>{said}<footer>Foot</footer>").startswith("First.\nSecond é. The otter")
    assert "otter" in text(f"<body><div id=root></div><noscript><p>{WORDS * 4}</p></noscript>")
    assert text("<body><p>Hi</p><noscript>Please enable JavaScript</noscript>") == "Hi"


def test_self_closing_tags_of_xhtml() -> None:
    xhtml = (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><script src="a>b.js"/><title/></head>'
    )
    assert text(xhtml + "<body><p>Words</p></body></html>") == "Words"


def test_frames_and_maps_are_links() -> None:
    page = parse_html("<frameset><frame src=a.html title=Menu><frame src=b.html></frameset>", URL)
    assert [(link.dst_url[-6:], link.anchor, link.zone) for link in page.links] == [
        ("a.html", "Menu", "main"),
        ("b.html", "", "main"),
    ]
    page = parse_html("<map><area href=c.html alt=C></map><template><a href=d.html>d</a></template>", URL)
    assert [(link.dst_url[-6:], link.anchor, link.zone) for link in page.links] == [("c.html", "C", "navigation")]


def test_positions_fit_whatever_the_markup() -> None:
    hostile = [
        "", "x", "<", "<p", "<a><a><a>", "<table><p><td><a href=x>", "</p></p>", "<svg><title>t</svg><title>u",
        "<dfn><dfn>a</dfn>", "<head><p>", "<select><option>a<option>b", "<pre>\n\na\n</pre>", "<plaintext><p>a",
        "<html hidden><body class=menu>x", "<nav>" * 600 + "x", "<a href=x>" * 600 + "x", "<frameset></frameset>x",
    ]  # fmt: skip
    for html in hostile:
        page = flatten(html)
        for begin, end, first, last in zip(page.text_begin, page.text_end, page.run_begin, page.run_end, strict=True):
            assert 0 <= begin <= end <= len(page.texts)
            assert 0 <= first <= last <= len(page.units)
        main = find_main(page)
        assert all(b <= e <= c for (b, e), (c, _) in zip(main.without, main.without[1:], strict=False))
        parse_html(html, URL)


@pytest.mark.parametrize(
    "unit",
    [
        "<div class=comments><article>", "<aside><p>words of some length here</p>", "<article><p>some words here</p>",
        "<div class=sidebar><h2>x</h2>", "<p class=byline>x<a href=y>z</a>", "<ul><li><a href=x>words</a>",
        "<form><div class=menu>some words</div>", "<h2>a</h2><div class=ad>b</div>", "<title/>", "<dfn>a",
        "<div><div><h3>Related</h3></div></div>", "<h3></h3><h3>comments</h3>", "<div><h3>12 comments</h3>",
        "<figure><figcaption>a", "<p>Some words of a length</p><figcaption>a</figcaption>", "<p a<b>",
    ],
)  # fmt: skip
def test_time_grows_with_size(unit: str) -> None:
    begun = time.process_time()
    parse_html(unit * 30_000, URL)
    if "figcaption" in unit:
        parse_html(f"<figure>{unit * 30_000}", URL)
    assert time.process_time() - begun < 15


def test_text_behind_a_link_counts_as_long_as_it_is() -> None:
    page = flatten("<p><a href=x>A title of some length</a> end</p>")
    assert (page.units, page.linked) == ([25], [22])


def test_markup_is_read_as_the_parser_reads_it() -> None:
    odd = (
        "<!-- <p>no --><p a<b='1' c\"d=\"2>x\" title='a>b&lt;&quot;'>one &lt;two&gt; &amp;amp; &nbsp;three</p>"
        "<a href='?a=1&b=2\"'>four</a><textarea>\n<b>five</b></textarea><script>'<p>no</p>'</script>"
        "<style>p>a{}</style><a href=y>six<img alt=no></a>"
    )
    page = flatten(odd)
    assert page.text(0, len(page.texts)).split() == ["one", "<two>", "&amp;", "three", "four", "<b>five</b>", "six"]
    assert [link.attributes["href"] for link in page.links] == ['?a=1&b=2"', "y"]


def test_a_less_than_sign_in_a_name_stays_in_its_tag() -> None:
    for odd in ("<div class=menu <ul>", "<div a<b c<<d='1'>", "<p><x<y>", "<section <p title='>'>"):
        page = flatten(f"<body><div>{odd}Menu<p>one</p></div><div><h2>two</h2></div><p>three")
        assert page.text(0, len(page.texts)).split() == ["Menu", "one", "two", "three"], odd
        assert page.text_end[0] == len(page.texts) - 1, odd  # the mark behind it is not of it
        assert [page.text(head.begin, head.end) for head in page.headings] == ["two"], odd
    page = flatten("<body><div class=menu <ul>Menu</div><main>text</main>")
    assert [(name, role.drops > 0) for name, role in zip(page.names, page.roles, strict=True)][-2:] == [
        ("div", True),
        ("main", False),
    ]


def test_long_tags_are_not_remembered() -> None:
    before = len(page_tree._TAGS)
    flatten("".join(f"<p><img alt=otter{n} src='data:{'x' * 1000}'>" for n in range(50)))
    assert len(page_tree._TAGS) <= before + 10


@pytest.mark.parametrize("name", ["teasers", "related", "replies", "captions", "box"])
def test_parts_of_an_article_that_are_not_its_text(name: str) -> None:
    other = {
        "teasers": "".join(f"<div><h4><a href=/{n}>Other {n}</a></h4><p>Other. {WORDS}</p></div>" for n in range(3)),
        "related": "<div><h3>More stories</h3><a href=/1>Other one</a><p>Other.</p><a href=/2>Other two</a></div>",
        "replies": f"<div><h3>12 Kommentare</h3><p>Other. {WORDS}</p></div>",
        "captions": f"<figure><img src=x><figcaption>Other. {WORDS}</figcaption></figure>",
        "box": f"<div class='seitenleiste'><p>Other. {WORDS}</p></div>",
    }[name]
    said = text(f"<body><h1>T</h1><p>{WORDS * 9}</p>{other}<p>Last words of the article.</p></body>")
    assert "Last words" in said
    assert "Other" not in said


def test_what_looks_like_such_parts_and_is_text() -> None:
    begin = f"<main><h1>T</h1><p>{WORDS * 9}</p>"
    for wanted in (
        f"<section><h2>More on otters</h2><p>Wanted. {WORDS * 2}<a href=x>one</a> and <a href=y>two</a></p></section>",
        "<pre>code</pre><figure><pre>more code</pre><figcaption>Wanted words</figcaption></figure>",
        "<figure><img src=x><figcaption>Table 3-1: Wanted words</figcaption></figure>",
        *(
            f"<figure><img src=x><figcaption>{number} Wanted words</figcaption></figure>"
            for number in (
                "Рис. 3.",
                "Рисунок 3",
                "图1",
                "圖 2",
                "表3",
                "図 4",
                "그림 5",
                "Abbildung 2:",
                "Afb. 3",
                "Ryc. 4",
                "Fig. S1.",
                "Extended Data Fig. 2",
                "Table IV.",
                "Scheme 1.",
            )
        ),
        f"<figure><blockquote>{WORDS}</blockquote><figcaption>Wanted, an author</figcaption></figure>",
        "<figure><table><tr><td>1<td>2</table><figcaption>Wanted words of a table</figcaption></figure>",
        f"<figure><div>{WORDS}</div><figcaption><div>Wanted words of code</div></figcaption></figure>",
        f"<div><h2><a href='#a'>Wanted</a></h2><p>{WORDS}</p></div>" * 3,
        f"<h3><button>Wanted?</button></h3><p>{WORDS}</p>",
    ):
        assert "Wanted" in text(f"{begin}{wanted}</main>"), wanted


PARTS = [
    "<section><h2>Discussion</h2>{}</section>", "<div><h2>Discussion</h2>{}</div>",
    "<div><h2>5 Discussion</h2>{}</div>",
    "<section><h2>Comments</h2>{}</section>", "<section><h2>Add a comment</h2>{}</section>",
    "<div><h2>Responses</h2>{}</div>", "<div><h2>Responses (200)</h2>{}</div>", "<div><h2>5. Comments</h2>{}</div>",
    "<div><h2>Reply to the editor</h2>{}</div>", "<section><h2>4 Methods</h2>a</section><section><h2>5 Comments</h2>{}",
    "<div><h2>Antworten</h2>{}</div>", "<section><h2>Kommentare</h2>{}</section>",
]  # fmt: skip
NOT_PARTS = [
    "<div><h2>12 comments</h2>{}</div>", "<section><h2>No responses</h2>{}</section>",
    "<div><h3>One reply</h3>{}</div>",
    "<div><h2>3 thoughts on “Otters”</h2>{}</div>", "<div><h2>Leave a reply</h2>{}</div>",
    "<div><h2>Join the discussion</h2>{}</div>", "<div><h2>Reader comments</h2>{}</div>",
    "<div><h2>Comments (1,204)</h2>{}</div>", "<div><h2>Comments</h2>{}</div>", "<div><h2>Kommentare (3)</h2>{}</div>",
    "<div><h2>3 комментария</h2>{}</div>", "<div><h2>12条评论</h2>{}</div>",
    "<div><h2>Laisser un commentaire</h2>{}</div>",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_sections_that_are_called_like_comments(part: str) -> None:
    said = f"<p>Wanted. {WORDS * 3}</p>"
    assert "Wanted" in text(f"<body><h1>T</h1><p>{WORDS * 9}</p>{part.format(said)}<p>Last words.</p>")


@pytest.mark.parametrize("part", NOT_PARTS)
def test_what_readers_wrote_takes_no_more_than_it_leaves(part: str) -> None:
    said = "<p>Other words.</p><p>{}</p>"
    page = f"<body><h1>T</h1><p>{WORDS * 9}</p>{{}}<p>Last words.</p>"
    assert "Other" not in text(page.format(part.format(said.format(WORDS * 5))))
    assert "Other" in text(page.format(part.format(said.format(WORDS * 15))))


@pytest.mark.parametrize(
    "heading",
    [
        "Related work", "Latest release", "Recommended settings", "Similarity of words", "Popularity",
        "Trending upwards",
        "Verwandte Arbeiten", "相关工作", "関連研究", "Latest", "Read moreover",
    ],
)  # fmt: skip
def test_sections_that_are_called_like_teasers(heading: str) -> None:
    cited = "".join(f"<p>Wanted. {WORDS}<a href=/{n}>Otters, a study of ten rivers ({n})</a></p>" for n in range(10))
    for tag in ("section", "div"):
        part = f"<{tag}><h2>{heading}</h2>{cited}</{tag}>"
        assert "Wanted" in text(f"<body><h1>T</h1><p>{WORDS * 30}</p>{part}<p>Last words.</p>"), tag
    builds = "<a href=/1>otter-1.2.tar.gz, 64 bits</a><a href=/2>otter-1.2.zip, 64 bits</a>"
    if heading not in ("Latest",):
        part = f"<div><h2>{heading}</h2><p>Wanted.</p>{builds}</div>"
        assert "Wanted" in text(f"<body><h1>T</h1><p>{WORDS * 30}</p>{part}<p>Last words.</p>")


@pytest.mark.parametrize(
    "heading", ["Related", "Related stories", "Most popular", "Latest news", "Similar posts", "More from Otters"]
)
def test_teasers_by_their_heading(heading: str) -> None:
    links = "".join(f"<p><a href=/{n}>Other story about the river {n}</a> May {n}</p>" for n in range(5))
    page = f"<body><h1>T</h1><p>{WORDS * 9}</p><{{0}}><h3>{heading}</h3>{links}</{{0}}><p>Last words.</p>"
    assert "Other" not in text(page.format("div"))
    assert "Other" not in text(page.format("section"))


def test_captions_of_pictures_go() -> None:
    begin = f"<main><h1>T</h1><p>{WORDS * 9}</p>"
    for caption in ("Other words", "图为2019年的水獭 Other", "Figures of Other", "Table Mountain, Other, in 2019"):
        credit = "<span class=credit>Photo: Kim of the agency, all rights reserved</span>"
        figure = f"<figure><img src=x><figcaption>{caption}</figcaption>{credit}</figure>"
        assert "Other" not in text(f"{begin}{figure}<p>Last words.</p></main>"), caption


def test_a_product_and_a_thread_are_more_than_their_largest_text() -> None:
    page = (
        f"<div class=product><div class=summary><h1>T</h1><p>Wanted. {WORDS}</p></div><div class=entry-content>"
        f"<p>{WORDS * 3}</p></div></div><p>{WORDS}</p>"
    )
    assert "Wanted" in text(page)
    assert "Wanted" not in text(page.replace("product", "box"))
    replies = f"<div class=comments><p>Reply. {WORDS * 2}</p></div>"
    thread = f"{{}}<div class=entry-content><p>{WORDS * 5}</p></div>{replies}</body>"
    assert "Reply" not in text(thread.format("<body>"))
    for names in ("class='section-viewtopic viewtopic'", "id=forum", "class='x single-forum'", 'class="forum-topic y"'):
        assert "Reply" in text(thread.format(f"<body {names}>")), names
    for names in ("class='theme-forum-free'", "class=forum-free", "data-x=forum", "class='has-forum-link y'"):
        assert "Reply" not in text(thread.format(f"<body {names}>")), names


def test_kinds_of_pages_without_names() -> None:
    scores = [shingle_f1(page.text, text(page.without_names().html))[2] for page in PAGES.values()]
    assert fmean(scores) >= 0.92
