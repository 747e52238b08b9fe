"""What was measured, on file: one JSON a run, `results/<date>-<machine>-<process>.json`."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.cases import ACCURACY, END_TO_END

RESULTS = Path(__file__).resolve().parent / "results"


class ResultFile:
    """The file of a run; written anew after every measurement, so that an interrupted run keeps what it has done.

    It holds `started`, `quick`, `threads`, `load` (before the start), `machine`, `versions`, and `measurements`: each
    with case, side, repetition, settings, measured (date and time), and figures, or error, or left_out (a reason).
    """

    def __init__(self, folder: Path, head: dict[str, Any]) -> None:
        now = datetime.now()
        self.content = {"started": f"{now:%Y-%m-%d %H:%M:%S}", **head, "measurements": []}
        # Two runs may start in the same second.
        self.path = folder / f"{now:%Y%m%d-%H%M%S}-{head['machine']['id']}-{os.getpid()}.json"

    def add(self, measurement: dict[str, Any]) -> None:
        """Append one measurement."""
        self.content["measurements"].append(measurement)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".partial")
        aside.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self.path)


def stored(folder: Path) -> list[dict[str, Any]]:
    """The contents of all result files, newest first."""
    files = sorted(folder.glob("*.json"), reverse=True)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def find(
    runs: Iterable[dict[str, Any]], job: dict[str, Any], head: dict[str, Any], *, timed: bool
) -> dict[str, Any] | None:
    """The newest measurement of the same case, side, repetition and settings, with the same torch and RecBole and,
    where times count (`timed`), on the same machine with as many threads; None where there is none."""
    same = ("case", "side", "repetition", "settings")
    for run in runs:
        if any(run["versions"].get(name) != head["versions"].get(name) for name in ("torch", "recbole")):
            continue
        if timed and (run["machine"]["id"], run["threads"]) != (head["machine"]["id"], head["threads"]):
            continue
        for measurement in run["measurements"]:
            if "figures" in measurement and all(measurement[key] == job[key] for key in same):
                return measurement
    return None


def medians(measurements: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """(case, side) to the median of each figure over the repetitions; `n` how many, `least` and `most` of each figure.

    A side that failed or was left out has `reason` in place of figures.
    """
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    reasons: dict[tuple[str, str], dict[str, Any]] = {}
    for one in measurements:
        key = (one["case"], one["side"])
        # Also where there are none, so that the order is that of the measurements.
        figures = grouped.setdefault(key, [])
        if "figures" in one:
            figures.append(one["figures"])
        else:
            reasons[key] = {"reason": one.get("left_out") or one["error"]}
    return {key: _summary(figures) if figures else reasons[key] for key, figures in grouped.items()}


def _summary(figures: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name, value in figures[0].items() if isinstance(value, int | float) or value is None]
    values = {name: [one[name] for one in figures if one.get(name) is not None] for name in names}
    found = {name: statistics.median(known) if known else None for name, known in values.items()}
    known = {name: each for name, each in values.items() if each}
    found["least"] = {name: min(each) for name, each in known.items()}
    found["most"] = {name: max(each) for name, each in known.items()}
    found["each"] = known
    found["n"] = len(figures)
    return found


def is_timed(case: str) -> bool:
    """Whether a case, by its name, takes times, which are those of a machine; the others compare accuracy."""
    return not case.startswith(ACCURACY)


def newest(runs: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """(head, measurements) to show: the newest full run that took times of parts of a training, and cases that it lacks
    from other full runs, whose measurements have `from`, their head: on the same machine with as many threads; with any
    number for whole trainings (hours, for which one core may be all there is); on any machine where accuracy counts.
    None where there is no such run."""
    full = [run for run in runs if not run["quick"] and any("figures" in one for one in run["measurements"])]
    first = next((run for run in full if any(map(_of_a_part, _measured(run)))), None)
    if first is None:
        return None
    shown, taken = [], set()
    for run in (first, *(run for run in full if run is not first)):
        same_machine, same_threads = run["machine"]["id"] == first["machine"]["id"], run["threads"] == first["threads"]
        found = {
            case
            for case in _measured(run) - taken
            if not is_timed(case) or (same_machine and (same_threads or not _of_a_part(case)))
        }
        older = {} if run is first else {"from": {key: run[key] for key in ("started", "versions", "load", "threads")}}
        shown += [one | older for one in run["measurements"] if one["case"] in found]
        taken |= found
    return first, shown


def _measured(run: dict[str, Any]) -> set[str]:
    return {one["case"] for one in run["measurements"] if "figures" in one}


def _of_a_part(case: str) -> bool:
    return is_timed(case) and not case.startswith(END_TO_END)
