"""Snippets and marks by compiled loops are those that a slow reading of the same text finds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lakerank.search.query.presentation import LOOKED_AT, LOOKED_AT_FIRST, SIZE, Highlighter, _cut_out
from lakerank.search.text.words import normalized, spells, split_words

WORDS = {word: (word, 1.0 + n / 10) for n, word in enumerate(["ab", "a", "ba", "file", "b1", "ss"])}
PIECES = [
    "ab",
    "a",
    "b",
    "AB",
    "ba",
    "_",
    "_",
    " ",
    " ",
    ".",
    "\n",
    "1",
    "’",
    "“",
    "…",
    "é",
    "ß",
    "ﬁle",
    "漢",
    "\u00ad",
    "½",
    "·",
]


def parts_words(sign: str) -> bool:
    """Tell whether words end at a sign: ASCII that is in none, or what the normal form makes such."""
    if sign.isascii():
        return not (sign.isalnum() or sign == "_")
    folded = normalized(sign)
    return bool(folded) and not any(spells(one) for one in folded)


def marks(text: str) -> list[str]:
    """Find the words as they are defined, sign by sign."""
    runs, out = "".join(" " if parts_words(sign) else sign for sign in text).split(" "), []
    for run in runs:
        if run.isascii():
            out += [run] if run.lower() in WORDS else [one for one in run.split("_") if one.lower() in WORDS]
            continue
        folded = normalized(run)
        if run and (run[0] >= "\x80" or any(word[0] == run[0].lower() for word in WORDS)):
            found = [word for word in split_words(folded) if word in WORDS]
            out += found if all(len(normalized(sign)) == 1 for sign in run) else found[:1]
    return out


@pytest.mark.parametrize("seed", range(5))
def test_marks_are_the_words(seed: int) -> None:
    draw = random.Random(seed)
    texts = ["".join(draw.choices(PIECES, k=draw.randint(0, 60))) for _ in range(400)]
    for text, pieces in zip(texts, Highlighter(WORDS).highlight(texts), strict=True):
        assert "".join(piece for piece, _ in pieces) == text
        found = [piece for piece, match in pieces if match]
        wanted = marks(text)
        assert len(found) == len(wanted), (text, found, wanted)
        assert all(word in normalized(piece) for piece, word in zip(found, map(normalized, wanted), strict=True)), text


@pytest.mark.parametrize("seed", range(5))
def test_passages_are_those_of_each_text_alone(seed: int) -> None:
    """Texts that touch one another, longer and shorter than what is looked at first, with and without other letters."""
    draw = random.Random(seed)
    texts = []
    for size in (0, 3, 50, 3000, 4200, 9000, 50_000):
        fill = draw.choices(["xx ", "_", "q ", "é ", "’ "], weights=[20, 1, 5, draw.choice([0, 3]), 1], k=size)
        for _ in range(draw.randint(0, 9)):
            fill.insert(draw.randint(0, len(fill)), f" {draw.choice(list(WORDS))} ")
        text = bytearray(("".join(fill) + "ab"[: draw.randint(0, 2)]).encode())
        for cut in (LOOKED_AT_FIRST, LOOKED_AT):  # one word there would be cut by the slow reading
            text[cut - 8 : cut + 8] = b" " * len(text[cut - 8 : cut + 8])
        texts.append(np.frombuffer(bytes(text), np.uint8))
    ends = np.cumsum([len(text) for text in texts]).tolist()
    highlighter = Highlighter(WORDS)
    together = highlighter.snippets(np.concatenate(texts), list(zip([0, *ends[:-1]], ends, strict=True)))
    for text, snippet in zip(texts, together, strict=True):
        assert snippet == _cut_out(text, *highlighter._passage(text, 0.8 * SIZE), "", SIZE)


def test_a_match_far_below_is_shown_and_one_too_far_is_not() -> None:
    for before, shown in ((5000, True), (LOOKED_AT - 100, True), (LOOKED_AT + 100, False)):
        text = np.frombuffer(b"y " * (before // 2) + b"file " + b"y " * 500, np.uint8)
        assert ("file" in Highlighter(WORDS).snippets(text, [(0, len(text))])[0]) is shown


def test_all_of_a_long_text_is_marked() -> None:
    pieces = Highlighter(WORDS).highlight(["file ’file’ " * 5000])[0]
    assert sum(match for _, match in pieces) == 10_000
