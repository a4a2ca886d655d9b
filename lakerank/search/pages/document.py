"""One HTML page: from its bytes to what it says, what it says of itself, and whom it links to.

Three steps: limit markup that would keep the parser busy for minutes, one parse and one pass over the tree
(`page_tree`), and the choice of its main content (`boilerplate`). lexbor's time grows with the square of the depth of
nesting and of the number of attributes of one tag. Browsers stop nesting at 512 levels; so do we. Pages of ordinary
size and shape pass untouched and cost some microseconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from lakerank.search.pages import boilerplate
from lakerank.search.pages.boilerplate import MainContent
from lakerank.search.pages.page_tree import Attributes, Heading, PageTree, collapse_spaces, flatten
from lakerank.search.pages.urls import folder_of, link_address, page_address
from lakerank.search.text.languages import language_of

MAIN, NAVIGATION = "main", "navigation"
# Of the surfer's steps: menus repeat on every page of a site and say little of what they lead to.
WEIGHTS = {MAIN: 1.0, NAVIGATION: 0.1}
_UNTRUSTED = frozenset(("nofollow", "ugc", "sponsored"))
_SHORT = 200  # characters of text; with fewer a page is looked at again
_TEASER = 1000  # characters of text; with fewer it may be the teaser of an article that is told to programs alone
_MUCH_MORE = 3  # times as long must be what is then found
_ARTICLE_BODY = re.compile(r"\"articleBody\"\s*+:\s*+(\"(?:[^\"\\]++|\\.)*+\")", re.DOTALL)
# Possessive, so that a value of many blanks or digits takes no time that grows with its square.
# Names of <body> on a thread of a forum. `forum` in one that says something else besides is a theme's or a menu's.
_FORUM = re.compile(
    r"(?:.*[^a-z0-9_])?(?:viewtopic|showthread|comments-page|thread_view|topic-page)(?:[^a-z0-9_].*)?|"
    r"(?:(?:page|single|type|section|layout|body|is|bbpress|bb|post|view|node|archive)[-_])*forums?"
    r"(?:[-_](?:page|topic|thread|post|view|index|single|display|discussion|archive|\d+))*"
)
_BODY_NAMES = re.compile(r"\s(?:class|id)\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s\"'>]++))", re.IGNORECASE)
_REFRESH = re.compile(r"\s*+(\d*+\.?\d*+)\s*+[;,]\s*+(?:url\s*+=\s*+)?[\"']?([^\"']+)", re.IGNORECASE)
_AT_ONCE = 1.0  # seconds
_LONGEST_TERM = 200  # characters; a longer dt is no term
_LONGEST_ANCHOR = 1000  # characters; more is a mistake in the markup
_LONGEST_HEADING = 1000  # characters; more is a heading that is not closed
_ALL_HEADINGS = 1 << 20  # characters of all headings of a page: one within another has the same text again
_ALL_LINKS = 32 << 20  # characters of all links of a page: a long <base> stands before each of them
_HEAD = 1 << 16  # characters in which the title of a page must begin
_SELF_CLOSED_TITLE = re.compile(r"<title\s*+/>", re.IGNORECASE)
_XHTML = re.compile(r"<html[^>]*?\sxmlns\s*=", re.IGNORECASE)
_SELF_CLOSED = re.compile(
    r"<(title|script|style|textarea|iframe|noscript|select|object)((?:[\s/]+[^\s<>\"'=/]++(?:=(?:\"[^\"]*+\"|'[^']*+'))?+)*+)\s*+/>",
    re.IGNORECASE,
)
_DEPTH = 512  # as in browsers
_MANY_TAGS = 5_000  # fewer cannot nest deep enough to matter
_LONG_TAG, _ATTRIBUTES = 4_000, 500
_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*)[^>]*>?")
_TAG_NAME = re.compile(r"<(/?[A-Za-z][^\s/>]*)[^>]*")
_FORMATTING = re.compile(
    r"<(/?)(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])[^>]*>?", re.IGNORECASE
)
_FEW_TAGS = 2_000  # cannot make more elements than the next number, however they stand
_MOST_COPIES = 1_000_000
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
# Close themselves where the next begins, or have no content: they do not nest on their own.
_FLAT = frozenset(
    (
        *("a", "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track"),
        *("wbr", "p", "li", "dt", "dd", "option", "optgroup", "rt", "rp", "td", "th", "tr", "tbody", "thead", "tfoot"),
        *("colgroup", "html", "head", "body"),
    )
)


class Link(NamedTuple):
    """A link to another page; columns as in the `links` table."""

    dst_url: str
    anchor: str
    nofollow: bool
    zone: str
    weight: float


@dataclass(frozen=True)
class Document:
    """The content of a page: its fields are columns of the `pages` table by name, and are stored under that name.

    Beside them `refresh` is where an immediate refresh leads, if there is one, and `links` are rows of `links`.
    """

    title: str
    text: str
    language: str | None
    content_hash: str
    headings: list[str] = field(default_factory=list)
    description: str | None = None
    canonical_url: str | None = None
    noindex: bool = False
    refresh: str | None = None
    links: list[Link] = field(default_factory=list)


@dataclass
class _Head:
    """The metadata in a page's <head>."""

    base: str
    description: str | None = None
    canonical: str | None = None
    refresh: str | None = None
    robots: str = ""
    shared_title: str = ""


