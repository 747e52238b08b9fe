"""Memory for a large tensor that comes and goes in every step, used again by the next one.

A heap serves badly here: while a block of 100 MB is free, small tensors settle in it, the next large one no longer fits
and gets another place, and so a training holds two or three where one is in use at a time.
"""

from __future__ import annotations

import math
import mmap
import weakref

import numpy as np
import torch
from torch import Tensor

# Below this the heap will do.
LEAST_BYTES = 2**20
# Numpy has no bfloat16; what lies in the memory is the same.
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.bfloat16: np.int16}
# Private, so that a process that forks has its own; Windows knows no other kind.
_FLAGS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
# Ready for the next tensor; at most one for each use, others go back to the system.
_SPARE: dict[str, mmap.mmap] = {}


def reused_empty(shape: tuple[int, ...], use: str, *, like: Tensor) -> Tensor:
    """A tensor in the dtype and on the device of `like`, not initialised.

    On a CPU it lies where an earlier one of the same use was that nobody refers to any more, if there is one of
    sufficient size. A new place has room for a quarter more, so that the next, somewhat larger tensor fits too: what is
    never written to takes no memory. Elsewhere torch's own allocator does as much.
    """
    n_bytes = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or n_bytes < LEAST_BYTES or like.dtype not in _NUMPY:
        return like.new_empty(shape)
    memory = _SPARE.pop(use, None)
    if memory is None or len(memory) < n_bytes:
        memory = mmap.mmap(-1, n_bytes + n_bytes // 4, **_FLAGS)
    lease = np.frombuffer(memory, dtype=_NUMPY[like.dtype], count=math.prod(shape))
    # torch holds the array for as long as any tensor is in its memory.
    weakref.finalize(lease, _SPARE.setdefault, use, memory).atexit = False
    # In its shape from the start: autograd adds to a gradient in place only where that is no view of another tensor.
    found = torch.from_numpy(lease.reshape(shape))
    return found if found.dtype == like.dtype else found.view(like.dtype)


def give_back_spare() -> None:
    """Return to the system what is held for next tensors; tensors that are in use keep theirs."""
    _SPARE.clear()
