"""Records have the columns of the table `pages`, and whatever a document says reaches it."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
from pyspark.sql import SparkSession

from lakerank.lake.schemas import LINKS, PAGES
from lakerank.search.pages.document import Document, Link
from lakerank.search.pages.ingest import tables_on_driver
from lakerank.search.pages.records import COPY_COLUMNS, DDL, SCHEMA, page_record, to_batch


def test_every_field_of_a_document_is_a_column_of_pages() -> None:
    beside = {"refresh", "links"}  # a redirect, and a table of their own
    assert {field.name for field in dataclasses.fields(Document)} - beside < set(PAGES.names)
    assert set(Link._fields) | {"src", "dst", "src_url"} == set(LINKS.names)
    assert set(PAGES.names) - set(COPY_COLUMNS) < set(SCHEMA.names)


def test_both_forms_of_the_schema_are_one(spark: SparkSession) -> None:
    batch = to_batch([page_record("file", 0, "https://x.org/", Document("title", "text", None, "hash"))])
    frame = spark.createDataFrame(pa.Table.from_batches([batch])).mapInArrow(lambda batches: batches, DDL)
    assert frame.columns == SCHEMA.names
    assert frame.toArrow().to_pylist() == batch.to_pylist()


def test_what_a_document_says_stands_in_its_row() -> None:
    page = Document(
        "title", "text", "en", "hash", ["heading"], "description", "https://x.org/c", True, None,
        [Link("https://y.org/", "anchor", False, "main", 1.0)],
    )  # fmt: skip
    made = tables_on_driver(
        pa.Table.from_batches([to_batch([page_record("f", 7, "https://x.org/", page, doc_id="d")])])
    )
    row = made.pages.to_pylist()[0]
    said = {name: value for name, value in vars(page).items() if name in PAGES.names}
    assert len(said) == 8
    assert {name: row[name] for name in said} == said
    assert (row["source"], row["source_offset"], row["url"], row["doc_id"]) == ("f", 7, "https://x.org/", "d")
    assert (row["fetched_at"], row["duplicate_of"], row["similarity"]) == (None, None, None)
    assert [link["anchor"] for link in made.links.to_pylist()] == ["anchor"]
