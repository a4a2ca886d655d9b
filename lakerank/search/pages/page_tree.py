"""An HTML page as flat lists: its blocks, texts, links and headings in document order, from one pass over its markup.

lexbor parses as browsers do and writes the tree down again, in C: every element closed, every attribute quoted, every
`<` and `>` that is no tag escaped. One expression cuts that into tags and texts, and what is to be done at a tag is
remembered by the tag as it stands, because a site's pages repeat most of theirs. Asking the tree for each node's name,
parent and attributes makes Python objects of them and takes twice as long. What follows works on positions in the
lists: the text of a block is a slice, the sum over a block a difference of two prefix sums.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from selectolax.lexbor import LexborHTMLParser

from lakerank.search.pages.names import HARD, NOTHING, ROLE_ATTRIBUTES, TITLED, Role, role_of

# Record and unit separators: no page has them as text, and to Python they are white space.
BREAK, CELL = "\x1e", "\x1f"
# Elements whose content is no markup, and templates, which no reader sees; taken out in C.
_NO_MARKUP = ["script", "style", "xmp", "iframe", "noembed", "noframes", "plaintext", "template"]
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
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6", "dt"))
_LINE_ENDS = frozenset(("br", "hr"))
_HEAD = frozenset(("meta", "link", "base"))
# Formatting that says nothing here, unwrapped in C: a quarter of a manual's nodes colour its code.
_MARKS = "".join(f":not([{name}])" for name in ("class", "id", "style", "hidden", "role", "itemprop", "aria-hidden"))
_FORMATS = ("b", "em", "strong", "code", "span", "i", "font", "sup", "sub", "small", "u", "kbd", "var", "tt")
_PLAIN = ["pre span, code span, dt span, h2 button, h3 button, h4 button, dt button, summary button"]
_WITHIN_LINES = HARD - _BLOCKS
_SPECIAL = _CODE | _HEADINGS | {"html", "head", "noscript", "svg"}
_TERMS = frozenset(("dfn", "title"))
# Elements that are blocks whatever they are called; others are if their name tells what they are for.
_ROWS = frozenset(
    (
        *("div", "section", "article", "main", "td", "table", "center", "form", "body", "html", "aside", "ul", "ol"),
        *("dir", "p", "figure"),
    )
)
# What is to be done at a tag; those from `_OPEN_INLINE_ROW` on end a run, and so do inline blocks where they end.
_OPEN_LINK, _CLOSE_LINK, _OPEN_INLINE, _CLOSE_INLINE, _LEAF, _OPEN_TERM, _CLOSE_TERM = range(7)
_OPEN_INLINE_ROW, _OPEN_BLOCK, _OPEN_ROW, _OPEN_SPECIAL, _CLOSE_BLOCK, _CLOSE_SPECIAL = range(7, 13)
_ATTRIBUTE = re.compile(r" ([^\s=]+)=\"([^\"]*)\"")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_MOST_TAGS, _LONGEST_TAG = 1 << 16, 1000  # remembered, characters of each
_MARKED = frozenset(("class", "id", "hidden", "style", "role", "itemprop", "aria-hidden"))
_SELF_LINKS = frozenset(("#", "¶", "§", "🔗", "\uf0c1", ""))  # links of headings to themselves
_LONGEST_SELF_LINK = 100  # characters, blanks around it with it
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

    One long loop, because it runs for each tag of each page.

    Args:
        html: the page; its markup must not be deeper than a parser can take.
    """
    tree = LexborHTMLParser(html)
    page = PageTree()
    if tree.root is None:
        return page
    tree.strip_tags(_NO_MARKUP)
    tree.unwrap_tags(_PLAIN)
    markup = (tree.root.html or "").replace("&nbsp;", "\xa0")
    if "<!--" in markup:
        markup = _COMMENT.sub("", markup)
    texts, links = page.texts, page.links
    blocks: list[list[Any]] = []  # rows of the columns that a page has of its blocks
    units, linked, readable = page.units, page.linked, page.readable
    run = in_link = 0  # units of the run so far, and those of them in links
    tags = _TAGS
    code = foreign = no_script = 0  # how many such elements are open
    parent, in_head, picture = -1, False, ""
    open_links: list[tuple[Attributes, int, int]] = []  # attributes, position of the first text, units before
    places: list[int] = []  # of each open element but links: the position of its block, -1 if it has none
    begins: list[int] = []  # of each open heading, term and title: the position of its text

    unclosed = ""
    for piece in markup.split("<")[1:]:
        tag, closed, text = piece.partition(">")
        if not closed or unclosed:  # a `<` in a name (`<p a<b>`) stands as it is
            if not closed:
                unclosed += tag + "<"
                continue
            tag, unclosed = unclosed + tag, ""
        step, name, role, given, mark = tags[tag]
        if step >= _OPEN_INLINE_ROW:
            if run:
                units.append(run)
                linked.append(in_link)
                readable.append(run - in_link if run >= _READABLE and in_link < _MOSTLY * run else 0)
                run = in_link = 0
            if step >= _CLOSE_BLOCK:
                at = places.pop()
                if at >= 0:
                    block = blocks[at]
                    parent, block[4], block[6], block[8] = block[2], len(texts), len(units), len(links)
                if step == _CLOSE_SPECIAL:
                    begin = begins.pop()
                    if name in _HEADINGS:
                        if begin >= 0:
                            page.headings.append(Heading(name, begin, len(texts)))
                    elif name in _CODE:
                        code -= 1
                    elif name == "head":
                        in_head = False
                    elif name == "noscript":
                        no_script -= 1
                    elif name == "svg":
                        foreign -= 1
                if mark:
                    texts.append(mark)
            else:
                if mark:
                    texts.append(mark)
                if step == _OPEN_BLOCK:
                    places.append(-1)
                else:
                    places.append(len(blocks))
                    blocks.append([name, role, parent, len(texts), 0, len(units), 0, len(links), 0])
                    parent = len(blocks) - 1
                    if step == _OPEN_SPECIAL:
                        begins.append(len(texts) if name != "dt" or role.has_id else -1)
                        if name in _CODE:
                            code += 1
                        elif name == "html":
                            page.root = given
                        elif name == "head":
                            in_head = True
                        elif name == "noscript":
                            no_script += 1
                        elif name == "svg":
                            foreign += 1
        elif step == _OPEN_LINK:
            open_links.append((given, len(texts), run))
        elif step == _CLOSE_LINK:
            given, first, before = open_links.pop()
            said = texts[first] if len(texts) == first + 1 else "".join(texts[first:])
            short = said.strip() if len(said) < _LONGEST_SELF_LINK else said
            if short in _SELF_LINKS and _is_self_link(given, short, picture):
                run, in_link = min(run, before), 0
                texts[first:] = [""] * (len(texts) - first)
            if given:
                links.append(Link(given, first, len(texts), picture))
            picture = ""
        elif step == _OPEN_INLINE:
            places.append(-1)
        elif step == _CLOSE_INLINE:
            at = places.pop()
            if at >= 0:
                if run:
                    units.append(run)
                    linked.append(in_link)
                    readable.append(run - in_link if run >= _READABLE and in_link < _MOSTLY * run else 0)
                    run = in_link = 0
                block = blocks[at]
                parent, block[4], block[6], block[8] = block[2], len(texts), len(units), len(links)
        elif step == _LEAF:
            if mark:
                texts.append(mark)
            elif name == "img":
                if open_links and not picture:
                    picture = given.get("alt") or ""
            elif in_head and not no_script and name in _HEAD:
                page.head.append((name, given))
            elif name == "area":
                page.areas.append(given)
            elif name == "frame":
                page.frames.append(given)
        elif step == _OPEN_TERM:
            begins.append(len(texts))
        elif step == _CLOSE_TERM:
            begin = begins.pop()
            if name == "dfn":
                page.headings.append(Heading(name, begin, len(texts)))
            elif not foreign:
                page.title = page.title or collapse_spaces("".join(texts[begin:]))
                texts[begin:] = []
                run = in_link = 0
        if text:
            said = text.strip()
            if said:
                if "&" in text:
                    text, said = _unescape(text), _unescape(said)
                size = len(said) if said.isascii() else len(said.encode("utf-8", "replace"))
                run += size
                if open_links:
                    in_link += size
                texts.append(text.replace("\n", BREAK) if code else text)
            else:  # one space more or less says nothing
                texts.append(BREAK if code and "\n" in text else " ")
    if blocks:
        columns = [*zip(*blocks, strict=True)]
        page.names, page.roles, page.parents, page.text_begin, page.text_end = columns[:5]
        page.run_begin, page.run_end, page.link_begin, page.link_end = columns[5:]
    return page


