"""Collections of documents in the forms that research has them in: JSON Lines, TREC's SGML, SMART's fields.

Each form is cut into the bytes of one document after another, without holding more than one, and each document parsed
on its own, so that what is wrong with one costs that one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html import unescape
from typing import TypeAlias
from urllib.parse import quote

from lakerank.lake.bad_records import storable
from lakerank.search.pages import urls
from lakerank.search.pages.document import Document, content_hash, parse_html
from lakerank.search.pages.encodings import decode_html, errors_of
from lakerank.search.pages.page_tree import collapse_spaces
from lakerank.search.text.languages import language_of

JSON_NAMES = (".jsonl", ".ndjson")
_JSON_OPTIONAL = ("title", "url", "language")
_URN = "urn:document:"  # address of a document that has none
_TREC_BEGINS = re.compile(rb"(?:\s|<\?xml[^>]*>|<!DOCTYPE[^>]*>|<(?:root|xml|docs|collection)>)*<DOC>\s*<DOCNO>", re.I)
_TREC_ENDS = re.compile(rb"</DOC>\s*", re.IGNORECASE)
# A document ends where the next begins, too: one without its end must not swallow that.
_TREC_BOUNDS = re.compile(rb"</DOC>\s*|(?!\A)(?=<DOC>\s{0,40}<DOCNO>)", re.IGNORECASE)
_TREC_AROUND = re.compile(rb"(?:\s++|<\?xml[^>]*+>|<!DOCTYPE[^>]*+>|</?(?:root|xml|docs|collection)>)*+", re.I)
_TREC_NAME = re.compile(r"<DOCNO>\s*(.*?)\s*</DOCNO>", re.IGNORECASE | re.DOTALL)
# WT10g, GOV, GOV2: what follows is a page as it was fetched.
_TREC_PAGE = re.compile(rb"<DOCHDR>\s*(\S+)[^\n]*(.*?)</DOCHDR>\s*", re.IGNORECASE | re.DOTALL)
_TREC_TITLES = ("TITLE", "HEADLINE", "HEAD", "HL", "TI", "TTL", "H3")
_TREC_TEXTS = ("TEXT", "BODY", "ABSTRACT", "SUMMARY")
_TREC_LABELS = re.compile(r"<(DOCNO|DOCID|DOCHDR|FILEID|DATE|DATE_TIME)>.*?</\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z!?][^<>]*>", re.DOTALL)
_PARAGRAPH = re.compile(r"</?P\b[^<>]*>|\n[ \t\r]*\n|\n(?=[ \t]{2,})", re.IGNORECASE)
_SMART_BEGINS = re.compile(rb"\s*\.I[ \t]+\S+[ \t]*\r?\n\.[A-Z][ \t]*\r?\n")
_SMART_NEXT = re.compile(rb"\n(?=\.I[ \t\r\n])")
_SMART_FIELD = re.compile(r"^\.([A-Z])(?:[ \t]+(\S.*?))?[ \t]*\r?$", re.MULTILINE)
_OVERLAP = 64  # bytes kept of what was searched in vain: a mark may have begun in them
Units: TypeAlias = Iterator[tuple[int, bytes | None]]
Parsed: TypeAlias = tuple[str, str, Document]
Split: TypeAlias = Callable[[Iterable[bytes], int], Units]
Parse: TypeAlias = Callable[[bytes, str], Parsed]


def collection_form(name: str, start: bytes) -> tuple[Split, Parse] | None:
    """Return how to cut a file into documents and how to parse one; None for a file that is no collection.

    Args:
        name: of the file, small letters, without `.gz`.
        start: its first bytes, unpacked.
    """
    if name.endswith(JSON_NAMES):
        return json_lines, parse_json
    if _TREC_BEGINS.match(start):
        return _trec_documents, parse_trec
    if _SMART_BEGINS.match(start):
        return partial(_split, _SMART_NEXT), parse_smart
    return None


def json_lines(pieces: Iterable[bytes], most: int) -> Units:
    """Split into lines, each with the byte it begins at; None for one of more than `most` bytes, which is not kept."""
    held, begin, size = bytearray(), 0, 0
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            size += end - start
            yield begin, None if size > most else bytes(held + piece[start:end])
            begin, size, start = begin + size + 1, 0, end + 1
            held.clear()
        size += len(piece) - start
        if size <= most:
            held += piece[start:]
        else:
            held.clear()
    if size:
        yield begin, None if size > most else bytes(held)


def _split(mark: re.Pattern[bytes], pieces: Iterable[bytes], most: int) -> Units:
    """Split behind each mark; a document of more than `most` bytes is None."""
    held, begin, lost, searched = bytearray(), 0, 0, 0
    for piece in pieces:
        held += piece
        while found := mark.search(held, searched):
            end = found.end()
            yield begin, None if lost or end > most else bytes(held[:end])
            begin, lost, searched = begin + lost + end, 0, 0
            del held[:end]
        searched = max(0, len(held) - _OVERLAP)
        if len(held) > most + _OVERLAP:
            lost += searched
            del held[:searched]
            searched = 0
    if held.strip() or lost:
        yield begin, None if lost or len(held) > most else bytes(held)


def _trec_documents(pieces: Iterable[bytes], most: int) -> Units:
    """Split into documents; what stands around all of them is none."""
    for begin, data in _split(_TREC_BOUNDS, pieces, most):
        if data is None or not _TREC_AROUND.fullmatch(data):
            yield begin, data


def parse_json(line: bytes, base_url: str) -> Parsed:
    """Parse a line of a collection: an object with `id`, `text`, perhaps `title`, `url` and `language`.

    Args:
        line: UTF-8 JSON.
        base_url: that documents without an address are below, or empty: they get a URN.

    Returns:
        Address, id, and what it says.

    Raises:
        ValueError: it is no JSON object, or has no id or text; the message says so.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    name, text = found.get("id", found.get("_id")), found.get("text")
    if isinstance(name, str):
        name = storable(name)
    if name is None or isinstance(name, list | dict | bool) or not str(name).strip():
        raise ValueError("no `id`")
    if not isinstance(text, str):
        raise ValueError("no `text`")
    title, given, declared = (storable(found[key]) if isinstance(found.get(key), str) else "" for key in _JSON_OPTIONAL)
    # JSON can say halves of characters, and NUL, which nothing after us takes.
    return _document(str(name), title, storable(text), base_url, given, declared)


