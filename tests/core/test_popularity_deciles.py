"""Tenths of the catalogue by popularity."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.core.popularity_deciles import popularity_deciles

fast = settings(max_examples=60, deadline=None)


@fast
@given(st.permutations(range(1, 38)), st.integers(1, 37))
def test_the_tenths_are_even_in_order_and_leave_out_what_is_no_item(columns, n):
    order = columns[:n]
    found = popularity_deciles(order, 40)
    assert (np.diff(found[order]) >= 0).all()
    assert set(found) - {0} <= set(range(1, 11))
    assert (np.delete(found, order) == 0).all()
    sizes = np.bincount(found[order], minlength=11)[1:]
    assert sizes.max() - sizes.min() <= 1


def test_the_usual_head_is_the_first_two_tenths():
    split = HeadTailSplit.from_counts([0, *range(100, 0, -1)], ratio=0.2, pad_id=0)
    found = popularity_deciles(np.concatenate([split.head_ids, split.tail_ids]), 101)
    assert ((found <= 2) & (found > 0)).tolist() == split.is_head.tolist()
