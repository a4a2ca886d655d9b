"""Tokens, stems, stop words: the compiled tokenizer against a plain one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lakerank.search.text.analyzer import CLASSES, GAP, LONGEST, LOWER, PAIR, Analyzer, count_tokens, tokenize, words_of
from lakerank.search.text.languages import SNOWBALL, known, stemmer, stop_words

ALPHABET = list("abZ09_ .-/:,;()\n\té—漢’\x1e")


def tokens_of(texts: list[str], last_field: int = 3) -> list[tuple[int, int, bytes, bool, bool]]:
    """(text, field, token, after a line's end, pair) of each token."""
    coded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, coded)]).astype(np.int64)
    data = np.frombuffer(b"".join(coded) or b"\0", np.uint8)
    room = count_tokens(data, 0, int(offsets[-1]), CLASSES)
    hashes, starts, sizes = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int32)
    rows, fields, flags = np.empty(room, np.int32), np.empty(room, np.uint8), np.empty(room, np.uint8)
    n = tokenize(data, offsets, last_field, CLASSES, LOWER, hashes, starts, sizes, rows, fields, flags)
    assert n <= room
    raw = data.tobytes()
    out = []
    for i in range(n):
        token = raw[starts[i] : starts[i] + sizes[i]].lower()
        out.append((int(rows[i]), int(fields[i]), token, bool(flags[i] & GAP), flags[i] == PAIR))
    by_hash: dict[int, set[bytes]] = {}
    for i, one in enumerate(out):
        by_hash.setdefault(int(hashes[i]), set()).add(re.sub(rb"[.\-/:]", b".", one[2]))
    assert all(len(same) == 1 for same in by_hash.values()), "a hash stands for one token"
    return out


def plainly(texts: list[str], last_field: int = 3) -> list[tuple[int, int, bytes, bool, bool]]:
    """The same by a regular expression over bytes."""
    out = []
    for row, text in enumerate(texts):
        parts = text.encode().split(b"\x1e", last_field)
        for field, part in enumerate(parts):
            before, gap_from = None, 0
            for found in re.finditer(rb"[A-Za-z0-9_\x80-\xff]+", part):
                token = found.group().lower()
                gap = b"\n" in part[gap_from : found.start()]
                out.append((row, field, token if len(token) <= LONGEST else b"", gap, False))
                joined = before is not None and part[before.end() : found.start()] in (b".", b"-", b"/", b":")
                if joined and (before.group() + token).isascii() and found.end() - before.start() <= LONGEST:
                    out.append((row, field, part[before.start() : found.end()].lower(), False, True))
                before, gap_from = found, found.end()
    return out


def test_tokens_are_those_of_a_plain_tokenizer() -> None:
    random = np.random.default_rng(3)
    texts = ["".join(random.choice(ALPHABET, random.integers(0, 80))) for _ in range(300)]
    assert tokens_of(texts) == plainly(texts)
    assert tokens_of(["x" * (LONGEST + 1) + " y", ""]) == [(0, 0, b"", False, False), (0, 0, b"y", False, False)]
    assert tokens_of(["a\x1eb\x1ec"], last_field=1) == plainly(["a\x1eb\x1ec"], last_field=1)


def test_equal_words_have_equal_hashes_whatever_their_case() -> None:
    found = Analyzer().analyze("NumPy numpy NUMPY.Array numpy-array")
    assert [term.text for term in found] == [
        "numpi",
        "numpi",
        "numpi",
        "array",
        "numpy.array",
        "numpi",
        "array",
        "numpy.array",
    ]
    assert [term.position for term in found] == [0, 1, 2, 3, 2, 4, 5, 4]


def test_scripts_are_told_apart_word_by_word() -> None:
    assert words_of("Straße—ＡＢＣ naïve’s") == ("strasse", "abc", "naïve", "s")
    assert words_of("東京都へ行く") == ("東京", "京都", "都へ", "へ行", "行く")
    assert words_of("東 x") == ("東", "x")
    assert [term.text for term in Analyzer("de").analyze("Die Häuser – schöne Häuser")] == [
        "die",
        "haus",
        "schon",
        "haus",
    ]
    assert Analyzer("xx").terms_of(b"Running") == ("running",)
    assert Analyzer("en").terms_of(b"__") == ()


def test_a_line_takes_a_place_and_a_dash_takes_none() -> None:
    assert [term.position for term in Analyzer().analyze("one two\n\nthree — four")] == [0, 1, 3, 4]


@pytest.mark.parametrize("code", sorted(SNOWBALL))
def test_every_listed_language_has_a_stemmer(code: str) -> None:
    assert known(code)
    assert stemmer(code) is not None, code


def test_stop_words_hold_no_names() -> None:
    assert {"the", "of", "is"} <= stop_words("en")
    assert not {"join", "block", "around", "c", "f"} & stop_words("en")
    assert {"und", "der"} <= stop_words("de")
    assert {"og"} <= stop_words("no")
    assert stop_words("xx") == frozenset()
