"""Inputs that nobody wrote: good ones with bytes lost, doubled or cut off, and traps put into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def mutants(good: Sequence[bytes], traps: Sequence[bytes], n: int, seed: int = 0) -> Iterator[bytes]:
    """`n` inputs, each one to four changes away from a good one (or from two); the same for the same seed."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        text = bytearray(good[rng.integers(len(good))])
        for _ in range(rng.integers(1, 5)):
            at, to = sorted(rng.integers(0, len(text) + 1, 2).tolist())
            match rng.integers(7):
                case 0:
                    del text[at : min(to, at + 40)]
                case 1:
                    text[at:at] = traps[rng.integers(len(traps))]
                case 2:
                    text[at:to] = traps[rng.integers(len(traps))]
                case 3 if text:
                    text[at % len(text)] = rng.integers(256)
                case 4:
                    text[at:at] = text[at : min(to, at + 200)]
                case 5:
                    del text[at:]
                case _:
                    other = good[rng.integers(len(good))]
                    text[at:] = other[min(at, len(other)) :]
        yield bytes(text)
