"""One look for all figures: colours and markers by method, sizes, and what is left off."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# The page takes these two for its own, dark or light (`svg.inline_svg`); in files they are what they say.
INK, PAPER = "#1b1b1f", "#fefefe"
# Okabe and Ito's colours, which stay apart for the colour-blind, without black and yellow.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
BASELINE = "#808080"
_SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.1,
    "grid.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    # A name with dollars or underscores in it is a name, no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    # The same figures give the same bytes.
    "svg.hashsalt": "recbole_lpo",
}


class NothingToDraw(Exception):
    """A figure cannot be drawn; the message says what is missing."""


@contextmanager
def drawing() -> Iterator[None]:
    """Draws and saves as figures here are to look, whatever the user's own matplotlibrc."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        # A name in a script that the font lacks: the browser has another one, a PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of every method, the same in all figures of a study.

    methods: in the order of the study; baseline: drawn in grey
    """

    methods: Sequence[str]
    baseline: str

    def colour(self, method: str) -> str:
        """Of a method; grey for the baseline."""
        return BASELINE if method == self.baseline else _COLOURS[self._place(method) % len(_COLOURS)]

    def marker(self, method: str) -> str:
        """Of a method: tells it apart where colours come again, and without colours."""
        return "o" if method == self.baseline else _MARKERS[self._place(method) % len(_MARKERS)]

    def line(self, method: str) -> object:
        """Style of its lines, another one each time that the colours begin again."""
        place = 0 if method == self.baseline else self._place(method)
        return _LINES[place // len(_COLOURS) % len(_LINES)]

    def _place(self, method: str) -> int:
        return [name for name in self.methods if name != self.baseline].index(method)


def figure(height: float, width: float = 6.6, n_rows: int = 1, n_columns: int = 1, **options):
    """(figure, axes) in inches, without pyplot and its global state."""
    made = Figure(figsize=(width, height), layout="constrained")
    # Measures text, which the places of labels hang on.
    FigureCanvasAgg(made)
    return made, made.subplots(n_rows, n_columns, **options)


def without_lines(axes: Axes, *sides: str) -> None:
    """Take off spines and ticks of sides that say nothing."""
    for side in sides:
        axes.spines[side].set_visible(False)
        axes.tick_params(**{side: False})


def short(name: str, longest: int = 34) -> str:
    """A name that fits into a figure; the page's table has it whole."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