class _Tags(dict[str, tuple[int, str, Role, Attributes, str]]):
    """What is to be done at a tag, by the tag as it stands in serialised markup."""

    def __missing__(self, tag: str) -> tuple[int, str, Role, Attributes, str]:
        found = _operation(tag)
        if len(tag) <= _LONGEST_TAG:  # a picture written into its tag (`src="data:…"`) comes once
            if len(self) >= _MOST_TAGS:
                self.clear()
            self[tag] = found
        return found


_TAGS = _Tags()


def _operation(tag: str) -> tuple[int, str, Role, Attributes, str]:
    """Return what is to be done at a tag: a step, the element's name, role and attributes, the mark for its break."""
    if tag[0] == "/":
        name = tag[1:]
        if name in _VOID:
            return _LEAF, "", NOTHING, {}, ""
        if name in _BLOCKS or name in HARD:
            mark = BREAK if name in _AROUND else ""
            return _CLOSE_SPECIAL if name in _SPECIAL else _CLOSE_BLOCK, name, NOTHING, {}, mark
        return _CLOSE_LINK if name == "a" else _CLOSE_TERM if name in _TERMS else _CLOSE_INLINE, name, NOTHING, {}, ""
    name, _, written = tag.partition(" ")
    given = _attributes(" " + written)
    if name == "a":
        return _OPEN_LINK, name, NOTHING, given if "href" in given or "xlink:href" in given else {}, ""
    if name in _VOID:
        return _LEAF, name, NOTHING, given, BREAK if name in _LINE_ENDS else ""
    if name in _TERMS:
        return _OPEN_TERM, name, NOTHING, {}, ""
    block, role = name in _BLOCKS or name in HARD, NOTHING
    if block or not _MARKED.isdisjoint(given):
        named = given | {"id": "-"} if "id" in given and name in TITLED else given  # made of a heading's words
        role = role_of(name, *[(named[key] or None) if key in named else "" for key in ROLE_ATTRIBUTES])
    if not block:
        return _OPEN_INLINE_ROW if role.drops else _OPEN_INLINE, name, role, {}, ""
    mark = CELL if name in _CELLS else "" if name in _WITHIN_LINES else BREAK
    if name in _SPECIAL:
        return _OPEN_SPECIAL, name, role, given, mark
    return _OPEN_ROW if name in _ROWS or role.drops or role.claims else _OPEN_BLOCK, name, role, {}, mark


def _attributes(written: str) -> Attributes:
    """Return the attributes of a serialised tag, written as name="value", each after one blank."""
    found = dict(_ATTRIBUTE.findall(written))
    if "&" in written:
        return {name: _unescape(value.replace("&quot;", '"')) for name, value in found.items()}
    return found


def _unescape(text: str) -> str:
    """Resolve the references that a serialiser writes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


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
