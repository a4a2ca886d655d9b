"""Recommendations in words."""

from __future__ import annotations

from pyspark.sql import Row

from lakerank.recommend.data.format_recommendations import format_lines


def test_says_who_what_and_why() -> None:
    recommended = [
        Row(user_id=1, rank=1, item_id=5, score=0.5, reason="linear"),
        Row(user_id=1, rank=2, item_id=6, score=0.25, reason="linear"),
        Row(user_id=2, rank=1, item_id=5, score=2.0, reason="blend: most by linear"),
        Row(user_id=2, rank=2, item_id=9, score=1.0, reason="blend: most by content"),
    ]
    why = [
        Row(user_id=2, rank=1, position=1, source="linear", because_id=7, contribution=1.75),
        Row(user_id=2, rank=1, position=2, source="all else", because_id=None, contribution=-0.5),
        Row(user_id=2, rank=1, position=3, source="content", because_id=7, contribution=0.75),
    ]
    lines = list(format_lines(recommended, why, {5: "Alien (1979)", 7: "Dark Star"}))
    assert lines == [
        "\nuser 1 (linear)",
        "    1  0.500  Alien (1979)",
        "    2  0.250  6",
        "\nuser 2",
        "    1  2.000  Alien (1979) (blend: most by linear)",
        "         +2.500  because you rated Dark Star",
        "         -0.500  all else",
        "    2  1.000  9 (blend: most by content)",
    ]
