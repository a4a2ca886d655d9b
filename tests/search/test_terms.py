"""Words, compounds and parts: the compiled tokenizer against a plain one, ASCII against ICU, what stands for what."""

from __future__ import annotations

import re

import numpy as np
import pytest
from icu4py.breakers import WordBreaker

from lakerank.search.text.analyzer import (
    BACK_SHIFT,
    CLASSES,
    COMPOUND,
    GAP,
    LONGEST,
    LOWER,
    PART,
    WHOLE,
    Analyzer,
    count_tokens,
    tokenize,
)
from lakerank.search.text.languages import SNOWBALL, known, stemmer, stop_words
from lakerank.search.text.words import (
    has_class,
    identifier_parts,
    normalized,
    split_words,
    sub_words,
    unaccented,
    word_classes,
)

ALPHABET = list("abZ09_ .-/:@,;()\n\té—漢’\x1e+#")
Token = tuple[int, int, bytes, bool, int]


def tokens_of(texts: list[str], last_field: int = 3) -> list[Token]:
    """(text, field, token, after a line's end, tokens in a compound or 0) of each token."""
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
    by_hash: dict[int, set[object]] = {}
    for i in range(n):
        token = raw[starts[i] : starts[i] + sizes[i]]
        compound = bool(flags[i] & COMPOUND)
        back = int(flags[i]) >> BACK_SHIFT if compound else 0
        out.append((int(rows[i]), int(fields[i]), token.lower(), bool(flags[i] & GAP) and not compound, back))
        by_hash.setdefault(int(hashes[i]), set()).add(Analyzer().terms_of(token, compound))
    assert all(len(same) == 1 for same in by_hash.values()), "a hash stands for the same terms"
    return out


def plainly(texts: list[str], last_field: int = 3) -> list[Token]:
    """The same by regular expressions over bytes."""
    out: list[Token] = []
    for row, text in enumerate(texts):
        for field, part in enumerate(text.encode().split(b"\x1e", last_field)):
            found = list(re.finditer(rb"[A-Za-z0-9_\x80-\xff]+", part))
            gap_from, chain = 0, 0
            for i, one in enumerate(found):
                begin, end = one.span()
                gap = b"\n" in part[gap_from:begin]
                token = part[begin:end]
                out.append((row, field, token.lower(), gap, 0))
                gap_from = end
                joined = i > 0 and re.fullmatch(rb"[.\-/:@]", part[found[i - 1].end() : begin]) is not None
                chain = chain if joined else i
                goes_on = re.match(rb"[.\-/:@][A-Za-z0-9_\x80-\xff]", part[end:]) is not None
                hyphen_next = goes_on and part[end : end + 1] == b"-"
                parts = i - chain + 1
                if joined:
                    hyphen = part[begin - 1 : begin] == b"-"
                    if not hyphen or (parts == 2 and not hyphen_next):
                        out.append((row, field, part[found[i - 1].start() : end].lower(), False, 2))
                    if parts > 2 and not hyphen_next:
                        out.append((row, field, part[found[chain].start() : end].lower(), False, parts))
                tail = re.match(rb"(\+\+|#)(?![A-Za-z0-9_\x80-\xff])", part[end:])
                head = not tail and not joined and re.search(rb"(?<![.\x80-\xff])\.\Z", part[:begin])
                if tail or head:
                    signed = part[begin - (1 if head else 0) : end + (len(tail[1]) if tail else 0)]
                    out.append((row, field, signed.lower(), False, 1))
    return out


def test_tokens_are_those_of_a_plain_tokenizer() -> None:
    random = np.random.default_rng(3)
    texts = ["".join(random.choice(ALPHABET, random.integers(0, 80))) for _ in range(400)]
    assert tokens_of(texts) == plainly(texts)
    assert tokens_of(["a\x1eb\x1ec"], last_field=1) == plainly(["a\x1eb\x1ec"], last_field=1)


def test_words_of_ascii_are_those_of_icu() -> None:
    """The fast path finds the words of UAX #29, where a word with signs within is several."""
    random = np.random.default_rng(5)
    signs = list("abcXYZ019_ .,:;'-/()\n\"!&@")
    for _ in range(300):
        text = "".join(random.choice(signs, random.integers(1, 60)))
        standard = [piece for word in WordBreaker(text, "root") for piece in re.findall(r"\w+", word)]
        fast = [term.text for term in Analyzer().analyze(text) if term.is_word]
        assert fast == [word.lower() for word in standard if word.strip("_")], text


def test_simple_letters_are_what_icu_makes_of_them() -> None:
    random = np.random.default_rng(6)
    letters = list("aéßøžñçαβγдежиאבجدհ19")
    for _ in range(300):
        text = normalized("".join(random.choice(letters, random.integers(1, 12))))
        assert split_words(text) == [word for word in WordBreaker(text, "root") if word.isalnum()]