def parse_html(html: str, url: str, robots: str = "") -> Document:
    """Parse a page.

    Args:
        html: the page.
        url: its address in standard form.
        robots: X-Robots-Tag of the HTTP response, if there was one.
    """
    page = flatten(limit_markup(_with_ends(html)))
    head = _head(page, url)
    asks = set(re.split(r"[\s,;:]+", f"{head.robots} {robots}".lower()))
    main = boilerplate.find_main(page, replies=_is_forum(html))
    text = page.text(main.begin, main.end, main.without)
    if len(text) < _SHORT:
        main, text = _more(page, main, text)
    if len(text) < _TEASER and len(said := _structured_text(html)) > _MUCH_MORE * len(text):
        text = said
    headings = _headings(page, main)
    root = page.root
    return Document(
        title=page.title or _first_heading(page, main) or head.shared_title,
        text=text,
        language=language_of(text, root.get("lang") or root.get("xml:lang")),
        content_hash=content_hash(page.title, headings, head.description, text),
        headings=[heading for heading in headings if heading],
        description=head.description,
        canonical_url=head.canonical,
        noindex=bool(asks & {"noindex", "none"}),
        refresh=head.refresh,
        links=_links(page, main.with_lists or main, url, head.base, bool(asks & {"nofollow", "none"})),
    )


def _with_ends(html: str) -> str:
    """Give end tags to what closes itself as in XML and would swallow the page as HTML: <title/>, <script src="x"/>."""
    if _SELF_CLOSED_TITLE.search(html, 0, _HEAD):
        html = _SELF_CLOSED_TITLE.sub("<title></title>", html, count=1)
    if "/>" in html and (html.startswith("<?xml") or _XHTML.search(html, 0, _HEAD)):
        html = _SELF_CLOSED.sub(r"<\1\2></\1>", html)
    return html


def _is_forum(html: str) -> bool:
    """Tell whether a page says that it is a thread of a forum."""
    body = html.find("<body")
    return "DiscussionForumPosting" in html or bool(body >= 0 and _names_forum(html[body : html.find(">", body)]))


def _names_forum(body: str) -> bool:
    """Tell whether a class or the id of <body> says so."""
    names = (name for found in _BODY_NAMES.findall(body[:_LONG_TAG]) for name in "".join(found).split())
    return any(map(_FORUM.fullmatch, names))


def _more(page: PageTree, main: MainContent, text: str) -> tuple[MainContent, str]:
    """Return more of a page of which hardly anything was left: all that is seen of it, or what stands in <noscript>."""
    everything = boilerplate.find_main(page, strict=False)
    seen = page.text(everything.begin, everything.end, everything.without)
    if not text and seen:
        main, text = everything, seen
    if len(seen) < _SHORT:
        whole = page.text(0, len(page.texts))
        if len(whole) > max(_SHORT, _MUCH_MORE * len(text)):
            return MainContent(0, len(page.texts)), whole
    return main, text


