"""What the libraries below keep between steps, and the most memory that was used."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

try:
    import resource
except ImportError:
    resource = None

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_AS_MUCH_AS_IT_TAKES = 2**31 - 1
# More than a step comes back to, so that none is made twice in it.
_KERNELS = 16


def keep_for_next_step() -> None:
    """Have the C library keep the memory that a step frees, and oneDNN few of the kernels that it makes."""
    keep_freed_memory()
    keep_few_kernels()


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory instead of giving it back to the system; returns whether it does.

    A training step on the CPU allocates and frees tensors of 100 MB, the scores of all items. glibc returns each to the
    system at once and gets it back page by page: on Amazon Beauty that was 40 % of the time of a SASRec epoch. Peak
    memory stays what it was; it is only not given back before the process ends. Elsewhere than on glibc: does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(
        mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _AS_MUCH_AS_IT_TAKES) and mallopt(_TOP_PAD, 256 * 2**20)
    )


def keep_few_kernels() -> None:
    """Have oneDNN keep 16 of its kernels, unless ONEDNN_PRIMITIVE_CACHE_CAPACITY says how many.

    It makes one for each shape of a tensor, torch's GELU among them, and keeps 1,024, of 0.2 MB each. Packed batches
    have as many shapes as there are batches: 110 MB after an epoch on Amazon Beauty that nothing comes back to. Keeping
    16 takes no more time, keeping none a third more on ml-100k. It counts from oneDNN's first use in the process on.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))


def peak_memory_mb(device: torch.device) -> float | None:
    """The most memory so far, in units of 10^6 bytes: of the process, or of torch's tensors on a CUDA device.

    It never falls: in a process that trains several models, a later run shows at least what an earlier one took. None
    where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kibibytes, macOS in bytes.
    return (peak if sys.platform == "darwin" else peak * 1024) / 1e6
