"""What memory a process holds, in MB (10^6 bytes)."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def resident() -> float:
    """The memory that the process holds now; where the system does not tell, the most that it has held."""
    return _from_status("VmRSS") or _lifetime_peak()


def peak() -> float:
    """The most that the process has held since `start_again`, or since it started."""
    return _from_status("VmHWM") or _lifetime_peak()


def start_again() -> bool:
    """Give freed memory back and count the peak anew; False where the system cannot (anywhere but on Linux).

    Without giving it back, a step that reuses what the preparation has freed would seem to need nothing.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
    except (AttributeError, OSError, TypeError):
        return False
    return True


def _from_status(field: str) -> float | None:
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024 / 1e6


def _lifetime_peak() -> float:
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1e6 if sys.platform == "darwin" else held * 1024 / 1e6
