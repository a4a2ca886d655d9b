"""What a search for leaks finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Leak:
    """A training picture that shows what an evaluation picture shows.

    Attributes:
        train: its name.
        eval: the evaluation picture's.
        how: in words: mirrored or not, its scale, how much of the evaluation picture.
        score: normalised correlation where both overlap, at most 1.
    """

    train: str
    eval: str
    how: str
    score: float
