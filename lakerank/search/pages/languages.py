"""The language a text is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from lakerank.search.text.languages import stop_words

_SAMPLE = 300  # characters; time grows with them, certainty hardly
_ENOUGH = 40  # letters; below that the page's own word counts
_SURE = 0.9  # probability; when a page's own word is overruled
_COMMON = 0.15  # share of stop words in a text that confirms the page's own word (other languages' stay below 0.1)
_CODE = re.compile(r"[^\W\d_]+")


@cache
def _identifier() -> LanguageIdentifier:
    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages([code for code in made.labels if len(code) == 2])  # ISO 639-1
    return made


def language_of(text: str, declared: str | None) -> str | None:
    """ISO 639-1 code: what the text looks like, if that is certain, else what the page says.

    Args:
        text: the main content.
        declared: the page's `lang`, as it stands, e.g. `en-US`.
    """
    word = (declared or "").strip().lower().replace("_", "-").partition("-")[0]
    word = word if len(word) == 2 and word.isalpha() and word.isascii() else ""
    start = max(0, min(len(text) // 4, 2000))  # the first lines are often names and dates
    words = _CODE.findall(text[start : start + 3 * _SAMPLE].lower())
    sample = " ".join(words)[:_SAMPLE]
    if len(sample) < _ENOUGH:
        return word or None
    if word and _share(words, stop_words(word)) > _COMMON:  # some hundred times faster than the model
        return word
    code, certain = _identifier().classify(sample)
    return str(code) if certain >= _SURE or not word else word


def _share(words: Sequence[str], common: frozenset[str]) -> float:
    return sum(word in common for word in words) / len(words)
