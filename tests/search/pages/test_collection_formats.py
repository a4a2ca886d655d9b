"""Collections in TREC's and SMART's forms: told by their first bytes, each document on its own."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lakerank.search.pages.collection_formats import collection_form
from lakerank.search.pages.read_file import ReadOptions, read_file
from lakerank.search.pages.records import Record

HOW = ReadOptions("", 5000)
TREC = b"""<DOC>
<DOCNO> AP880212-0001 </DOCNO>
<FILEID>AP-NR</FILEID>
<HEAD>Otters &amp; Rivers</HEAD>
<DATELINE>BONN</DATELINE>
<TEXT>
   The otter swims in the
river at dawn.

   It sleeps <!-- PJG --> on the bank, AT&amp;T says.
</TEXT>
<TEXT>More.</TEXT>
</DOC>
<DOC><DOCNO>FT-2</DOCNO><HEADLINE><P>Second</P></HEADLINE><DATE>1992</DATE><P>Without a text element.</P></DOC>
<doc><docno>3</docno><title>third .</title><text>gr\xfc\xdfe</text></doc>
"""
WEB = b"""<DOC>
<DOCNO>GX000-00</DOCNO>
<DOCHDR>
http://a.org/x 1.2.3.4
HTTP/1.1 200 OK
</DOCHDR>
<html><title>T</title><p>Words of the page <a href=y>y</a></html>
</DOC>
"""
SMART = b""".I 1
.T
otters in
rivers .
.A
smith,j.
.B
j. ae. scs. 25, 1958, 324.
.W
the otter swims in the river .  it
sleeps on the bank .

another paragraph .
.K
otters, rivers
.X
1\t5\t1
.I 2
.T
only a title
.I 3
.W
only .5 of a text
.I
.T
no id
.I 5
.A
nobody
"""


def read(tmp_path: Path, data: bytes, name: str = "ap880212", how: ReadOptions = HOW) -> list[Record]:
    (tmp_path / name).write_bytes(data)
    return list(read_file(str(tmp_path / name), name, how))


@pytest.mark.parametrize("name", ["ap880212", "x.sgml.gz"])
def test_trec(tmp_path: Path, name: str) -> None:
    rows = read(tmp_path, gzip.compress(TREC) if name.endswith("gz") else TREC, name)
    assert [(row["kind"], row["doc_id"], row["title"], row["text"]) for row in rows] == [
        (
            "page",
            "AP880212-0001",
            "Otters & Rivers",
            "The otter swims in the river at dawn.\nIt sleeps on the bank, AT&T says.\nMore.",
        ),
        ("page", "FT-2", "Second", "Second\nWithout a text element."),
        ("page", "3", "third .", "grüße"),
    ]
    assert rows[0]["url"] == "urn:document:AP880212-0001"
    assert [row["source_offset"] for row in rows] == [0, TREC.index(b"<DOC><DOCNO>FT-2"), TREC.index(b"<doc>")]


def test_trec_of_the_web_holds_pages(tmp_path: Path) -> None:
    (row,) = read(tmp_path, WEB)
    assert (row["url"], row["doc_id"], row["title"]) == ("http://a.org/x", "GX000-00", "T")
    assert row["text"].startswith("Words of the page")
    assert [link.dst_url for link in row["links"]] == ["http://a.org/y"]


def test_smart(tmp_path: Path) -> None:
    rows = read(tmp_path, SMART, "cran.all.1400")
    assert [(row["doc_id"], row["title"], row["text"]) for row in rows if row["kind"] == "page"] == [
        (
            "1",
            "otters in rivers .",
            "the otter swims in the river . it sleeps on the bank .\nanother paragraph .\notters, rivers",
        ),
        ("2", "only a title", ""),
        ("3", "", "only .5 of a text"),
    ]
    assert [row["reason"] for row in rows if row["kind"] == "rejected"] == ["no .I with an id", "neither .T nor .W"]
    assert rows[1]["source_offset"] == SMART.index(b".I 2")


def test_bad_documents_cost_themselves_alone(tmp_path: Path) -> None:
    large = b"<DOC><DOCNO>big</DOCNO><TEXT>" + b"word " * 600_000 + b"</TEXT></DOC>\n"
    rows = read(tmp_path, WEB + large + b"<DOC>no name</DOC>" + TREC + b"<DOC><DOCNO>cut")
    assert [row["kind"] for row in rows] == ["page", "rejected", "rejected", "page", "page", "page", "rejected"]
    assert rows[1]["reason"].startswith("more than 5000 bytes")
    assert [row["source_offset"] for row in rows[1:4]] == [
        len(WEB), len(WEB + large), len(WEB + large) + len(b"<DOC>no name</DOC>")
    ]  # fmt: skip
    smart = b".I 1\n.W\na\n.I 2\n.W\n" + b"word\n" * 600_000 + b".I 3\n.W\nc\n"
    assert [row["kind"] for row in read(tmp_path, smart)] == ["page", "rejected", "page"]


def test_a_large_document_that_comes_in_pieces_is_left_out_whole() -> None:
    form = collection_form("x", TREC)
    assert form is not None
    pieces = [b"<DOC>" + b"w" * 9000, b"w</D", b"OC>", b"<DOC>x</DOC>"]
    assert list(form[0](pieces, 5000)) == [(0, None), (9012, b"<DOC>x</DOC>")]


def test_what_only_looks_like_one_is_none(tmp_path: Path) -> None:
    assert [row["kind"] for row in read(tmp_path, b".I am not\nSMART\n", "x.txt")] == ["skipped"]
    assert [row["kind"] for row in read(tmp_path, b"<doc>is an element</doc>", "x.txt")] == ["skipped"]


def test_a_trec_document_without_its_end_does_not_swallow_the_next(tmp_path: Path) -> None:
    cut = b"<DOC>\n<DOCNO>cut</DOCNO><TEXT>begun\n"
    data = b"<?xml version='1.0'?>\n<root>\n" + cut + TREC + cut + WEB + b"</root>\n"
    rows = read(tmp_path, data)
    assert [row["doc_id"] for row in rows if row["kind"] == "page"] == ["AP880212-0001", "FT-2", "3", "GX000-00"]
    assert [row["reason"] for row in rows if row["kind"] == "rejected"] == ["<DOC> without </DOC>: it is cut off"] * 2
    assert [data[row["source_offset"] :][:5].lower() for row in rows] == [b"<doc>"] * 6
    (bad, *_, last) = read(tmp_path, b"<DOC><DOCNO>cut</DOCNO>" + b"w" * 6000 + TREC)
    assert (bad["kind"], last["doc_id"]) == ("rejected", "3")
