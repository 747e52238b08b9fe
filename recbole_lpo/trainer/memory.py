"""Keeping memory that a step has freed for the next one, and the most that was used."""

from __future__ import annotations

import ctypes
import sys

import torch

try:
    import resource
except ImportError:
    resource = None

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_AS_MUCH_AS_IT_TAKES = 2**31 - 1


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
