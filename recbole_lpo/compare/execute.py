"""Running what a study still lacks, several runs beside each other where asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recbole_lpo.compare.study import Run
from recbole_lpo.errors import InputError
from recbole_lpo.resume import is_resumable
from recbole_lpo.run_folder import METRICS, PER_USER
from recbole_lpo.worker_processes import clock, environment

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Outcome:
    """How a run ended: seconds it took, and what it said where it failed ("" where it did not)."""

    run: Run
    folder: Path
    seconds: float
    failure: str = ""


@dataclass
class _Started:
    run: Run
    folder: Path
    process: subprocess.Popen
    log: Path
    at: float = field(default_factory=time.monotonic)


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a whole run: its metrics can be read, and its ranks are there where it has any."""
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        return isinstance(metrics["test"], dict) and (metrics["n"] is None or (folder / PER_USER).stat().st_size > 0)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def execute(
    runs: Sequence[Run],
    output: Path,
    *,
    jobs: int = 1,
    plugins: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Run what is not finished yet; the outcomes of these, failed ones among them.

    jobs: how many at once; the threads of the machine are divided among them. plugins: modules that each run imports
    first. report gets a line for every run that
    ends. What an interrupted comparison left half done goes on from its last checkpoint, or from its start where it has
    none. On KeyboardInterrupt the running ones are ended first.
    """
    waiting = [run for run in runs if not is_finished(run.folder(output))]
    done = len(runs) - len(waiting)
    if done:
        report(f"{done} of {len(runs)} runs are finished already")
    total, outcomes, started = len(waiting), [], []
    began = time.monotonic()
    try:
        while waiting or started:
            while len(started) < jobs and (run := _next(waiting, started)):
                waiting.remove(run)
                started.append(_start(run, output, jobs, plugins))
            ended = [one for one in started if one.process.poll() is not None]
            if not ended:
                time.sleep(_POLL_SECONDS)
            for one in ended:
                started.remove(one)
                outcomes.append(_outcome(one))
                report(_line(outcomes[-1], len(outcomes), total, time.monotonic() - began))
    finally:
        for one in started:
            one.process.terminate()
        for one in started:
            one.process.wait()
    return outcomes


def _next(waiting: Sequence[Run], started: Sequence[_Started]) -> Run | None:
    """The first that rests on no run that is still to come."""
    to_come = [*waiting, *(one.run for one in started)]
    return next((run for run in waiting if not any(other in to_come for other in run.rests_on)), None)


def _start(run: Run, output: Path, jobs: int, plugins: Sequence[str]) -> _Started:
    folder = run.folder(output)
    if not is_resumable(folder):
        # What is there is of no use: cut short in its first epoch, or damaged.
        shutil.rmtree(folder, ignore_errors=True)
    (folder / METRICS).unlink(missing_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "recbole_lpo.compare.worker", str(folder)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=environment(jobs),
                # Ctrl-C is for this process, which then ends the runs; the second signal would cut their last step.
                start_new_session=True,
            )
    except OSError as error:
        raise InputError(f"output = {output}: cannot be written to: {error.strerror}.") from None
    try:
        weights_of = run.source and str(run.source.folder(output))
        told = {"settings": run.told(output), "plugins": list(plugins), "weights_of": weights_of}
        process.stdin.write((json.dumps(told, default=str) + "\n").encode())
        process.stdin.flush()
    except BrokenPipeError:
        # It ended at once; its log says why.
        pass
    return _Started(run, folder, process, log)


def _outcome(one: _Started) -> Outcome:
    one.process.stdin.close()
    seconds = time.monotonic() - one.at
    if one.process.returncode == 0 and is_finished(one.folder):
        one.log.unlink(missing_ok=True)
        return Outcome(one.run, one.folder, seconds)
    said = [line for line in one.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    why = said[-1] if said else f"ended with code {one.process.returncode} without a word"
    return Outcome(one.run, one.folder, seconds, f"{why} (log: {one.log})")


def _line(outcome: Outcome, ended: int, total: int, seconds: float) -> str:
    run = outcome.run
    left = seconds / ended * (total - ended)
    state = f"FAILED: {outcome.failure}" if outcome.failure else f"done in {clock(outcome.seconds)}"
    rest = f", about {clock(left)} left" if ended < total else ""
    return f"[{ended}/{total}] {run.dataset} {run.method} seed {run.seed}: {state}{rest}"
