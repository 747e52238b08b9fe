"""Histories padded on the left."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_lpo.core.padding import padded_on_the_left


def test_a_short_history_ends_in_the_last_cell():
    histories = torch.tensor([[1, 2, 0], [4, 5, 6], [7, 0, 0]])
    expected = [[0, 1, 2], [4, 5, 6], [0, 0, 7]]
    assert padded_on_the_left(histories, torch.tensor([2, 3, 1])).tolist() == expected


@given(rows=st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=5), width=st.integers(6, 8))
def test_items_keep_their_order_and_nothing_is_added_or_lost(rows, width):
    right = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    left = padded_on_the_left(right, torch.tensor([len(row) for row in rows]))
    assert left.tolist() == [[0] * (width - len(row)) + row for row in rows]
