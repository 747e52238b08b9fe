"""Learning curves: validation and loss by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recbole_lpo.compare.report.labels import label_ends
from recbole_lpo.compare.report.look import Look, NothingToDraw, figure
from recbole_lpo.compare.results import DatasetResults

CAPTION = (
    "A line for each seed; the dot is the epoch whose weights were tested. Losses of different objectives cannot be "
    "compared: each is shown as a share of its first epoch."
)


def draw(one: DatasetResults, look: Look) -> Figure:
    """Panels: what validation watched, its tail, the loss. Raises NothingToDraw without any history."""
    if not any(history for row in one.rows for history in row.histories):
        raise NothingToDraw("no run has a history of its epochs.")
    watched = {f"valid/{one.key()}": f"validation {one.key().upper()}"}
    watched[f"valid/{one.key('tail')}"] = f"validation {one.key().upper()} of tail targets"
    recorded = {key for row in one.rows for history in row.histories for record in history for key in record}
    panels = [(name, _reader(key)) for key, name in watched.items() if key in recorded]
    panels.append(("training loss / that of the first epoch", _relative_loss))
    drawn, grid = figure(2.5 * len(panels) + 0.3, n_rows=len(panels), sharex=True, squeeze=False)
    for axes, (name, read) in zip(grid[:, 0], panels, strict=True):
        ends = []
        for row in one.rows:
            colour, last = look.colour(row.method), None
            for history, run in zip(row.histories, row.runs, strict=True):
                points = [(record["epoch"] + 1, value) for record, value in zip(history, read(history), strict=True)]
                points = [point for point in points if point[1] is not None and not math.isnan(point[1])]
                if not points:
                    continue
                axes.plot(*zip(*points, strict=True), color=colour, ls=look.line(row.method), lw=1.2, alpha=0.85)
                best = run["epochs"]["best"]
                axes.plot(*zip(*[p for p in points if p[0] - 1 == best] or [(math.nan, math.nan)], strict=True), ".",
                          color=colour, ms=8)  # fmt: skip
                last = points[-1]
            if last:
                ends.append((*last, row.method, colour))
        axes.set_title(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        right = max((x for x, *_ in ends), default=1)
        label_ends(axes, ends, at=right + 0.05 * max(1, right - 1))
    grid[-1, 0].set_xlabel("epoch")
    return drawn


def _reader(key: str) -> Callable[[list[dict]], list[float | None]]:
    return lambda history: [record.get(key) for record in history]


def _relative_loss(history: list[dict]) -> list[float | None]:
    first = history[0].get("train_loss") if history else None
    # A loss that is 0 or negative has no share.
    return [record.get("train_loss") / first if first and first > 0 else None for record in history]
