"""Encodings by the standard: which one a page is in, and what becomes of bytes that it does not explain."""

from __future__ import annotations

import time

import pytest

from lakerank.search.pages import encodings
from lakerank.search.pages.encodings import codec_of, declared_encoding, decode_html

TEXT = "<p>Übermäßig schöne Grüße, çà et là"


def test_the_order_of_what_tells_the_encoding() -> None:
    meta = b"<meta charset=koi8-r>"
    assert decode_html(b"\xef\xbb\xbf" + TEXT.encode(), "koi8-r") == TEXT  # a mark before the header
    assert decode_html(b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-8") == TEXT
    assert decode_html(meta + TEXT.encode("latin-1"), "ISO-8859-1") == meta.decode() + TEXT  # that before <meta>
    assert decode_html(meta + "Привет".encode("koi8-r"), "no-such") == meta.decode() + "Привет"
    assert decode_html(TEXT.encode()) == TEXT
    assert decode_html(TEXT.encode("utf-16-le"), "utf-16le") == TEXT


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("latin1", b"\x80\x93\x81", "€“\x81"),  # windows-1252, with its five open places as controls
        ("us-ascii", b"\xe9", "é"),
        ("gb2312", "镕㐀".encode("gb18030"), "镕㐀"),
        ("ks_c_5601-1987", "똠".encode("cp949"), "똠"),
        ("x-sjis", "①".encode("cp932"), "①"),
        ("big5", "㗎".encode("big5hkscs"), "㗎"),
        ("tis-620", b"\xa1\x85", "ก…"),
        ("latin5", b"\xf0", "ğ"),
        ("visual", b"\xe0", "א"),
        (" UTF8 ", "é".encode(), "é"),
        ("unicode-1-1-utf-8", "é".encode(), "é"),
    ],
)
def test_labels_mean_what_the_standard_says(label: str, data: bytes, text: str) -> None:
    assert decode_html(data, label) == text


def test_labels_that_mean_nothing() -> None:
    assert [codec_of(label) for label in ("", "utf-7", "none", "ünïcode", "x" * 9999, "base64", "rot13")] == [""] * 7


@pytest.mark.parametrize(
    ("html", "encoding"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META\tCharSet = 'koi8-r' />", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r' http-equiv=Content-Type>", "koi8-r"),
        (b'<meta http-equiv="content-type" content="text/html;charset = &quot;koi8-r">', ""),
        (b"<meta content='text/html; charset=koi8-r'>", ""),
        (b"<meta name=description content='charset=gbk'>", ""),
        (b"<!-- <meta charset=koi8-r> --><meta charset=big5>", "big5hkscs"),
        (b"<!--><meta charset=koi8-r>", "koi8-r"),
        (b"<!-- <meta charset=koi8-r>", ""),
        (b"<a title='<meta charset=koi8-r>'><meta charset=big5>", "big5hkscs"),
        (b"<?php <meta charset=koi8-r> ?><meta charset=big5>", "big5hkscs"),
        (b"<metadata charset=koi8-r>", ""),
        (b"<meta charset=x charset=koi8-r><meta charset=koi8-u>", "koi8-u"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=x-user-defined>", "cp1252"),
        (b"<head>" + b" " * 5000 + b"<meta charset=koi8-r></head>", "koi8-r"),
        (b"<head><script>'" + b" " * 5000 + b"<meta charset=koi8-r>'</script><meta charset=big5>", "big5hkscs"),
        (b"<head></head>" + b" " * 5000 + b"<meta charset=koi8-r>", ""),
        (b'<?xml version="1.0" encoding="koi8-r"?><html>', "koi8-r"),
        ('<?xml version="1.0"?>'.encode("utf-16-le"), "utf-16-le"),
    ],
)
def test_declarations(html: bytes, encoding: str) -> None:
    assert declared_encoding(html) == encoding


def test_a_bad_byte_costs_one_sign() -> None:
    for head in (b"<meta charset=utf-8>", b""):
        assert decode_html(head + "Größe ".encode() * 9 + b"\xff.").endswith("Größe \ufffd.")
        assert decode_html(head + "Größe".encode() * 9 + "ü".encode()[:1]).endswith("Größe\ufffd")
    assert decode_html(b"<meta charset=utf-8>plain \xff text").endswith("plain \ufffd text")
    assert decode_html(b"<p>\xe2\x82x", "utf-8") == "<p>\ufffdx"
    assert decode_html(b"<p>a\xff\x30b", "gbk") == "<p>a\ufffd0b"


def test_signs_of_utf8_speak_for_it_whatever_the_detector_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "detect_encoding", lambda data: "koi8-r")
    assert decode_html("Größe ".encode() * 2 + b"\xff") == "Größe Größe \ufffd"
    assert decode_html("Привет".encode("koi8-r")) == "Привет"


def test_what_only_says_that_it_is_utf8_is_looked_at() -> None:
    said = "<meta charset=utf-8>" + "Übermäßig schöne Grüße aus dem Süden. " * 3
    assert decode_html(said.encode("latin-1")) == said
    japanese = "<p>" + "日本語の文章です。川の岸で眠る。" * 5
    assert decode_html(japanese.encode("euc-jp")) == japanese


@pytest.mark.parametrize("unit", [b"<meta ", b"<!--", b"<a a a a", b"<", b"<script ", b"<x a='", b"<?", b"\xff", b"="])
def test_time_grows_with_size(unit: bytes) -> None:
    begun = time.process_time()
    decode_html(unit * 200_000)
    assert time.process_time() - begun < 5
