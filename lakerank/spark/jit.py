"""Inner loops compiled by numba, kept on disk between processes where there is a place for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.core.registry import CPUDispatcher

F = TypeVar("F", bound=Callable[..., Any])
_CONSTANTS = (int, float, str, bytes, tuple, np.generic)


def compiled(**options: Any) -> Callable[[F], F]:
    """Compile by `njit` with a cache, so that each new Python worker loads the loop instead of compiling it.

    Code that was imported from a zip, such as a wheel given by `--py-files`, has no folder for the cache: there
    each worker compiles it once.
    """

    def decorate(function: F) -> F:
        try:
            found = njit(cache=True, **options)(function)
        except RuntimeError:  # numba: no locator available
            return cast(F, njit(**options)(function))
        # numba compares the time and the size of the loop's own file: a constant that changed in another file would go
        # unnoticed, and files of wheels all have the same time.
        kept = found._cache._cache_file
        kept._source_stamp = (kept._source_stamp, _made_from(function))
        return cast(F, found)

    return decorate


def _made_from(function: Callable[..., Any]) -> str:
    """Digest a loop's code, the constants that it takes from its module, and the same of the loops that it calls."""
    code = function.__code__
    digest = hashlib.sha256(code.co_code)
    for constant in code.co_consts:  # of comprehensions the code: how it is written has its place in memory
        digest.update(constant.co_code if isinstance(constant, CodeType) else repr(constant).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, CPUDispatcher):
            digest.update(f"{name} {_made_from(value.py_func)}".encode())
        elif isinstance(value, np.ndarray):
            digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
        elif isinstance(value, _CONSTANTS):
            digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()
