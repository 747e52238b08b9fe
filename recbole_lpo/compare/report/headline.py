"""What a comparison found, in words: no winner where the figures name none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_lpo.compare.paired import Test
from recbole_lpo.compare.results import DatasetResults, Row
from recbole_lpo.compare.significance import paired_differences
from recbole_lpo.compare.summary import is_clear, mean, shown_p


@dataclass(frozen=True)
class Statement:
    """A question, its answer in a few words, and the figures behind it."""

    question: str
    answer: str
    figures: str


def headline(one: DatasetResults) -> list[Statement]:
    """Overall, on the tail, on the tail at no loss overall, and against the adjustment curve of the baseline."""
    bests = [_best(one, "", "Best overall"), _best(one, "tail", "Best on the tail")]
    return [*bests, _at_no_loss(one), _against_the_curve(one)]


def _best(one: DatasetResults, group: str, question: str) -> Statement:
    key = one.key(group)
    means = {row.method: mean(row.values(key)) for row in one.rows}
    means = {method: value for method, value in means.items() if value == value}
    if not means:
        missing = f"No finished run has {key}." if one.cut else "The runs have no metric of lists."
        return Statement(question, "No figure", missing)
    highest = max(means, key=means.get)
    shown = f"{one.key().upper()} {means[highest]:.4f}"
    if len(means) == 1:
        return Statement(question, "Nothing to compare", f"Only {highest} has finished runs: {shown}.")
    others = [row for row in one.rows if row.method != one.baseline and row.method in means]
    tested = [row for row in others if key in row.tests]
    if not tested:
        why = "the baseline has no finished run" if one.row(one.baseline) is None else "the runs have other test users"
        return Statement(question, "Not tested", f"{highest} has the highest mean, {shown}; {why}.")
    # A mean over other users says nothing beside these.
    means = {method: means[method] for method in (one.baseline, *(row.method for row in tested)) if method in means}
    highest = max(means, key=means.get)
    shown = f"{one.key().upper()} {means[highest]:.4f}"
    better = [row for row in tested if is_clear(row.tests[key]) and row.tests[key].mean > 0]
    if not better:
        best = max(tested, key=lambda row: means[row.method])
        clause = f"{best.method} comes nearest: {_difference(best, key)}"
        worse = all(is_clear(row.tests[key]) for row in tested)
        if worse:
            below = "all others" if len(tested) == len(others) else "all others with its test users"
            return Statement(question, f"{one.baseline}, the baseline", f"{shown}; {below} are below it. {clause}.")
        if highest != one.baseline:
            clause = f"{highest} has the highest mean, {shown}, but its difference could be chance: "
            clause += _difference(best, key)
        return Statement(question, f"No method beats {one.baseline}", f"{clause}.")
    top = max(better, key=lambda row: means[row.method])
    leaders = [top, *(row for row in better if row is not top and _level(one, top, row, group))]
    names = _listed([row.method for row in leaders])
    answer = names if len(leaders) == 1 else f"{names}, level with each other"
    figures = f"NDCG@{one.cut}" if one.measure == "ndcg" else f"HR@{one.cut}"
    figures += f" {means[top.method]:.4f} against {means.get(one.baseline, float('nan')):.4f} of {one.baseline}: "
    figures += f"{_difference(top, key)}."
    if group and (overall := top.tests.get(one.key())):
        verb = "no clear change" if not is_clear(overall) else "a gain" if overall.mean > 0 else "a loss"
        figures += f" Overall it is {verb}: {overall.mean:+.4f} [{overall.low:+.4f}, {overall.high:+.4f}]."
    return Statement(question, answer, figures)


def _at_no_loss(one: DatasetResults) -> Statement:
    question = "Most for the tail at no loss overall"
    rows = [row for row in one.rows if row.no_loss and row.no_loss.tail]
    if not rows and any(row.no_loss for row in one.rows):
        figures = (
            f"On validation items every other method is below {one.baseline} overall at every strength of the "
            f"adjustment, and any strength costs {one.baseline} some."
        )
        return Statement(question, f"{one.baseline}, the baseline", figures)
    if not rows:
        return Statement(question, "Not known", _no_curve(one))
    best = max(rows, key=lambda row: row.no_loss.tail.mean)
    tail, strength, key = best.no_loss.tail, best.no_loss.strength, one.key("tail")
    reached, of_baseline = mean(best.at(strength, key)), mean(one.row(one.baseline).values(key))
    figures = (
        f"tail {one.key().upper()} {reached:.4f} against {of_baseline:.4f} of {one.baseline}: {_shown(tail)}; overall "
        f"{_shown(best.no_loss.overall)}. Ranked with t = {strength:g}, the largest that costs nothing overall on "
        "validation items."
    )
    clear = is_clear(tail) and tail.mean > 0
    return Statement(question, best.method if clear else f"Nothing clearly above {one.baseline}", figures)


def _against_the_curve(one: DatasetResults) -> Statement:
    question = f"More than adjusting {one.baseline} by popularity?"
    rows = [row for row in one.rows if row.height]
    if not rows:
        return Statement(question, "Not known", _no_curve(one))
    above = [row for row in rows if row.height.low > 0]
    shown = max(above or rows, key=lambda row: row.height.mean)
    height = shown.height
    figures = (
        f"At the overall value of {shown.method}, {one.baseline} with post-hoc logit adjustment (no training) has "
        f"{mean(shown.values(one.key('tail'))) - height.mean:.4f} on the tail: {height.mean:+.4f} "
        f"[{height.low:+.4f}, {height.high:+.4f}]."
    )
    if above:
        return Statement(question, f"Yes: {_listed([row.method for row in above])}", figures)
    if all(row.height.high < 0 for row in rows):
        return Statement(question, "No: every method is below the curve", figures)
    return Statement(question, "No method is clearly above the curve", f"Nearest: {figures[0].lower()}{figures[1:]}")


def _no_curve(one: DatasetResults) -> str:
    baseline = one.row(one.baseline)
    if baseline is None:
        return f"{one.baseline} has no finished run."
    if baseline.users is None or not baseline.users.in_tail.any():
        return "No test user has a tail target."
    if not baseline.users.curve:
        return f"The runs of {one.baseline} keep no ranks along its adjustment curve (eval_logit_adjust_curve)."
    return "There is no other method with the same test users."


def _level(one: DatasetResults, first: Row, second: Row, group: str) -> bool:
    """Whether the interval of the paired difference between two methods covers zero."""
    if first.users is None or second.users is None or not first.users.who.equals(second.users.who):
        return True
    difference = first.users.value(one.measure, one.cut) - second.users.value(one.measure, one.cut)
    member = first.users.in_tail if group == "tail" else np.full(len(difference), True)
    found = paired_differences(difference[:, None], member[:, None], rounds=1)
    return bool(found.low[0] <= 0 <= found.high[0])


def _difference(row: Row, key: str) -> str:
    return _shown(row.tests[key])


def _shown(test: Test) -> str:
    seeds = "" if np.isnan(test.p_seeds) else f", over seeds {_p(test.p_seeds)}"
    return f"{test.mean:+.4f} [{test.low:+.4f}, {test.high:+.4f}], {_p(test.p_users)} over {test.n:,} users{seeds}"


def _p(value: float) -> str:
    shown = shown_p(value)
    return f"p {shown}" if shown[0] == "<" else f"p = {shown}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