def _structured_text(html: str) -> str:
    """Return the `articleBody` that a page gives as JSON-LD, which pages have that scripts put together."""
    longest = ""
    for written in _ARTICLE_BODY.findall(html):
        try:
            found = json.loads(written)
        except ValueError:
            continue
        longest = max(longest, found, key=len)
    if "<" in longest:
        tree = flatten(limit_markup(longest))
        return tree.text(0, len(tree.texts))
    return "\n".join(filter(None, map(collapse_spaces, longest.splitlines())))


def content_hash(title: str, headings: Sequence[str], description: str | None, text: str) -> str:
    """Return the content hash of a page: 128 bits of BLAKE2, hexadecimal."""
    said = "\x1e".join((title, "\x1f".join(headings), description or "", collapse_spaces(text)))
    return hashlib.blake2b(said.encode(errors="replace"), digest_size=16).hexdigest()


def _head(page: PageTree, url: str) -> _Head:
    """Read the metadata of a page; `<base>` counts before what stands above it."""
    head, shared = _Head(url), ""
    for tag, given in sorted(page.head, key=lambda found: found[0] != "base"):
        content = given.get("content") or ""
        name = (given.get("name") or given.get("property") or "").strip().lower()
        if tag == "base":
            if head.base == url:
                head.base = page_address(given.get("href") or "", url) or url
        elif tag == "link":
            if head.canonical is None and "canonical" in (given.get("rel") or "").lower().split():
                head.canonical = page_address(href, head.base) if (href := given.get("href")) else None
        elif name == "description":
            head.description = head.description or collapse_spaces(content) or None
        elif name == "og:description":
            shared = shared or collapse_spaces(content)
        elif name == "og:title":
            head.shared_title = head.shared_title or collapse_spaces(content)
        elif name == "robots":
            head.robots += " " + content
        elif (given.get("http-equiv") or "").strip().lower() == "refresh" and head.refresh is None:
            found = _REFRESH.match(content)
            if found and float(found[1].strip(".") or 0) <= _AT_ONCE:
                head.refresh = page_address(found[2].strip(), head.base)
    head.description = head.description or shared or None
    return head


def _links(page: PageTree, main: MainContent, url: str, base: str, nofollow: bool) -> list[Link]:
    """Return links to other pages in order (those of maps and frames last), each target, text and zone once."""
    found: dict[tuple[str, str, bool, str, float], None] = {}
    folder, texts, room = folder_of(base), page.texts, _ALL_LINKS
    for given, begin, end, picture in page.links:
        target = link_address(given.get("href") or given.get("xlink:href") or "", base, folder)
        if target is None or target == url:
            continue
        anchor = collapse_spaces(texts[begin]) if end == begin + 1 else page.line(begin, end)
        if "\xad" in anchor or not anchor:
            anchor = page.line(begin, end) or collapse_spaces(picture) or _label(given)
        anchor = anchor[:_LONGEST_ANCHOR]
        room -= len(target) + len(anchor)
        if room < 0:
            return list(map(Link._make, found))
        distrusted = nofollow or ("rel" in given and not _UNTRUSTED.isdisjoint((given["rel"] or "").lower().split()))
        zone = MAIN if main.begin <= begin < main.end and main.holds(begin) else NAVIGATION
        found[target, anchor, distrusted, zone, 0.0 if distrusted else WEIGHTS[zone]] = None
    for given, zone in chain(((area, NAVIGATION) for area in page.areas), ((frame, MAIN) for frame in page.frames)):
        target = link_address(given.get("href") or given.get("src") or "", base, folder)
        if target is not None and target != url:
            room -= len(target)
            if room < 0:
                break
            weight = 0.0 if nofollow else WEIGHTS[zone]
            found[target, _label(given)[:_LONGEST_ANCHOR], nofollow, zone, weight] = None
    return list(map(Link._make, found))


