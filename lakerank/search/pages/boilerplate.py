"""Main content and boilerplate: which part of a page is which, and the text of a part as a reader sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode

NO_TEXT = "script,style,noscript,template,svg,iframe,object,select,button,dialog,[hidden]"
_MENUS = (
    "nav,header,footer,aside,menu,[role=navigation],[role=banner],[role=contentinfo],[role=complementary],"
    "[role=search],[role=menu],[role=menubar],[role=tablist],[role=toolbar]"
)
_NAMED = "div[class],div[id],ul[class],ul[id],ol[class],p[class],section[class],section[id],table[class],span[class]"
# Whole words of class and id, taken apart at blanks, `-`, `_` and capitals.
_MENU_WORD = re.compile(
    r"(?:^|\s)(?:nav|navbar|navigation|sidebar|sidenav|breadcrumbs?|menu|toc|cookies?|consent|pagination|pager|footer|"
    r"masthead|topbar|related|share|sharing|social|sponsors?|advert|ads|newsletter|subscribe|comments|commentlist|"
    r"disqus|skip link|skiplink|prev next|toctree wrapper|sphinxsidebar|edit section|editsection|noprint|navbox)"
    r"(?:\s|$)"
)
_TEXT_WORD = re.compile(r"(?:^|\s)(?:content|article|main|body|post|entry|text|page|container|wrapper|layout)(?:\s|$)")
_PARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[-_\s]+")
_MAIN = "main,[role=main]"
_LIKELY = (
    "#content,#main-content,#main,#mw-content-text,#bodyContent,.post-content,.entry-content,.article-body,.content"
)
_WITHIN = frozenset(("article", "main", "section"))
_LINK_SHARE, _LINKS = 0.6, 4  # a block of at least so many links that is mostly links is a menu
_HEIGHT = 5  # how far above a link such a block is looked for
# Unit separators: no page has them as text, white space that HTML collapses is everything else.
_BREAK, _CELL = "\x1e", "\x1f"
_AROUND = (
    "p,div,h1,h2,h3,h4,h5,h6,ul,ol,dl,table,blockquote,section,article,figure,figcaption,form,fieldset,address,"
    "details,summary,caption,center,header,main,hr"
)
_BEFORE = "li,dt,dd,tr,br,option"


def main_content(tree: LexborHTMLParser) -> LexborNode | None:
    """Return the element with the main content; the body where the page does not say; None for a page without body."""
    body = tree.body
    if body is None:
        return None
    marked = tree.css(_MAIN)
    outer = max(marked, key=_size) if marked else body
    articles = outer.css("article")
    if len(articles) == 1 and (marked or _size(articles[0]) > 0.25 * _size(body)):
        return articles[0]
    if marked:
        return outer
    likely = max(tree.css(_LIKELY), key=_size, default=None)
    return likely if likely is not None and _size(likely) > 0.25 * _size(body) else body


def find_boilerplate(main: LexborNode) -> list[LexborNode]:
    """Return the parts of the main element that are navigation or boilerplate, none within another."""
    found = [node for node in main.css(_MENUS) if not _is_head_of_text(node)]
    found += [node for node in main.css(_NAMED) if _named_as_menu(node)]
    if main.tag == "body":
        found += _mostly_links(main)
    return [node for node in topmost(found) if node.mem_id != main.mem_id]


def topmost(nodes: Iterable[LexborNode]) -> list[LexborNode]:
    """Return the nodes that stand in none of the others; only such can be taken out of the tree one by one."""
    by_id = {node.mem_id: node for node in nodes}
    return [node for node in by_id.values() if not any(parent in by_id for parent in _above(node))]


def _above(node: LexborNode) -> Iterable[int]:
    parent = node.parent
    while parent is not None:
        yield parent.mem_id
        parent = parent.parent


def _size(node: LexborNode) -> int:
    return len(node.text())


def _is_head_of_text(node: LexborNode) -> bool:
    """Tell whether a node is an article's own header, which holds its title: content, not navigation."""
    if node.tag != "header":
        return False
    parent = node.parent
    while parent is not None:
        if parent.tag in _WITHIN:
            return True
        parent = parent.parent
    return False


def _named_as_menu(node: LexborNode) -> bool:
    given = node.attributes
    return _menu_name(given.get("class") or "") or _menu_name(given.get("id") or "")


@lru_cache(maxsize=1 << 14)
def _menu_name(name: str) -> bool:
    if not name or len(name) > 200:
        return False
    for one in name.split():
        words = _PARTS.sub(" ", one).lower()
        if _MENU_WORD.search(words) and not _TEXT_WORD.search(words):
            return True
    return False


def _mostly_links(body: LexborNode) -> list[LexborNode]:
    """Find blocks of links, for pages without semantic markup: their text is mostly that of their links."""
    blocks: dict[int, tuple[LexborNode, list[int]]] = {}
    for link in body.css("a[href]"):
        length = len(link.text())
        node = link.parent
        for _ in range(_HEIGHT):
            if node is None or node.mem_id == body.mem_id:
                break
            blocks.setdefault(node.mem_id, (node, []))[1].append(length)
            node = node.parent
    left = 20 * max(_size(body), 1000)  # nested blocks are measured again and again: not without end
    found = []
    for node, lengths in blocks.values():
        if len(lengths) >= _LINKS and left > 0:
            size = len("".join(node.text().split()))
            left -= size
            if sum(lengths) > _LINK_SHARE * size:
                found.append(node)
    return found


def block_text(node: LexborNode) -> str:
    """Return the text of an element whose boilerplate has been taken out: a line for each block, code line by line.

    Changes the element.
    """
    for code in topmost(node.css("pre,textarea,listing")):
        code.insert_before(_BREAK + code.text().replace("\n", _BREAK) + _BREAK)
        code.decompose()
    for block in node.css(_AROUND):
        block.insert_before(_BREAK)
        block.insert_after(_BREAK)
    for item in node.css(_BEFORE):
        item.insert_before(_BREAK)
    for cell in node.css("td,th"):
        cell.insert_before(_CELL)
    return clean_lines(node.text())


def clean_lines(raw: str) -> str:
    """Turn text with marks for breaks into lines, none empty."""
    lines = (collapse_spaces(line) for line in raw.replace(_CELL, " ").split(_BREAK))
    return "\n".join(filter(None, lines))


def collapse_spaces(text: str | None) -> str:
    """Return a text with white space made one blank, none at the ends."""
    return " ".join(text.split()) if text else ""
