"""Differences from the baseline: a forest plot."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recbole_lpo.compare.report.look import INK, PAPER, Look, NothingToDraw, figure, short, without_lines
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.summary import is_clear, shown_p

CAPTION = (
    "Difference from {baseline} with its 95 % bootstrap interval over users, the p-value of a randomisation test over"
    " users (corrected for the number of comparisons, Holm) and d, the mean difference in standard deviations. "
    "Hollow: could be chance. Last panel: more on the tail than the logit-adjusted {baseline} has at the same overall"
    " value, with intervals that hold together for all methods (Bonferroni)."
)


def draw(one: DatasetResults, look: Look) -> Figure:
    """Panels: overall, head, tail, above the curve. Raises NothingToDraw where nothing was tested."""
    rows = [row for row in one.rows if row.tests]
    if not rows:
        raise NothingToDraw(_why_not(one, look))
    names = {one.key(group): group or "overall" for group in ("", "head", "tail")}
    panels = [(f"{name} {one.key().upper()}", key) for key, name in names.items() if any(key in r.tests for r in rows)]
    if any(row.height for row in rows):
        panels.append(("above the adjustment curve, on the tail", None))
    drawn, grid = figure(0.35 + len(panels) * (0.45 + 0.36 * len(rows)), n_rows=len(panels), squeeze=False)
    for number, (axes, (title, key)) in enumerate(zip(grid[:, 0], panels, strict=True)):
        axes.axvline(0, color=INK, lw=0.9)
        for place, row in enumerate(rows):
            found = row.tests.get(key) if key else row.height
            if found is None:
                continue
            colour = look.colour(row.method)
            axes.plot([found.low, found.high], [place, place], color=colour, lw=2)
            clear = is_clear(found)
            axes.plot(
                found.mean, place, look.marker(row.method), ms=7, mec=colour, mew=1.6, mfc=colour if clear else PAPER,
                gid=f"mark-differences-{number}-{place}",
            )  # fmt: skip
            axes.annotate(
                _figures(found, key), (1.01, place), xycoords=axes.get_yaxis_transform(), va="center", size=8,
                annotation_clip=False,
            )  # fmt: skip
        axes.set_title(title)
        axes.set_yticks(range(len(rows)), [short(row.method) for row in rows])
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_color(look.colour(row.method))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", visible=False)
        without_lines(axes, "left")
    return drawn


def _figures(found, key: str | None) -> str:
    text = f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    if key is None:
        return text
    effect = "" if math.isnan(found.effect) else f", d {found.effect:+.2f}"
    p = shown_p(found.p_users)
    return f"{text}\np {p if p[0] == '<' else f'= {p}'}{effect}"


def _why_not(one: DatasetResults, look: Look) -> str:
    if one.row(look.baseline) is None:
        return f"no run of the baseline {look.baseline} is finished."
    untested = [f"{row.method}: {row.untested}" for row in one.rows if row.untested]
    return "; ".join(untested) + "." if untested else "only the baseline has finished runs: nothing to compare it with."
