"""Labels beside what they name, none over another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from recbole_lpo.compare.report.look import short

# (dx, dy) in points from the point, and how the text is anchored there; the first that is free is taken.
_PLACES = [
    (dx * distance, dy * distance, {1: "left", -1: "right", 0: "center"}[np.sign(dx)], vertical)
    for distance in (7, 15, 26, 40, 58)
    for dx, dy, vertical in (
        (1, 0, "center"), (-1, 0, "center"), (0, 1, "bottom"), (0, -1, "top"),
        (0.8, 0.8, "bottom"), (0.8, -0.8, "top"), (-0.8, 0.8, "bottom"), (-0.8, -0.8, "top"),
    )
]  # fmt: skip


def label_points(axes: Axes, points: Sequence[tuple[float, float, str, dict]], avoid: Sequence[Bbox]) -> None:
    """Name each point (x, y, name, text properties) where it covers no other name, no point, and no box to avoid.

    avoid: boxes in the units of the axes; that of a line has no width or no height.
    Call it last: it reads the limits of the axes. A name that fits nowhere stays to the right of its point. Names that
    had to move away get a thin line to their point.
    """
    drawn = axes.figure
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()
    inside = axes.get_window_extent(renderer)
    pixels = drawn.dpi / 72
    covered = [_around(axes, x, y, 4 * pixels) for x, y, *_ in points]
    covered += [axes.transData.transform_bbox(box).padded(1.5 * pixels) for box in avoid]
    for x, y, name, properties in points:
        text = axes.annotate(short(name), (x, y), textcoords="offset points", xytext=(7, 0), va="center", **properties)
        for dx, dy, horizontal, vertical in _PLACES:
            text.set(position=(dx, dy), ha=horizontal, va=vertical)
            box = text.get_window_extent(renderer)
            if _within(box, inside) and not any(box.overlaps(other) for other in covered):
                break
        else:
            text.set(position=(7, 0), ha="left", va="center")
            dx = dy = 0
            box = text.get_window_extent(renderer)
        covered.append(box)
        if np.hypot(dx, dy) > 12:
            axes.annotate(
                "", (x, y), textcoords="offset points", xytext=(dx, dy),
                arrowprops={"arrowstyle": "-", "lw": 0.6, "color": properties.get("color"), "shrinkB": 4},
            )  # fmt: skip


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Places near those wanted, at least `gap` apart and in the same order; (M,) -> (M,).

    They are the nearest ones in the sum of squares: groups of neighbours that would touch stand around their middle.
    """
    wanted = np.asarray(wanted, dtype=np.float64)
    order = np.argsort(wanted, kind="stable")
    # Less the gaps below each, the places only have to rise: neighbours that fall are pooled to their mean.
    blocks: list[list[float]] = []
    for place, index in enumerate(order):
        blocks.append([wanted[index] - gap * place])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1].extend(last)
    found = np.empty_like(wanted)
    found[order] = np.concatenate([np.full(len(b), np.mean(b)) for b in blocks]) if blocks else []
    found[order] += gap * np.arange(len(order))
    return found


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], at: float) -> None:
    """Name lines by their ends (x, y, name, colour), in a column to the right of the axes that starts at x = `at`."""
    if not ends:
        return
    axes.set_xlim(axes.get_xlim())
    low, high = axes.set_ylim(axes.get_ylim())
    height = axes.get_position().height * axes.figure.get_figheight() * 72
    places = spread([y for _, y, *_ in ends], 12.5 * (high - low) / max(1.0, height))
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        axes.plot([x, at], [y, place], color=colour, lw=0.6, alpha=0.6, clip_on=False)
        axes.annotate(
            short(name), (at, place), textcoords="offset points", xytext=(3, 0), va="center", ha="left",
            color=colour, annotation_clip=False,
        )  # fmt: skip


def _around(axes: Axes, x: float, y: float, radius: float) -> Bbox:
    centre = axes.transData.transform((x, y))
    return Bbox([centre - radius, centre + radius])


def _within(box: Bbox, outer: Bbox) -> bool:
    return box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1
