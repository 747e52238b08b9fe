"""What every table of a comparison shows of it: columns, means, spreads, best and second."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from recbole.evaluator.register import metrics_dict

from recbole_lpo.compare.paired import Test
from recbole_lpo.compare.results import DatasetResults, Row
from recbole_lpo.compare.significance import Height
from recbole_lpo.table import caption

# Heading -> metric, at the list length of the validation metric.
_COLUMNS = {
    "HR": "hit", "NDCG": "ndcg", "head HR": "headhit", "head NDCG": "headndcg", "tail HR": "tailhit",
    "tail NDCG": "tailndcg", "unseen HR": "unseenhit", "coverage": "coverage", "tail cov.": "tailcoverage",
}  # fmt: skip


def columns(one: DatasetResults) -> dict[str, str]:
    """Heading -> metric, of those that have a value in some run: a group without users has none.

    Where no metric is of a list, all that were measured.
    """
    measured = {key for row in one.rows for run in row.runs for key, value in run["test"].items() if value is not None}
    if not one.cut:
        return {key.upper(): key for key in sorted(measured)}
    named = {heading: f"{name}@{one.cut}" for heading, name in _COLUMNS.items()}
    return {heading: key for heading, key in named.items() if key in measured}


def notes(one: DatasetResults) -> list[str]:
    """What the figures rest on: counts, split, protocol, seeds, and what could not be tested."""
    lines = caption([{**run, "model": row.method} for row in one.rows for run in row.runs])
    if "unseen HR" in columns(one):
        lines.append("Unseen: the users whose held-out item training never saw; they are part of the tail.")
    lines += [
        f"{row.method}: as it was run, ranked with t = {strength:g}."
        for row in one.rows
        if (strength := row.runs[0]["protocol"].get("logit_adjust"))
    ]
    lines += [
        f"{row.method}: not trained, the weights of {row.weights_of} ranked as study.yaml says."
        for row in one.rows
        if row.weights_of
    ]
    lines += [
        f"{row.method}: its reference policy is {row.reference_of} of the same seed."
        for row in one.rows
        if row.reference_of
    ]
    lines += [
        f"{row.method}: trained with another head and tail, measured on those of {one.baseline}; what its lists hold "
        "of the tail is left out."
        for row in one.rows
        if row.regrouped
    ]
    lines += [f"{row.method}: not tested, {row.untested}." for row in one.rows if row.untested]
    return lines


def best_two(means: Sequence[float], *, larger: bool) -> tuple[float, float]:
    """The best and the second of some means; NaN where there is none. larger: whether more is better."""
    ordered = sorted({mean for mean in means if not math.isnan(mean)}, reverse=larger)
    best, second, *_ = *ordered, math.nan, math.nan
    return best, second


def larger_is_better(metric: str) -> bool:
    """The direction of a metric, as RecBole's registry has it."""
    known = metrics_dict.get(metric.partition("@")[0])
    return not getattr(known, "smaller", False)


def seconds_an_epoch(row: Row) -> list[float]:
    """The median epoch of each seed that has one."""
    return [run["seconds"]["train_epoch"] for run in row.runs if run["seconds"]["train_epoch"] is not None]


def peak_mb(row: Row) -> list[float]:
    """The peak memory of each seed that has one, in units of 10^6 bytes."""
    return [run["memory"]["peak_mb"] for run in row.runs if run["memory"]["peak_mb"] is not None]


def with_spread(values: np.ndarray) -> str:
    """Mean ± standard deviation; a dash where there is no value."""
    average, spread = mean(values), std(values)
    if math.isnan(average):
        return "-"
    return f"{average:.4f}" if math.isnan(spread) else f"{average:.4f} ± {spread:.4f}"


def mean(values: np.ndarray) -> float:
    """Of the values that there are; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def std(values: np.ndarray) -> float:
    """The standard deviation of a sample (n - 1) of the values that there are; NaN for fewer than two."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def shown_p(value: float) -> str:
    """A p-value in the form of a table."""
    return "-" if math.isnan(value) else "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def is_clear(found: Test | Height) -> bool:
    """Whether a difference is more than chance over users: interval off 0 and, of a test, corrected p below 5 %."""
    off_zero = found.low > 0 or found.high < 0
    return off_zero and (not isinstance(found, Test) or found.p_users < 0.05)
