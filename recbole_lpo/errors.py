"""The one exception for input that the user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input: a setting, a name, a file. The message says what, where, what is allowed and the way out.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name most like `name` (upper and lower case alike), or None where none is like it."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """' Did you mean X?' for the nearest known name, or an empty string."""
    match = nearest(name, known, cutoff=cutoff)
    return f" Did you mean {match!r}?" if match else ""


class RunError(RuntimeError):
    """A run that cannot go on (the loss is not finite, the model scores NaN). The command line exits with code 1."""


class WriteError(RunError):
    """A file of a run cannot be written: the disk is full, say. What was there before is as it was."""
