"""HR and NDCG by popularity decile of the target."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from recbole_lpo.compare.report.labels import label_ends
from recbole_lpo.compare.report.look import INK, Look, NothingToDraw, figure, short
from recbole_lpo.compare.results import DatasetResults

CAPTION = (
    "The catalogue in tenths by training interactions, the most popular items on the left, and how well targets in "
    "each are found. Bars: 95 % interval over users. Below: the test users with a target there."
)
_MEASURES = {"ndcg": "NDCG", "hit": "HR"}


def draw(one: DatasetResults, look: Look) -> Figure:
    """A panel for each measure. Raises NothingToDraw where no run tells the deciles of its targets."""
    rows = [row for row in one.rows if row.users is not None and row.users.decile is not None]
    if not rows:
        raise NothingToDraw("no run tells the popularity decile of its targets (made by an earlier version?).")
    drawn, panels = figure(6.2, n_rows=2, sharex=True)
    for axes, (measure, name) in zip(panels, _MEASURES.items(), strict=True):
        ends = []
        for number, row in enumerate(rows):
            deciles, means, halves = by_decile(row.users.value(measure, one.cut), row.users.decile)
            shift = 0.5 * ((number + 0.5) / len(rows) - 0.5)
            axes.errorbar(
                deciles + shift, means, yerr=halves, fmt=look.marker(row.method), ls=look.line(row.method), ms=4.5,
                lw=1.1, elinewidth=0.9, color=look.colour(row.method), label=short(row.method),
            )  # fmt: skip
            if len(deciles):
                ends.append((deciles[-1] + shift, means[-1], row.method, look.colour(row.method)))
        axes.set_ylabel(f"{name}@{one.cut}")
        axes.set_ylim(bottom=0)
        split = one.rows[0].runs[0]["split"]
        cut = 0.5 + 10 * split["head_items"] / max(1, split["items"])
        axes.axvline(cut, color=INK, lw=0.8, ls=":")
        for text, side, points in (("head", "right", -4), ("tail", "left", 4)):
            axes.annotate(
                text, (cut, 1), xycoords=axes.get_xaxis_transform(), textcoords="offset points", xytext=(points, 0),
                ha=side, va="bottom", size=8.5,
            )  # fmt: skip
        axes.set_xlim(0.4, 10.6)
        label_ends(axes, ends, at=10.9)
    n = np.bincount(rows[0].users.decile, minlength=11)
    panels[-1].set_xticks(range(1, 11), [f"{decile}\n{n[decile]:,}" for decile in range(1, 11)])
    panels[-1].set_xlabel("popularity decile of the target, 1: most popular; test users in it")
    return drawn


def by_decile(value: np.ndarray, decile: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deciles that have users, the mean value in each, and half the width of its 95 % interval.

    value, decile (U,); the interval is the normal one, of width 0 for a single user
    """
    found = np.unique(decile)
    inside = [value[decile == one] for one in found]
    means = np.array([values.mean() for values in inside])
    halves = [1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0 for values in inside]
    return found, means, np.array(halves)
