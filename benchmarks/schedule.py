"""Running cases: a process for each measurement, the sides of a case in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.cases import OURS, RECBOLE, Case, Side
from benchmarks.machine import ROOT
from benchmarks.results import ResultFile, find, is_timed
from benchmarks.synthetic import Synthetic

# A process that takes this many times as long as expected, and this long, hangs.
_PATIENCE, _AT_LEAST = 10, 900
_FIRST_SEED = 2020
# Of the memory of the machine, what a case may need.
_SHARE = 0.9
# Characters of the log of a failed process that are shown.
_LOG_END = 3000


@dataclass(frozen=True)
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
    """Runs jobs one after the other, writes each result to the file, says how far it is."""

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
        well = True
        with tempfile.TemporaryDirectory(prefix="recbole_lpo-benchmarks-") as scratch:
            for number, job in enumerate(every):
                left = self._left(every[number:])
                self._say(f"[{number + 1}/{len(every)}] {job.case.name} {job.side.name}, about {left} left")
                measurement = job.key() | self._measurement(job, Path(scratch))
                self._file.add(measurement)
                self._say(f"    {_in_words(measurement)}")
                well = well and "error" not in measurement
        return well

    def _measurement(self, job: Job, scratch: Path) -> dict[str, Any]:
        head, case = self._file.content, job.case
        if job.side.needs_gb > _SHARE * head["machine"]["memory_gb"]:
            return {"left_out": f"needs {job.side.needs_gb:.0f} GB or more"}
        if case.by_name and not job.asks_for_target:
            found = find(self._older, job.key(), head, timed=is_timed(case.name))
            if found:
                self._know(job, found["figures"])
                return {key: found[key] for key in ("figures", "measured")}
        self._make_data(job.settings)
        settings = job.settings
        if job.asks_for_target:
            if case.name not in self._best:
                return {"left_out": "RecBole has no result to reach"}
            settings = settings | {"target": self._best[case.name]}
        started = perf_counter()
        outcome = self._in_own_process(job, settings, scratch)
        self._took[case.name, job.side.name] = perf_counter() - started
        if "figures" in outcome:
            self._know(job, outcome["figures"])
        return outcome | {"measured": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}

    def _make_data(self, settings: dict[str, Any]) -> None:
        """Write the synthetic data of a case where it is not there yet; neither its time nor its memory counts."""
        if "synthetic" not in settings:
            return
        folder, made = Path(self._folders["synthetic"]), Synthetic(**settings["synthetic"])
        if not (folder / made.name).is_dir():
            command = [sys.executable, "-m", "benchmarks.synthetic", json.dumps(settings["synthetic"]), str(folder)]
            subprocess.run(command, cwd=ROOT, check=True)

    def _in_own_process(self, job: Job, settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
        threads = self._file.content["threads"]
        job_file, result_file, log = scratch / "job.json", scratch / "result.json", scratch / "log.txt"
        wanted = {"measure": job.case.measure, "side": job.side.path or job.side.name, "settings": settings}
        folders = self._folders | {"scratch": str(scratch)}
        job_file.write_text(json.dumps({**wanted, "folders": folders, "threads": threads}), encoding="utf-8")
        result_file.unlink(missing_ok=True)
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        variables = {**os.environ, **counts, "PYTHONPATH": path}
        command = [sys.executable, "-m", "benchmarks.worker", str(job_file), str(result_file)]
        limit = None if job.case.by_name else max(_AT_LEAST, _PATIENCE * job.case.expect)
        with log.open("wb") as out:
            try:
                done = subprocess.run(command, cwd=scratch, env=variables, stdout=out, stderr=out, timeout=limit)
            except subprocess.TimeoutExpired:
                return {"error": f"stopped after {limit:.0f} s"}
        if done.returncode == 0:
            return {"figures": json.loads(result_file.read_text(encoding="utf-8"))}
        # The log names folders of this machine: it is shown, not kept.
        self._say(log.read_text(encoding="utf-8", errors="replace")[-_LOG_END:])
        return {"error": f"killed by signal {-done.returncode}" if done.returncode < 0 else "failed"}

    def _know(self, job: Job, figures: dict[str, Any]) -> None:
        if job.case.measure == "end_to_end" and job.side.name == RECBOLE:
            self._best[job.case.name] = figures["best_score"]

    def _left(self, rest: Sequence[Job]) -> str:
        seconds = sum(self._took.get((job.case.name, job.side.name), job.case.expect) for job in rest)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _in_words(measurement: dict[str, Any]) -> str:
    figures = measurement.get("figures")
    if figures is None:
        return measurement.get("left_out") or measurement["error"]
    plain = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return ", ".join(f"{name} {value:.4g}" for name, value in plain.items())
