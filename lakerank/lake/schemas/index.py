"""The inverted index of the search engine."""

from __future__ import annotations

from lakerank.lake.schemas.relation import Column, Relation

INDEX = "index"  # what the tables of an index are called together where they are published
INDEX_POSTINGS = Relation(
    "index_postings",
    "The inverted index: for each segment and term, the pages that have it, where and how often. Segments never "
    "change; the row without a term lists a segment's pages (ids and lengths of the fields as bytes), and says how "
    "many rows the segment has and the sum of their checksums.",
    (
        Column("segment", "bigint", "segment: pages that were indexed together"),
        Column("term", "string", "word in lower case, part of one, or words with signs between them; empty: the pages"),
        Column("pages", "int", "pages of the segment with the term, those replaced since included"),
        Column("occurrences", "bigint", "how often it occurs in them"),
        Column("postings", "binary", "steps between pages and frequencies by field; see docs/search-engine.md"),
        Column("positions", "binary", "steps between positions, by page and field"),
        Column("checksum", "bigint", "of the other columns: a row that has been altered is not decoded"),
    ),
    ("segment", "term"),
    "build_index",
    "distinct terms × segments; bytes with words on pages",
)
INDEX_DOCUMENTS = Relation(
    "index_documents",
    "The pages of the index and where they stand in it. One commit here is one version of the index.",
    (
        Column("page_id", "bigint", "page"),
        Column("segment", "bigint", "segment that has its postings"),
        Column("ordinal", "int", "its number there, from 0"),
        Column(
            "lengths", "array<int>", "words in title, headings, anchors, body, stop words not counted; parts of words"
        ),
        Column("key", "bigint", "hash of all that is indexed of the page; another one means index it anew"),
        Column("pagerank", "double", "from `ranks`", nullable=True),
        Column("duplicate_of", "bigint", "page it copies", nullable=True),
    ),
    ("page_id",),
    "build_index",
    "pages",
)
SEARCH_RESULTS = Relation(
    "search_results",
    "Answers to a file of queries: the best pages of each.",
    (
        Column("query_id", "string", "id of the query in the file, or its line's number among the queries"),
        Column("query", "string", "what was looked for"),
        Column("rank", "int", "from 1, best first"),
        Column("page_id", "bigint", "page"),
        Column("document", "string", "its id in a collection of documents, or its address, as in a TREC run"),
        Column("score", "double", "higher is better; says nothing between queries"),
    ),
    ("query_id", "rank"),
    "search",
    "queries × --top",
)
