"""Solvers for feature weights: the quality of items by feature, users' tastes, and the directions of their choices.

Shape suffixes: U users, I items, P ratings, F features, D dense features, K directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import svds

Floats = NDArray[np.float64]
USER_PRIOR, ITEM_PRIOR = 5.0, 4.0  # ratings of 0 deviation added to each user and item
ROUNDS = 4  # of user means and item qualities in turn
PRIOR_USERS = 20_000  # the prior is learned from so many users at most
PRIOR_ROUNDS = 12
USERS_AT_ONCE = 256  # their Σ z zᵀ are some MB


@dataclass(frozen=True)
class Ratings:
    """Ratings by user: int64 (U + 1), int32 (P), float64 (P)."""

    starts: NDArray[np.int64]
    positions: NDArray[np.int32]
    values: Floats

    @property
    def rows(self) -> NDArray[np.int64]:
        """Return the user of each rating, int64 (P)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def part(self, lo: int, hi: int) -> Ratings:
        """Return the users from `lo` to `hi` (excluded)."""
        starts = self.starts[lo : hi + 1]
        a, b = int(starts[0]), int(starts[-1])
        return Ratings(starts - a, self.positions[a:b], self.values[a:b])


@dataclass(frozen=True)
class Taste:
    """The prior of users' weights on the dense features, and its posterior mean.

    Attributes:
        precision: float64 (D, D), inverse covariance of the weights.
        noise: variance of a rating around quality and weights, in rating units².
    """

    precision: Floats
    noise: float

    def of(self, ratings: Ratings, z_ID: sparse.csr_matrix) -> Floats:
        """Return each user's weights, (U, D), in rating units; 0 for users without ratings.

        Args:
            ratings: by user, what is left of them when mean and quality are taken off.
            z_ID: dense features.
        """
        n_users, d = len(ratings.starts) - 1, z_ID.shape[1]
        pairs = _squared(z_ID)
        weights = np.zeros((n_users, d))
        for lo in range(0, n_users, USERS_AT_ONCE):
            part = ratings.part(lo, lo + USERS_AT_ONCE)
            gram_UDD, right_UD = _sums(part, z_ID, pairs)
            rated = np.diff(part.starts) > 0
            a_UDD = self.precision + gram_UDD[rated] / self.noise
            weights[lo : lo + USERS_AT_ONCE][rated] = np.linalg.solve(a_UDD, right_UD[rated, :, None] / self.noise)[
                ..., 0
            ]
        return weights

    @classmethod
    def learn(cls, ratings: Ratings, z_ID: sparse.csr_matrix) -> Taste:
        """Return covariance and noise that make the ratings most likely, by expectation-maximisation for random effects
        (Dempster, Laird and Rubin 1977, section 4.5): ridge regression for each user, whose penalty all users share.
        """
        d, some = z_ID.shape[1], ratings.part(0, PRIOR_USERS)
        n = len(some.values)
        if not n:
            return cls(np.eye(d) / 0.05, 1.0)
        pairs, taste = _squared(z_ID), cls(np.eye(d) / 0.05, max(float(np.mean(some.values**2)), 1e-3))
        for _ in range(PRIOR_ROUNDS):
            moments_DD, squares, users = np.zeros((d, d)), float(some.values @ some.values), 0
            for lo in range(0, len(some.starts) - 1, USERS_AT_ONCE):
                part = some.part(lo, lo + USERS_AT_ONCE)
                gram_UDD, right_UD = _sums(part, z_ID, pairs)
                rated = np.diff(part.starts) > 0
                gram_UDD, right_UD = gram_UDD[rated], right_UD[rated]
                spread_UDD = np.linalg.inv(taste.precision + gram_UDD / taste.noise)
                w_UD = np.einsum("ude,ue->ud", spread_UDD, right_UD) / taste.noise
                second_UDD = spread_UDD + w_UD[:, :, None] * w_UD[:, None, :]
                moments_DD += second_UDD.sum(axis=0)
                # Σ E[(y − z·w)²] = Σ y² − 2 Σ y z·E[w] + Σ z E[w wᵀ] z
                squares += float((gram_UDD * second_UDD).sum() - 2 * (w_UD * right_UD).sum())
                users += len(w_UD)
            spread_DD = (moments_DD + 1e-3 * np.eye(d)) / (users + 1)
            taste = cls(np.asarray(np.linalg.inv(spread_DD), np.float64), max(squares / n, 1e-6))
        return taste


