"""Keeping memory that a step has freed for the next one."""

from __future__ import annotations

import ctypes

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
