"""An element's text as a reader sees it: a line for each block, white space made one, code line by line."""

from __future__ import annotations

from selectolax.lexbor import LexborNode

from lakerank.search.pages.boilerplate import topmost

# Unit separators: no page has them as text, white space that HTML collapses is everything else.
_BREAK, _CELL = "\x1e", "\x1f"
_AROUND = (
    "p,div,h1,h2,h3,h4,h5,h6,ul,ol,dl,table,blockquote,section,article,figure,figcaption,form,fieldset,address,"
    "details,summary,caption,center,header,main,hr"
)
_BEFORE = "li,dt,dd,tr,br,option"


def of_nodes(node: LexborNode) -> str:
    """The text of an element whose menus, scripts and the like have been taken out; changes the element."""
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
    return of_text(node.text())


def of_text(raw: str) -> str:
    """Text with marks for breaks → lines, none empty."""
    lines = (one_space(line) for line in raw.replace(_CELL, " ").split(_BREAK))
    return "\n".join(filter(None, lines))


def one_space(text: str | None) -> str:
    """Text with white space made one blank, none at the ends."""
    return " ".join(text.split()) if text else ""
