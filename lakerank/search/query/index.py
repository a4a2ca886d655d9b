"""An open index: arrays, and look-ups in them. Needs no Spark; any number of threads may use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.fields import Weighting
from lakerank.search.query.lookup_kernels import find_term
from lakerank.spark.array_store import Block


@dataclass(frozen=True)
class Page:
    """What is shown of a page."""

    page_id: int
    url: str
    doc_id: str
    title: str
    description: str


@dataclass(frozen=True)
class Index:
    """Arrays of `arrays.build_arrays`; n pages, t terms, p postings, F fields.

    Attributes:
        block: `page_ids`, `groups` (page's original, if it is a copy), `pageranks`, `prior`, `tie` (n); `lengths`,
            `norms` (n, F); `ends` (t), where each term's postings end; `docs`, `values`, `place_ends` (p), `tfs`
            (p, F); `places` (field and position of each occurrence); `block_firsts`, `maxima`; `page_begins` (n + 1),
            `page_terms`, `page_values`: the terms by page; texts as `…_data` and `…_ends`.
        weighting: that `values` are computed for.
        language: that queries are analysed in.
    """

    block: Block
    weighting: Weighting
    language: str = "en"

    def __len__(self) -> int:
        return len(self.block["page_ids"])

    @property
    def terms(self) -> int:
        """Number of distinct terms."""
        return len(self.block["ends"])

    def term_number(self, term: str) -> int:
        """A term's number, or -1 if no page has it."""
        wanted = np.frombuffer(term.encode("utf-8"), np.uint8)
        number = int(find_term(self.block["term_data"], self.block["term_ends"], wanted))
        return number if number >= 0 and self.frequency(number) else -1

    def frequency(self, number: int) -> int:
        """How many pages have a term."""
        ends = self.block["ends"]
        return int(ends[number] - (ends[number - 1] if number else 0))

    def postings(self, number: int) -> slice:
        """Where a term's postings stand in the arrays."""
        ends = self.block["ends"]
        return slice(int(ends[number - 1]) if number else 0, int(ends[number]))

    def string(self, name: str, number: int) -> str:
        """A page's `url`, `doc_id`, `host`, `title`, `description` or `text`, or a term's `term` or `word`."""
        return self.bytes_of(name, number).tobytes().decode("utf-8", "replace")

    def bytes_of(self, name: str, number: int) -> NDArray[np.uint8]:
        """The same in UTF-8, as it lies in the index."""
        ends = self.block[f"{name}_ends"]
        begin = int(ends[number - 1]) if number else 0
        return np.asarray(self.block[f"{name}_data"])[begin : int(ends[number])]

    def name(self, number: int) -> str:
        """What a run calls a page: its id in a collection, or its address."""
        return self.string("doc_id", number) or self.string("url", number)

    def strings(self, name: str) -> list[str]:
        """All of them, in order."""
        data, begin, out = self.block[f"{name}_data"].tobytes(), 0, []
        for end in self.block[f"{name}_ends"].tolist():
            out.append(data[begin:end].decode("utf-8", "replace"))
            begin = end
        return out

    def page(self, number: int) -> Page:
        """What is shown of a page."""
        shown = (self.string(name, number) for name in ("url", "doc_id", "title", "description"))
        return Page(int(self.block["page_ids"][number]), *shown)

    def number_of(self, page_id: int) -> int | None:
        """A page's number from its id."""
        ids: NDArray[Any] = self.block["page_ids"]
        found = np.flatnonzero(ids == page_id)
        return int(found[0]) if len(found) else None
