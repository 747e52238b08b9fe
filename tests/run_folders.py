"""Whether two run folders are those of the same run, to the bit; and runs in processes that are killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from recbole_lpo.quick_start import run_to_the_end
from recbole_lpo.trainer import checkpoint
from recbole_lpo.trainer.checkpoint import read_checkpoint
from recbole_lpo.trainer.tensor_tree import to_tensors
from tests.conftest import ROOT

# A clock and a memory gauge show something else each time.
_OF_THE_MOMENT = ("seconds", "memory", "run_dir")
processes = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
# Each process then starts in milliseconds, with everything imported and nothing computed.
processes.set_forkserver_preload(["recbole_lpo", "tests.run_folders"])


def differences(one: Path, other: Path) -> list[str]:
    """What differs between the two: tensors of the checkpoints, metrics, history, ranks. Empty for the same run."""
    found = []
    names = {file.name for folder in (one, other) for file in (folder / "checkpoint").iterdir()}
    for name in sorted(names):
        (ours, plain), (theirs, their_plain) = (
            to_tensors(read_checkpoint(folder / "checkpoint" / name)) for folder in (one, other)
        )
        found += [f"{name}: {key}" for key in sorted(ours.keys() ^ theirs.keys())]
        found += [f"{name}: {key}" for key in ours.keys() & theirs.keys() if not torch.equal(ours[key], theirs[key])]
        found += [f"{name}: plain values"] if _lasting(plain) != _lasting(their_plain) else []
    for name in ("metrics.json", "history.jsonl"):
        ours, theirs = ((folder / name).read_text().splitlines() for folder in (one, other))
        texts = [["".join(lines)] if name.endswith(".json") else lines for lines in (ours, theirs)]
        found += [name] if list(map(_lasting, texts[0])) != list(map(_lasting, texts[1])) else []
    if (one / "per_user.csv.gz").read_bytes() != (other / "per_user.csv.gz").read_bytes():
        found.append("per_user.csv.gz")
    return found


def start_and_kill(command: list[str], finished: Callable[[], Any]) -> None:
    """Start the command line as a user does, and kill it once `finished()` is true of what it has left."""
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "run_recbole_lpo.py"), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    patience = time.monotonic() + 300
    while not finished() and time.monotonic() < patience:
        assert started.poll() is None, "it ended before anything was finished"
        time.sleep(0.02)
    started.kill()
    started.wait()


def run_and_die(settings: dict[str, Any], *, after: float | None = None, write: tuple[str, int] | None = None) -> bool:
    """Run, or go on with, the run of `run_dir` in a process of its own; whether it was killed before it was done.

    after: seconds from its first line of code to SIGKILL. write: ("half", n) kills it in the middle of the n-th
    checkpoint, ("whole", n) after that one is written and before it has its name.
    """
    started = processes.Event()
    process = processes.Process(target=_child, args=(settings, os.getcwd(), write, started))
    process.start()
    started.wait(300)
    if after is not None:
        process.join(after)
        process.kill()
    process.join(300)
    assert process.exitcode in (0, -signal.SIGKILL), Path(f"{settings['run_dir']}.log").read_text()
    return process.exitcode != 0


def seconds_of(settings: dict[str, Any]) -> float:
    """How long such a process takes when nobody kills it."""
    started = time.monotonic()
    assert not run_and_die(settings)
    return time.monotonic() - started


def _child(settings, workplace: str, write, started) -> None:
    torch.set_num_threads(1)
    os.chdir(workplace)
    log = os.open(f"{settings['run_dir']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if write:
        _die_in_a_write(*write)
    started.set()
    if not (Path(settings["run_dir"]) / "metrics.json").exists():
        run_to_the_end(settings, quiet=True)


def _die_in_a_write(where: str, number: int) -> None:
    write, left = checkpoint.write_safetensors, [number]

    def write_and_die(path: Path, *content) -> None:
        write(path, *content)
        left[0] -= 1
        if not left[0]:
            if where == "half":
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.write_safetensors = write_and_die


def _lasting(text: str) -> str:
    return json.dumps(_without_the_moment(json.loads(text)), sort_keys=True)


def _without_the_moment(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_the_moment(item) for key, item in value.items() if key not in _OF_THE_MOMENT}
    return [_without_the_moment(item) for item in value] if isinstance(value, list) else value