def test_equal_words_are_equal_whatever_their_case_and_names_have_parts() -> None:
    found = Analyzer().analyze("NumPy numpy NUMPY.Array e-mail")
    assert [(term.text, term.position) for term in found if term.is_word] == [
        ("numpy", 0), ("numpy", 1), ("numpy", 2), ("array", 3), ("e", 4), ("mail", 5),
    ]  # fmt: skip
    assert [(term.text, term.position) for term in found if term.kind == WHOLE] == [("numpy.array", 2), ("email", 4)]
    assert [term.text for term in found if term.kind == PART] == ["num", "py"]


@pytest.mark.parametrize(
    ("text", "wholes", "parts"),
    [
        ("np.linalg.svd", ["np.linalg", "linalg.svd", "np.linalg.svd"], []),
        ("read_csv", [], ["read", "csv"]),
        ("getElementById", [], ["get", "element", "by", "id"]),
        ("HTMLParser", [], ["html", "parser"]),
        ("C++ and C#", ["c++", "c#"], []),
        ("on .NET", [".net"], []),
        ("version 2.5.1", ["2.5", "5.1", "2.5.1"], []),
        (
            "jane.doe@example.org",
            ["jane.doe", "doe.example", "jane.doe.example", "example.org", "jane.doe.example.org"],
            [],
        ),
        ("state-of-the-art", ["stateoftheart"], []),
        ("a - b, c++d, x#y", [], []),
        ("__init__", [], []),
    ],
)
def test_compounds_and_parts(text: str, wholes: list[str], parts: list[str]) -> None:
    found = Analyzer("en").analyze(text)
    assert sorted(term.text for term in found if term.kind == WHOLE) == sorted(wholes)
    assert [term.text for term in found if term.kind == PART] == parts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Straße—ＡＢＣ naïve’s", ["strasse", "abc", "naïve", "s"]),
        ("Donau\u00addampf\u00adschiff", ["donaudampfschiff"]),
        ("東京は日本の首都であり", ["東京", "は", "日本", "の", "首都", "で", "あり"]),
        ("推荐系统", ["推荐", "系统"]),
        ("โปรแกรมค้นหา", ["โปรแกรม", "ค้นหา"]),
        ("검색 엔진은", ["검색", "엔진은"]),
        ("खोज इंजन", ["खोज", "इंजन"]),
        ("اللُّغَةُ العَرَبِيَّةُ", ["اللُّغَةُ", "العَرَبِيَّةُ"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("l’été qu'il", ["l", "été", "qu", "il"]),
        ("𠮷野家 ｶﾞｲﾄﾞ", ["𠮷", "野家", "ガイド"]),
        ("x² ½", ["x2", "1", "2"]),
    ],
)
def test_words_of_all_scripts(text: str, words: list[str]) -> None:
    import unicodedata

    found = [term.text for term in Analyzer().analyze(text) if term.is_word]
    assert found == [unicodedata.normalize("NFKC", word) for word in words]


def test_long_runs_are_not_lost() -> None:
    chinese = "推荐系统用于预测用户对物品的评分" * 40
    assert len([term for term in Analyzer().analyze(chinese) if term.is_word]) > 250
    key = "k" * (LONGEST + 50)
    (term,) = Analyzer().analyze(key)
    assert term.text == key[:LONGEST]
    german = "donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
    assert [term.text for term in Analyzer().analyze(german)] == [german]


def test_what_stands_within_words_without_spaces() -> None:
    assert sub_words(["東京", "都"]) == ["東京", "京都", "東", "京", "都"]
    assert sub_words(["東京", "x", "都"]) == ["東京", "東", "京"]
    assert sub_words(["검색은"]) == ["검색", "색은"]
    assert sub_words(["ค้นหา"]) == ["ค้นห", "นหา"], "marks stay with their letters"
    assert sub_words(["naïve"]) == []


def test_case_is_folded_by_the_language() -> None:
    assert normalized("ISPARTA İZMİR", "tr") == "ısparta izmir"
    assert normalized("ISPARTA") == "isparta"
    turkish = [term.text for term in Analyzer("tr").analyze("ISPARTA Isparta")]
    assert turkish == ["ısparta", "ısparta"]
    assert normalized("Σίσυφος ΣΊΣΥΦΟΣ").split()[0] == normalized("Σίσυφος ΣΊΣΥΦΟΣ").split()[1]


def test_the_weaker_form_has_neither_ending_nor_accents() -> None:
    assert word_classes(["häuser", "haus"], "de") == ["haus", "haus"]
    assert word_classes(["élèves", "eleves"], "xx") == ["eleves", "eleves"]
    assert unaccented("اللُّغَةُ") == unaccented("اللغة")
    assert unaccented("ısparta") == unaccented("i̇sparta") == "isparta"
    assert unaccented("कि") == "कि", "a vowel of Devanagari is no accent"
    assert unaccented("ガ") == unaccented("ガ")
    assert [has_class(word) for word in ("cats", "été", "कि", "x2", "read_csv", "np.linalg", "推荐", "엔진")] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert identifier_parts("numpy") == []


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
