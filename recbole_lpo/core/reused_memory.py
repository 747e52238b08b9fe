"""Memory for a large tensor that comes and goes in every step, used again by the next one.

A heap serves badly here: while a block of 100 MB is free, small tensors settle in it, the next large one no longer fits
and gets another place, and so a training holds two or three where one is in use at a time.
"""

from __future__ import annotations

import mmap
import weakref

import numpy as np
import torch
from torch import Tensor

# Below this the heap will do.
LEAST_BYTES = 2**20
# Private, so that a process that forks has its own; Windows knows no other kind.
_FLAGS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
# Ready for the next tensor; at most one, others go back to the system.
_SPARE: list[mmap.mmap] = []


def reused_empty(n: int, *, like: Tensor) -> Tensor:
    """A flat tensor of n cells in the dtype and on the device of `like`, not initialised.

    On a CPU it lies where an earlier one was that nobody refers to any more, if there is one of sufficient size. A new
    place has room for a quarter more, so that the next, somewhat larger tensor fits too: what is never written to takes
    no memory. Elsewhere torch's own allocator does as much.
    """
    n_bytes = n * like.element_size()
    if like.device.type != "cpu" or n_bytes < LEAST_BYTES:
        return like.new_empty(n)
    memory = _SPARE.pop() if _SPARE else None
    if memory is None or len(memory) < n_bytes:
        memory = mmap.mmap(-1, n_bytes + n_bytes // 4, **_FLAGS)
    lease = np.frombuffer(memory, dtype=np.uint8, count=n_bytes)
    # torch holds the array for as long as any tensor is in its memory.
    weakref.finalize(lease, _take_back, memory).atexit = False
    return torch.from_numpy(lease).view(like.dtype)


def give_back_spare() -> None:
    """Return to the system what is held for a next tensor; tensors that are in use keep theirs."""
    _SPARE.clear()


def _take_back(memory: mmap.mmap) -> None:
    if not _SPARE:
        _SPARE.append(memory)
