"""One HTML page: what it says, what it says of itself, and whom it links to. One parse, then C as far as it goes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from lakerank.search.pages import blocks, boilerplate
from lakerank.search.pages.blocks import one_space
from lakerank.search.pages.html_limits import harmless
from lakerank.search.pages.languages import language_of
from lakerank.search.pages.urls import folder_of, link_address, page_address

MAIN, NAVIGATION = "main", "navigation"
# Of the surfer's steps: menus repeat on every page of a site and say little of what they lead to.
WEIGHTS = {MAIN: 1.0, NAVIGATION: 0.1}
_UNTRUSTED = frozenset(("nofollow", "ugc", "sponsored"))
_MARKS = frozenset(("#", "¶", "§", "🔗", "\uf0c1", ""))  # links of headings to themselves
_REFRESH = re.compile(r"\s*(\d*\.?\d*)\s*[;,]\s*(?:url\s*=\s*)?[\"']?([^\"']+)", re.IGNORECASE)
_AT_ONCE = 1.0  # seconds
_LONGEST_TERM = 200  # characters; a longer dt is no term
_LONGEST_ANCHOR = 1000  # characters; more is a mistake in the markup


class Link(NamedTuple):
    """A link to another page; columns as in the `links` table."""

    dst_url: str
    anchor: str
    nofollow: bool
    zone: str
    weight: float


@dataclass(frozen=True)
class Document:
    """A page; columns as in the `pages` table. `refresh` is where an immediate refresh leads, if there is one."""

    title: str
    headings: list[str]
    description: str | None
    text: str
    language: str | None
    content_hash: str
    canonical_url: str | None
    noindex: bool
    refresh: str | None
    links: list[Link] = field(default_factory=list)


@dataclass
class _Head:
    """What a page's <head> says."""

    base: str
    description: str | None = None
    canonical: str | None = None
    refresh: str | None = None
    robots: str = ""


def parse(html: str, url: str, robots: str = "") -> Document:
    """Take a page apart.

    Args:
        html: the page.
        url: its address in standard form.
        robots: X-Robots-Tag of the HTTP answer, if there was one.
    """
    tree = LexborHTMLParser(harmless(html))
    head = _head(tree, url)
    asks = set(re.split(r"[\s,;:]+", f"{head.robots} {robots}".lower()))
    main = boilerplate.main_part(tree)
    first = tree.css_first("h1")
    title = one_space(_text(tree.css_first("head title") or tree.css_first("title"))) or one_space(_text(first))
    root = tree.css_first("html")
    declared = root.attributes.get("lang") or root.attributes.get("xml:lang") if root is not None else None
    headings: list[str] = []
    links: list[Link] = []
    text = ""
    if main is not None:
        menus = boilerplate.menus(main)
        links = _links(tree, main, menus, url, head.base, bool(asks & {"nofollow", "none"}))
        text, headings = _content(main, menus)
    return Document(
        title,
        headings,
        head.description,
        text,
        language_of(text, declared),
        content_hash(title, headings, head.description, text),
        head.canonical,
        bool(asks & {"noindex", "none"}),
        head.refresh,
        links,
    )


def content_hash(title: str, headings: Sequence[str], description: str | None, text: str) -> str:
    """What tells whether a page says the same: 128 bits of BLAKE2, hexadecimal."""
    said = "\x1e".join((title, "\x1f".join(headings), description or "", one_space(text)))
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
            head.base = page_address(given["href"] or "", url) or url if head.base == url else head.base
        elif node.tag == "link":
            if head.canonical is None and "canonical" in (given.get("rel") or "").lower().split():
                head.canonical = page_address(given.get("href") or "", head.base)
        elif name == "description":
            head.description = head.description or one_space(content) or None
        elif name == "og:description":
            shared = shared or one_space(content)
        elif name == "robots":
            head.robots += " " + content
        elif (given.get("http-equiv") or "").strip().lower() == "refresh" and head.refresh is None:
            found = _REFRESH.match(content)
            if found and float(found[1].strip(".") or 0) <= _AT_ONCE:
                head.refresh = page_address(found[2].strip(), head.base)
    head.description = head.description or shared or None
    return head


def _links(
    tree: LexborHTMLParser, main: LexborNode, menus: list[LexborNode], url: str, base: str, nofollow: bool
) -> list[Link]:
    """Links to other pages in document order (those of maps last), each once for the same target, text and zone."""
    content = {node.mem_id for node in main.css("a[href]")}
    content.difference_update(node.mem_id for menu in menus for node in menu.css("a[href]"))
    found: dict[tuple[str, str, bool, str], None] = {}
    folder = folder_of(base)
    for node in chain(tree.css("a[href]"), tree.css("area[href]")):  # in one it takes twice as long
        given = node.attributes
        target = link_address(given["href"] or "", base, folder)
        if target is None or target == url:
            continue
        anchor = " ".join(node.text().split()) or _instead(node)
        distrusted = nofollow or ("rel" in given and not _UNTRUSTED.isdisjoint((given["rel"] or "").lower().split()))
        zone = MAIN if node.mem_id in content else NAVIGATION
        found[target, anchor[:_LONGEST_ANCHOR], distrusted, zone] = None
    return [Link(*link, 0.0 if link[2] else WEIGHTS[link[3]]) for link in found]


def _instead(node: LexborNode) -> str:
    """What stands for a link without text: its picture's description, its label or its title."""
    given, picture = node.attributes, node.css_first("img[alt]")
    alt = picture.attributes.get("alt") if picture is not None else ""
    return one_space(alt or given.get("alt") or given.get("aria-label") or given.get("title") or "")


def _content(main: LexborNode, menus: list[LexborNode]) -> tuple[str, list[str]]:
    """Text and headings of the main part, from which all else is taken out."""
    drop = [*menus, *main.css(boilerplate.NO_TEXT)]
    drop += [n for n in main.css("a[href^='#'],a.headerlink,a.anchor") if n.text().strip() in _MARKS]
    for node in boilerplate.topmost(drop):
        if node.mem_id != main.mem_id:
            node.decompose()
    headings = [_heading(node) for node in main.css("h1,h2,h3,h4,h5,h6,dfn,dt[id]")]
    return blocks.of_nodes(main), [heading for heading in headings if heading]


def _heading(node: LexborNode) -> str:
    """A heading's text, or a defined term: of a function's definition what stands before its arguments."""
    text = one_space(node.text())
    return text.partition("(")[0].strip()[:_LONGEST_TERM] if node.tag in ("dt", "dfn") else text
