"""The k-core, against a slow twin that removes one user or item at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_lpo.data.k_core import k_core_mask

tables = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=80)


def slow_k_core(rows: list[tuple[int, int]], k: int) -> list[bool]:
    """Removes the first user or item with fewer than k rows, counts anew, and so on."""
    kept = [True] * len(rows)
    while True:
        left = [row for row, keep in zip(rows, kept, strict=True) if keep]
        counts = [Counter(row[side] for row in left) for side in (0, 1)]
        poor = next(((side, code) for side in (0, 1) for code, n in counts[side].items() if n < k), None)
        if poor is None:
            return kept
        side, code = poor
        kept = [keep and row[side] != code for row, keep in zip(rows, kept, strict=True)]


def mask_of(rows: list[tuple[int, int]], k: int) -> list[bool]:
    codes = np.array(rows, dtype=np.int32).reshape(-1, 2)
    return k_core_mask(codes[:, 0], codes[:, 1], k).tolist()


@given(rows=tables, k=st.integers(0, 6))
def test_equals_removing_one_at_a_time(rows, k):
    assert mask_of(rows, k) == slow_k_core(rows, k)


@given(rows=tables, k=st.integers(2, 6))
def test_taking_the_core_of_a_core_changes_nothing(rows, k):
    core = [row for row, keep in zip(rows, mask_of(rows, k), strict=True) if keep]
    assert all(mask_of(core, k))


@pytest.mark.parametrize("k", [0, 1])
def test_k_of_zero_and_one_keep_everything(k):
    assert mask_of([(0, 0), (1, 5)], k) == [True, True]


def test_goes_on_until_nothing_changes():
    # A path: each removal leaves one more end with a single interaction, and nothing is left of it.
    path = [(step // 2, (step + 1) // 2) for step in range(40)]
    assert not any(mask_of(path, 2))


def test_a_repeated_pair_counts_each_time():
    assert mask_of([(0, 0)] * 5, 5) == [True] * 5


def test_no_interactions_have_an_empty_core():
    assert mask_of([], 5) == []
