"""Web pages and what leads from one to another."""

from __future__ import annotations

from lakerank.lake.schemas.relation import ID, Column, Relation

PAGES = Relation(
    "pages",
    "Web pages as read: their main text and what they say of themselves.",
    (
        Column("page_id", "bigint", "xxHash64 of `url`, the same in every run"),
        Column("url", "string", "address by the WHATWG URL standard, without fragment"),
        Column("doc_id", "string", "its id in a collection of documents (JSON Lines), as given", nullable=True),
        Column("title", "string", "of the document; empty if it has none"),
        Column(
            "headings", "array<string>", "h1 to h6 and defined terms (dfn, dt with an id) of the main content, in order"
        ),
        Column("description", "string", "meta description", nullable=True),
        Column("text", "string", "main content without navigation and boilerplate; blocks separated by newlines"),
        Column("language", "string", "ISO 639-1 code, from the text or else the page's own word", nullable=True),
        Column("fetched_at", "timestamp", "when it was fetched, UTC; null for files in a folder", nullable=True),
        Column("content_hash", "string", "of title, headings, description and text, after white space is made one"),
        Column("canonical_url", "string", "what the page calls its preferred address", nullable=True),
        Column("noindex", "boolean", "meta robots or X-Robots-Tag asks not to be found"),
        Column("duplicate_of", "bigint", "page it copies exactly or nearly; null for originals", nullable=True),
        Column("similarity", "double", "Jaccard similarity with that page, 0 to 1", nullable=True),
        Column("source", "string", "file it was read from"),
        Column("source_offset", "bigint", "byte of its record in that file", nullable=True),
    ),
    ("page_id",),
    "ingest_pages",
    "pages",
)
LINKS = Relation(
    "links",
    "Hyperlinks between pages; the edges PageRank walks along. Targets need not be pages that were read.",
    (
        Column("src", ID, "page the link stands on"),
        Column("dst", ID, "page it leads to, after redirects and canonical addresses"),
        Column("src_url", "string", "address of `src`"),
        Column("dst_url", "string", "address of `dst`"),
        Column("anchor", "string", "text of the link, or of the picture in it; white space made one"),
        Column("nofollow", "boolean", "rel=nofollow, ugc or sponsored, or a page that says so of all its links"),
        Column("zone", "string", "main: in the main content; navigation: in menus, headers, footers, side bars"),
        Column("weight", "double", "share of the surfer's steps, by zone; 0 for nofollow"),
    ),
    (),
    "ingest_pages",
    "links on pages",
)
REDIRECTS = Relation(
    "redirects",
    "Addresses that lead to another: HTTP redirects, immediate meta refreshes, canonical addresses.",
    (
        Column("url", "string", "address that leads on"),
        Column("target_url", "string", "where it leads in the end"),
        Column("kind", "string", "http, refresh or canonical"),
    ),
    ("url",),
    "ingest_pages",
    "redirects",
)
PAGES_REJECTED = Relation(
    "pages_rejected",
    "Records and files that did not become pages, each with its reason.",
    (
        Column("source", "string", "file"),
        Column("offset", "bigint", "byte where the record begins (in the file as it lies, packed or not)"),
        Column("url", "string", "address, as far as it is known", nullable=True),
        Column("reason", "string", "why"),
    ),
    (),
    "ingest_pages",
    "bad records",
)
