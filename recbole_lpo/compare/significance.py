"""Whether a difference between two methods is more than chance: paired tests over users and over seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recbole_lpo.core.trade_off import reached

# Rows of signs or weights that are held at once: 1,000 rows of 22 thousand users take 180 MB.
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Difference:
    """Mean paired differences of M comparisons; every field is an (M,) float64 array.

    mean      over the pairs of the comparison
    low, high the 95 % bootstrap interval of the mean (percentiles over resampled pairs)
    p         two-sided, randomisation test
    effect    mean / standard deviation of the paired differences (Cohen's d_z); NaN where all differ alike
    n         pairs
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    effect: np.ndarray
    n: np.ndarray


def paired_differences(
    differences: np.ndarray,
    member: np.ndarray,
    *,
    rounds: int = 10_000,
    bootstrap_rounds: int = 2_000,
    seed: int = 0,
) -> Difference:
    """Test M paired comparisons over the same U users at once.

    differences  (U, M) value of a method less value of the baseline, for each user
    member       (U, M) bool: users that take part in each comparison (the group of its metric)
    rounds       random sign patterns of the randomisation test: under the hypothesis of no difference the sign of each
                 user's difference is a fair coin (Fisher's randomisation test, as in Smucker, Allan and Carterette,
                 CIKM 2007). p = (1 + patterns with a mean at least as far from 0) / (1 + rounds), so never 0
    bootstrap_rounds  resamples of the users for the interval

    All comparisons meet the same patterns and the same resamples, in one matrix product: `scipy.stats.permutation_test`
    and `scipy.stats.bootstrap` give the same figures (tested) in minutes in place of seconds.
    Raises ValueError for a comparison without users.
    """
    if differences.shape != member.shape:
        raise ValueError(f"differences {differences.shape} and member {member.shape} must have one shape.")
    n = member.sum(axis=0)
    if not n.all():
        raise ValueError("a comparison has no users: a group without users cannot be tested.")
    inside = np.where(member, differences, 0.0).astype(np.float64)
    mean = inside.sum(axis=0) / n
    spread = np.sqrt(np.where(member, (differences - mean) ** 2, 0.0).sum(axis=0) / np.maximum(n - 1, 1))
    low, high = _bootstrap_interval(inside, member, bootstrap_rounds, np.random.default_rng([seed, 1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(spread > 0, mean / spread, np.nan)
    p = _sign_flip_p(inside, rounds, np.random.default_rng([seed, 0]))
    return Difference(mean, low, high, p, effect, n)


def paired_over_seeds(method: np.ndarray, baseline: np.ndarray) -> float:
    """Two-sided p of the paired t test over seeds, from (S,) and (S,) results of one metric; NaN for one seed."""
    if len(method) < 2:
        return float("nan")
    differences = np.asarray(method, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    if np.ptp(differences) == 0:
        # No spread: the t statistic divides by it.
        return 1.0 if differences[0] == 0 else 0.0
    # Half a second and 40 MB, which only a comparison needs.
    from scipy import stats

    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number by Holm's step-down method (Holm 1979); (M,) -> (M,), NaN stays NaN.

    Calling every comparison with a corrected p below 5 % a difference is wrong about any of them in at most 5 % of
    studies.
    """
    p = np.asarray(p, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def _sign_flip_p(inside: np.ndarray, rounds: int, random: np.random.Generator) -> np.ndarray:
    observed = np.abs(inside.sum(axis=0))
    # A sum that is the observed one but for the order of its terms counts as reached.
    reached = observed - 1e-9 * np.abs(inside).sum(axis=0)
    as_far = np.zeros(inside.shape[1])
    for rows in _chunks(rounds):
        signs = random.integers(0, 2, (rows, len(inside)), dtype=np.int8).astype(np.float64) * 2 - 1
        as_far += (np.abs(signs @ inside) >= reached).sum(axis=0)
    return (1 + as_far) / (1 + rounds)


@dataclass(frozen=True)
class Height:
    """How much more a method has on the tail than a curve has at the same overall value; with its interval."""

    mean: float
    low: float
    high: float


def heights_above_curve(
    values: np.ndarray, curve: np.ndarray, in_tail: np.ndarray, *, bootstrap_rounds: int = 2_000, seed: int = 0
) -> list[Height]:
    """Hold M methods against the adjustment curve of the baseline.

    values   (U, M) value of each method for each user
    curve    (U, P) values of the baseline under P strengths of the adjustment, the weakest first
    in_tail  (U,) bool: users with a tail target

    The height over the curve is that over `core.trade_off.reached`. The interval is a bootstrap over users
    (percentiles) in which the point of the curve with the same overall value is sought anew in every resample; its
    level is 1 - 5 % / M, so that all M intervals hold together in 95 % of studies (Bonferroni).
    Raises ValueError without users in the tail.
    """
    if not in_tail.any():
        raise ValueError("there are no users with a tail target: nothing to measure on the tail.")
    n_methods = values.shape[1]
    both = np.hstack([values, curve]).astype(np.float64)
    tail_only = both * in_tail[:, None]

    def heights(weights: np.ndarray) -> np.ndarray:
        overall = weights @ both / weights.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            tail = weights @ tail_only / (weights @ in_tail)[:, None]
        on_curve = (overall[:, None, n_methods:], tail[:, None, n_methods:])
        return tail[:, :n_methods] - reached(*on_curve, overall[:, :n_methods])

    drawn = [heights(weights) for weights in _resamples(len(both), bootstrap_rounds, np.random.default_rng([seed, 2]))]
    outside = 2.5 / max(1, n_methods)
    low, high = np.nanpercentile(np.concatenate(drawn), [outside, 100 - outside], axis=0)
    mean = heights(np.ones((1, len(both))))[0]
    return [Height(*map(float, figures)) for figures in zip(mean, low, high, strict=True)]


def _bootstrap_interval(inside, member, rounds: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    means = []
    for weights in _resamples(len(inside), rounds, random):
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append((weights @ inside) / (weights @ member))
    low, high = np.nanpercentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def _resamples(n_users: int, rounds: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each user was drawn, (rows, U), some rows at a time."""
    for rows in _chunks(rounds):
        drawn = random.integers(0, n_users, (rows, n_users))
        yield np.stack([np.bincount(row, minlength=n_users) for row in drawn]).astype(np.float64)


def _chunks(total: int):
    return [min(_ROWS_AT_ONCE, total - start) for start in range(0, total, _ROWS_AT_ONCE)]
