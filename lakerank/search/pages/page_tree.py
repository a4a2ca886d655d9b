"""An HTML page as flat lists: its blocks, texts, links and headings in document order, made in one pass over the tree.

lexbor parses as browsers do. Each node of its tree is visited once, which costs a tenth of a microsecond; asking the
tree (by selectors, for the text of an element) costs a visit of all below it each time. What follows works on positions
in the lists: the text of a block is a slice, the sum over a block a difference of two prefix sums.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

from selectolax.lexbor import LexborHTMLParser

from lakerank.search.pages.names import HARD, ROLE_ATTRIBUTES, TITLED, Role, role_of

# Record and unit separators: no page has them as text, and to Python they are white space.
BREAK, CELL = "\x1e", "\x1f"
_RAW = frozenset(("script", "style", "xmp", "iframe", "noembed", "noframes", "-comment", "-document-type"))
_AROUND = frozenset(
    (
        *("html", "body", "p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote"),
        *("section", "article", "figure", "figcaption", "form", "fieldset", "address", "details", "summary", "caption"),
        *("center", "header", "main", "footer", "nav", "aside", "menu", "dialog", "pre", "textarea", "listing"),
        *("tbody", "thead", "tfoot", "dir", "search", "hgroup", "optgroup", "legend", "head", "noscript", "template"),
    )
)
_BEFORE = frozenset(("li", "dt", "dd", "tr", "option"))
_CELLS = frozenset(("td", "th"))
_BLOCKS = _AROUND | _BEFORE | _CELLS
_VOID = frozenset(
    (
        *("area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen", "link"),
        *("meta", "param", "source", "track", "wbr"),
    )
)
_CODE = frozenset(("pre", "textarea", "listing"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6", "dfn", "dt"))
_LINE_ENDS = frozenset(("br", "hr"))
_HEAD = frozenset(("meta", "link", "base"))
# Elements that say nothing here, taken out in C: a quarter of a manual's nodes colour its code.
_PLAIN = [
    *("pre span", "code span", "dt span"),
    *(f"{tag}:not([class],[style],[hidden])" for tag in ("b", "em", "strong", "code")),
]
_WITHIN_LINES = HARD - _BLOCKS
_AT_BEGINNING = _CODE | {"html", "head", "noscript", "svg"}
_AT_END = _CODE | _HEADINGS | {"head", "noscript", "svg"}
_INLINE, _BLOCK, _LEAF, _ANCHOR, _NO_MARKUP = range(5)
_KINDS = {
    **dict.fromkeys(_BLOCKS | HARD, _BLOCK),
    **dict.fromkeys(_VOID, _LEAF),
    **dict.fromkeys((*_RAW, ""), _NO_MARKUP),
    "a": _ANCHOR,
}
_MARKED = frozenset(("class", "id", "hidden", "style", "role", "itemprop", "aria-hidden"))
_SELF_LINKS = frozenset(("#", "¶", "§", "🔗", "\uf0c1", ""))  # links of headings to themselves
_SELF_CLASSES = re.compile(r"\b(?:headerlink|anchor)\b")
_READABLE = 25  # units from which on a run of text reads like a sentence or a part of one
_MOSTLY = 0.5  # share of links' text from which on a run does not


Attributes: TypeAlias = dict[str, str | None]


class Link(NamedTuple):
    """An `<a href>`: its attributes, the positions of its texts, and the alternative text of a picture in it."""

    attributes: Attributes
    begin: int
    end: int
    picture: str


class Heading(NamedTuple):
    """A heading or a defined term: its element's name and the positions of its texts."""

    name: str
    begin: int
    end: int


