"""Paired tests of several differences at once, over users and over seeds, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_lpo.compare.significance import holm, paired_differences, paired_over_seeds


@dataclass(frozen=True)
class Test:
    """A row's difference from the baseline in one metric.

    mean, low, high, effect  over users (values averaged over seeds), with the 95 % bootstrap interval
    p_users, p_seeds         randomisation test over users, and t test over seeds (NaN for one seed), Holm-corrected
    n                        users
    """

    mean: float
    low: float
    high: float
    effect: float
    p_users: float
    p_seeds: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """What a test compares.

    difference    (U,) value of a method less that of the baseline, for each user
    member        (U,) bool: users that take part
    ours, theirs  seed -> value of the metric over all users; seeds that both have are paired
    """

    difference: np.ndarray
    member: np.ndarray
    ours: Mapping[int, float | None]
    theirs: Mapping[int, float | None]


def paired_tests(comparisons: Sequence[Comparison], *, seed: int = 0) -> list[Test]:
    """A Test for each comparison, of the same users; one Holm correction over all of them.

    seed: of the random signs and resamples. Raises ValueError for a comparison without users.
    """
    if not comparisons:
        return []
    tested = paired_differences(
        np.stack([one.difference for one in comparisons], axis=1),
        np.stack([one.member for one in comparisons], axis=1),
        seed=seed,
    )
    p_users, p_seeds = holm(tested.p), holm(np.array([_over_seeds(one) for one in comparisons]))
    columns = (tested.mean, tested.low, tested.high, tested.effect, p_users, p_seeds)
    return [Test(*map(float, figures), int(n)) for *figures, n in zip(*columns, tested.n, strict=True)]


def _over_seeds(one: Comparison) -> float:
    both = [
        (ours, one.theirs[seed])
        for seed, ours in one.ours.items()
        if ours is not None and one.theirs.get(seed) is not None
    ]
    ours, theirs = np.array(both, dtype=np.float64).reshape(-1, 2).T
    return paired_over_seeds(ours, theirs)
