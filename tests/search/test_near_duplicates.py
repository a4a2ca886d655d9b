"""Near-duplicates: sets, MinHash and groups against plain Python, and one result from both plans."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import SHARED
from pyspark.sql import DataFrame, SparkSession
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lakerank.cli.errors import UserError
from lakerank.search.near_duplicates import duplicates, mark_duplicates, near_pairs, shingles
from lakerank.search.near_duplicates.shingles import Banding, signatures

WORD = re.compile(r"[^\W_]+")
Pairs = dict[tuple[int, int], float]
Copies = dict[int, tuple[int, float]]
# Each is .83 like the next, .69 like the next but one: 100, 120, 144 and 172 shingles, each set in the next.
CHAIN = [" ".join(f"w{n}" for n in range(size + 4)) for size in (100, 120, 144, 172)]


def sets_of(documents: list[str], width: int = 5) -> list[set[tuple[str, ...]]]:
    """The definition in plain Python."""
    words = [WORD.findall(document.lower()) for document in documents]
    return [{tuple(w[i : i + width]) for i in range(max(len(w) - width + 1, bool(w)))} for w in words]


def by_hand(documents: list[str], threshold: float, width: int = 5) -> Pairs:
    """All pairs at or above the threshold."""
    sets = sets_of(documents, width)
    found = {}
    for a, b in combinations(range(len(sets)), 2):
        common = len(sets[a] & sets[b])
        if common and common / (len(sets[a]) + len(sets[b]) - common) >= threshold:
            found[a, b] = common / (len(sets[a]) + len(sets[b]) - common)
    return found


def groups_by_hand(documents: list[str], urls: list[str], threshold: float) -> Copies:
    """Copy → (original, similarity), of pages numbered from 0."""
    pairs = np.array([*by_hand(documents, threshold)] or np.empty((0, 2)), np.int64)
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), (len(documents), len(documents)))
    label = connected_components(graph, directed=False)[1]
    sets = sets_of(documents)
    copies = {}
    for page in range(len(documents)):
        group = np.flatnonzero(label == label[page]).tolist()
        original = min(group, key=lambda other: (len(urls[other]), urls[other]))
        if original != page:
            both = sets[page] | sets[original]
            copies[page] = (original, len(sets[page] & sets[original]) / len(both))
    return copies


def near_pairs_of(documents: list[str], threshold: float = 0.8, width: int = 5) -> Pairs:
    """`near_pairs` as `by_hand` gives it."""
    ends, alike = near_pairs(documents, threshold, width)
    found = {(a, b): s for (a, b), s in zip(ends.tolist(), alike.tolist(), strict=True)}
    assert list(found) == sorted(found)
    assert len(found) == len(ends), "a pair was found twice"
    return found


def edited_texts(seed: int, sources: int = 40, copies: int = 4, words: int = 120) -> list[str]:
    """Made-up texts, and copies of them with 0 to 6% of the words replaced."""
    rng = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(900)]
    out = []
    for _ in range(sources):
        text = rng.choices(vocabulary, k=rng.randint(3, words))
        out.append(" ".join(text))
        for _ in range(copies):
            rate = rng.uniform(0, 0.06)
            out.append(" ".join(rng.choice(vocabulary) if rng.random() < rate else word for word in text))
    return out


def replaced_texts() -> list[str]:
    """One text with different words replaced: all fall into the same buckets, few are alike."""
    rng = random.Random(4)
    documents = []
    for number in range(60):
        words = [f"s{n}" for n in range(120)]
        for edit in range(2):
            words[rng.randrange(120)] = f"u{number}.{edit}"
        documents.append(" ".join(words))
    return documents


def page_table(documents: list[str], urls: list[str] | None = None) -> pa.Table:
    """Pages numbered from 0."""
    urls = urls or [f"https://a.org/{n}" for n in range(len(documents))]
    return pa.table({"page_id": pa.array(range(len(documents)), pa.int64()), "url": urls, "text": documents})


def frame(spark: SparkSession, documents: list[str], urls: list[str] | None = None) -> DataFrame:
    """Pages numbered from 0, in two partitions."""
    return spark.createDataFrame(page_table(documents, urls)).repartition(2)


def marked(pages: DataFrame, threshold: float = 0.8, **settings: Any) -> Copies:
    """`mark_duplicates` as a dictionary."""
    result = mark_duplicates(pages, threshold, **settings)
    assert result.schema.simpleString() == "struct<page_id:bigint,duplicate_of:bigint,similarity:double>"
    rows = result.collect()
    copies = {row["page_id"]: (row["duplicate_of"], row["similarity"]) for row in rows}
    assert len(copies) == len(rows), "a page was marked twice"
    return copies


def encoded(documents: list[str], urls: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """What workers hand to the one task."""
    batch = page_table(documents, urls).to_batches()[0]
    return shingles.encode(iter([batch.slice(0, 3), batch.slice(3)]), banding=Banding.for_threshold(0.8), width=5)


def solved(documents: list[str], urls: list[str] | None = None) -> Copies:
    """`mark_duplicates` without Spark."""
    found = duplicates.solve(encoded(documents, urls), threshold=0.8, limit=256)
    rows = [row for batch in found for row in batch.to_pylist()]
    return {row["page_id"]: (row["duplicate_of"], row["similarity"]) for row in rows}


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_pairs_are_those_found_by_comparing_all(threshold: float) -> None:
    documents = edited_texts(seed=int(threshold * 100))
    wanted = by_hand(documents, threshold)
    assert len(wanted) > 20
    assert near_pairs_of(documents, threshold) == wanted


@pytest.mark.parametrize("width", [1, 2, 9])
def test_other_shingles(width: int) -> None:
    documents = edited_texts(seed=width)
    assert near_pairs_of(documents, 0.7, width) == by_hand(documents, 0.7, width)


@pytest.mark.skipif(not (SHARED / "ir" / "cisi").exists(), reason="needs ../shared/data/ir")
def test_real_texts_with_edits() -> None:
    lines = (SHARED / "ir" / "cisi" / "docs.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    rng = random.Random(1)
    documents = []
    for line in lines:
        words = json.loads(line)["text"].split()
        documents.append(" ".join(words))
        documents.append(" ".join(word for word in words if rng.random() > 0.02))
    wanted = by_hand(documents, 0.8)
    assert 50 < len(wanted) < 300  # half of the copies are close to the threshold
    assert near_pairs_of(documents) == wanted


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Straße  nach\tKÖLN, 4 km weit weg", "straße nach köln 4 km weit weg!"),
        ("ΣΟΦΙΑ και Ἀλήθεια for all of us", "σοφια και ἀλήθεια — for “all” of us"),
        ("snake_case and don't stop here", "snake case and don t stop here"),
        ("one two", "One. Two."),
    ],
)
def test_case_and_punctuation_do_not_count(a: str, b: str) -> None:
    assert near_pairs_of([a, b], 1.0) == {(0, 1): 1.0}


def test_short_texts_are_one_shingle() -> None:
    assert near_pairs_of(["one two", "one two three", "two one", "one two"], 0.5) == {(0, 3): 1.0}


def test_texts_without_words_copy_nothing() -> None:
    assert near_pairs_of(["", "", " \n", "…—!", "a b"], 0.1) == {}
    assert near_pairs_of([], 0.8) == {}
    assert near_pairs_of([""], 0.8) == {}


def test_scripts_without_spaces_are_compared_by_character() -> None:
    sentence = "情報検索は大量の文書の集まりから利用者の求めるものを見つけ出す技術であるといわれている"
    other = sentence[:-2] + "きた"
    ((ends, similarity),) = near_pairs_of([sentence, other, sentence[::-1]], 0.7).items()
    shingled = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (sentence, other)]
    assert ends == (0, 1)
    assert similarity == len(shingled[0] & shingled[1]) / len(shingled[0] | shingled[1])


def test_broken_utf8_is_read_to_its_end_and_no_further() -> None:
    raw = [b"one two three four five \xe2\x82", b"\xff\xfe\xf0\x9f six seven", b"\x80" * 7, b"one two three four five"]
    array = pa.array(raw, pa.binary()).view(pa.string())
    found = shingles.shingle(array, Banding.for_threshold(0.8), 5)
    assert np.diff(found.ptr).tolist()[0] == 1
    # The neighbour's bytes must not leak into a text: each alone gives what it gives among others.
    for number, one in enumerate(raw):
        alone = shingles.shingle(pa.array([one], pa.binary()).view(pa.string()), Banding.for_threshold(0.8), 5)
        assert alone.sets.tolist() == found.sets[found.ptr[number] : found.ptr[number + 1]].tolist()


def test_equal_minhash_values_estimate_the_similarity() -> None:
    factor, summand = Banding(25, 5).permutations()
    rng = np.random.default_rng(3)
    for similarity in (0.2, 0.5, 0.8):
        shares = []
        for _ in range(60):
            common, own = int(600 * similarity), int(600 * (1 - similarity) / 2)
            numbers = rng.integers(0, 1 << 63, common + 2 * own, dtype=np.uint64)
            a, b = np.sort(numbers[: common + own]), np.sort(np.delete(numbers, slice(common, common + own)))
            least = signatures(np.array([0, len(a), len(a) + len(b)]), np.concatenate([a, b]), factor, summand)
            shares.append((least[0] == least[1]).mean())
        error = (similarity * (1 - similarity) / 125 / 60) ** 0.5
        assert abs(np.mean(shares) - similarity) < 4 * error
        # Independent values: the estimates spread as a binomial does.
        assert np.std(shares) == pytest.approx((similarity * (1 - similarity) / 125) ** 0.5, rel=0.4)


@pytest.mark.parametrize("threshold", [0.1, 0.33, 0.5, 0.8, 0.9, 1.0])
def test_bands_find_the_threshold_and_are_as_long_as_they_can_be(threshold: float) -> None:
    chosen = Banding.for_threshold(threshold)
    assert chosen.recall(threshold) >= 0.999
    assert chosen.bands * chosen.rows <= 128
    longer = Banding(128 // (chosen.rows + 1), chosen.rows + 1)
    assert threshold == 1 or longer.recall(threshold) < 0.999


def test_known_banding() -> None:
    assert Banding.for_threshold(0.8) == Banding(25, 5)
    assert 1 - Banding(25, 5).recall(0.8) == pytest.approx(4.9e-5, rel=0.01)


@pytest.mark.parametrize("bad", [0.0, 0.09, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_the_users_mistake(bad: float) -> None:
    with pytest.raises(UserError, match=r"it must be 0\.1 to 1"):
        near_pairs(["a"], bad)


@pytest.mark.connect
def test_groups_and_originals_by_both_plans(spark: SparkSession) -> None:
    documents = [*edited_texts(seed=5), *CHAIN, *["one text many times"] * 200, "", "", "!"]
    rng = random.Random(5)
    urls = [f"https://a.org/{rng.choice(['é', 'z', 'x/y', ''])}{rng.randrange(10**6)}" for _ in documents]
    wanted = groups_by_hand(documents, urls, 0.8)
    assert len(wanted) > 60 + 200
    assert min(similarity for _, similarity in wanted.values()) < 0.8  # joined through others only
    pages = frame(spark, documents, urls)
    assert marked(pages) == wanted
    assert marked(pages, one_task_bytes=0) == wanted


def test_a_chain_is_one_group_and_everyone_names_the_same_original() -> None:
    urls = ["https://a.org/long", "https://a.org/z", "https://a.org/x", "https://a.org/a/long"]
    assert solved(CHAIN, urls) == {0: (2, 100 / 144), 1: (2, 120 / 144), 3: (2, 144 / 172)}


def test_exact_copies_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"w{n}" for n in range(50))
    documents = [text] * 3000 + [text.replace("w49", "v")] + ["".join(f"u{k}{n} " for n in range(9)) for k in range(20)]
    seen: list[int] = []
    real = duplicates.join_with_first
    monkeypatch.setattr(duplicates, "join_with_first", lambda order, *a: (seen.append(len(order)), real(order, *a)))
    assert solved(documents) == dict.fromkeys(range(1, 3000), (0, 1.0)) | {3000: (0, 45 / 47)}
    assert set(seen) == {22}


def test_the_order_of_pages_does_not_matter() -> None:
    batch = pa.Table.from_batches(encoded(replaced_texts()))
    outcome = []
    for seed in range(4):
        shuffled = batch.take(np.random.default_rng(seed).permutation(batch.num_rows))
        found = duplicates.solve(iter(shuffled.to_batches(max_chunksize=7)), threshold=0.8, limit=1)
        outcome.append(sorted(tuple(row.values()) for some in found for row in some.to_pylist()))
    assert all(outcome)
    assert outcome[1:] == outcome[:1] * 3


def test_pages_that_only_share_buckets_are_compared_too() -> None:
    documents = replaced_texts()
    wanted = groups_by_hand(documents, page_table(documents).column("url").to_pylist(), 0.8)
    assert len(wanted) > 10
    assert solved(documents) == wanted


def test_large_texts_are_encoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = edited_texts(seed=2, sources=10)
    whole = pa.Table.from_batches(encoded(documents))
    monkeypatch.setattr(shingles, "_TEXT_BYTES", 900)
    pieces = list(encoded(documents))
    assert len(pieces) > 10
    assert pa.Table.from_batches(pieces).equals(whole)


def across_limits(limit: int, size: int) -> list[tuple[int, int]]:
    """Pairs for two buckets of pages with their groups, handed over `size` rows at a time."""
    rows = [(1, page, group) for page, group in ((10, 10), (11, 10), (20, 20), (30, 30), (31, 30))]
    rows += [(2, page, 5) for page in (5, 6, 7)] + [(3, 40, 40), (3, 41, 41)]
    table = pa.table(dict(zip(("bucket", "set_id", "label"), map(list, zip(*rows, strict=True)), strict=True)))
    found = duplicates.across(iter(table.to_batches(max_chunksize=size)), limit=limit)
    return [tuple(row.values()) for batch in found for row in batch.to_pylist()]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_only_pages_of_different_groups_meet_and_no_more_than_the_limit(size: int) -> None:
    everybody = [(10, 20), (11, 20), (10, 30), (11, 30), (20, 30), (10, 31), (11, 31), (20, 31), (40, 41)]
    assert across_limits(256, size) == everybody
    assert across_limits(1, size) == [(11, 20), (20, 30), (20, 31), (40, 41)]


def test_both_plans_stop_at_the_same_limit(spark: SparkSession) -> None:
    documents = replaced_texts()
    pages = frame(spark, documents)
    some = marked(pages, limit=1)
    assert 0 < len(some) < len(solved(documents))
    assert some == marked(pages, limit=1, one_task_bytes=0)


def test_nothing_to_mark(spark: SparkSession) -> None:
    assert marked(frame(spark, ["", "one text only"]), one_task_bytes=0) == {}
    assert marked(frame(spark, [""])) == {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda df: df.drop("text"), "`text` is missing"),
        (lambda df: df.withColumnRenamed("url", "text2"), "`url` is missing"),
        (lambda df: df.selectExpr("CAST(page_id AS string) page_id", "url", "text"), "`page_id` is string"),
    ],
)
def test_a_frame_of_another_shape_is_refused(
    spark: SparkSession, spoil: Callable[[DataFrame], DataFrame], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        mark_duplicates(spoil(frame(spark, ["a", "b"])))
