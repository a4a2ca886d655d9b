"""The weights of a blend's parts, learned from the items users chose next.

For each group of users, by number of ratings, weights w ≥ 0 maximise Σ_u log softmax(w · z(u))[target of u]: z are the
parts' standardised scores, the target is what the user rated last and no part has seen. Candidates are the items that
some part puts among a user's best; users whose target is not among them say nothing about the head of a list, and do
not count. The likelihood is concave in w.
Shape suffixes: V users, I items, M parts, C candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lakerank.recommend.blend.scorer import EDGES, BlendScorer
from lakerank.recommend.models.batch_shuffle import users_at_once
from lakerank.recommend.models.top_n import top_k
from lakerank.recommend.models.user_histories import Histories

BEST_OF_EACH = 100  # items of each part among the candidates
# Ratings that users of a group are left with when its weights are learned; None: all.
LEFT: tuple[int | None, ...] = (0, 3, 12, None)
ENOUGH_USERS = 50  # with so many ratings that nothing is taken from them; with fewer such users all count
RIDGE = 0.01  # pulls weights to 0, in log-likelihood per user


def learn(blend: BlendScorer, block: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights (G, M), each group's summing to 1.

    Args:
        blend: the parts, fitted without the targets; its weights are not used.
        block: users with what they had rated before, by position in `blend.items`.
        targets: (V) position of what each rated next; −1 where the blend does not have it: such users are left out.
    """
    groups = []
    for most in LEFT:
        left = block if most is None else block.newest(most).anonymous()
        chosen = targets >= 0
        many = chosen & (block.counts >= EDGES[-1])
        if most is None and many.sum() >= ENOUGH_USERS:
            chosen = many
        groups.append(_fit(*_candidates(blend, left, block, targets, chosen), len(blend.parts)))
    return np.stack(groups)


def _candidates(
    blend: BlendScorer, left: Histories, block: Histories, targets: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> tuple[list[NDArray[np.float64]], list[int]]:
    """Return each chosen user's candidates, z (C, M), and the target's position among them."""
    found, which, n_items = [], [], len(blend.items)
    step = users_at_once(n_items)
    for lo in range(0, len(block), step):
        hi = min(lo + step, len(block))
        part = left.part(lo, hi)
        z_MUI = [one.standard(part, n_items)[0] for one in blend.parts]
        full = block.part(lo, hi)
        hidden = np.zeros((hi - lo, n_items), np.bool_)
        hidden[full.rows, full.positions] = True
        best = np.concatenate([top_k(z, hidden, BEST_OF_EACH)[0] for z in z_MUI], axis=1)
        for u in np.flatnonzero(chosen[lo:hi]):
            mine = np.unique(best[u][best[u] >= 0])
            if targets[lo + u] not in mine:
                continue
            found.append(np.stack([z[u, mine] for z in z_MUI], axis=1))
            which.append(int(np.searchsorted(mine, targets[lo + u])))
    return found, which


def _fit(z_VCM: list[NDArray[np.float64]], which_V: list[int], n_parts: int) -> NDArray[np.float64]:
    """Return the weights of maximum likelihood, (M), over their sum; equal ones if nobody counts."""
    if not z_VCM:
        return np.full(n_parts, 1.0 / n_parts)
    z = np.concatenate(z_VCM)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in z_VCM])])
    lengths, n = np.diff(starts), len(which_V)
    target = starts[:-1] + np.array(which_V)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        s = z @ w
        top = np.maximum.reduceat(s, starts[:-1])
        e = np.exp(s - np.repeat(top, lengths))
        total = np.add.reduceat(e, starts[:-1])
        value = float(np.sum(np.log(total) + top - s[target])) / n + RIDGE * float(w @ w)
        share = e / np.repeat(total, lengths)
        return value, (share @ z - z[target].sum(axis=0)) / n + 2 * RIDGE * w

    found = minimize(loss, np.full(n_parts, 0.1), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * n_parts)
    weights = np.asarray(found.x, np.float64)
    return weights / weights.sum() if weights.sum() > 0 else np.full(n_parts, 1.0 / n_parts)
