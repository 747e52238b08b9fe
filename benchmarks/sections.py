"""The parts of the table of the results, each Markdown, or empty where nothing of it was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.cases import ACCURACY, BFLOAT16, NO_ANOMALY, OURS, RECBOLE
from benchmarks.goals import GOALS, Figures

_SIDES = (OURS, RECBOLE, NO_ANOMALY)
_LOSSES = {
    OURS: "ours",
    BFLOAT16: "ours, products of the gradient in bfloat16",
    "matmuls": "its three matrix products alone",
    "dense": "all scores at once",
    "linear_cross_entropy": "torch's linear_cross_entropy",
}
_ACCURACY_FIGURES = {"hit@10": "HR@10", "ndcg@10": "NDCG@10", "tailhit@10": "tail HR@10", "tailndcg@10": "tail NDCG@10"}


class _Group(NamedTuple):
    """Rows under one heading: the cases whose names begin with `start` and end with `end`, and the figures shown."""

    heading: str
    start: str
    time: str
    memory: str
    end: str = ""


_GROUPS = (
    _Group("One epoch of training", "epoch/", "epoch_seconds", "peak_mb"),
    _Group("Preparation: from the file to the first batch", "epoch/", "prepare_seconds", "prepare_peak_mb", "/SASRec"),
    _Group("Evaluation: all items ranked for every test user", "evaluation/", "evaluate_seconds", "evaluate_peak_mb"),
    _Group("One step of training, 2,048 targets; items", "catalogue/training/", "step_seconds", "train_peak_mb"),
    _Group("Evaluation of 22,363 users; items", "catalogue/evaluation/", "evaluate_seconds", "evaluate_peak_mb"),
    _Group("One epoch of training, 2,000 users; length of histories", "length/", "epoch_seconds", "peak_mb"),
    _Group("One epoch of training; users", "users/", "epoch_seconds", "peak_mb"),
    _Group("Preparation; users", "users/", "prepare_seconds", "prepare_peak_mb"),
    _Group("From the file to RecBole's best validation NDCG@10", "end-to-end/", "seconds", "peak_mb"),
)


def comparison(figures: Figures) -> str:
    """Ours and RecBole's, with and without anomaly mode."""
    rows = [row for group in _GROUPS for row in _rows(group, figures)]
    return _markdown(["", "ours", "RecBole", "RecBole, anomaly mode off", "RecBole / ours"], rows)


def objectives(figures: Figures) -> str:
    """Preference objectives beside cross-entropy; ratios to the first."""
    places = [place for place, found in figures.items() if place[0].startswith("preference/") and "n" in found]
    rows, dataset = [], ""
    for place in places:
        dataset = place[0].removeprefix("preference/")
        found, first = figures[place], figures[places[0]]
        ratios = [f"{found[name] / first[name]:.2f}x" for name in ("epoch_seconds", "peak_mb")]
        rows.append([place[1], _seconds(found, "epoch_seconds"), ratios[0], _mb(found, "peak_mb"), ratios[1]])
    return _markdown([f"ours on {dataset}", "epoch", "", "peak memory", ""], rows)


def losses(figures: Figures) -> str:
    """The loss over whole catalogues by itself."""
    start, rows = "catalogue/loss/", []
    sizes = {int(case.removeprefix(start)) for case, _ in figures if case.startswith(start)}
    for case in (f"{start}{size}" for size in sorted(sizes)):
        cells = [_cell(figures.get((case, side), {}), "step_seconds", "above_mb") for side in _LOSSES]
        rows.append([_thousands(case.removeprefix(start)), *cells])
    head = "loss of 2,048 targets and its gradients; memory above these and the inputs; items"
    return _markdown([head, *_LOSSES.values()], rows)


def accuracy(figures: Figures) -> str:
    """Packed batches against prefix rows."""
    rows = [
        [case.removeprefix(ACCURACY).replace("/", ", "), side, str(found["n"])]
        + [_mean(found["each"][name]) for name in _ACCURACY_FIGURES]
        for (case, side), found in figures.items()
        if case.startswith(ACCURACY) and "n" in found
    ]
    head = ["test; mean ± standard deviation over seeds", "batches", "seeds", *_ACCURACY_FIGURES.values()]
    return _markdown(head, rows)


def goals(figures: Figures) -> str:
    """What was to be reached, and what was."""
    rows = []
    for goal in GOALS:
        value = goal.measured(figures)
        if value is not None:
            word, bound = ("at least", goal.at_least) if goal.at_least is not None else ("at most", goal.at_most)
            met = "met" if goal.is_met(value) else "**missed**"
            rows.append([goal.text, f"{word} {bound:,g}{goal.unit}", f"{_digits(value)}{goal.unit}", met])
    return _markdown(["goal", "bound", "measured", ""], rows)


def _rows(group: _Group, figures: Figures) -> Iterator[list[str]]:
    names = (case for case, _ in figures if case.startswith(group.start) and case.endswith(group.end))
    for number, name in enumerate(dict.fromkeys(names)):
        if number == 0:
            yield [f"**{group.heading}**", "", "", "", ""]
        sides = [figures.get((name, side), {}) for side in _SIDES]
        ours, theirs = sides[0].get(group.time), sides[1].get(group.time)
        ratio = f"{_digits(theirs / ours)}x" if ours and theirs else ""
        label = name.removeprefix(group.start).removesuffix(group.end).replace("/", ", ")
        yield [_thousands(label), *(_cell(side, group.time, group.memory) for side in sides), ratio]


def _cell(found: Mapping[str, Any], time: str, memory: str) -> str:
    if "n" not in found:
        return found.get("reason", "")
    if found[time] is None:
        return f"not reached (best {found['best_score']:.4f})"
    shown = _seconds(found, time)
    if time == "epoch_seconds" and found["steps"] < found["steps_per_epoch"]:
        shown += f" (from {found['steps']:.0f} of {found['steps_per_epoch']:.0f} steps)"
    if "epochs" in found:
        shown += f" ({found['epochs']:.0f} epochs, {found['best_score']:.4f})"
    return f"{shown}, {_mb(found, memory)}"


def _seconds(found: Mapping[str, Any], name: str) -> str:
    value = found[name]
    half = (found["most"][name] - found["least"][name]) / 2 / value
    return f"{_digits(value)} s" + (f" ± {half:.0%}" if found["n"] > 1 else "")


def _mb(found: Mapping[str, Any], name: str) -> str:
    return f"{found[name]:,.0f} MB"


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def _digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _thousands(label: str) -> str:
    return f"{int(label):,}" if label.isdigit() else label


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
