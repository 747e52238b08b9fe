"""Runs of equal values in a sorted array."""

from __future__ import annotations

import numpy as np


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(start, length) of each run of equal, adjacent values (n,): two int64 arrays, the starts ascending."""
    changes = np.ones(len(values), dtype=bool)
    changes[1:] = values[1:] != values[:-1]
    start = np.flatnonzero(changes)
    return start, np.diff(start, append=len(values))
