"""Addresses by the WHATWG URL standard, as browsers take them (the ada library)."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

import ada_url
import xxhash

# What a path segment may hold besides letters and digits; all else of a file's name is percent-encoded.
_IN_PATH = "/-_.~!$&'()*+,;=:@"
LONGEST = 8000  # characters of an address that is kept: what RFC 9110 asks servers and clients to take
_REMEMBERED = 1000  # characters of one that is worth remembering
_WEB = ("http://", "https://")
_SEED = 42  # of Spark's xxhash64: either side may make an id


def parse(url: str, base: str | None = None) -> str | None:
    """Bring an address into its one standard form, fragment and all; None if it is none.

    Args:
        url: as written, relative if there is a base.
        base: an absolute address.
    """
    try:
        return str(ada_url.join_url(base, url) if base is not None else ada_url.normalize_url(url))
    except (ValueError, UnicodeError):
        return None


def page_address(url: str, base: str | None = None) -> str | None:
    """Return an http(s) address without its fragment, which is what identifies a page; None for any other address.

    One of more than `LONGEST` characters is none: with such a `<base>` each of a page's links would become a page's
    size.
    """
    found = parse(url, base)
    if found is None or not found.startswith(_WEB):
        return None
    address = found.partition("#")[0]
    return address if len(address) <= LONGEST else None


@lru_cache(maxsize=1 << 16)
def _in_folder(url: str, folder: str) -> str | None:
    return page_address(url, folder)


def folder_of(base: str) -> str:
    """Return an address up to the last slash of its path, below which most relative links are."""
    path = base.partition("?")[0]
    return path[: path.rfind("/") + 1]


def link_address(url: str, base: str, folder: str) -> str | None:
    """Return the `page_address` of a link, remembered: menus link alike from all pages of a folder.

    Args:
        url: a link's `href` as it stands.
        base: the page's address (or its `<base>`), in standard form.
        folder: of that.
    """
    if (
        not url or url[0] in "?# \t\r\n" or len(url) + len(folder) > _REMEMBERED
    ):  # the page's own name counts, not only its folder
        return page_address(url, base)
    return _in_folder(url, folder)


def of_file(relative: str, base: str) -> str | None:
    """Return the address of a file in a folder: its percent-encoded path, joined to the base address."""
    return page_address("./" + quote(relative, safe=_IN_PATH), base)


@lru_cache(maxsize=1 << 16)
def _known_id(url: str) -> int:
    return page_id(url)


def link_id(url: str) -> int:
    """Return the `page_id` of a link's address, remembered: menus lead from all pages to the same ones."""
    return _known_id(url) if len(url) <= _REMEMBERED else page_id(url)


def page_id(url: str) -> int:
    """Hash an address to its id: xxHash64, as Spark's `xxhash64` gives it, int64."""
    number = xxhash.xxh64_intdigest(url.encode(errors="replace"), _SEED)
    return number - (1 << 64) if number >> 63 else number
