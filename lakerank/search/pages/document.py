"""One HTML page: from its bytes to what it says, what it says of itself, and whom it links to.

Three steps: decode the bytes, limit markup that would keep the parser busy for minutes, then one parse and as much work
as possible in C. lexbor's time grows with the square of the depth of nesting and of the number of attributes of one
tag. Browsers stop nesting at 512 levels; so do we. Pages of ordinary size and shape pass untouched and cost some
microseconds.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5
from selectolax.lexbor import LexborHTMLParser, LexborNode

from lakerank.search.pages import boilerplate
from lakerank.search.pages.boilerplate import collapse_spaces
from lakerank.search.pages.urls import folder_of, link_address, page_address
from lakerank.search.text.languages import language_of

MAIN, NAVIGATION = "main", "navigation"
# Of the surfer's steps: menus repeat on every page of a site and say little of what they lead to.
WEIGHTS = {MAIN: 1.0, NAVIGATION: 0.1}
_UNTRUSTED = frozenset(("nofollow", "ugc", "sponsored"))
_SELF_LINKS = frozenset(("#", "¶", "§", "🔗", "\uf0c1", ""))  # links of headings to themselves
# Possessive, so that a value of many blanks or digits takes no time that grows with its square.
_REFRESH = re.compile(r"\s*+(\d*+\.?\d*+)\s*+[;,]\s*+(?:url\s*+=\s*+)?[\"']?([^\"']+)", re.IGNORECASE)
_AT_ONCE = 1.0  # seconds
_LONGEST_TERM = 200  # characters; a longer dt is no term
_LONGEST_ANCHOR = 1000  # characters; more is a mistake in the markup
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_PRESCAN = 1024  # bytes in which the HTML standard looks for <meta charset>
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


def parse_html(html: str, url: str, robots: str = "") -> Document:
    """Parse a page.

    Args:
        html: the page.
        url: its address in standard form.
        robots: X-Robots-Tag of the HTTP response, if there was one.
    """
    tree = LexborHTMLParser(limit_markup(html))
    head = _head(tree, url)
    asks = set(re.split(r"[\s,;:]+", f"{head.robots} {robots}".lower()))
    main = boilerplate.main_content(tree)
    first = tree.css_first("h1")
    title = collapse_spaces(_text(tree.css_first("head title") or tree.css_first("title")))
    title = title or collapse_spaces(_text(first))
    root = tree.css_first("html")
    declared = root.attributes.get("lang") or root.attributes.get("xml:lang") if root is not None else None
    headings: list[str] = []
    links: list[Link] = []
    text = ""
    if main is not None:
        removed = boilerplate.find_boilerplate(main)
        links = _links(tree, main, removed, url, head.base, bool(asks & {"nofollow", "none"}))
        text, headings = _content(main, removed)
    return Document(
        title=title,
        text=text,
        language=language_of(text, declared),
        content_hash=content_hash(title, headings, head.description, text),
        headings=headings,
        description=head.description,
        canonical_url=head.canonical,
        noindex=bool(asks & {"noindex", "none"}),
        refresh=head.refresh,
        links=links,
    )


def content_hash(title: str, headings: Sequence[str], description: str | None, text: str) -> str:
    """Return the content hash of a page: 128 bits of BLAKE2, hexadecimal."""
    said = "\x1e".join((title, "\x1f".join(headings), description or "", collapse_spaces(text)))
    return hashlib.blake2b(said.encode(errors="replace"), digest_size=16).hexdigest()


def _text(node: LexborNode | None) -> str:
    return node.text() if node is not None else ""


def _head(tree: LexborHTMLParser, url: str) -> _Head:
    head, shared = _Head(url), ""
    nodes = tree.head.css("base[href],meta[content],link[rel][href]") if tree.head is not None else []
    for node in sorted(nodes, key=lambda node: node.tag != "base"):
        given = node.attributes
        content = given.get("content") or ""
        name = (given.get("name") or given.get("property") or "").strip().lower()
        if node.tag == "base":
            head.base = page_address(given.get("href") or "", url) or url if head.base == url else head.base
        elif node.tag == "link":
            if head.canonical is None and "canonical" in (given.get("rel") or "").lower().split():
                head.canonical = page_address(given.get("href") or "", head.base)
        elif name == "description":
            head.description = head.description or collapse_spaces(content) or None
        elif name == "og:description":
            shared = shared or collapse_spaces(content)
        elif name == "robots":
            head.robots += " " + content
        elif (given.get("http-equiv") or "").strip().lower() == "refresh" and head.refresh is None:
            found = _REFRESH.match(content)
            if found and float(found[1].strip(".") or 0) <= _AT_ONCE:
                head.refresh = page_address(found[2].strip(), head.base)
    head.description = head.description or shared or None
    return head


def _links(
    tree: LexborHTMLParser, main: LexborNode, removed: list[LexborNode], url: str, base: str, nofollow: bool
) -> list[Link]:
    """Return links to other pages in document order (those of maps last), each target, text and zone once."""
    content = {node.mem_id for node in main.css("a[href]")}
    content.difference_update(node.mem_id for part in removed for node in part.css("a[href]"))
    found: dict[tuple[str, str, bool, str], None] = {}
    folder = folder_of(base)
    for node in chain(tree.css("a[href]"), tree.css("area[href]")):  # in one it takes twice as long
        given = node.attributes
        # `a[href]` finds `xlink:href` of a link in an SVG picture too, whose attribute has another name here.
        target = link_address(given.get("href") or given.get("xlink:href") or "", base, folder)
        if target is None or target == url:
            continue
        anchor = " ".join(node.text().split()) or _label(node)
        distrusted = nofollow or not _UNTRUSTED.isdisjoint((given.get("rel") or "").lower().split())
        zone = MAIN if node.mem_id in content else NAVIGATION
        found[target, anchor[:_LONGEST_ANCHOR], distrusted, zone] = None
    return [Link(*link, 0.0 if link[2] else WEIGHTS[link[3]]) for link in found]


def _label(node: LexborNode) -> str:
    """Return the text that stands for a link without one: its picture's description, its label or its title."""
    given, picture = node.attributes, node.css_first("img[alt]")
    alt = picture.attributes.get("alt") if picture is not None else ""
    return collapse_spaces(alt or given.get("alt") or given.get("aria-label") or given.get("title") or "")