@dataclass
class PageTree:
    """A page's blocks and texts.

    Blocks are elements that stand on lines of their own, and inline ones whose name tells what they are for. A run is
    the text between two bounds of blocks. Units are characters, of which those outside ASCII count by their UTF-8
    bytes: three letters of Chinese say as much as nine of English.

    Attributes:
        texts: texts and marks for breaks (`BREAK`, `CELL`), in order.
        names, roles, parents: of each block, in order; `parents` are positions of blocks, -1 for the first.
        text_begin, text_end: positions in `texts` of each block.
        run_begin, run_end: positions of the first run of each block, and of the one behind its last.
        link_begin, link_end: positions in `links` of each block.
        units, linked, readable: of each run: its units, those in links, those that read like sentences.
        links, areas, frames: `<a href>` in order; attributes of `<area>` and `<frame>`.
        headings: in order.
        head: (name, attributes) of `<meta>`, `<link>` and `<base>` in the head, none of them in `<noscript>`.
        title: text of the document's `<title>`.
        root: attributes of `<html>`.
    """

    texts: list[str] = field(default_factory=list)
    names: Sequence[str] = ()
    roles: Sequence[Role] = ()
    parents: Sequence[int] = ()
    text_begin: Sequence[int] = ()
    text_end: Sequence[int] = ()
    run_begin: Sequence[int] = ()
    run_end: Sequence[int] = ()
    link_begin: Sequence[int] = ()
    link_end: Sequence[int] = ()
    units: list[int] = field(default_factory=list)
    linked: list[int] = field(default_factory=list)
    readable: list[int] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    areas: list[Attributes] = field(default_factory=list)
    frames: list[Attributes] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    head: list[tuple[str, Attributes]] = field(default_factory=list)
    title: str = ""
    root: Attributes = field(default_factory=dict)

    def text(self, begin: int, end: int, without: Sequence[tuple[int, int]] = ()) -> str:
        """Return the texts of a stretch as a reader sees them: a line for each block, code line by line.

        Args:
            begin, end: positions in `texts`.
            without: stretches to leave out, in order, none within another.
        """
        return clean_lines(self._join(begin, end, without))

    def line(self, begin: int, end: int, without: Sequence[tuple[int, int]] = ()) -> str:
        """Return the texts of a stretch in one line."""
        return collapse_spaces(_visible(self._join(begin, end, without)))

    def _join(self, begin: int, end: int, without: Sequence[tuple[int, int]]) -> str:
        if not without:
            return "".join(self.texts[begin:end])
        parts = []
        for first, last in without:
            if last > begin and first < end:
                if first > begin:
                    parts.append("".join(self.texts[begin:first]))
                begin = max(begin, last)
        if end > begin:
            parts.append("".join(self.texts[begin:end]))
        return "".join(parts)  # the marks around a block that is left out stay


