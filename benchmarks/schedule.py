"""Running cases: the sides of a case in turns, process by process or step by step."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.cases import OURS, RECBOLE, Case, Side
from benchmarks.machine import ROOT
from benchmarks.processes import Measuring
from benchmarks.results import ResultFile, find, is_timed
from benchmarks.synthetic import Synthetic
from benchmarks.turns import lead

# A process that takes this many times as long as expected, and this long, hangs.
_PATIENCE, _AT_LEAST = 10, 900
_FIRST_SEED = 2020
# Of the memory of the machine, what a case may need.
_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Job:
    """One measurement of a side of a case."""

    case: Case
    side: Side
    repetition: int
    settings: dict[str, Any]

    def key(self) -> dict[str, Any]:
        """What a measurement is stored with and found by."""
        named = {"case": self.case.name, "side": self.side.name}
        return {**named, "repetition": self.repetition, "settings": self.settings}

    @property
    def group(self) -> tuple[str, int] | None:
        """What the jobs have in common whose steps are measured in turns."""
        return (self.case.name, self.repetition) if self.case.step_by_step else None

    @property
    def asks_for_target(self) -> bool:
        """Whether RecBole's best score must be known beforehand."""
        return self.case.measure == "end_to_end" and self.side.name == OURS


def jobs(cases: Sequence[Case], repeat: int | None = None) -> Iterator[Job]:
    """Every measurement of the cases, in order: case by case, its repetitions one after the other, and in each of them
    all sides, every second time backwards, so that no side always comes first."""
    for case in cases:
        turns = case.measure != "end_to_end"
        for repetition in range(repeat or case.repeat):
            seed = {"seed": _FIRST_SEED + repetition} if case.seeds else {}
            for side in reversed(case.sides) if turns and repetition % 2 else case.sides:
                if side.once and repetition:
                    continue
                settings = case.settings | side.settings
                if seed:
                    settings["config"] = settings.get("config", {}) | seed
                yield Job(case, side, repetition, settings)


class Schedule:
    """Runs jobs one after the other, or in turns, writes each result to the file, says how far it is."""

    def __init__(
        self,
        file: ResultFile,
        older: Sequence[dict[str, Any]],
        *,
        folders: dict[str, str],
        say: Callable[[str], None],
    ) -> None:
        """older: earlier runs, from which cases that take hours are taken (none: everything is measured)."""
        self._file, self._older, self._folders, self._say = file, older, folders, say
        self._took: dict[tuple[str, str], float] = {}
        self._best: dict[str, float] = {}

    def run(self, every: Sequence[Job]) -> bool:
        """Returns whether all went well."""
        well, begun = True, 0
        with tempfile.TemporaryDirectory(prefix="recbole_lpo-benchmarks-") as scratch:
            for group in together(every):
                left = self._left(every[begun:])
                sides = ", ".join(job.side.name for job in group)
                numbers = "-".join(str(begun + n) for n in sorted({1, len(group)}))
                self._say(f"[{numbers}/{len(every)}] {group[0].case.name} {sides}, about {left} left")
                begun += len(group)
                for job, outcome in zip(group, self._outcomes(group, Path(scratch)), strict=True):
                    measurement = job.key() | outcome
                    self._file.add(measurement)
                    self._say(f"    {_in_words(measurement)}")
                    well = well and "error" not in measurement
        return well

    def _outcomes(self, group: Sequence[Job], scratch: Path) -> list[dict[str, Any]]:
        known = {job: self._known(job) for job in group}
        measured = self._measured([job for job in group if known[job] is None], scratch)
        return [known[job] or measured[job] for job in group]

    def _known(self, job: Job) -> dict[str, Any] | None:
        """What needs no measurement: why a side is left out, or a result on file."""
        head, case = self._file.content, job.case
        if job.side.needs_gb > _SHARE * head["machine"]["memory_gb"]:
            return {"left_out": f"needs {job.side.needs_gb:.0f} GB or more"}
        if job.asks_for_target and case.name not in self._best:
            return {"left_out": "RecBole has no result to reach"}
        if case.by_name and not job.asks_for_target:
            found = find(self._older, job.key(), head, timed=is_timed(case.name))
            if found:
                self._know(job, found["figures"])
                return {key: found[key] for key in ("figures", "measured")}
        return None

    def _measured(self, group: Sequence[Job], scratch: Path) -> dict[Job, dict[str, Any]]:
        """Measure the jobs at once, their steps in turns where there are several."""
        running: dict[Job, Measuring] = {}
        try:
            for job in group:
                self._make_data(job.settings)
                running[job] = self._start(job, scratch, in_turns=len(group) > 1)
            if len(group) > 1:
                lead([one.process for one in running.values()])
            for job, one in running.items():
                one.wait()
                self._took[job.case.name, job.side.name] = one.seconds / len(group)
                if one.log:
                    self._say(one.log)
                if "figures" in one.outcome:
                    self._know(job, one.outcome["figures"])
        finally:
            for one in running.values():
                one.end()
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        return {job: one.outcome | {"measured": now} for job, one in running.items()}

    def _make_data(self, settings: dict[str, Any]) -> None:
        """Write the synthetic data of a case where it is not there yet; neither its time nor its memory counts."""
        if "synthetic" not in settings:
            return
        folder, made = Path(self._folders["synthetic"]), Synthetic(**settings["synthetic"])
        if not (folder / made.name).is_dir():
            command = [sys.executable, "-m", "benchmarks.synthetic", json.dumps(settings["synthetic"]), str(folder)]
            subprocess.run(command, cwd=ROOT, check=True)

    def _start(self, job: Job, scratch: Path, *, in_turns: bool) -> Measuring:
        target = {"target": self._best[job.case.name]} if job.asks_for_target else {}
        wanted = {
            "measure": job.case.measure,
            "side": job.side.path or job.side.name,
            "settings": job.settings | target,
            "folders": self._folders | {"scratch": str(scratch)},
            "threads": self._file.content["threads"],
        }
        limit = None if job.case.by_name else max(_AT_LEAST, _PATIENCE * job.case.expect)
        return Measuring(wanted, Path(tempfile.mkdtemp(dir=scratch)), limit=limit, in_turns=in_turns)

    def _know(self, job: Job, figures: dict[str, Any]) -> None:
        if job.case.measure == "end_to_end" and job.side.name == RECBOLE:
            self._best[job.case.name] = figures["best_score"]

    def _left(self, rest: Sequence[Job]) -> str:
        seconds = sum(self._took.get((job.case.name, job.side.name), job.case.expect) for job in rest)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def together(every: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that are measured at once: one, or all sides of a repetition of a case whose steps go in turns."""
    for _, same in groupby(enumerate(every), lambda one: one[1].group or one[0]):
        yield [job for _, job in same]


def _in_words(measurement: dict[str, Any]) -> str:
    figures = measurement.get("figures")
    if figures is None:
        return measurement.get("left_out") or measurement["error"]
    plain = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return ", ".join(f"{name} {value:.4g}" for name, value in plain.items())