def _content(main: LexborNode, removed: list[LexborNode]) -> tuple[str, list[str]]:
    """Return text and headings of the main part, from which all else is taken out."""
    drop = [*removed, *main.css(boilerplate.NO_TEXT)]
    drop += [n for n in main.css("a[href^='#'],a.headerlink,a.anchor") if n.text().strip() in _SELF_LINKS]
    for node in boilerplate.topmost(drop):
        if node.mem_id != main.mem_id:
            node.decompose()
    headings = [_heading(node) for node in main.css("h1,h2,h3,h4,h5,h6,dfn,dt[id]")]
    return boilerplate.block_text(main), [heading for heading in headings if heading]


def _heading(node: LexborNode) -> str:
    """Return a heading's text, or a defined term: of a function's definition what stands before its arguments."""
    text = collapse_spaces(node.text())
    return text.partition("(")[0].strip()[:_LONGEST_TERM] if node.tag in ("dt", "dfn") else text


def decode_html(data: bytes, http_charset: str = "") -> str:
    """Decode a page by its byte-order mark, HTTP header, own declaration, or what the bytes look like.

    What no encoding explains becomes U+FFFD. NUL characters are left out.

    Args:
        data: the page.
        http_charset: from its Content-Type header, if there was one.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _without_nul(data[len(mark) :].decode(name, "replace"))
    declared = _standard_name(http_charset)
    if not declared and (found := _META_CHARSET.search(data, 0, _PRESCAN)):
        # A page whose <meta> can be read as ASCII is not UTF-16, whatever it says.
        declared = _standard_name(found.group(1).decode("ascii"))
        declared = "utf-8" if declared in ("utf-16le", "utf-16be") else declared
    if declared in ("", "utf-8"):
        try:
            return _without_nul(data.decode())
        except UnicodeDecodeError:
            declared = str(detect_encoding(data)) or "utf-8"
    return _without_nul(str(bytes_to_str(data, declared, "replace")))


def _standard_name(name: str) -> str:
    """Return the standard's name for an encoding, or an empty text."""
    if not name:
        return ""
    try:
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return ""
    return str(map_encoding_to_html5(name, True) or "")


def _without_nul(text: str) -> str:
    return text.replace("\0", "") if "\0" in text else text


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
