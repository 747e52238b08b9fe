"""Processes of our own beside each other: their environment, their end, and how long things took."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def environment(jobs: int) -> dict[str, str]:
    """The environment of one of `jobs` processes (>= 1), the threads of the machine divided among them.

    Where OMP_NUM_THREADS says how many this process may have, each gets no more: others may be at work beside it.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said):
        threads = min(threads, int(said))
    # The package may be run from a checkout, where only the script's own process knows its place.
    places = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    path = {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    return {**os.environ, **dict.fromkeys(_THREAD_SETTINGS, str(threads)), **path}


def end_with_the_parent() -> None:
    """Have this process end with the one that holds the other end of its standard input, however that one ends."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    sys.stdin.read()
    os._exit(1)


def clock(seconds: float) -> str:
    """A length of time as people read it: 0:07, 12:30, 3:05:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
