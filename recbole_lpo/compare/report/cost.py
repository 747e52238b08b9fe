"""Time and memory of each method (LPO4Rec, Fig. 3)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from recbole_lpo.compare.report.look import BASELINE, Look, NothingToDraw, figure, short, without_lines
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.summary import peak_mb, seconds_an_epoch

CAPTION = (
    "Median over seeds (dots) of the median epoch, and of the most memory that the process, or torch on a GPU, took. "
    "In brackets: against {baseline}, the dashed line. Runs beside each other (--jobs) share the machine and are "
    "slower."
)
_PANELS = {"seconds an epoch": seconds_an_epoch, "peak memory, MB": peak_mb}


def draw(one: DatasetResults, look: Look) -> Figure:
    """A panel for time and one for memory. Raises NothingToDraw where nothing was trained."""
    panels = {name: [read(row) for row in one.rows] for name, read in _PANELS.items()}
    panels = {name: found for name, found in panels.items() if any(found)}
    if not panels:
        raise NothingToDraw("no run tells the time of an epoch or its memory.")
    drawn, grid = figure(0.75 + 0.36 * len(one.rows), n_columns=len(panels), sharey=True, squeeze=False)
    for number, (axes, (name, found)) in enumerate(zip(grid[0], panels.items(), strict=True)):
        medians = {row.method: float(np.median(of)) for row, of in zip(one.rows, found, strict=True) if of}
        reference = medians.get(look.baseline)
        if reference is not None:
            axes.axvline(reference, color=BASELINE, ls="--", lw=1)
        for place, (row, of) in enumerate(zip(one.rows, found, strict=True)):
            if not of:
                axes.text(0, place, " not measured", va="center", size=8.5)
                continue
            colour, median = look.colour(row.method), medians[row.method]
            axes.barh(place, median, height=0.55, color=colour, alpha=0.45, gid=f"mark-cost-{number}-{place}")
            axes.plot(of, [place] * len(of), ".", color=colour, ms=5)
            ratio = f" ({median / reference:.2f}x)" if reference and row.method != look.baseline else ""
            axes.annotate(
                f"{median:.3g}{ratio}" if median < 100 else f"{median:.0f}{ratio}", (max(median, *of, 0), place),
                textcoords="offset points", xytext=(5, 0), va="center", size=9,
            )  # fmt: skip
        axes.set_xlim(0, 1.5 * max(max(of) for of in found if of))
        axes.set_title(name)
        axes.set_yticks(range(len(one.rows)), [short(row.method) for row in one.rows])
        axes.grid(axis="y", visible=False)
        without_lines(axes, "left")
    grid[0, 0].invert_yaxis()
    for tick, row in zip(grid[0, 0].get_yticklabels(), one.rows, strict=True):
        tick.set_color(look.colour(row.method))
    return drawn
