"""Overall and tail accuracy against a setting that the study varies (LPO4Rec, Fig. 4)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from recbole_lpo.compare.report.look import BASELINE, Look, NothingToDraw, figure
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.summary import mean, std
from recbole_lpo.compare.varied import Varied

CAPTION = "Rows that differ in this setting alone. Bars: standard deviation over seeds. Dashed: {baseline}."
# The largest value over the smallest from which on the scale is logarithmic.
_WIDE = 20


def draw(one: DatasetResults, look: Look, varied: Varied) -> Figure:
    """Two panels, overall and tail. Raises NothingToDraw where fewer than two of the rows are finished."""
    rows = [(value, one.row(method)) for value, method in varied.rows if one.row(method) is not None]
    if len(rows) < 2:
        raise NothingToDraw(f"fewer than two values of {varied.setting} have finished runs.")
    values = [value for value, _ in rows]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    places = values if numbers else list(range(len(values)))
    drawn, panels = figure(2.9, n_columns=2)
    for number, (axes, group) in enumerate(zip(panels, ("", "tail"), strict=True)):
        key = one.key(group)
        found = [row.values(key) for _, row in rows]
        spreads = np.nan_to_num([std(of) for of in found])
        colour = look.colour(rows[-1][1].method)
        means = [mean(of) for of in found]
        axes.errorbar(places, means, yerr=spreads, fmt="none", ecolor=colour)
        axes.plot(places, means, "o-", color=colour, lw=1.4, ms=5, gid=f"mark-sensitivity-{number}")
        baseline = one.row(look.baseline)
        if baseline is not None:
            axes.axhline(mean(baseline.values(key)), color=BASELINE, ls="--", lw=1)
        if numbers and min(values) > 0 and max(values) >= _WIDE * min(values):
            axes.set_xscale("log")
        axes.set_xticks(places, [f"{value:g}" if numbers else str(value) for value in values])
        axes.minorticks_off()
        axes.set_xlabel(varied.setting)
        axes.set_title(f"{group or 'overall'} {one.key().upper()}")
        axes.margins(x=0.12, y=0.2)
    return drawn
