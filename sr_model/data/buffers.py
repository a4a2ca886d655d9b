"""Memory that is used again: fresh pages for every row group and batch would cost more than reading them."""

from __future__ import annotations

import sys
import threading

import numpy as np
from numpy.typing import NDArray


def _references(arrays: list[NDArray[np.uint8]]) -> int:
    """How often an array that only the list knows is referred to while it is looked at, by this very loop."""
    for array in arrays:
        return sys.getrefcount(array)
    return 0


_FREE = _references([np.empty(0, np.uint8)])


class Buffers:
    """Hands out arrays; one whose views are all gone is handed out again.

    A view of a numpy array, and a tensor made from it, refers to the array that owns the memory. So the memory is
    free exactly when nobody but this object refers to its owner.
    """

    def __init__(self) -> None:
        self._owners: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of this shape with undefined content."""
        size = int(np.prod(shape))
        with self._lock:
            for owner in self._owners:
                # A much larger one is kept for who needs it.
                if sys.getrefcount(owner) == _FREE and size <= owner.size <= 2 * size:
                    return owner[:size].reshape(shape)
            made = np.empty(size, np.uint8)
            self._owners.append(made)
            return made.reshape(shape)