def _squared(z_ID: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the products of each item's dense features with one another, (I, D·D)."""
    d = z_ID.shape[1]
    n_I = np.diff(z_ID.indptr)
    each = np.repeat(n_I, n_I)  # every entry meets all of its row
    first = np.repeat(np.arange(z_ID.nnz), each)
    begin = np.repeat(np.repeat(z_ID.indptr[:-1], n_I), each)
    second = begin + np.arange(len(first)) - np.repeat(np.cumsum(each) - each, each)
    columns = z_ID.indices[first].astype(np.int64) * d + z_ID.indices[second]
    starts = np.concatenate([[0], np.cumsum(n_I.astype(np.int64) ** 2)])
    return sparse.csr_matrix((z_ID.data[first] * z_ID.data[second], columns, starts), shape=(len(n_I), d * d))


def _sums(part: Ratings, z_ID: sparse.csr_matrix, pairs: sparse.csr_matrix) -> tuple[Floats, Floats]:
    """Compute Σ z zᵀ and Σ z · rating over each user's ratings, (U, D, D) and (U, D)."""
    shape, d = (len(part.starts) - 1, z_ID.shape[0]), z_ID.shape[1]
    ones = sparse.csr_matrix((np.ones(len(part.values)), part.positions, part.starts), shape=shape)
    values = sparse.csr_matrix((part.values, part.positions, part.starts), shape=shape)
    return (ones @ pairs).toarray().reshape(shape[0], d, d), (values @ z_ID).toarray()


def shared_quality(ratings: Ratings, x_IF: sparse.csr_matrix, reg: float) -> tuple[float, Floats]:
    """Return μ and (I) how much better than it an item with these features is rated, for items that nobody rated too.

    User means and a ridge regression of the items' mean residuals are computed in turn. An item's mean of n residuals
    weighs n / (n + ITEM_PRIOR), as its variance is a part of its own and one that falls with n.

    Args:
        ratings: all training ratings.
        x_IF: features.
        reg: L2 weight, in items.
    """
    n_items = x_IF.shape[0]
    rows, r = ratings.rows, ratings.values
    n_U, n_I = np.bincount(rows, minlength=len(ratings.starts) - 1), np.bincount(ratings.positions, minlength=n_items)
    weight_I = n_I / (n_I + ITEM_PRIOR)
    gram = (x_IF.T @ sparse.diags(weight_I) @ x_IF).toarray()
    gram[np.diag_indices_from(gram)] += reg
    factor = linalg.cho_factor(gram, overwrite_a=True)
    quality_I, mean = np.zeros(n_items), float(r.mean())
    for _ in range(ROUNDS):
        left = r - quality_I[ratings.positions]
        mean = float(left.mean())
        user_U = np.bincount(rows, left - mean, len(n_U)) / (n_U + USER_PRIOR)
        residual_I = np.bincount(ratings.positions, r - mean - user_U[rows], n_items) / np.maximum(n_I, 1)
        quality_I = x_IF @ linalg.cho_solve(factor, x_IF.T @ (weight_I * residual_I))
    return float(np.mean(r - quality_I[ratings.positions])), np.asarray(quality_I, np.float64)


def directions(chosen_UI: sparse.csr_matrix, rank: int) -> NDArray[np.float64]:
    """Return the right singular vectors of the 0/1 matrix of ratings, (I, K), the largest first (PureSVD, Cremonesi
    et al. 2010).

    Their signs are fixed: the entry of largest size of each is positive.
    """
    k = min(rank, min(chosen_UI.shape) - 1)
    if k < 1:
        whole = np.linalg.svd(chosen_UI.toarray(), full_matrices=False)[2]
        return np.asarray(whole.T, np.float64)
    start = np.random.default_rng(0).standard_normal(min(chosen_UI.shape))
    _, sizes, v_KI = svds(chosen_UI.astype(np.float64), k=k, v0=start, solver="arpack")
    v_IK = v_KI[np.argsort(-sizes)].T
    signs = np.sign(v_IK[np.abs(v_IK).argmax(axis=0), np.arange(v_IK.shape[1])])
    return np.ascontiguousarray(v_IK * np.where(signs == 0, 1.0, signs))


def shared_factors(x_IF: sparse.csr_matrix, v_IK: Floats, rated: NDArray[np.bool_], reg: float) -> Floats:
    """Return the items' factors by their features, (I, K): ridge regression of the rated items' rows of `v_IK`.

    Args:
        x_IF: features.
        v_IK: directions.
        rated: (I) items with ratings.
        reg: L2 weight, per rated item.
    """
    x = x_IF[rated]
    gram: Any = (x.T @ x).toarray()
    gram[np.diag_indices_from(gram)] += max(reg * x.shape[0], 1e-9)
    weights_FK = linalg.cho_solve(linalg.cho_factor(gram, overwrite_a=True), x.T @ v_IK[rated])
    return np.asarray(x_IF @ weights_FK, np.float64)
