"""Full-text search as a library: an index of an ordinary frame in memory, or of a lake on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import GetSpark
from lakerank.search.export import write_opensearch_bulk
from lakerank.search.index.fields import Weighting
from lakerank.search.index.segment import SegmentBuilder, unpacked_pages
from lakerank.search.pages.urls import page_id
from lakerank.search.query.engine import Hit, SearchEngine
from lakerank.search.query.index import PAGE_COLUMNS, Index, build_arrays
from lakerank.search.query.store import open_index
from lakerank.search.text.languages import SNOWBALL, known

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    Frame: TypeAlias = DataFrame | pd.DataFrame | pa.Table

_MOST_SEGMENTS = 64  # more are made one: postings of rows that were replaced stay until then
_ROWS = 10_000  # rows analysed at a time


class SearchIndex:
    """A full-text index, searched by BM25F over titles and texts; safe to use from several threads while not updated.

    Attributes:
        engine: answers with everything around a hit: pages of results, spelling, explanations, related pages.
    """

    def __init__(self, engine: SearchEngine, rows: _Rows | None = None) -> None:
        self.engine = engine
        self._rows = rows

    @classmethod
    def from_frame(
        cls,
        df: Frame,
        *,
        id: str = "id",
        text: str = "text",
        title: str | None = None,
        url: str | None = None,
        language: str = "en",
    ) -> SearchIndex:
        """Index a frame in memory.

        Args:
            df: a Spark DataFrame, pandas DataFrame or pyarrow Table, one row for each document. Its texts are held in
                memory; what is larger belongs into a lake (`open`).
            id: column that identifies a row: whole numbers or text, never null, each value once.
            text: column of the text; null counts as empty.
            title: column of the title, which weighs five times the text, if there is one.
            url: column of the address, if there is one: shown, and what `site:` asks for.
            language: ISO 639-1 code of the texts, for stems and stop words; `none` for neither.

        Raises:
            UserError: a column is missing or of another type, an id is null or stands twice, or there is no row.
        """
        if not known(language):
            raise UserError(f"`language` must be one of {', '.join(SNOWBALL)}, none; not {language!r}")
        rows = _Rows({"id": id, "text": text, "title": title, "url": url}, language)
        rows.put(df)
        return cls(rows.engine(), rows)

    @classmethod
    def open(cls, lake: str, *, cache_dir: str = "", get_spark: GetSpark | None = None) -> SearchIndex:
        """Open the index that `build_index` wrote to a lake; needs no Spark for a lake in a folder.

        Args:
            lake: folder or `catalog.schema` of its tables.
            cache_dir: folder for the decoded index (default: in the lake); it is mapped from there, not read.
            get_spark: gives a Spark session, for a lake in a catalog.

        Raises:
            UserError: there is no index.
        """
        return cls(SearchEngine(open_index(lake, cache_dir, get_spark).index))

    def __len__(self) -> int:
        return len(self.engine.index)

    def search(self, query: str, top: int = 10, page: int = 1) -> list[Hit]:
        """Find the best documents of a query.

        Args:
            query: words, "phrases", +must, -not, a OR b, site:host, title:word.
            top: how many, ≥ 1.
            page: which page of so many hits, from 1.

        Returns:
            Hits, best first, with `rank`, `id`, `url`, `title`, `score` and `snippet`; none if nothing was found.

        Raises:
            UserError: the query is empty, or a number is below 1.
        """
        if not isinstance(query, str) or not query.strip():
            raise UserError("the query is empty: say what to look for")
        for name, value in (("top", top), ("page", page)):
            if value < 1:
                raise UserError(f"`{name}` must be at least 1, not {value}")
        return list(self.engine.search(query, top, page).hits)

    def search_many(self, queries: Iterable[str], top: int = 10) -> list[list[Hit]]:
        """Find the best documents of each query, in the order of the queries; errors as `search`."""
        return [self.search(query, top) for query in queries]

    def export_opensearch(self, path: str | Path) -> int:
        """Write the documents as a file for OpenSearch's `_bulk` (`export.bulk_lines`); return how many there are.

        Args:
            path: packed with gzip if its name ends in `.gz`.

        Raises:
            UserError: it cannot be written.
        """
        return write_opensearch_bulk(self.engine.index, path)

    def update(self, df: Frame) -> None:
        """Add rows, and replace those whose id is there; answers are then those of an index built anew.

        Only the new rows are analysed. Searches that run meanwhile see the index as it was.

        Args:
            df: a frame with the columns that `from_frame` was told of.

        Raises:
            UserError: as `from_frame`, and the index then stays as it was; or it was opened from a lake.
        """
        if self._rows is None:
            raise UserError("an index of a lake is updated in the lake: run ingest_pages and build_index")
        self._rows.put(df)
        self.engine = self._rows.engine()


class _Rows:
    """The tables of an index in memory, as `build_index` writes them."""

    def __init__(self, columns: dict[str, str | None], language: str) -> None:
        self.columns = {field: name for field, name in columns.items() if name is not None}
        self.language = language
        self._id_kind = ""
        self._pages: pa.Table | None = None
        self._postings: list[pa.Table] = []
        self._documents: list[pa.Table] = []

    def put(self, df: Frame) -> None:
        """Add rows as one more segment; those whose id is there take the old ones' place."""
        pages = self._checked(_arrow_columns(df, self.columns))
        if self._pages is not None:
            old = pc.invert(pc.is_in(self._pages["page_id"], pages["page_id"].combine_chunks()))
            kept = pa.concat_tables([self._pages.filter(old), pages])
            if len(self._postings) >= _MOST_SEGMENTS:
                self._postings, self._documents, pages = [], [], kept
            self._documents = [
                rows.filter(pc.invert(pc.is_in(rows["page_id"], pages["page_id"].combine_chunks())))
                for rows in self._documents
            ]
            self._pages = kept
        else:
            self._pages = pages
        self._add_segment(pages)

    def engine(self) -> SearchEngine:
        """Decode and score all segments."""
        weighting = Weighting()
        documents, postings = pa.concat_tables(self._documents), pa.concat_tables(self._postings)
        block = build_arrays(documents, postings, self._pages, weighting, self.language)
        return SearchEngine(Index(block, weighting))

    def _add_segment(self, pages: pa.Table) -> None:
        number = len(self._postings) + 1
        builder = SegmentBuilder(number, self.language)
        for first in range(0, len(pages), _ROWS):
            rows = pages.slice(first, _ROWS).combine_chunks()
            n, strings = len(rows), pa.list_(pa.string())
            builder.add(
                pa.record_batch(
                    {
                        "page_id": rows["page_id"].combine_chunks(),
                        "key": pa.array([0] * n, pa.int64()),
                        "pagerank": pa.nulls(n, pa.float64()),
                        "duplicate_of": pa.nulls(n, pa.int64()),
                        "language": pa.array([self.language] * n, pa.string()),
                        "title": rows["title"].combine_chunks(),
                        "headings": pa.nulls(n, strings),
                        "anchors": pa.nulls(n, strings),
                        "text": rows["text"].combine_chunks(),
                    }
                )
            )
        self._postings.append(pa.Table.from_batches(list(builder.finish())))
        header = self._postings[-1].slice(0, 1)
        listed = unpacked_pages(header["postings"][0].as_py(), header["positions"][0].as_py())
        segment = pa.array([number] * len(listed), pa.int64())
        self._documents.append(pa.Table.from_batches([listed.append_column("segment", segment)]))

    def _checked(self, found: dict[str, pa.ChunkedArray]) -> pa.Table:
        """Return the columns of `pages` from those of a frame."""
        kind, keys = self._ids(found["id"])
        texts = {field: self._text(field, column) for field, column in found.items() if field != "id"}
        self._id_kind = kind
        n = len(keys)
        spoken = pa.chunked_array([pa.array([self.language] * n, pa.string())])
        named = texts | {"page_id": keys, "language": spoken, "doc_id": pc.cast(found["id"], pa.string())}
        return pa.table({name: named.get(name, pa.nulls(n, pa.string())) for name in PAGE_COLUMNS})

    def _ids(self, ids: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
        """Return the kind of ids, numbers or text, and the number of each row."""
        name = self.columns["id"]
        if not len(ids):
            raise UserError("the frame has no rows")
        if ids.null_count:
            row = pc.index(pc.is_null(ids), True).as_py()
            raise UserError(f"column `{name}`: the id of row {row + 1} is null")
        if not (pa.types.is_integer(ids.type) or _is_text(ids.type)):
            raise UserError(f"column `{name}` is {ids.type}, but ids must be whole numbers or text")
        kind = "text" if _is_text(ids.type) else "whole numbers"
        if self._id_kind and kind != self._id_kind:
            raise UserError(f"column `{name}` is {ids.type}, but the ids of this index are {self._id_kind}")
        counted = pc.value_counts(ids)
        if len(counted) < len(ids):
            twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")[0]
            raise UserError(f"column `{name}`: the id {twice} stands in several rows")
        if kind == "text":
            return kind, pa.chunked_array([pa.array([page_id(one) for one in ids.to_pylist()], pa.int64())])
        try:
            return kind, pc.cast(ids, pa.int64())
        except pa.ArrowInvalid as error:
            raise UserError(f"column `{name}`: an id does not fit 64 bits with a sign") from error

    def _text(self, field: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if not (_is_text(column.type) or pa.types.is_null(column.type)):
            raise UserError(f"column `{self.columns[field]}` is {column.type}, but must be text")
        return pc.fill_null(pc.cast(column, pa.string()), "")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _arrow_columns(df: Any, columns: dict[str, str]) -> dict[str, pa.ChunkedArray]:
    """Read the columns of a frame as Arrow, by field.

    Raises:
        UserError: it is no frame, or a column is missing, stands twice, or holds values of several types.
    """
    names = list(columns.values())
    is_arrow, is_spark = isinstance(df, pa.Table), hasattr(df, "toArrow") and hasattr(df, "sparkSession")
    if not (is_arrow or is_spark or (hasattr(df, "columns") and hasattr(df, "to_numpy"))):
        raise UserError(
            f"a Spark DataFrame, a pandas DataFrame or a pyarrow Table is needed, not a {type(df).__name__}"
        )
    have = df.column_names if is_arrow else list(df.columns)
    for name in names:
        if name not in have:
            raise UserError(f"column `{name}` is missing; the frame has {', '.join(map(str, have)) or 'none'}")
        if have.count(name) > 1:
            raise UserError(f"column `{name}` stands in the frame {have.count(name)} times")
    if is_spark:
        df = df.select(*("`" + name.replace("`", "``") + "`" for name in dict.fromkeys(names))).toArrow()
    elif not is_arrow:
        df = {name: _from_pandas(df[name], name) for name in names}
    return {field: df[name] for field, name in columns.items()}


def _from_pandas(column: Any, name: str) -> pa.ChunkedArray:
    try:
        found = pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeError, OverflowError) as error:
        raise UserError(f"column `{name}` holds values of several types, or text that is not Unicode") from error
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
