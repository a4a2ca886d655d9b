"""Word classes: what the inflections and spellings of a word share, as terms beside the words themselves.

Segments have words as they are written. When an index is opened, the words of each language's pages that have the same
stem without accents are joined to one more term, with pages and frequencies of them all. So a query need not be in the
language of the page that it finds, and the form as it is written always weighs more than its relatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.search.text.languages import NONE
from lakerank.search.text.words import class_language, has_class, unaccented, word_classes
from lakerank.spark.array_store import Block
from lakerank.spark.jit import compiled

CLASS_SIGN = "\x01"  # around the language at a class's name, which no word has: classes come before all words


def class_name(language: str, key: str) -> str:
    """Return the term of a class: its language (of `class_language`) and what its words share."""
    return f"{CLASS_SIGN}{language}{CLASS_SIGN}{key}"


def classes_of(word: str, languages: Sequence[str]) -> list[str]:
    """Return the terms of the classes that a word may be in, for pages in these languages, each once.

    With its accents a word may have another stem than without (`résumé`, `resume`), so it is looked for in three ways.
    """
    if not has_class(word):
        return []
    kinds = dict.fromkeys(class_language(language) for language in languages if language != NONE)
    bare = unaccented(word)
    keys = ((kind, key) for kind in kinds for key in (*word_classes([word, bare], kind), bare))
    return [class_name(kind, key) for kind, key in dict.fromkeys(keys)]


def readable(term: str) -> str:
    """Return a term as people read it: of a class `stem…`."""
    return term.rpartition(CLASS_SIGN)[2] + "…" if term.startswith(CLASS_SIGN) else term


def page_languages(languages: pa.ChunkedArray, forced: str) -> tuple[NDArray[np.int32], list[str], list[int]]:
    """Count the languages that pages are analysed in: number of each page's, their codes by frequency, their pages."""
    codes = [forced] * len(languages) if forced else [code or "" for code in languages.to_pylist()]
    counts: dict[str, int] = {}
    for code in codes:
        counts[code] = counts.get(code, 0) + 1
    ordered = sorted(counts, key=lambda code: (-counts[code], code))
    numbers = {code: number for number, code in enumerate(ordered)}
    return np.array([numbers[code] for code in codes], np.int32), ordered, [counts[code] for code in ordered]


def with_classes(
    block: Block, names: pa.Array, numbers: NDArray[np.int32], languages: Sequence[str]
) -> tuple[Block, Any]:
    """Put the classes before the terms of an index.

    Args:
        block: `ends`, `docs`, `tfs`, `position_ends` of the words.
        names: of the terms, sorted.
        numbers, languages: of `page_languages`.

    Returns:
        The four arrays anew, with `class_forms`, the words of each class, up to `class_form_ends`; and all names,
        sorted by their bytes.
    """
    kinds = list(dict.fromkeys(class_language(code) for code in languages if code != NONE))
    kind_of = np.array([kinds.index(class_language(code)) if code != NONE else -1 for code in languages], np.int32)
    page_kinds = kind_of[numbers] if len(numbers) else np.empty(0, np.int32)
    terms = names.to_pylist()
    wanted = np.array([has_class(term) for term in terms], np.bool_)
    ends, docs, tfs = block["ends"], block["docs"], block["tfs"]
    pair_terms, pair_kinds, pair_sizes = term_kinds(ends, docs, page_kinds, wanted, max(len(kinds), 1))
    if not len(pair_terms):
        return block | {"class_forms": np.empty(0, np.int32), "class_form_ends": np.empty(0, np.int64)}, names
    keys = np.empty(len(pair_terms), object)
    for number, kind in enumerate(kinds):
        at = np.flatnonzero(pair_kinds == number)
        keys[at] = [class_name(kind, key) for key in word_classes([terms[i] for i in pair_terms[at].tolist()], kind)]
    coded = pa.array(keys, pa.string()).dictionary_encode()
    rank_of = np.empty(len(coded.dictionary), np.int64)
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank_of[order] = np.arange(len(order))
    classes = rank_of[coded.indices.to_numpy()]
    by_class = np.argsort(classes, kind="stable")
    class_ends = np.cumsum(np.bincount(classes, minlength=len(order)))
    size = int(pair_sizes.sum())
    new_docs, new_tfs = np.empty(size, np.int32), np.empty((size, tfs.shape[1]), np.uint16)
    new_ends = np.empty(len(order), np.int64)
    size = join_postings(
        pair_terms[by_class], pair_kinds[by_class], class_ends, ends, docs, tfs, page_kinds, new_docs, new_tfs, new_ends
    )
    forms = pair_terms[by_class].astype(np.int32) + np.int32(len(order))
    joined: Block = {
        "class_forms": forms,
        "class_form_ends": class_ends.astype(np.int64),
        "ends": np.concatenate([new_ends, ends + size]),
        "docs": np.concatenate([new_docs[:size], docs]),
        "tfs": np.concatenate([new_tfs[:size], tfs]),
        "position_ends": np.concatenate([np.zeros(size, np.int64), block["position_ends"]]),
    }
    names = pa.concat_arrays([coded.dictionary.take(pa.array(order)), names])
    return block | joined, names


