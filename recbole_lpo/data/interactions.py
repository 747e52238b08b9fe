"""Interactions as compact arrays: gathering them from readers, their true time order, their first occurrences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recbole_lpo.data.raw_rows import FIRST_INEXACT_FLOAT, RawRows
from recbole_lpo.data.runs import runs
from recbole_lpo.data.token_codes import TokenCodes
from recbole_lpo.errors import InputError


@dataclass(frozen=True)
class Interactions:
    """n interactions: codes `users` and `items` (n,) int32 into the token lists, `times` (n,) int64 or float64."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    user_tokens: list[str]
    item_tokens: list[str]


def gather(chunks: Iterable[RawRows]) -> Interactions:
    """All rows of all chunks, 16 bytes each beside the tokens; codes are given in order of first appearance.

    Raises InputError for a token that cannot be written (with its line) and for times of such different kinds that one
    number format cannot keep their order.
    """
    user_codes, item_codes = TokenCodes(), TokenCodes()
    users, items, times = [], [], []
    for rows in chunks:
        users.append(user_codes.encode(rows.users, "user", rows.numbers, rows.path))
        items.append(item_codes.encode(rows.items, "item", rows.numbers, rows.path))
        times.append(rows.times)
    return Interactions(
        users=np.concatenate(users) if users else np.empty(0, np.int32),
        items=np.concatenate(items) if items else np.empty(0, np.int32),
        times=_join_times(times),
        user_tokens=user_codes.tokens,
        item_tokens=item_codes.tokens,
    )


def time_order(users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Row numbers (n,) that sort by user code, then time; equal times keep their order in the file."""
    return np.lexsort((times, users))


def first_of_each_pair(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Which of n rows is the first with its (user, item) pair: a bool array (n,)."""
    pairs = users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items
    mask = np.zeros(len(pairs), dtype=bool)
    mask[np.unique(pairs, return_index=True)[1]] = True
    return mask


def positions_in_runs(users: np.ndarray) -> np.ndarray:
    """The position 1..m of each row (n,) within its run of equal, adjacent user codes."""
    return np.arange(len(users)) - np.repeat(*runs(users)) + 1


def _join_times(times: list[np.ndarray]) -> np.ndarray:
    if not times:
        return np.empty(0, np.int64)
    kinds = {chunk.dtype.kind for chunk in times}
    if kinds == {"i", "f"}:
        # In Python's integers: the smallest int64 has no absolute value of its own kind.
        largest = max(abs(int(end)) for chunk in times for end in (chunk.min(initial=0), chunk.max(initial=0)))
        if largest >= FIRST_INEXACT_FLOAT:
            raise InputError(
                f"The times are partly fractions and partly whole numbers up to {largest}, beyond 2^53: no number "
                f"format keeps their order. Write them all as whole numbers."
            )
    return np.concatenate(times)
