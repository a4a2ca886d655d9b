"""Languages: which one a text is in, and the stemmer and the stop words of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import Stemmer
from stop_words import LANGUAGE_MAPPING, get_stop_words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# ISO 639-1 code → Snowball's name; a language that is not here is indexed by its words as they stand.
SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "eo": "esperanto", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "st": "sesotho", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
_STOP_LISTS = {"no": "nb", "nn": "nb", "cs": "cz"}  # what the library calls them
NONE = "none"  # as `--language`: no stemming and no stop words
_SAMPLE = 300  # characters; time grows with them, certainty hardly
_ENOUGH = 40  # letters; below that the page's own word counts
_SURE = 0.9  # probability; when a page's own word is overruled
_COMMON = 0.15  # share of stop words in a text that confirms the page's own word (other languages' stay below 0.1)
_WORD = re.compile(r"[^\W\d_]+")


def known(language: str) -> bool:
    """Tell whether there is a stemmer for a language code, or it is `none`."""
    return language == NONE or language in SNOWBALL


@cache
def stemmer(language: str) -> Stemmer.Stemmer | None:
    """Return the language's stemmer, or None."""
    name = SNOWBALL.get(language)
    return Stemmer.Stemmer(name) if name in Stemmer.algorithms() else None


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the language's stop words, lower case; empty if there is no list."""
    name = _STOP_LISTS.get(language, language)
    return frozenset(get_stop_words(name)) if name in LANGUAGE_MAPPING else frozenset()


def language_of(text: str, declared: str | None) -> str | None:
    """Detect the language of a text: what it looks like, if that is certain, else what the page declares.

    Args:
        text: the main content.
        declared: the page's `lang`, as it stands, e.g. `en-US`.

    Returns:
        ISO 639-1 code, or None if neither says anything.
    """
    code = (declared or "").strip().lower().replace("_", "-").partition("-")[0]
    code = code if len(code) == 2 and code.isalpha() and code.isascii() else ""
    start = max(0, min(len(text) // 4, 2000))  # the first lines are often names and dates
    words = _WORD.findall(text[start : start + 3 * _SAMPLE].lower())
    sample = " ".join(words)[:_SAMPLE]
    if len(sample) < _ENOUGH:
        return code or None
    if code and _share(words, stop_words(code)) > _COMMON:  # some hundred times faster than the model
        return code
    detected, certain = _identifier().classify(sample)
    return str(detected) if certain >= _SURE or not code else code


@cache
def _identifier() -> LanguageIdentifier:
    # Imported here because answering queries needs no detection, and loading the module takes a moment.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages([label for label in model.labels if len(label) == 2])  # ISO 639-1
    return model


def _share(words: Sequence[str], common: frozenset[str]) -> float:
    return sum(word in common for word in words) / len(words)
