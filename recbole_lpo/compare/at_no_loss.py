"""What each method has for the tail once post-hoc adjustment has spent what it is above the baseline overall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_lpo.compare.paired import Comparison, Test, paired_tests
from recbole_lpo.compare.per_user import PerUser


@dataclass(frozen=True)
class AtNoLoss:
    """A method under the largest strength of post-hoc adjustment at which it is not below the baseline overall, on
    validation items and on the mean over seeds.

    strength       of the adjustment
    overall, tail  differences from the baseline (as it was run) on test items; None for the baseline as it was run
    """

    strength: float
    overall: Test | None
    tail: Test | None


def at_no_loss(
    metrics: Mapping[str, Sequence[dict[str, Any]]],
    users: Mapping[str, PerUser],
    baseline: str,
    measure: str,
    cut: int,
    *,
    seed: int = 0,
) -> dict[str, AtNoLoss]:
    """Method -> AtNoLoss, for methods that reach the baseline overall at some strength.

    metrics: contents of `metrics.json`, a seed each; users: test users of the methods that can be compared, the
    baseline among them. The strength is chosen on validation items, so that the figures on test items are those of a
    choice that did not see them. None where the runs have no adjustment curve, or no user has a tail target.
    """
    if baseline not in users or not users[baseline].curve or not users[baseline].in_tail.any():
        return {}
    least = _valid(metrics[baseline], _own(metrics[baseline]), f"{measure}@{cut}")
    chosen = {method: _strength(metrics[method], users[method], least, f"{measure}@{cut}") for method in users}
    chosen = {method: strength for method, strength in chosen.items() if strength is not None}
    as_it_was_run = _own(metrics[baseline])
    compared = [method for method, strength in chosen.items() if (method, strength) != (baseline, as_it_was_run)]
    comparisons = [
        one
        for method in compared
        for one in _comparisons(metrics, users, method, chosen[method], baseline, measure, cut)
    ]
    tests = paired_tests(comparisons, seed=seed)
    pairs = dict(zip(compared, zip(tests[::2], tests[1::2], strict=True), strict=True))
    return {method: AtNoLoss(strength, *pairs.get(method, (None, None))) for method, strength in chosen.items()}


def _comparisons(metrics, users, method, strength, baseline, measure, cut) -> Iterator[Comparison]:
    """Overall and on the tail."""
    theirs, own = users[baseline], _own(metrics[baseline])
    difference = _value(users[method], metrics[method], strength, measure, cut) - theirs.value(measure, cut)
    for group, member in (("", np.full(len(difference), True)), ("tail", theirs.in_tail)):
        key = f"{group}{measure}@{cut}"
        ours = {run["seed"]: _figures(run, strength, "test").get(key) for run in metrics[method]}
        yield Comparison(
            difference,
            member,
            ours,
            {run["seed"]: _figures(run, own, "test").get(key) for run in metrics[baseline]},
        )


def _strength(runs, users: PerUser, least: float, key: str) -> float | None:
    strengths = [_own(runs), *users.curve]
    # A run without users along a strength, or without its validation figure, gives NaN, which reaches nothing.
    reached = [strength for strength in strengths if _valid(runs, strength, key) >= least]
    return max(reached, default=None)


def _value(users: PerUser, runs, strength: float, measure: str, cut: int) -> np.ndarray:
    return users.value(measure, cut, strength=None if strength == _own(runs) else strength)


def _valid(runs, strength: float, key: str) -> float:
    """The mean over seeds on validation items; NaN where a run has none."""
    values = [_figures(run, strength, "valid").get(key) for run in runs]
    return float(np.mean([np.nan if value is None else value for value in values]))


def _figures(run: dict[str, Any], strength: float, part: str) -> Mapping[str, float | None]:
    """Metrics of a run on `valid` or `test` items, as it was run or on its curve."""
    if strength == _own([run]):
        return run[part]
    return next((one[part] for one in run.get("adjusted") or () if one["strength"] == strength), {})


def _own(runs) -> float:
    """The strength that the runs of a method were run with."""
    return runs[0]["protocol"].get("logit_adjust") or 0.0
