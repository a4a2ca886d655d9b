"""From answers to what templates and JSON say: scores in rows, numbers in words, addresses that may be linked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lakerank.search.query.engine import Counts, Hit, ResultPage
from lakerank.search.query.index import Index
from lakerank.search.query.presentation import Explanation, Pieces

TEXT_SHOWN = 900  # characters of a page's text
ADDRESS_SHOWN = 110  # characters of an address; what is longer loses its middle


@dataclass(frozen=True)
class Choice:
    """A filter that can be put on a query, or taken from it.

    Attributes:
        name: what it says. pages: how many match, or None of one that is taken away. query: with it, or without it.
    """

    name: str
    pages: int | None
    query: str


def facets(query: str, counts: Counts | None) -> list[tuple[str, list[Choice]]]:
    """List the filters of a query by kind: those it has, to be taken away, else those it may get, with their counts.

    They are put first: a quote or a NOT that ends the query would take in what comes behind.
    """
    out: list[tuple[str, list[Choice]]] = []
    for kind, keys in (("Site", "site"), ("Fetched", "after|before")):
        # With a NOT before it, and not within quotes.
        filters = rf'(?P<kept>"[^"]*"?)|(?<!\S)(?:(?-i:AND|NOT)\s+)?[-+]?(?:{keys}):(?:"[^"]*"?|\S+)'
        bare = " ".join(re.sub(filters, lambda found: found["kept"] or " ", query, flags=re.IGNORECASE).split())
        if bare != " ".join(query.split()):
            if bare:
                out.append((kind, [Choice("any", None, bare)]))
        elif counts is not None and kind == "Site" and len(counts.sites) > 1:
            out.append((kind, [Choice(host, pages, f"site:{host} {bare}") for host, pages in counts.sites]))
        elif counts is not None and kind == "Fetched" and len(counts.periods) > 1:
            choices = (Choice(p.name, p.pages, f"after:{p.name} before:{p.end} {bare}") for p in counts.periods)
            out.append((kind, list(choices)))
    return out


@dataclass(frozen=True)
class Reason:
    """One part of a score.

    Attributes:
        name: a word, a phrase, or what else it is.
        how: what it comes from.
        share: of the score.
        part: 0 to 1, of the largest share: what a bar shows.
    """

    name: str
    how: str
    share: float
    part: float


def reasons(explanation: Explanation, index: Index) -> list[Reason]:
    """List every part of a score, in its order: words, phrases, links. The shares add up to the score."""
    rows: list[tuple[str, str, float]] = []
    for one in explanation.terms:
        where = ", ".join(f"{n:,}× {field}" for field, n in one.frequencies.items() if n)
        added = "" if one.weight == 1 else f"counts {one.weight:.2f}; "
        rows.append((one.term, f"{added}{where}; on {one.pages:,} pages (idf\u00a0{one.idf:.2f})", one.share))
    rows += [(f"“{text}”", "words beside one another", share) for text, share in explanation.phrases]
    rank = f"PageRank {number_of(explanation.pagerank)}" if explanation.pagerank > 0 else "no rank"
    rows.append(("links", rank, explanation.prior))
    if explanation.kept:
        rows.append(("first for the query as written", "before it was expanded", explanation.kept))
    most = max((abs(share) for _, _, share in rows), default=0.0) or 1.0
    return [Reason(name, how, share, max(share, 0.0) / most) for name, how, share in rows]


def number_of(x: float) -> str:
    """Write a number with three significant digits, a small one with an exponent: 0.00227, 3.1·10⁻⁷."""
    if x == 0 or abs(x) >= 1e-4:
        return f"{x:.3g}"
    head, _, tail = f"{x:.2g}".partition("e")
    return f"{head}·10{str(int(tail)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def milliseconds(seconds: float) -> str:
    """Write seconds as milliseconds: 0.0042 → 4.2 ms."""
    ms = 1000 * seconds
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:,.0f} ms"


def linkable(url: str) -> bool:
    """Return whether an address may be a link: only http and https, never `javascript:` or a local file."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def address(url: str) -> str:
    """Shorten an address to be read: without scheme, its middle left out if it is long."""
    shown = url.removeprefix("https://").removeprefix("http://")
    if len(shown) <= ADDRESS_SHOWN:
        return shown
    tail = ADDRESS_SHOWN // 3
    return f"{shown[: ADDRESS_SHOWN - tail - 1]}…{shown[-tail:]}"


