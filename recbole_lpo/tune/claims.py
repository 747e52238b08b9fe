"""Which trials a study has, which of them count, and what becomes of those whose process is gone.

The total is one for all processes and machines that work on a study, so the study itself says what there is left to do.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from recbole_lpo.tune.storage import import_optuna

# Attributes of a trial.
WORKER, BEAT, DROPPED, FAILURE = "worker", "beat", "dropped", "failure"
_KILLED = "its process was killed"
# A process on another machine is seen by its beat alone.
BEAT_SECONDS, SILENT_SECONDS = 20, 180


def counted(trials: Sequence[Any]) -> list[Any]:
    """The trials that count against the total: all but those whose place is free again."""
    return [trial for trial in trials if DROPPED not in trial.user_attrs or trial.state.name != "FAIL"]


def left_to_claim(trials: Sequence[Any], total: int) -> int:
    """How many trials may still be started."""
    return max(0, total - len(counted(trials)))


def claim(study, total: int):
    """(trial, its place from 1 among those that count), running; None where there is none left to start.

    Two processes that see the last place free at once both get a trial from Optuna; the later one gives its back.
    """
    states = import_optuna().trial.TrialState
    while left_to_claim(study.get_trials(deepcopy=False), total):
        trial = study.ask()
        trial.set_user_attr(WORKER, this_process())
        before = [one.number <= trial.number for one in counted(study.get_trials(deepcopy=False))]
        if sum(before) <= total:
            return trial, sum(before)
        trial.set_user_attr(DROPPED, "the total was reached")
        study.tell(trial, state=states.FAIL)
    return None


def this_process() -> dict[str, Any]:
    """What tells this process from any other, on any machine."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


@contextmanager
def beating(trial) -> Iterator[None]:
    """While inside, the trial shows other machines every BEAT_SECONDS that its process is alive."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            # A storage that is away for a moment must not end the trial.
            with suppress(Exception):
                trial.set_user_attr(BEAT, time.time())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Watch:
    """Finds running trials whose process is gone, and frees their places.

    A process of this machine is looked up; one of another is taken for gone once its trial has shown no beat for
    SILENT_SECONDS of this machine's clock. The next trial at that place draws from the same seed: what is tried is what
    would have been tried, where no other trial has ended since.
    """

    def __init__(self, study) -> None:
        self._study = study
        self._seen: dict[int, tuple[Any, float]] = {}

    def fail_lost(self) -> list[int]:
        """The numbers of the trials that are found lost now, failed in the study.

        Settings that are lost a second time count as a failed trial: they may be what kills the process.
        """
        trial_module = import_optuna().trial
        lost = []
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state != trial_module.TrialState.RUNNING or self._is_alive(trial):
                continue
            lost_before = [one.params for one in trials if one.user_attrs.get(DROPPED) == _KILLED]
            again = bool(trial.params) and trial.params in lost_before
            # Of several processes that find it, one gets to fail it.
            with suppress(RuntimeError, ValueError):
                handle = trial_module.Trial(self._study, trial._trial_id)
                handle.set_user_attr(FAILURE if again else DROPPED, f"{_KILLED}, twice" if again else _KILLED)
                self._study.tell(trial.number, state=trial_module.TrialState.FAIL)
                lost.append(trial.number)
        return lost

    def _is_alive(self, trial) -> bool:
        worker = trial.user_attrs.get(WORKER, {})
        if worker.get("host") == socket.gethostname():
            return _runs_here(worker["pid"], worker["started"])
        beat, now = trial.user_attrs.get(BEAT), time.monotonic()
        last, since = self._seen.get(trial.number, (None, now))
        if trial.number not in self._seen or last != beat:
            self._seen[trial.number] = beat, now
            return True
        return now - since < SILENT_SECONDS


def _runs_here(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # A number is given to another process after a while; its time of start tells them apart.
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
