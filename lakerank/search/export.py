"""The documents of an open index for another search engine: OpenSearch's bulk form, which Elasticsearch reads, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lakerank.cli.files import write_lines
from lakerank.search.query.index import Index


def bulk_lines(index: Index) -> Iterator[str]:
    """Return the documents of an index in bulk form: for each a line that says what to do, and a line with its fields.

    Fields are those of the search page by their column (`url`, `doc_id`, `title`, `description`, `text` and what else
    `pages` shows), `host`, `fetched_at` (a date), `pagerank`, `page_id` and `duplicate_of` (as text: 64 bits are more
    than JavaScript's numbers have); what is empty or unknown is left out. The id is `page_id`.
    """
    block = index.block
    for number, page_id in enumerate(block["page_ids"].tolist()):
        page = index.page(number)
        original, rank = int(block["groups"][number]), float(block["pageranks"][number])
        fields = {
            "url": page.url,
            "doc_id": page.doc_id,
            "title": page.title,
            "description": page.description,
            "text": index.string("text", number),
            **{field.name: field.value for field in page.fields},
            "host": index.hosts[int(block["page_hosts"][number])],
            "fetched_at": index.day_of(number),
            "pagerank": rank or "",
            "page_id": str(page_id),
            "duplicate_of": "" if original == page_id else str(original),
        }
        yield json.dumps({"index": {"_id": str(page_id)}})
        yield json.dumps({name: value for name, value in fields.items() if value != ""}, ensure_ascii=False)


def write_opensearch_bulk(index: Index, path: str | Path, flag: str = "path") -> int:
    """Write the documents of an index as a file for OpenSearch's `_bulk`; return how many there are.

    Args:
        index: open.
        path: written in one step; packed with gzip if its name ends in `.gz`.
        flag: that named it.

    Raises:
        UserError: it cannot be written.
    """
    write_lines(path, bulk_lines(index), flag)
    return len(index)
