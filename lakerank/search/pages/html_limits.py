"""Markup that would keep the parser busy for minutes, made harmless before it is parsed.

lexbor's time grows with the square of the depth of nesting and of the number of attributes of one tag. Browsers
stop nesting at 512 levels; so do we. Pages of ordinary size and shape pass untouched and cost some microseconds.
"""

from __future__ import annotations

import re

DEPTH = 512  # as in browsers
_MANY_TAGS = 5_000  # fewer cannot nest deep enough to matter
_LONG_TAG, _ATTRIBUTES = 4_000, 500
_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*)[^>]*>?")
_NAME = re.compile(r"<(/?[A-Za-z][^\s/>]*)[^>]*")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
# Close themselves where the next begins, or have no content: they do not nest on their own.
_FLAT = frozenset(
    (
        *("a", "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track"),
        *("wbr", "p", "li", "dt", "dd", "option", "optgroup", "rt", "rp", "td", "th", "tr", "tbody", "thead", "tfoot"),
        *("colgroup", "html", "head", "body"),
    )
)


def harmless(html: str) -> str:
    """The page without tags beyond the 512th level and without the attributes after a tag's first 500 or so."""
    if _has_long_stretch(html):
        html = ">".join(map(_short, html.split(">")))
    return _shallow(html) if html.count("<") > _MANY_TAGS and _is_deep(html) else html


def _has_long_stretch(html: str) -> bool:
    """Whether so many characters come without a `>` that there may be a long tag; looks at few of them."""
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
    """Whether tags nest beyond the limit, counted as `_shallow` counts, several times faster."""
    depth = 0
    for name in _NAME.findall(html):
        if name[0] == "/":
            if depth and name[1:].lower() not in _FLAT:
                depth -= 1
        elif name.lower() not in _FLAT:
            depth += 1
            if depth > DEPTH:
                return True
    return False


def _shallow(html: str) -> str:
    depth = beyond = 0

    def judge(tag: re.Match[str]) -> str:
        nonlocal depth, beyond
        if tag[2].lower() in _FLAT:
            return tag[0]
        if tag[1]:
            if beyond:
                beyond -= 1
                return ""
            depth = max(0, depth - 1)
        elif depth >= DEPTH:
            beyond += 1
            return ""
        else:
            depth += 1
        return tag[0]

    return _TAG.sub(judge, html)
