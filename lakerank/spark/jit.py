"""Inner loops compiled by numba, kept on disk between processes where there is a place for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """Compile by `njit` with a cache, so that each new Python worker loads the loop instead of compiling it.

    Code that was imported from a zip, such as a wheel given by `--py-files`, has no folder for the cache: there
    each worker compiles it once.
    """

    def decorate(function: F) -> F:
        try:
            return cast(F, njit(cache=True, **options)(function))
        except RuntimeError:  # numba: no locator available
            return cast(F, njit(**options)(function))

    return decorate
