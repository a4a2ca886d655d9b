"""The encoding of a page by the HTML and Encoding Standards: byte-order mark, HTTP header, declaration, appearance."""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PRESCAN = 1024  # bytes in which the HTML standard looks for a declaration before it parses
_HEAD = 1 << 16  # bytes in which a parser that finds one later begins anew
# What decodes an encoding of the standard in Python, where another one decodes more of what sites send under its name.
_CODECS = {
    "gbk": "gb18030",  # by the standard one decoder, to which `gb2312` leads too
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso8859-11": "cp874",
}
# The standard refuses the first ones, because a browser runs what may be hidden in them; a reader of texts can read
# them.
_LABELS = {"hz-gb-2312": "hz", "iso-2022-kr": "iso2022_kr", "csiso2022kr": "iso2022_kr", "x-user-defined": "cp1252"}
_PAIRS = frozenset(("gb18030", "big5hkscs", "cp949", "cp932", "euc_jp"))  # two bytes a sign, mostly
_SPACES = b"\t\n\f\r "
_META = re.compile(rb"<meta[\t\n\f\r /]", re.IGNORECASE)
_TAG = re.compile(rb"</?[A-Za-z][^\t\n\f\r >]*+")
_ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*+([^\t\n\f\r />=][^\t\n\f\r />=]*+|=[^\t\n\f\r />=]*+)"
    rb"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r >\"'][^\t\n\f\r >]*+)|(?=>)))?"
)
_RAW_TEXT = re.compile(rb"<(script|style|title|textarea|noscript)\b", re.IGNORECASE)
_IN_CONTENT = re.compile(rb"charset[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r ;\"']++))", re.I)
_XML = re.compile(rb"<\?xml\b[^>]*?\bencoding[\t\n\r ]*=[\t\n\r ]*[\"']([^\"'<>\x00-\x20]+)[\"']")
_NO_LETTERS = bytes(range(128, 256))
_MISLABELLED = 2  # bytes that are no UTF-8 in a text with no others outside ASCII: it only says that it is UTF-8


def decode_html(data: bytes, http_charset: str = "") -> str:
    """Decode a page by its byte-order mark, HTTP header, own declaration, or what the bytes look like.

    What an encoding does not explain becomes U+FFFD, one for each bad byte or beginning of a character, as the standard
    has it. NUL characters are left out.

    Args:
        data: the page.
        http_charset: from its Content-Type header, if there was one.
    """
    text = _decode(data, http_charset)
    return text.replace("\0", "") if "\0" in text else text


def _decode(data: bytes, http_charset: str) -> str:
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    declared = codec_of(http_charset) or declared_encoding(data)
    if declared not in ("", "utf-8"):
        return data.decode(declared, errors_of(declared))
    try:
        return data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    # Characters beside the bad bytes that are more than ASCII: they speak for UTF-8.
    signs = text.count("\ufffd")
    bad = signs - data.count(b"\xef\xbf\xbd")
    good = len(text) - signs - len(data.translate(None, _NO_LETTERS))
    if good >= 2 * bad or (declared and (good or bad < _MISLABELLED)):
        return text
    found = codec_of(str(detect_encoding(data) or "")) or "cp1252"
    return text if found == "utf-8" else data.decode(found, errors_of(found))


def errors_of(codec: str) -> str:
    """Return the name of the error handler that does for a codec what the standard has for unexplained bytes."""
    return "lakerank-controls" if codec == "cp1252" else "lakerank-pairs" if codec in _PAIRS else "replace"


def codec_of(label: str) -> str:
    """Return Python's name for the encoding that a label means by the Encoding Standard; empty if it means none."""
    label = label.strip(" \t\n\f\r").lower()
    if not label or not label.isascii():
        return ""
    try:
        name = codecs.lookup(_LABELS.get(label) or map_encoding_to_html5(label, False) or "").name
    except (LookupError, ValueError):
        return ""
    return _CODECS.get(name, name)


def declared_encoding(data: bytes) -> str:
    """Return the encoding that a page declares, by the prescan of the HTML standard; empty if it declares none.

    If nothing is found in the first 1,024 bytes, the rest of the head is looked through as a parser would, that is not
    within scripts and titles.
    """
    if data.startswith(b"<\0?\0x\0"):
        return "utf-16-le"
    if data.startswith(b"\0<\0?\0x"):
        return "utf-16-be"
    found = _prescan(data[:_PRESCAN])
    if not found and len(data) > _PRESCAN:
        head = data[:_HEAD]
        end = re.search(rb"<body[\t\n\f\r />]|</head[\t\n\f\r />]", head, re.IGNORECASE)
        found = _prescan(_without_raw_text(head[: end.start()] if end else head))
    if not found and (xml := _XML.match(data, 0, _PRESCAN)):
        found = _of_declaration(xml[1])
    return found


def _of_declaration(label: bytes) -> str:
    """Return the encoding for a label in the page itself: one whose letters can be read is not UTF-16."""
    name = codec_of(label.decode("latin-1"))
    return "utf-8" if name in ("utf-16-le", "utf-16-be") else name


def _without_raw_text(head: bytes) -> bytes:
    """Remove the content of scripts, titles and the like, in which nothing is a tag."""
    kept, at, lower = [], 0, head.lower()
    while found := _RAW_TEXT.search(head, at):
        kept.append(head[at : found.start()])
        at = lower.find(b"</" + found[1].lower(), found.end())
        if at < 0:
            return b"".join(kept)
    return b"".join((*kept, head[at:]))


def _prescan(data: bytes) -> str:
    """Look for a <meta> that declares an encoding, outside of comments and of other tags' attributes."""
    at = data.find(b"<")
    while at >= 0:
        if data.startswith(b"<!--", at):
            end = data.find(b"-->", at + 2)
            if end < 0:
                return ""
            at = end + 3
        elif _META.match(data, at):
            found, at = _meta(data, at + 5)
            if found:
                return found
        elif tag := _TAG.match(data, at):
            at = tag.end()
            while attribute := _ATTRIBUTE.match(data, at):
                at = attribute.end()
        elif data[at + 1 : at + 2] in (b"!", b"/", b"?"):
            at = data.find(b">", at)
            if at < 0:
                return ""
        else:
            at += 1
        at = data.find(b"<", at)
    return ""


def _meta(data: bytes, at: int) -> tuple[str, int]:
    """Return the encoding that a <meta> declares, or an empty text, and where its attributes end."""
    given: dict[bytes, bytes] = {}
    while attribute := _ATTRIBUTE.match(data, at):
        value = attribute[2] or attribute[3] or attribute[4] or b""
        given.setdefault(attribute[1].lower(), value)  # the first of a name counts
        at = attribute.end()
    if (charset := given.get(b"charset")) is not None:
        return _of_declaration(charset), at
    if given.get(b"http-equiv", b"").strip(_SPACES).lower() == b"content-type":
        found = _IN_CONTENT.search(given.get(b"content", b""))
        if found:
            return _of_declaration(found[1] or found[2] or found[3] or b""), at
    return "", at


def _as_control(error: UnicodeError) -> tuple[str, int]:
    """Decode the five bytes that windows-1252 leaves open as the standard does: as control characters."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


def _as_pair(error: UnicodeError) -> tuple[str, int]:
    """Replace a pair of bytes that is no sign, of which the second stays if it is ASCII."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    second = error.object[error.start + 1 : error.start + 2]
    return "\ufffd", error.start + (1 if second.isascii() else 2)


codecs.register_error("lakerank-controls", _as_control)
codecs.register_error("lakerank-pairs", _as_pair)
