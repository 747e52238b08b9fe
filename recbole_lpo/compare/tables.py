"""The tables of a comparison: markdown and LaTeX for people, CSV for programs."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from recbole_lpo.compare import explanations
from recbole_lpo.compare.paired import Test
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.significance import Height
from recbole_lpo.compare.summary import (
    best_two,
    columns,
    larger_is_better,
    mean,
    notes,
    peak_mb,
    seconds_an_epoch,
    shown_p,
    std,
    with_spread,
)

_SHOWN_TESTS = {"NDCG": "ndcg", "head NDCG": "headndcg", "tail NDCG": "tailndcg"}


def markdown(results: Sequence[DatasetResults], baseline: str, failures: Sequence[str] = ()) -> str:
    """`table.md`: means and standard deviations, then the differences from the baseline, then what they rest on."""
    parts = []
    for one in results:
        parts.append(f"## {one.headed(one.title)}")
        heading, body = _cells(one, bold=lambda text: f"**{text}**", second=lambda text: f"<u>{text}</u>")
        parts.append(_pipes(heading, body))
        parts.append(f"{explanations.MARKS} {explanations.SPREAD}")
        if any(row.tests for row in one.rows):
            parts.append(f"### Differences from {baseline}")
            parts.append(_pipes(*_differences(one)))
            parts.append(explanations.HOW_TESTED.replace("{baseline}", baseline))
        lifted = _at_no_loss(one)
        if lifted:
            parts.append("### The tail lifted at no loss overall")
            parts.append(_pipes(*lifted))
            parts.append(explanations.NO_LOSS.replace("{baseline}", baseline))
        tails = _both_tails(one)
        if tails:
            parts.append("### Two definitions of the tail")
            parts.append(_pipes(*tails))
            parts.append(explanations.BOTH_TAILS.replace("{baseline}", baseline))
        curve = _curves(one)
        if curve:
            parts.append("### Post-hoc logit adjustment")
            parts.append(_pipes([*heading[: len(curve[0])]], curve))
            parts.append(explanations.CURVE)
        parts.append("\n".join(notes(one)))
    if failures:
        parts.append("## Runs that failed\n\n" + "\n".join(f"* {failure}" for failure in failures))
    return "\n\n".join(parts) + "\n"


def latex(results: Sequence[DatasetResults]) -> str:
    r"""`table.tex`: a `tabular` for each dataset, for `\usepackage{booktabs}`; best bold, second underlined."""
    parts = []
    for one in results:
        heading, body = _cells(one, bold=_command("textbf"), second=_command("underline"), plain=_escaped)
        lines = [
            "% " + " ".join(notes(one)),
            rf"\begin{{tabular}}{{l{'r' * (len(heading) - 1)}}}",
            r"\toprule",
            " & ".join(map(_escaped, heading)) + r" \\",
            r"\midrule",
            *(" & ".join(cells) + r" \\" for cells in body),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def table_csv(results: Sequence[DatasetResults]) -> str:
    """`table.csv`: a line for each dataset, method and metric (all of them, at every list length), unrounded."""
    fields = ("mean", "low", "high", "effect", "p_users", "p_seeds", "n")
    names = ["difference", "difference_low", "difference_high", "effect", "p_users_holm", "p_seeds_holm", "users"]
    lines = [["dataset", "selected_by", "method", "metric", "mean", "std", "seeds", *names]]
    for one in results:
        for row in one.rows:
            for metric in sorted({key for run in row.runs for key in run["test"]}):
                average, spread = mean(row.values(metric)), std(row.values(metric))
                test = row.tests.get(metric)
                tested = [_number(getattr(test, field)) if test else "" for field in fields]
                figures = [_number(average), _number(spread), len(row.runs), *tested]
                lines.append([one.dataset, one.selected_by, row.method, metric, *figures])
    return _csv(lines)


def runs_csv(results: Sequence[DatasetResults], folders: Callable[[str, str, int], str]) -> str:
    """`runs.csv`: a line for each run and way of choosing its best epoch. folders(dataset, method, seed) names its run
    folder."""
    every = [(one, row.method, run) for one in results for row in one.rows for run in row.runs]
    metrics = sorted({key for *_, run in every for key in run["test"]})
    lines = [
        ["dataset", "selected_by", "method", "model", "seed", "epochs", "best_epoch", "train_seconds", "parameters"]
    ]
    lines[0] += ["folder", *metrics]
    for one, method, run in every:
        about = [run["model"], run["seed"], run["epochs"]["trained"], run["epochs"]["best"], run["seconds"]["train"]]
        values = [_number(run["test"].get(metric)) for metric in metrics]
        folder = folders(one.dataset, method, run["seed"])
        lines.append([one.dataset, one.selected_by, method, *about, run["parameters"], folder, *values])
    return _csv(lines)


def _curves(one: DatasetResults) -> list[list[str]]:
    """A line for each method and strength of the adjustment."""
    return [
        [f"{row.method} t={strength:g}"]
        + [with_spread(row.adjusted(strength, metric)) for metric in columns(one).values()]
        for row in one.rows
        for strength in row.strengths()
    ]


def _cells(one: DatasetResults, *, bold, second, plain=str) -> tuple[list[str], list[list[str]]]:
    metrics = columns(one)
    body = [[plain(row.method)] for row in one.rows]
    for metric in metrics.values():
        means = [mean(row.values(metric)) for row in one.rows]
        best, next_best = best_two(means, larger=larger_is_better(metric))
        for cells, row, average in zip(body, one.rows, means, strict=True):
            text = plain(with_spread(row.values(metric)))
            cells.append(bold(text) if average == best else second(text) if average == next_best else text)
    for cells, row in zip(body, one.rows, strict=True):
        epoch, peak = seconds_an_epoch(row), peak_mb(row)
        cells += [f"{np.median(epoch):.1f}" if epoch else "-", f"{np.median(peak):.0f}" if peak else "-"]
        cells += [str(len(row.runs)), str(row.n_trials)]
    return ["method", *metrics, "s/epoch", "peak MB", "seeds", "trials"], body


def _at_no_loss(one: DatasetResults) -> tuple[list[str], list[list[str]]] | None:
    overall, tail = one.key(), one.key("tail")
    of_baseline = one.row(one.baseline)
    name = "HR" if one.measure == "hit" else one.measure.upper()
    heading = ["method", "t", name, f"tail {name}", f"{name} gained", f"tail {name} gained", "in %"]
    body = []
    for row in one.rows:
        if row.no_loss is None:
            continue
        t, gained = row.no_loss.strength, row.no_loss.tail
        cells = [row.method, f"{t:g}", with_spread(row.at(t, overall)), with_spread(row.at(t, tail))]
        if gained is None:
            cells += ["-"] * 5
        else:
            before = mean(of_baseline.values(tail))
            share = f"{100 * gained.mean / before:+.0f}" if before else "-"
            cells += [_shown(row.no_loss.overall), _shown(gained), share]
            cells += [shown_p(gained.p_users), shown_p(gained.p_seeds)]
        body.append(cells)
    return ([*heading, "p users", "p seeds"], body) if body else None


def _both_tails(one: DatasetResults) -> tuple[list[str], list[list[str]]] | None:
    name = "HR" if one.measure == "hit" else one.measure.upper()
    body = []
    for row in one.rows:
        for definition, tail in row.tails.items():
            cells = [row.method, definition, f"{tail.n:,}", with_spread(tail.hit), with_spread(tail.ndcg)]
            gained = tail.gained
            cells += [_shown(gained), shown_p(gained.p_users), shown_p(gained.p_seeds)] if gained else ["-"] * 3
            body.append(cells)
    heading = ["method", "of the items", "users", "tail HR", "tail NDCG", f"tail {name} gained", "p users", "p seeds"]
    return (heading, body) if body else None


def _shown(found: Test | Height | None) -> str:
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]" if found else "-"


def _differences(one: DatasetResults) -> tuple[list[str], list[list[str]]]:
    metrics = {heading: f"{name}@{one.cut}" for heading, name in _SHOWN_TESTS.items()}
    metrics = {heading: key for heading, key in metrics.items() if any(key in row.tests for row in one.rows)}
    heading = ["method"]
    for name in metrics:
        heading += [name, "p users", "p seeds", "effect"]
    held = any(row.height for row in one.rows)
    heading += ["tail over the curve"] if held else []
    body = []
    for row in one.rows:
        if not row.tests:
            continue
        cells = [row.method]
        for key in metrics.values():
            test = row.tests.get(key)
            if test is None:
                cells += ["-"] * 4
                continue
            cells += [_shown(test), shown_p(test.p_users), shown_p(test.p_seeds)]
            cells.append("-" if math.isnan(test.effect) else f"{test.effect:+.2f}")
        body.append(cells + ([_shown(row.height)] if held else []))
    return heading, body


def _pipes(heading: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    safe = [[cell.replace("|", "\\|") for cell in cells] for cells in (heading, *body)]
    rule = ["---"] + ["---:"] * (len(heading) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (safe[0], rule, *safe[1:]))


def _command(name: str) -> Callable[[str], str]:
    return lambda text: rf"\{name}{{{text}}}"


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\textbackslash ")
    text = re.sub(r"([&%$#_{}])", r"\\\1", text)
    return text.replace("~", r"\textasciitilde ").replace("^", r"\textasciicircum ").replace("±", r"$\pm$")


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
