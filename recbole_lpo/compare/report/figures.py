"""All figures of a dataset, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from recbole_lpo.compare.report import cost, deciles, differences, learning, sensitivity, tail_probability, trade_off
from recbole_lpo.compare.report.look import Look, NothingToDraw
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.varied import Varied


@dataclass(frozen=True)
class Drawn:
    """A figure, or what is missing for it (figure None). name: of its file; caption: what it shows and how."""

    name: str
    title: str
    caption: str
    figure: Figure | None
    missing: str = ""


_FIGURES = [
    ("trade-off", "Overall against tail accuracy", trade_off),
    ("differences", "Differences from the baseline", differences),
    ("deciles", "Accuracy by popularity of the target", deciles),
    ("tail-probability", "How much probability the tail gets", tail_probability),
    ("learning", "Learning curves", learning),
    ("cost", "Time and memory", cost),
]


def figures(one: DatasetResults, look: Look, varied: Sequence[Varied]) -> list[Drawn]:
    """Every figure of a dataset; call inside `look.drawing()`."""
    found = [
        _drawn(name, title, module.CAPTION, look, lambda m=module: m.draw(one, look))
        for name, title, module in _FIGURES
    ]
    for number, each in enumerate(varied, start=1):
        title = f"{each.model}: {each.setting}"
        name = f"sensitivity-{number}"
        found.append(_drawn(name, title, sensitivity.CAPTION, look, lambda v=each: sensitivity.draw(one, look, v)))
    return found


def _drawn(name: str, title: str, caption: str, look: Look, draw: Callable[[], Figure]) -> Drawn:
    caption = caption.replace("{baseline}", look.baseline)
    try:
        return Drawn(name, title, caption, draw())
    except NothingToDraw as missing:
        return Drawn(name, title, caption, None, str(missing))