def beginning(text: str) -> str:
    """Return the first lines of a text, without empty ones, ending with a whole word."""
    lines = (" ".join(line.split()) for line in text[: 4 * TEXT_SHOWN].splitlines())
    plain = "\n".join(line for line in lines if line)
    if len(plain) <= TEXT_SHOWN and len(text) <= 4 * TEXT_SHOWN:
        return plain
    return f"{plain[: TEXT_SHOWN + 1].rsplit(None, 1)[0]} …" if plain else ""


def as_json(query: str, page: int, answer: ResultPage, index: Index) -> dict[str, Any]:
    """Return an answer as JSON for programs; ids are text, since they have more digits than JavaScript's numbers."""
    counts = answer.counts
    return {
        "query": query,
        "page": page,
        "pages_indexed": len(index),
        "milliseconds": round(1000 * answer.seconds, 3),
        "more": answer.more,
        "suggestion": answer.suggestion,
        "expanded": answer.expanded,
        "notes": list(answer.notes),
        "matches": counts.pages if counts else None,
        "sites": [{"site": host, "pages": pages} for host, pages in counts.sites] if counts else [],
        "fetched": [{"after": p.name, "before": p.end, "pages": p.pages} for p in counts.periods] if counts else [],
        "results": [_hit(hit, index) for hit in answer.hits],
    }


def _hit(hit: Hit, index: Index) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "rank": hit.rank,
        "page_id": str(hit.page.page_id),
        "url": hit.page.url,
        "title": hit.page.title,
        "score": hit.score,
        "pagerank": hit.pagerank,
        "prominence": hit.prominence,
        "snippet": _marked_parts(hit.snippet_pieces),
        "fields": {field.name: field.value for field in hit.fields},
        "copies": list(hit.copies),
    }
    if hit.explanation is not None:
        row["reasons"] = [
            {"name": one.name, "how": one.how, "share": one.share} for one in reasons(hit.explanation, index)
        ]
    return row


def _marked_parts(text_parts: Pieces) -> list[dict[str, Any]]:
    return [{"text": text, "match": match} for text, match in text_parts]


def _typed(kind: str | list[str], meaning: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": meaning, **more}


def _rows(meaning: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    items = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return {"type": "array", "description": meaning, "items": items}


_RESULT = {
    "rank": _typed("integer", "from 1, over all pages of results"),
    "page_id": _typed("string", "number of the page, as text: it has 64 bits, more than JavaScript's numbers"),
    "url": _typed("string", "address; may be empty"),
    "title": _typed("string", "may be empty"),
    "score": _typed("number", "higher is better; says nothing between queries"),
    "pagerank": _typed("number", "probability; 0: unknown"),
    "prominence": _typed("number", "0 to 1, how much links count, of the highest"),
    "snippet": _rows(
        "passage of the text, in pieces", {"text": _typed("string", "piece"), "match": _typed("boolean", "is marked")}
    ),
    "fields": _typed("object", "stored fields that are shown, by column"),
    "copies": _typed("array", "addresses of pages with the same content", items={"type": "string"}),
}
SEARCH_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Answer of /api/search",
    "type": "object",
    "properties": {
        "query": _typed("string", "as it was asked"),
        "page": _typed("integer", "of results, from 1"),
        "pages_indexed": _typed("integer", "pages in the index"),
        "milliseconds": _typed("number", "time taken"),
        "more": _typed("boolean", "whether there is a further page of results"),
        "suggestion": _typed(["string", "null"], "the query as it was probably meant"),
        "expanded": _typed("boolean", "whether words of the first results were added"),
        "notes": _typed("array", "what of the query is not understood, in sentences", items={"type": "string"}),
        "matches": _typed(["integer", "null"], "pages that match; those with the same content each for itself"),
        "sites": _rows(
            "hosts with most matches", {"site": _typed("string", "host"), "pages": _typed("integer", "matches there")}
        ),
        "fetched": _rows(
            "years or months in which matching pages were fetched, as `after:` and `before:` take them",
            {
                "after": _typed("string", "its beginning"),
                "before": _typed("string", "the next one's"),
                "pages": _typed("integer", "matches"),
            },
        ),
        "results": _rows("best first", _RESULT),
    },
}
SEARCH_SCHEMA["required"] = list(SEARCH_SCHEMA["properties"])
