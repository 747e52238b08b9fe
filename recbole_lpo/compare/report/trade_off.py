"""Overall against tail accuracy, with the curve that the baseline reaches without training."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from recbole_lpo.compare.report.labels import label_points
from recbole_lpo.compare.report.look import BASELINE, INK, Look, NothingToDraw, figure
from recbole_lpo.compare.results import DatasetResults, Row
from recbole_lpo.compare.summary import mean
from recbole_lpo.core.trade_off import pareto_front

CAPTION = (
    "Up and to the right is better. Bars: 95 % interval of the difference from {baseline} (paired over users), drawn "
    "around each method; a bar that crosses the grey line of {baseline} is no difference from it. Dashed: {baseline} "
    "itself, ranked by score - t * log(training share of the item), without any training; a method below that curve "
    "buys nothing. Thin lines in colour: the other methods, ranked so with the same t. Black: the Pareto front of the "
    "methods."
)


def draw(one: DatasetResults, look: Look) -> Figure:
    """The scatter. Raises NothingToDraw where no run has both figures."""
    overall, tail = one.key(), one.key("tail")
    points = {row.method: (mean(row.values(overall)), mean(row.values(tail))) for row in one.rows}
    points = {method: point for method, point in points.items() if not any(map(math.isnan, point))}
    if not points:
        raise NothingToDraw(f"no run has both {overall} and {tail} (no tail, or TailNDCG is not among the metrics).")
    drawn, axes = figure(4.6)
    curves = {method: _curve(one.row(method), point, overall, tail) for method, point in points.items()}
    curve = curves.pop(look.baseline, [])
    if look.baseline in points:
        x, y = points[look.baseline]
        axes.axvline(x, color=BASELINE, lw=0.8, alpha=0.6)
        axes.axhline(y, color=BASELINE, lw=0.8, alpha=0.6)
    if len(curve) > 1:
        _, across, up = zip(*curve, strict=True)
        axes.plot(across, up, color=BASELINE, ls=(0, (4, 2)), lw=1.4, marker=".", ms=7, zorder=2, gid="curve")
    for number, (method, of_method) in enumerate(curves.items()):
        _, across, up = zip(*of_method, strict=True)
        axes.plot(across, up, color=look.colour(method), lw=0.9, alpha=0.5, zorder=1, gid=f"curve-{number}")
    methods = np.array(list(points))
    front = methods[pareto_front(*np.array(list(points.values())).T)]
    ordered = sorted(points[method] for method in front)
    axes.plot(*zip(*ordered, strict=True), color=INK, lw=0.8, alpha=0.55, zorder=1, gid="pareto-front")
    for number, (method, (x, y)) in enumerate(points.items()):
        row = one.row(method)
        axes.errorbar(
            x, y, xerr=_bar(row, overall), yerr=_bar(row, tail), fmt=look.marker(method), ms=7.5, lw=1.2,
            color=look.colour(method), zorder=4,
        )  # fmt: skip
        axes.plot(
            x, y, look.marker(method), ms=7.5, color=look.colour(method), zorder=5, gid=f"mark-trade-off-{number}"
        )
    axes.set_xlabel(f"overall {overall.upper()}{_users(one, 'users', 'test users')}")
    axes.set_ylabel(f"{overall.upper()} of tail targets{_users(one, 'tail', 'users')}")
    axes.margins(0.14)
    axes.locator_params(axis="x", nbins=6)
    names = [(x, y, method, {"color": look.colour(method), "weight": "bold"}) for method, (x, y) in points.items()]
    names += [(x, y, f"t={strength:g}", {"color": BASELINE, "size": 8.5}) for strength, x, y in curve[1:]]
    bars = [_box(*points[row.method], _bar(row, overall), _bar(row, tail)) for row in one.rows if row.method in points]
    lines = [_line((x, y), (x_next, y_next)) for (_, x, y), (_, x_next, y_next) in pairwise(curve)]
    if look.baseline in points:
        (x, y), (left, right), (low, high) = points[look.baseline], axes.get_xlim(), axes.get_ylim()
        lines += [[Bbox.from_extents(x, low, x, high), Bbox.from_extents(left, y, right, y)]]
    label_points(axes, names, avoid=[box for boxes in (*bars, *lines) for box in boxes])
    return drawn


def _curve(row: Row, start: tuple[float, float], overall: str, tail: str) -> list[tuple[float, float, float]]:
    """(strength, overall, tail) of a method, as it was run first."""
    points = [
        (strength, mean(row.adjusted(strength, overall)), mean(row.adjusted(strength, tail)))
        for strength in row.strengths()
    ]
    return [(0.0, *start), *(point for point in points if not any(map(math.isnan, point)))]


def _bar(row: Row, key: str) -> list[list[float]] | None:
    test = row.tests.get(key)
    return test and [[max(0.0, test.mean - test.low)], [max(0.0, test.high - test.mean)]]


def _box(x: float, y: float, across, up) -> list[Bbox]:
    """Where the bars of a point are."""
    ((left,), (right,)), ((low,), (high,)) = across or [[0], [0]], up or [[0], [0]]
    return [Bbox.from_extents(x - left, y, x + right, y), Bbox.from_extents(x, y - low, x, y + high)]


def _line(start: tuple[float, float], end: tuple[float, float], parts: int = 12) -> list[Bbox]:
    """A line that may be slanted, as small boxes along it."""
    corners = np.linspace(start, end, parts + 1)
    return [Bbox([np.minimum(a, b), np.maximum(a, b)]) for a, b in pairwise(corners)]


def _users(one: DatasetResults, group: str, noun: str) -> str:
    n = one.rows[0].runs[0]["n"]
    return f" ({n[group]:,} {noun})" if n else ""
