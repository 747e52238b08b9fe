"""The distribution over users of mean tail probability minus mean probability (LPO4Rec, Fig. 1 left and Fig. 5)."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from recbole_lpo.compare.report.look import INK, Look, NothingToDraw, figure, short, without_lines
from recbole_lpo.compare.results import DatasetResults

CAPTION = (
    "For each test user, the softmax probability of a tail item on average, less that of any item on average (which "
    "is 1 / items, whatever the model): 0 where the tail gets its share by number, far left where all goes to the "
    "head. Tick: median. The upper scale says what that is for the whole tail together. For a model that was not "
    "trained by a softmax over all items (BPR, Pop), only a picture of its scores."
)
_BINS = 80


def draw(one: DatasetResults, look: Look) -> Figure:
    """A distribution for each method, on one scale. Raises NothingToDraw where no run tells the probability."""
    split = one.rows[0].runs[0]["split"]
    items, tail_items = split["items"], split["tail_items"]
    rows = [row for row in one.rows if row.users is not None and row.users.tail_prob is not None]
    if not rows or not tail_items:
        raise NothingToDraw(
            "no run tells the probability that it gives the tail (no tail, or made by an earlier version)."
        )
    found = [less_the_mean(row.users.tail_prob.ravel(), tail_items, items) for row in rows]
    unit = 10.0 ** -math.floor(math.log10(1 / items))
    low, high = np.nanquantile(np.concatenate(found), [0.002, 0.998]) * unit
    room = 0.03 * (high - low) or 0.1
    edges = np.linspace(min(low, 0) - room, max(high, 0) + room, _BINS + 1)
    drawn, axes = figure(1.0 + 0.62 * len(rows))
    axes.axvline(0, color=INK, lw=0.8)
    for place, (row, values) in enumerate(zip(rows, found, strict=True)):
        shares = np.histogram(values[~np.isnan(values)] * unit, edges)[0].astype(float)
        heights = 0.85 * shares / max(1.0, shares.max())
        colour, base = look.colour(row.method), len(rows) - 1 - place
        axes.stairs(base + heights, edges, baseline=base, fill=True, color=colour, alpha=0.35, gid=f"mark-prob-{place}")
        axes.stairs(base + heights, edges, baseline=None, color=colour, lw=1.2)
        axes.plot([np.nanmedian(values) * unit] * 2, [base, base + 0.9], color=colour, lw=2)
    axes.set_yticks(range(len(rows)), [short(row.method) for row in reversed(rows)])
    for tick, row in zip(axes.get_yticklabels(), reversed(rows), strict=True):
        tick.set(color=look.colour(row.method), va="bottom")
    without_lines(axes, "left")
    axes.grid(axis="y", visible=False)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(f"mean tail probability - mean probability, in units of 1e{-round(math.log10(unit))}")
    upper = axes.secondary_xaxis(
        "top",
        functions=(
            lambda x: 100 * tail_items * (x / unit + 1 / items),
            lambda percent: unit * (percent / 100 / tail_items - 1 / items),
        ),
    )
    upper.set_xlabel("probability of the whole tail, %")
    return drawn


def less_the_mean(tail_prob: np.ndarray, tail_items: int, items: int) -> np.ndarray:
    """Mean probability of the tail items minus that of all items, from the probability of the whole tail; any shape."""
    return tail_prob / tail_items - 1 / items
