"""From a page's bytes to text: byte-order mark, HTTP header, the page's own word, or what the bytes look like."""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_PRESCAN = 1024  # bytes in which the HTML standard looks for <meta charset>


def decode(data: bytes, http_charset: str = "") -> str:
    """The text of a page; what no encoding explains becomes U+FFFD. NUL characters are left out.

    Args:
        data: the page.
        http_charset: from its Content-Type header, if there was one.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _clean(data[len(mark) :].decode(name, "replace"))
    declared = _known(http_charset)
    if not declared and (found := _META.search(data, 0, _PRESCAN)):
        # A page whose <meta> can be read as ASCII is not UTF-16, whatever it says.
        declared = _known(found.group(1).decode("ascii")).replace("utf-16le", "utf-8").replace("utf-16be", "utf-8")
    if declared in ("", "utf-8"):
        try:
            return _clean(data.decode())
        except UnicodeDecodeError:
            declared = str(detect_encoding(data)) or "utf-8"
    return _clean(str(bytes_to_str(data, declared, "replace")))


def _known(name: str) -> str:
    """The standard's name for an encoding, or empty."""
    if not name:
        return ""
    try:
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return ""
    return str(map_encoding_to_html5(name, True) or "")


def _clean(text: str) -> str:
    return text.replace("\0", "") if "\0" in text else text
