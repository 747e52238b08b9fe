"""The processes of a search on this machine: started, watched, replaced where one is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from recbole_lpo.errors import InputError, RunError
from recbole_lpo.tune.claims import FAILURE, Watch, left_to_claim
from recbole_lpo.tune.outcome import ended, values_text
from recbole_lpo.tune.plan import Plan
from recbole_lpo.tune.worker import BROKEN
from recbole_lpo.worker_processes import clock, environment

_POLL_SECONDS = 0.5
# Workers that end one after the other without a trial being finished between them.
_TOO_MANY_DEATHS = 3


class Search:
    """Runs the trials that a study still lacks, with `jobs` processes here and any number elsewhere.

    study, storage  the open study and where it is kept
    output          folder of the search; the trials' run folders go below it
    total           trials of the whole study, those of other machines included
    timeout         seconds after which no further trial is started; None: no limit
    report          gets a line for every trial that ends, on other machines too
    """

    def __init__(
        self,
        study,
        plan: Plan,
        storage: str,
        output: Path,
        *,
        total: int,
        jobs: int = 1,
        timeout: float | None = None,
        plugins: Sequence[str] = (),
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._study, self._plan, self._output, self._total, self._jobs = study, plan, output, total, jobs
        self._until = None if timeout is None else time.time() + timeout
        told = {"plan": plan.told(), "storage": storage, "output": str(output), "plugins": list(plugins)}
        self._told = json.dumps({**told, "total": total, "until": self._until}).encode() + b"\n"
        self._report, self._watch = report, Watch(study)
        self._workers: list[subprocess.Popen] = []
        self._deaths, self._began = 0, time.monotonic()

    def run(self) -> None:
        """Return when no trial is left to start and none runs, or the time is up and none runs here.

        Raises RunError where trials or processes fail one after the other. On any exception the processes of this
        machine are ended; their trials are run again when the search goes on.
        """
        trials = self._study.get_trials(deepcopy=False)
        seen = {trial.number for trial in ended(trials)}
        self._before = len(seen)
        if seen:
            self._report(f"{len(seen)} of {self._total} trials have ended already")
        try:
            while True:
                for number in self._watch.fail_lost():
                    self._report(f"trial {number}: its process is gone; run again")
                trials = self._study.get_trials(deepcopy=False)
                seen |= self._tell(trials, seen)
                self._reap(trials)
                to_start = 0 if self._time_is_up() else left_to_claim(trials, self._total)
                while len(self._workers) < min(self._jobs, to_start):
                    self._workers.append(self._start())
                elsewhere = any(trial.state.name == "RUNNING" for trial in trials) and not self._time_is_up()
                if not (self._workers or to_start or elsewhere):
                    return
                time.sleep(_POLL_SECONDS)
        finally:
            for process in self._workers:
                process.terminate()
            for process in self._workers:
                process.wait()
            self._watch.fail_lost()

    def _time_is_up(self) -> bool:
        return self._until is not None and time.time() >= self._until

    def _start(self) -> subprocess.Popen:
        self._output.mkdir(parents=True, exist_ok=True)
        try:
            with open(self._log, "ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "recbole_lpo.tune.worker"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment(self._jobs),
                )
        except OSError as error:
            raise InputError(f"output = {self._output}: cannot be written to: {error.strerror}.") from None
        try:
            process.stdin.write(self._told)
            process.stdin.flush()
        except BrokenPipeError:
            # It ended at once; the log says why.
            pass
        return process

    @property
    def _log(self) -> Path:
        return self._output / "workers.log"

    def _reap(self, trials) -> None:
        for process in [one for one in self._workers if one.poll() is not None]:
            self._workers.remove(process)
            process.stdin.close()
            if process.returncode == BROKEN:
                failures = [trial.user_attrs[FAILURE] for trial in trials if FAILURE in trial.user_attrs]
                raise RunError(
                    f"several trials in a row failed, the last one: {failures[-1] if failures else 'no reason given'} "
                    f"(log: {self._log}). Mend it and start the same command again."
                )
            self._deaths = self._deaths + 1 if process.returncode else 0
            if self._deaths == _TOO_MANY_DEATHS:
                raise RunError(
                    f"the processes of the search end one after the other, the last one with code {process.returncode} "
                    f"(log: {self._log}). Start the same command again to go on."
                )

    def _tell(self, trials, seen: set[int]) -> set[int]:
        """Report what has ended since; the numbers of these."""
        new = [trial for trial in ended(trials) if trial.number not in seen]
        for trial in new:
            self._deaths = 0
            seconds = trial.user_attrs.get("seconds")
            took = "" if seconds is None else f" in {clock(seconds)}"
            n_ended = len(ended(trials))
            self._report(
                f"[{n_ended}/{self._total}] trial {trial.number}: {self._ending(trial)}{took}{self._left(n_ended)}"
            )
        return {trial.number for trial in new}

    def _ending(self, trial) -> str:
        if trial.state.name == "COMPLETE":
            best = ""
            if len(self._plan.objectives) == 1:
                best = f" (best {self._study.best_value:.4f}, trial {self._study.best_trial.number})"
            return values_text(trial.values, self._plan) + best
        if trial.state.name == "PRUNED":
            return f"pruned after epoch {trial.last_step}"
        return f"FAILED: {trial.user_attrs.get(FAILURE, 'no reason given')}"

    def _left(self, n_ended: int) -> str:
        rest, done = self._total - n_ended, n_ended - self._before
        seconds = (time.monotonic() - self._began) / max(done, 1) * rest
        if self._until is not None:
            seconds = min(seconds, max(0.0, self._until - time.time()))
        return f", about {clock(seconds)} left" if rest > 0 else ""
