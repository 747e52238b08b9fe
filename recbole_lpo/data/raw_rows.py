"""What every reader of raw files yields, and the reading of times, exact or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_lpo.errors import InputError

# This one float64 cannot tell from the next whole number.
FIRST_INEXACT_FLOAT = 2.0**53


@dataclass(frozen=True)
class RawRows:
    """A chunk of n interactions in file order.

    `users` and `items` are the tokens as they stand in the file, `times` an int64 or float64 array (n,) in the file's
    own unit, `numbers` the line (or row) of each interaction in `path`, counted from 1.
    """

    path: Path
    users: Sequence[str]
    items: Sequence[str]
    times: np.ndarray
    numbers: Sequence[int]


@dataclass(frozen=True)
class ReadOptions:
    """What the user said about the file: column names, the separator, whether to show progress; None is 'not said'."""

    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    separator: str | None = None
    progress: bool = False


def parse_times(texts: Sequence[str], numbers: Sequence[int], path: Path) -> np.ndarray:
    """The times (n,) as int64 where all are whole numbers, as float64 otherwise.

    Raises InputError, with the line, for text that is not a number, for NaN and infinity, and for numbers so large that
    their order would be lost (from 2^53 on where there are fractions, from 2^63 on where all are whole numbers).
    """
    try:
        return np.fromiter(map(int, texts), dtype=np.int64, count=len(texts))
    except (ValueError, OverflowError):
        return check_times(np.array([_to_float(*row, path) for row in zip(texts, numbers, strict=True)]), numbers, path)


def check_times(times: np.ndarray, numbers: Sequence[int], path: Path) -> np.ndarray:
    """`times` (n,) itself, float64; raises InputError at the first one that is NaN, infinite or 2^53 and more."""
    # A comparison with NaN is false, so this one test finds NaN, infinity and the too large.
    wrong = np.flatnonzero(~(np.abs(times) < FIRST_INEXACT_FLOAT))
    if wrong.size:
        place = int(wrong[0])
        raise _wrong_time(str(times[place]), numbers[place], path)
    return times


def _to_float(text: str, number: int, path: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise _wrong_time(text, number, path) from None


def _wrong_time(text: str, number: int, path: Path) -> InputError:
    shown = text if len(text) <= 40 else text[:40] + "..."
    return InputError(
        f"{path}, line {number}: the time {shown.strip()!r} is not a finite number below 2^53 (whole: 2^63). Mend or "
        f"remove the line; dates must be converted to seconds first; a file with a header needs --source=csv."
    )