@compiled(nogil=True)
def term_kinds(
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    page_kinds: NDArray[np.int32],
    wanted: NDArray[np.bool_],
    kinds: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Find in pages of which kinds each wanted term stands: terms, kinds, and in how many pages; by term."""
    room = 1024
    terms, found, sizes = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64)
    n, counts = 0, np.zeros(kinds, np.int64)
    begin = 0
    for term in range(len(ends)):
        if wanted[term]:
            for at in range(begin, ends[term]):
                kind = page_kinds[docs[at]]
                if kind >= 0:
                    counts[kind] += 1
            for kind in range(kinds):
                if counts[kind]:
                    if n == room:
                        room *= 2
                        more_terms, more_found = np.empty(room, np.int32), np.empty(room, np.int32)
                        more_sizes = np.empty(room, np.int64)
                        more_terms[:n], more_found[:n], more_sizes[:n] = terms[:n], found[:n], sizes[:n]
                        terms, found, sizes = more_terms, more_found, more_sizes
                    terms[n], found[n], sizes[n] = term, kind, counts[kind]
                    counts[kind] = 0
                    n += 1
        begin = ends[term]
    return terms[:n], found[:n], sizes[:n]


@compiled(nogil=True)
def join_postings(
    terms: NDArray[np.int32],
    kinds: NDArray[np.int32],
    class_ends: NDArray[np.int64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    tfs: NDArray[np.uint16],
    page_kinds: NDArray[np.int32],
    docs_out: NDArray[np.int32],
    tfs_out: NDArray[np.uint16],
    ends_out: NDArray[np.int64],
) -> int:
    """Join the postings of the terms of each class: pages ascending, frequencies added up by field.

    Args:
        terms, kinds: int32, by class, of which `class_ends` says where each ends; a page counts if it is of the kind.
        ends, docs, tfs, page_kinds: of the index. docs_out, tfs_out: out, large enough. ends_out: out, of the classes.

    Returns:
        How many postings there are.
    """
    n, pair, fields = 0, 0, tfs.shape[1]
    sums = np.zeros((len(page_kinds), fields), np.int64)
    touched = np.empty(len(page_kinds), np.int32)
    seen = np.full(len(page_kinds), -1, np.int64)
    for one in range(len(class_ends)):
        count, single = 0, class_ends[one] - pair == 1
        while pair < class_ends[one]:
            term, kind = terms[pair], kinds[pair]
            begin = ends[term - 1] if term > 0 else 0
            for at in range(begin, ends[term]):
                doc = docs[at]
                if page_kinds[doc] != kind:
                    continue
                if single:
                    docs_out[n] = doc
                    for field in range(fields):
                        tfs_out[n, field] = tfs[at, field]
                    n += 1
                    continue
                if seen[doc] != one:
                    seen[doc] = one
                    touched[count] = doc
                    count += 1
                    for field in range(fields):
                        sums[doc, field] = tfs[at, field]
                else:
                    for field in range(fields):
                        sums[doc, field] += tfs[at, field]
            pair += 1
        if count:
            part = np.sort(touched[:count])
            for doc in part:
                docs_out[n] = doc
                for field in range(fields):
                    tfs_out[n, field] = min(sums[doc, field], 65535)
                n += 1
        ends_out[one] = n
    return n
