"""Models side by side: a score for each, measure and group, with intervals and differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.evaluation.bootstrap import Sums, interval, resampled
from lakerank.recommend.evaluation.user_groups import EVERYONE

Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One value.

    Attributes:
        users: of the group that count.
        within: 95 % interval; None where there is none.
        reference, difference, difference_within: the model it is compared with, this value minus that one's, and its
            interval on the same draws; None for the reference itself.
    """

    model: str
    metric: str
    group: str
    value: float
    users: int
    within: Interval | None = None
    reference: str | None = None
    difference: float | None = None
    difference_within: Interval | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference does not hold 0."""
        return self.difference_within is not None and self.difference_within[0] * self.difference_within[1] > 0


def compare(
    by_user: Mapping[str, Mapping[str, Sums]],
    whole: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, NDArray[np.bool_]],
    resamples: int,
    seed: int,
) -> list[Score]:
    """Scores of all models; the first one is the reference.

    Args:
        by_user: model → measure → its sums over the same users.
        whole: model → measure → value, for measures that have no value of one user.
        groups: users by group.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of its draws.
    """
    reference = next(iter(by_user))
    keys = [(group, name) for group in groups for name in by_user[reference]]
    scores: list[Score] = []
    # The draws follow from the seed and the number of users, so each model is scored on the same ones.
    drawn_of_reference = None
    for model, sums in by_user.items():
        parts = [sums[name].of(groups[group]) for group, name in keys]
        drawn = resampled(parts, resamples, seed)
        if drawn_of_reference is None:
            drawn_of_reference = drawn
        for k, (group, name) in enumerate(keys):
            value = parts[k].value()
            if np.isnan(value):
                continue
            score: dict[str, Any] = {"within": interval(drawn[:, k])} if resamples else {}
            if model != reference:
                base = by_user[reference][name].of(groups[group]).value()
                score |= {"reference": reference, "difference": value - base}
                if resamples:
                    score["difference_within"] = interval(drawn[:, k] - drawn_of_reference[:, k])
            scores.append(Score(model, name, group, value, int((parts[k].bottom != 0).sum()), **score))
        n_users = int(groups[EVERYONE].sum())
        for name, value in whole.get(model, {}).items():
            score = {} if model == reference else {"reference": reference, "difference": value - whole[reference][name]}
            scores.append(Score(model, name, EVERYONE, value, n_users, **score))
    return scores


def as_text(scores: Sequence[Score], rows: Sequence[str], models: Sequence[str], row_of: str, note: str) -> str:
    """A table for people: rows of `row_of` (`metric` or `group`), a column for each model.

    A value is followed by half the width of its interval; a star says that it differs from the first model's.
    """
    cells = {(getattr(score, row_of), score.model): score for score in scores}
    width = max([len(note), *(len(row) for row in rows)])
    lines = [f"{note:<{width}}" + "".join(f"  {model:>16}" for model in models)]
    lines += [
        f"{row:<{width}}" + "".join(f"  {_cell(cells.get((row, model))):>16}" for model in models)
        for row in rows
        if any((row, model) in cells for model in models)
    ]
    return "\n".join(lines)


def _cell(score: Score | None) -> str:
    if score is None:
        return "-"
    text = f"{score.value:.4f}"
    if score.within is not None and np.isfinite(score.within).all():
        text += f" ±{(score.within[1] - score.within[0]) / 2:.4f}"
    return text + ("*" if score.sure else " ")
