"""Two measures at once: the Pareto front of methods, and what a curve reaches in one at a given value of the other."""

from __future__ import annotations

import numpy as np


def pareto_front(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of M points no other beats: none is at least as high in both and higher in one. (M,), (M,) -> (M,) bool.

    A point with NaN is never on the front, and beats none.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    no_lower = (first[None] >= first[:, None]) & (second[None] >= second[:, None])
    higher = (first[None] > first[:, None]) | (second[None] > second[:, None])
    return ~(no_lower & higher).any(axis=1) & ~np.isnan(first) & ~np.isnan(second)


def reached(first: np.ndarray, second: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The highest `second` of a curve among its points with `first` >= `at`.

    first, second  (..., P) the corners of the curve in order, straight lines between them. A point between two corners
                   is one that can be had: take the one or the other by a coin for each user
    at             (...,) of a shape that those before P broadcast with; above the highest `first` of the curve, that
                   highest one is taken
    returns        (...,)
    """
    at = np.minimum(at, first.max(axis=-1))[..., None]
    best = np.where(first >= at, second, -np.inf).max(axis=-1)
    left, right = first[..., :-1], first[..., 1:]
    crosses = (left - at) * (right - at) < 0
    share = (at - left) / np.where(crosses, right - left, 1.0)
    between = second[..., :-1] + share * (second[..., 1:] - second[..., :-1])
    return np.maximum(best, np.where(crosses, between, -np.inf).max(axis=-1, initial=-np.inf))