def _label(given: Attributes) -> str:
    """Return what stands for a link without text: its label or its title."""
    return collapse_spaces(given.get("alt") or given.get("aria-label") or given.get("title"))


def _headings(page: PageTree, main: MainContent) -> list[str]:
    """Return the headings of the main content, each cut where it is too long to be one."""
    found: list[str] = []
    room = _ALL_HEADINGS
    for heading in page.headings:
        if main.holds(heading.begin):
            text = _heading(page, heading, main)
            room -= len(text)
            if room < 0 and found:
                break
            found.append(text[:_LONGEST_HEADING])
    return found


def _heading(page: PageTree, heading: Heading, main: MainContent) -> str:
    """Return a heading's text, or a defined term: of a function's definition what stands before its arguments."""
    text = page.line(heading.begin, heading.end, main.without)
    return text.partition("(")[0].strip()[:_LONGEST_TERM] if heading.name in ("dt", "dfn") else text


def _first_heading(page: PageTree, main: MainContent) -> str:
    """Return the text of the first <h1>, of one in the main content if there is any."""
    found = [heading for heading in page.headings if heading.name == "h1"]
    first = next((heading for heading in found if main.holds(heading.begin)), next(iter(found), None))
    return page.line(first.begin, first.end)[:_LONGEST_HEADING] if first is not None else ""


def limit_markup(html: str) -> str:
    """Remove tags beyond the 512th level, attributes after a tag's first 500 or so, formatting that multiplies."""
    if _has_long_stretch(html):
        html = ">".join(map(_short, html.split(">")))
    tags = html.count("<")
    if tags > _FEW_TAGS and _multiplies(html):
        html = _FORMATTING.sub("", html)
    return _shallow(html) if tags > _MANY_TAGS and _is_deep(html) else html


def _multiplies(html: str) -> bool:
    """Tell whether unclosed <b>, <font>, … would be made anew in block after block.

    That is the HTML standard's rule: five hundred of them and a page of 1 MB become 14 GB of elements.
    """
    unclosed = copies = last = 0
    for tag in _FORMATTING.finditer(html):
        copies += unclosed * html.count("<", last, tag.start())
        last = tag.end()
        unclosed = max(0, unclosed - 1) if tag[1] else unclosed + 1
    return copies + unclosed * html.count("<", last) > _MOST_COPIES


def _has_long_stretch(html: str) -> bool:
    """Tell whether so many characters come without a `>` that there may be a long tag; looks at few of them."""
    at, last = 0, len(html) - _LONG_TAG
    while at < last:
        end = html.rfind(">", at, at + _LONG_TAG)
        if end < 0:
            return True
        at = end + 1
    return False


def _short(piece: str) -> str:
    if len(piece) <= _LONG_TAG:
        return piece
    start = piece.rfind("<")
    if start < 0 or len(piece) - start <= _LONG_TAG or not piece[start + 1 : start + 2].isalpha():
        return piece
    many = len(_QUOTED.sub("=", piece[start:]).split(None, _ATTRIBUTES + 1)) > _ATTRIBUTES
    many = many or piece.count("=", start) > 4 * _ATTRIBUTES
    return piece[: start + _LONG_TAG] if many else piece


def _is_deep(html: str) -> bool:
    """Tell whether tags nest beyond the limit, counted as `_shallow` counts, several times faster."""
    depth = 0
    for name in _TAG_NAME.findall(html):
        if name[0] == "/":
            if depth and name[1:].lower() not in _FLAT:
                depth -= 1
        elif name.lower() not in _FLAT:
            depth += 1
            if depth > _DEPTH:
                return True
    return False


def _shallow(html: str) -> str:
    depth = beyond = 0

    def replacement(tag: re.Match[str]) -> str:
        nonlocal depth, beyond
        if tag[2].lower() in _FLAT:
            return tag[0]
        if tag[1]:
            if beyond:
                beyond -= 1
                return ""
            depth = max(0, depth - 1)
        elif depth >= _DEPTH:
            beyond += 1
            return ""
        else:
            depth += 1
        return tag[0]

    return _TAG.sub(replacement, html)
