"""Joining the processes that a launcher has started, ours or torchrun."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from recbole_lpo.distributed.ranks import ALONE, Ranks
from recbole_lpo.errors import RunError

# A launcher sees at once that a process has ended; this is for one that hangs.
_TIMEOUT = timedelta(minutes=30)
_LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LOST_CONNECTION = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo", "nccl", "timed out")


class LostProcess(RunError):
    """Another process of the run has ended; its own message says why."""


@dataclass(frozen=True)
class Launched:
    """The place of this process among those that a launcher has started: the variables that torchrun sets."""

    rank: int
    local_rank: int
    world: int
    local_world: int


def launched() -> Launched | None:
    """The place of this process; None where it was started alone."""
    if not all(name in os.environ for name in _LAUNCHED) or int(os.environ["WORLD_SIZE"]) < 2:
        return None
    rank, local_rank, world = (int(os.environ[name]) for name in _LAUNCHED[:3])
    return Launched(rank, local_rank, world, int(os.environ.get("LOCAL_WORLD_SIZE", world)))


def writes() -> bool:
    """Whether this process writes and prints: the one that was started alone, or the first of several."""
    place = launched()
    return place is None or place.rank == 0


def speaks_first() -> bool:
    """Whether this process is to say why the run ends: of several that fail together, the first to ask.

    Those that have not joined yet fail alike; the first on each machine speaks for them.
    """
    place = launched()
    if place is None or not _stores:
        return place is None or place.local_rank == 0
    try:
        return _stores[-1].add("recbole_lpo-said", 1) == 1
    except RuntimeError:
        # The store has ended with the launcher; nobody reads this any more.
        return False


_stores: list[dist.Store] = []
_joined: list[Ranks] = []
_numbers = itertools.count()


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Train with the other processes for the time of the block, on this device; alone where none was started.

    Within a block of the same process, that block's. CPU tensors go over gloo, those of a GPU over nccl. Raises
    LostProcess where another process ends in the meantime.
    """
    place = launched()
    if _joined or place is None:
        yield _joined[-1] if _joined else ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=_TIMEOUT))
        _stores.append(store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            # Runs after each other in the same processes must not find each other's messages.
            store=dist.PrefixStore(f"recbole_lpo-{next(_numbers)}", store),
            rank=place.rank,
            world_size=place.world,
            timeout=_TIMEOUT,
        )
        _joined.append(Ranks(place.rank, place.world))
        with _quiet_unless(place.rank == 0):
            yield _joined[-1]
            _joined[-1].wait()
        dist.destroy_process_group()
    except RuntimeError as error:
        if isinstance(error, RunError) or not _of_a_lost_process(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise LostProcess(f"process {place.rank} of {place.world} has lost the others: {reason}") from error
    finally:
        _joined.clear()


def _of_a_lost_process(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in _LOST_CONNECTION)


@contextmanager
def _quiet_unless(speaks: bool) -> Iterator[None]:
    """Warnings of libraries come once, not once a process."""
    with warnings.catch_warnings():
        if not speaks:
            warnings.simplefilter("ignore")
        yield
