"""Steps of several processes in turns, one at a time: what slows a machine down for a while then slows all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from subprocess import Popen
from time import perf_counter

_TOKEN = b"."
# Of a worker that takes part in turns: where it says that its step is over.
_to_hub: int | None = None


def take_part() -> None:
    """In a worker: standard input and output carry the turns from now on, what is printed goes where errors go. Returns
    when its first turn has come."""
    global _to_hub
    _to_hub = os.dup(1)
    os.dup2(2, 1)
    _wait()


def hand_over() -> float:
    """In a worker, between two steps: let the others have theirs; returns the seconds until its own turn comes again, 0
    where it takes part in no turns."""
    if _to_hub is None:
        return 0.0
    started = perf_counter()
    os.write(_to_hub, _TOKEN)
    _wait()
    return perf_counter() - started


def _wait() -> None:
    # Nothing to read: whoever started it is gone.
    if not os.read(0, 1):
        raise SystemExit("The benchmark that this process belongs to has ended.")


def lead(workers: Sequence[Popen]) -> None:
    """Let each worker go on in turn, the first one first, until all have ended. Their standard input and output are
    pipes."""
    going = list(workers)
    while going:
        going = [worker for worker in going if _has_stepped(worker)]


def _has_stepped(worker: Popen) -> bool:
    try:
        os.write(worker.stdin.fileno(), _TOKEN)
    except BrokenPipeError:
        return False
    return os.read(worker.stdout.fileno(), 1) == _TOKEN
