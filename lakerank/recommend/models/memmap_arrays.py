"""Arrays of a model where the workers can reach them, so that its pickle is only their name."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from lakerank.spark.array_store import Block, BlockStore


class Kept:
    """Arrays under one key of a store, opened (memory-mapped) where and when they are used."""

    def __init__(self, store: BlockStore, key: str) -> None:
        self._store, self._key = store, key
        self._block: Block | None = None

    @classmethod
    def put(cls, store: BlockStore, key: str, **arrays: NDArray[Any]) -> Kept:
        """Write arrays; what stood under the key is replaced."""
        store.drop(key)
        store.put(key, arrays)
        return cls(store, key)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if self._block is None:
            self._block = self._store.get(self._key)
        return self._block[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self._store, self._key)
