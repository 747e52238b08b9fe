"""Starting the processes of a run on this machine, and ending all where one ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
import torch.distributed as dist

from recbole_lpo.distributed.group import LostProcess
from recbole_lpo.errors import InputError, RunError
from recbole_lpo.interruption import Interrupted, interruptible
from recbole_lpo.settings import ProcessSettings
from recbole_lpo.user_backbones import register_backbone, registered_backbones

# How long the others may take to end by themselves once one has failed, and to end once they are told to.
_GRACE_SECONDS = 5.0
# How long a step may take that a signal waits for.
_STEP_SECONDS = 60.0
# How long an address may take to answer.
_MEETING = timedelta(seconds=30)
# What a process may say at its end. Where several failed, the first kind in this order is the cause of the others.
_KINDS = ("wrong input", "failed", "broken", "interrupted", "died", "lost", "done")


@dataclass
class _Started:
    rank: int
    process: BaseProcess
    outcome: Connection


@dataclass(frozen=True)
class _Ended:
    kind: str
    rank: int
    said: Any


def launch(function: str, arguments: dict[str, Any], settings: ProcessSettings) -> dict[str, Any]:
    """What `run` or `resume` of `recbole_lpo.quick_start` returns, called in `settings.nproc` processes together.

    Raises what the run raises in one of them, and RunError where one is killed; all have ended by then. A script that
    calls it needs `if __name__ == "__main__":`, as always with multiprocessing.
    """
    # Held here, it outlives any of the processes.
    store = _meeting_place(settings) if settings.offset == 0 else None
    port = store.port if store else settings.port
    started: list[_Started] = []
    try:
        for local_rank in range(settings.nproc):
            started.append(_start(local_rank, settings, port, function, arguments))
        return _result(_watch_interruptibly(started), settings.world)
    finally:
        _end(started)


def _meeting_place(settings: ProcessSettings) -> dist.TCPStore:
    try:
        # torch goes on asking for a name that there is not.
        socket.getaddrinfo(settings.ip, None)
        # Port 0 is a free one.
        return dist.TCPStore(settings.ip, settings.port or 0, is_master=True, wait_for_workers=False, timeout=_MEETING)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"ip = {settings.ip}, port = {settings.port}: processes cannot meet there ({reason}). Take the address of "
            "this machine and a free port, or leave both out where it is the only one."
        ) from None


def _start(local_rank: int, settings: ProcessSettings, port: int, function: str, arguments: dict[str, Any]) -> _Started:
    rank = settings.offset + local_rank
    # What torchrun sets, the last one included: the store is in the launcher.
    environment = {
        "RANK": rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": settings.world, "LOCAL_WORLD_SIZE": settings.nproc,
        "MASTER_ADDR": settings.ip, "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True,
    }  # fmt: skip
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    told = ({key: str(value) for key, value in environment.items()}, registered_backbones(), function, arguments)
    process = context.Process(target=_work, args=(theirs, *told), name=f"recbole_lpo process {rank}")
    try:
        process.start()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"nproc = {settings.nproc}: the settings cannot go to another process: {reason}") from error
    theirs.close()
    return _Started(rank, process, ours)


def _work(
    outcome: Connection, environment: dict[str, str], backbones: list, function: str, arguments: dict[str, Any]
) -> None:
    """What each process does: the run, and at its end one message."""
    os.environ.update(environment)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // int(environment["LOCAL_WORLD_SIZE"])))
    # It imports this module.
    from recbole_lpo import quick_start

    try:
        for backbone in backbones:
            register_backbone(*backbone)
        message = ("done", getattr(quick_start, function)(**arguments))
    except Interrupted as stop:
        message = ("interrupted", (stop.number, str(stop)))
    except InputError as error:
        message = ("wrong input", str(error))
    except LostProcess as error:
        message = ("lost", str(error))
    except RunError as error:
        message = ("failed", str(error))
    except Exception:
        message = ("broken", traceback.format_exc())
    outcome.send(message)
    outcome.close()
    # Not sys.exit: threads of a process group whose other processes are gone may wait for them.
    os._exit(0 if message[0] == "done" else 1)


def _end_with_the_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _watch_interruptibly(started: list[_Started]) -> list[_Ended]:
    """As `_watch`; a signal to this process is for all, and each finishes its step and says what is kept."""
    with interruptible():
        try:
            return _watch(started)
        except Interrupted as stop:
            if stop.number != signal.SIGINT:
                # Of Ctrl-C the terminal has told all of them, and a second signal would cut their step.
                for one in started:
                    one.process.terminate()
            ended = _watch(started, time.monotonic() + _STEP_SECONDS)
            if any(one.kind == "interrupted" for one in ended):
                return ended
            raise


def _watch(started: list[_Started], until: float | None = None) -> list[_Ended]:
    """How all processes ended, in the order in which they did; after a failure, those that ended soon after it.

    until: on the clock of `time.monotonic`, when to stop waiting in any case.
    """
    left, ended, failed = list(started), [], False
    while left and (until is None or time.monotonic() < until):
        ready = wait([one.outcome for one in left], None if until is None else max(0.0, until - time.monotonic()))
        for one in [one for one in left if one.outcome in ready]:
            left.remove(one)
            ended.append(_ended(one))
            if ended[-1].kind != "done" and not failed:
                failed, until = True, time.monotonic() + _GRACE_SECONDS
    return ended


def _ended(one: _Started) -> _Ended:
    try:
        kind, said = one.outcome.recv()
    except EOFError:
        # It ended without a word.
        one.process.join()
        code = one.process.exitcode or 0
        return _Ended("died", one.rank, f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}")
    return _Ended(kind, one.rank, said)


def _result(ended: list[_Ended], world: int) -> dict[str, Any]:
    first = min(ended, key=lambda one: _KINDS.index(one.kind))
    of_all = f"process {first.rank} of {world}"
    if first.kind == "wrong input":
        raise InputError(first.said)
    if first.kind == "interrupted":
        raise Interrupted(*first.said)
    if first.kind in ("failed", "lost"):
        raise RunError(first.said)
    if first.kind == "died":
        hint = " The system does that where memory runs out." if first.said.endswith("SIGKILL") else ""
        raise RunError(f"{of_all} was ended {first.said}; the others were ended too.{hint}")
    if first.kind == "broken":
        raise RuntimeError(f"{of_all} failed:\n{first.said}")
    return first.said


def _end(started: list[_Started]) -> None:
    """All processes have ended when this returns."""
    until = time.monotonic() + _GRACE_SECONDS
    for stop in (lambda one: None, BaseProcess.terminate, BaseProcess.kill):
        for one in started:
            stop(one.process)
        for one in started:
            one.process.join(max(0.0, until - time.monotonic()))
        until = time.monotonic() + _GRACE_SECONDS