def flatten(html: str) -> PageTree:
    """Parse a page into flat lists.

    One long loop, because it runs for each node of each page, and what it asks for it asks for once.

    Args:
        html: the page; its markup must not be deeper than a parser can take.
    """
    tree = LexborHTMLParser(html)
    page = PageTree()
    root: Any = tree.root
    if root is None:
        return page
    tree.unwrap_tags(_PLAIN)
    tree.merge_text_nodes()
    texts, links = page.texts, page.links
    blocks: list[list[Any]] = []  # rows of the columns that a page has of its blocks
    units, linked, readable = page.units, page.linked, page.readable
    run = in_link = 0  # units of the run so far, and those of them in links
    code = foreign = no_script = raw = 0  # how many such elements are open; the last element of no markup
    parent, in_head, picture = -1, False, ""
    open_links: list[tuple[Attributes, int, int]] = []  # attributes, position of the first text, units before
    # Of each open element: its id, its name if something is to be done at its end, the position of its block or text.
    base = root.parent.mem_id
    ids, names, places = [base], [""], [0]
    nodes: Iterable[Any] = chain(root.traverse(include_text=True), (SimpleNamespace(tag="", parent=root.parent),))

    for node in nodes:
        tag = node.tag
        if tag == "-text":
            text = node.text_content
            said = text.strip()
            if not said:  # on whichever side of an element's end it stands: one space more or less says nothing
                texts.append(BREAK if code and "\n" in text else " ")
                continue
        above = node.parent.mem_id
        while ids[-1] != above:
            ids.pop()
            at = places.pop()
            name = names.pop()
            if not name:
                continue
            if name == "a":
                given, first, before = open_links.pop()
                said = "".join(texts[first:]).strip()
                if said in _SELF_LINKS and _is_self_link(given, said, picture):
                    run, in_link = min(run, before), 0
                    texts[first:] = [""] * (len(texts) - first)
                if given:
                    links.append(Link(given, first, len(texts), picture))
                picture = ""
            elif name == "title":
                page.title = page.title or collapse_spaces("".join(texts[at:]))
                texts[at:] = []
                run = in_link = 0
            elif name == "dfn":
                page.headings.append(Heading(name, at, len(texts)))
            else:  # a block
                if run:
                    units.append(run)
                    linked.append(in_link)
                    readable.append(run - in_link if run >= _READABLE and in_link < _MOSTLY * run else 0)
                    run = in_link = 0
                block = blocks[at]
                parent, block[4], block[6], block[8] = block[2], len(texts), len(units), len(links)
                if name in _AROUND:
                    texts.append(BREAK)
                if name in _AT_END:
                    if name in _CODE:
                        code -= 1
                    elif name == "head":
                        in_head = False
                    elif name == "noscript":
                        no_script -= 1
                    elif name == "svg":
                        foreign -= 1
                    elif name != "dt" or block[1].has_id:
                        page.headings.append(Heading(name, block[3], block[4]))
        if tag == "-text":
            if above != raw:
                size = len(said) if said.isascii() else len(said.encode("utf-8", "replace"))
                run += size
                if open_links:
                    in_link += size
                texts.append(text.replace("\n", BREAK) if code else text)
            continue
        name = tag
        kind = _KINDS.get(name, _INLINE)
        if kind == _LEAF:
            given = node.attributes
            if name in _LINE_ENDS:
                texts.append(BREAK)
            elif name == "img":
                if open_links and not picture:
                    picture = given.get("alt") or ""
            elif name == "area":
                page.areas.append(given)
            elif name == "frame":
                page.frames.append(given)
            elif in_head and not no_script and name in _HEAD:
                page.head.append((name, given))
            continue
        if kind == _NO_MARKUP:
            if name:
                raw = node.mem_id
                ids.append(raw)
                names.append("")
                places.append(0)
            continue
        given = node.attributes
        ids.append(node.mem_id)
        if kind == _ANCHOR:
            open_links.append((given if "href" in given or "xlink:href" in given else {}, len(texts), run))
            names.append(name)
            places.append(0)
            continue
        if kind == _BLOCK or (given and not _MARKED.isdisjoint(given)):
            if not given:
                role = role_of(name)
            elif len(given) == 1 and "class" in given:
                role = role_of(name, given["class"])
            else:
                # An id of a heading or a paragraph tells nothing; without it more of them are alike.
                if "id" in given and name in TITLED:
                    given = given | {"id": "-"}
                role = role_of(name, *[given.get(key, "") for key in ROLE_ATTRIBUTES])
            if kind == _BLOCK or role.drops:
                if run:
                    units.append(run)
                    linked.append(in_link)
                    readable.append(run - in_link if run >= _READABLE and in_link < _MOSTLY * run else 0)
                    run = in_link = 0
                if name in _CELLS:
                    texts.append(CELL)
                elif kind == _BLOCK and name not in _WITHIN_LINES:
                    texts.append(BREAK)
                if name in _AT_BEGINNING:
                    if name in _CODE:
                        code += 1
                    elif name == "html":
                        page.root = given
                    elif name == "head":
                        in_head = True
                    elif name == "noscript":
                        no_script += 1
                    else:
                        foreign += 1
                names.append(name)
                places.append(len(blocks))
                blocks.append([name, role, parent, len(texts), 0, len(units), 0, len(links), 0])
                parent = len(blocks) - 1
                continue
        if name == "dfn" or (name == "title" and not foreign):
            names.append(name)
            places.append(len(texts))
        else:
            names.append("")
            places.append(0)
    if blocks:
        columns = [*zip(*blocks, strict=True)]
        page.names, page.roles, page.parents, page.text_begin, page.text_end = columns[:5]
        page.run_begin, page.run_end, page.link_begin, page.link_end = columns[5:]
    return page


def _is_self_link(given: Attributes, said: str, picture: str) -> bool:
    """Tell whether a link of no text, or of a sign such as ¶, is one of a heading to itself."""
    if not said:
        return not picture
    return (given.get("href") or "").startswith("#") or bool(_SELF_CLASSES.search(given.get("class") or ""))


def clean_lines(raw: str) -> str:
    """Turn text with marks for breaks into lines, none empty."""
    lines = (" ".join(line.split()) for line in _visible(raw).split(BREAK))
    return "\n".join(filter(None, lines))


def collapse_spaces(text: str | None) -> str:
    """Return a text with white space made one blank, none at the ends."""
    return " ".join(text.split()) if text else ""


def _visible(text: str) -> str:
    """Remove soft hyphens, which say where a word may be divided and are not part of it."""
    return text.replace("\xad", "") if "\xad" in text else text
