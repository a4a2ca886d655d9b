"""Compare models side by side: a score for each metric and group, with bootstrap intervals and differences.

A user's test items depend on one another, so users are drawn, and each brings all their items (Efron and Tibshirani
1993, *An introduction to the bootstrap*, chapters 8 and 16). Two models are compared on the same draws: what is hard
for both cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.evaluation.metrics import Sums, ratio
from lakerank.recommend.evaluation.test_set import EVERYONE

Floats = NDArray[np.float64]
_NUMBERS_AT_ONCE = 1 << 22  # weights held at a time: 32 MiB


def bootstrap(metrics: list[Sums], n_bootstrap: int, seed: int) -> Floats:
    """Return the values of all metrics on the same draws of users, (n_bootstrap, metrics).

    Args:
        metrics: all with the same users.
        n_bootstrap: draws of U users with replacement.
        seed: of the draws.
    """
    if not metrics:
        return np.empty((n_bootstrap, 0))
    n = len(metrics[0].top)
    sums_US = np.column_stack([column for m in metrics for column in (m.top, m.bottom)])
    generator = np.random.default_rng(seed)
    step = max(1, _NUMBERS_AT_ONCE // max(n, 1))
    found = []
    for begin in range(0, n_bootstrap, step):
        rows = min(step, n_bootstrap - begin)
        drawn = generator.multinomial(n, np.full(n, 1.0 / n), size=rows) if n else np.zeros((rows, 0))
        found.append(drawn.astype(np.float64) @ sums_US)
    totals = np.concatenate(found) if found else np.empty((0, sums_US.shape[1]))
    columns = [ratio(totals[:, 2 * k], totals[:, 2 * k + 1], m.root) for k, m in enumerate(metrics)]
    return np.column_stack(columns)


def percentile_interval(drawn: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval; draws without a value are left out, and NaN comes back if none has one."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One value.

    Attributes:
        users: of the group that count.
        interval: 95 % interval; None where there is none.
        reference, difference, difference_interval: the model it is compared with, this value minus that one's, and its
            interval on the same draws; None for the reference itself.
    """

    model: str
    metric: str
    group: str
    value: float
    users: int
    interval: Interval | None = None
    reference: str | None = None
    difference: float | None = None
    difference_interval: Interval | None = None

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference does not hold 0."""
        return self.difference_interval is not None and self.difference_interval[0] * self.difference_interval[1] > 0


def compare(
    by_user: Mapping[str, Mapping[str, Sums]],
    overall: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, NDArray[np.bool_]],
    n_bootstrap: int,
    seed: int,
) -> list[Score]:
    """Return the scores of all models; the first one is the reference.

    Args:
        by_user: model → metric → its sums over the same users.
        overall: model → metric → value, for metrics that have no value of one user.
        groups: users by group.
        n_bootstrap: of the bootstrap; 0 for no intervals.
        seed: of its draws.
    """
    reference = next(iter(by_user))
    keys = [(group, name) for group in groups for name in by_user[reference]]
    scores: list[Score] = []
    # The draws follow from the seed and the number of users, so each model is scored on the same ones.
    drawn_of_reference = None
    for model, sums in by_user.items():
        parts = [sums[name].of(groups[group]) for group, name in keys]
        drawn = bootstrap(parts, n_bootstrap, seed)
        if drawn_of_reference is None:
            drawn_of_reference = drawn
        for k, (group, name) in enumerate(keys):
            value = parts[k].value()
            if np.isnan(value):
                continue
            score: dict[str, Any] = {"interval": percentile_interval(drawn[:, k])} if n_bootstrap else {}
            if model != reference:
                base = by_user[reference][name].of(groups[group]).value()
                score |= {"reference": reference, "difference": value - base}
                if n_bootstrap:
                    score["difference_interval"] = percentile_interval(drawn[:, k] - drawn_of_reference[:, k])
            scores.append(Score(model, name, group, value, int((parts[k].bottom != 0).sum()), **score))
        n_users = int(groups[EVERYONE].sum())
        for name, value in overall.get(model, {}).items():
            score = (
                {} if model == reference else {"reference": reference, "difference": value - overall[reference][name]}
            )
            scores.append(Score(model, name, EVERYONE, value, n_users, **score))
    return scores


def as_text(scores: Sequence[Score], rows: Sequence[str], models: Sequence[str], row_of: str, note: str) -> str:
    """Return a table for people: rows of `row_of` (`metric` or `group`), a column for each model.

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
    if score.interval is not None and np.isfinite(score.interval).all():
        text += f" ±{(score.interval[1] - score.interval[0]) / 2:.4f}"
    return text + ("*" if score.significant else " ")
