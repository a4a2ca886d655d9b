"""Groups of users: how much they have rated, and how popular that is.

Shape suffix: U users.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EVERYONE = "all"
NEW = "new"  # no training rating
ACTIVITY = ("light", "medium", "heavy")
TASTE = ("niche", "mixed", "blockbuster")


def user_groups(counts_U: NDArray[Any], profile_U: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Users (U) of each group that has any, everyone first.

    Activity and taste each divide the users who have training ratings into thirds (ties go to the lower third, so
    that the same user is in the same group whoever else is there with the same number).

    Args:
        counts_U: training ratings of each user.
        profile_U: mean popularity of what they rated; NaN without any.
    """
    known = counts_U > 0
    found = {EVERYONE: np.ones(len(counts_U), bool), NEW: ~known}
    for names, values in ((ACTIVITY, counts_U.astype(np.float64)), (TASTE, profile_U)):
        if not known.any():
            continue
        edges = np.quantile(values[known], [1 / 3, 2 / 3])
        third = np.searchsorted(edges, np.where(known, values, 0.0), side="left")
        found |= {name: known & (third == k) for k, name in enumerate(names)}
    return {name: chosen for name, chosen in found.items() if chosen.any()}