def parse_trec(data: bytes, base_url: str) -> Parsed:
    """Parse a <DOC> of TREC's collections: <DOCNO>, and a title and texts under the names that they have there.

    One with a <DOCHDR> is a page as it was fetched.

    Args:
        data: from <DOC> to </DOC>.
        base_url: that documents without an address are below, or empty: they get a URN.

    Raises:
        ValueError: it has no <DOCNO>, or no end.
    """
    page = _TREC_PAGE.search(data)
    text = _decoded(data[: page.start()] if page else data)
    name = _TREC_NAME.search(text)
    if name is None or not name[1]:
        raise ValueError("no <DOCNO>")
    if not _TREC_ENDS.search(data):
        raise ValueError("<DOC> without </DOC>: it is cut off")
    if page:
        url = urls.page_address(page[1].decode("utf-8", "replace")) or _address(name[1], base_url)
        return url, name[1], parse_html(decode_html(_TREC_ENDS.sub(b"", data[page.end() :])), url)
    titles = (_plain(inner) for tag in _TREC_TITLES for inner in _inside(text, tag))
    texts = [inner for tag in _TREC_TEXTS for inner in _inside(text, tag)]
    lines = [line for inner in texts or [_TREC_LABELS.sub(" ", text)] for line in map(_plain, _PARAGRAPH.split(inner))]
    return _document(name[1], next(filter(None, titles), ""), "\n".join(filter(None, lines)), base_url)


def parse_smart(data: bytes, base_url: str) -> Parsed:
    """Parse a document of SMART's collections (Cranfield, CISI, CACM, MED): .I its id, .T title, .W text, .K keywords.

    Args:
        data: from .I to the next.
        base_url: that documents without an address are below, or empty: they get a URN.

    Raises:
        ValueError: it has no .I, or neither title nor text.
    """
    text = _decoded(data)
    fields: dict[str, list[str]] = {}
    marks = [*_SMART_FIELD.finditer(text)]
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        fields.setdefault(mark[1], []).append(f"{mark[2] or ''}\n{text[mark.end() : end]}")
    name = collapse_spaces(" ".join(fields.get("I", [])))
    if not name:
        raise ValueError("no .I with an id")
    if not fields.keys() & {"T", "W"}:
        raise ValueError("neither .T nor .W")
    title = collapse_spaces(" ".join(fields.get("T", [])))
    lines = (collapse_spaces(part) for key in "WK" for inner in fields.get(key, []) for part in _PARAGRAPH.split(inner))
    return _document(name, title, "\n".join(filter(None, lines)), base_url)


def _decoded(data: bytes) -> str:
    """Decode a document of a form that says nothing of encodings: UTF-8, or what was used before it."""
    try:
        return storable(data.decode())
    except UnicodeDecodeError:
        return storable(data.decode("cp1252", errors_of("cp1252")))


def _inside(text: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.IGNORECASE | re.DOTALL)


def _plain(marked: str) -> str:
    return collapse_spaces(unescape(_TAG.sub(" ", marked)))


def _address(name: str, base_url: str) -> str:
    quoted = quote(name, safe="")
    return (urls.page_address(quoted, base_url) if base_url else None) or _URN + quoted


def _document(name: str, title: str, text: str, base_url: str, given: str = "", declared: str = "") -> Parsed:
    url = (urls.page_address(given) if given else None) or _address(name, base_url)
    language, said = language_of(text, declared), content_hash(title, [], None, text)
    return url, name, Document(title=title, text=text, language=language, content_hash=said)
