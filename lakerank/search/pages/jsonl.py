"""Documents of a collection, one JSON object a line: `id`, `title`, `text`, and if it has them `url`, `language`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from lakerank.search.pages import urls
from lakerank.search.pages.document import content_hash
from lakerank.search.pages.languages import language_of

NAMES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_OPTIONAL = ("title", "url", "language")
URN = "urn:document:"  # address of a document that has none


def lines(pieces: Iterable[bytes], most: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines with the byte they begin at; None for one of more than `most` bytes, which is not kept."""
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


def document(line: bytes, base_url: str) -> dict[str, Any]:
    """A page's columns from a line.

    Args:
        line: UTF-8 JSON.
        base_url: that documents without an address are below, or empty: they get a URN.

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
    if name is None or isinstance(name, list | dict | bool) or not str(name).strip():
        raise ValueError("no `id`")
    if not isinstance(text, str):
        raise ValueError("no `text`")
    title, given, declared = (str(found[key]) if isinstance(found.get(key), str) else "" for key in _OPTIONAL)
    url = urls.page_address(given) if given else None
    if url is None:
        quoted = quote(str(name), safe="")
        url = (urls.page_address(quoted, base_url) if base_url else None) or URN + quoted
    return {
        "url": url,
        "doc_id": str(name),
        "title": title,
        "headings": [],
        "text": text,
        "language": language_of(text, declared),
        "content_hash": content_hash(title, [], None, text),
        "noindex": False,
        "links": [],
    }
