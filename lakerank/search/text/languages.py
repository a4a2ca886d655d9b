"""Which stemmer and which stop words a language has."""

from __future__ import annotations

from functools import cache

import Stemmer
from stop_words import LANGUAGE_MAPPING, get_stop_words

# ISO 639-1 code → Snowball's name; a language that is not here is indexed by its words as they stand.
SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian",
    "ne": "nepali", "nl": "dutch", "nn": "norwegian", "no": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
_STOP_LISTS = {"no": "nb", "nn": "nb", "cs": "cz"}  # what the library calls them
NONE = "none"  # as `--language`: no stemming and no stop words


def known(language: str) -> bool:
    """Whether there is a stemmer for a language code, or it is `none`."""
    return language == NONE or language in SNOWBALL


@cache
def stemmer(language: str) -> Stemmer.Stemmer | None:
    """The language's stemmer, or None."""
    name = SNOWBALL.get(language)
    return Stemmer.Stemmer(name) if name in Stemmer.algorithms() else None


@cache
def stop_words(language: str) -> frozenset[str]:
    """The language's stop words, lower case; empty if there is no list."""
    name = _STOP_LISTS.get(language, language)
    return frozenset(get_stop_words(name)) if name in LANGUAGE_MAPPING else frozenset()
