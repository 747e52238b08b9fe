"""The k best of each row, in one order whatever the device or the pieces."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.top_k import merge_top_k, top_k

fast = settings(max_examples=80, deadline=None)


@st.composite
def rows(draw):
    """(scores, k): whole numbers, with few or many equal ones."""
    n_rows, columns = draw(st.integers(0, 4)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.randint(0, draw(st.sampled_from([1, 3, 1000])), (n_rows, columns), generator=generator)
    return scores.to(draw(st.sampled_from([torch.float32, torch.float64]))), draw(st.integers(1, columns))


def sorted_slowly(scores, k):
    return [sorted(range(len(row)), key=lambda column, row=row: (-row[column], column))[:k] for row in scores.tolist()]


@fast
@given(rows())
def test_the_list_is_sorted_by_score_and_then_by_column(made):
    scores, k = made
    best, columns = top_k(scores, k)
    assert columns.tolist() == sorted_slowly(scores, k)
    assert torch.equal(best, scores.gather(1, columns))


@fast
@given(rows(), st.integers(1, 40))
def test_lists_of_two_parts_of_the_columns_merge_to_the_list_of_all(made, cut):
    scores, k = made
    cut = min(cut, scores.shape[1])
    left, right = scores[:, :cut], scores[:, cut:]
    first = top_k(left, min(k, cut))
    second = top_k(right, min(k, right.shape[1])) if right.shape[1] else (right, right.long())
    best, columns = merge_top_k(first, (second[0], second[1] + cut), k)
    assert columns.tolist() == sorted_slowly(scores, k)
    assert torch.equal(best, scores.gather(1, columns))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_items_at_minus_infinity_come_last(k):
    scores = torch.tensor([[-torch.inf, 2.0, -torch.inf, 1.0, 1.0]])
    assert top_k(scores, k)[1].tolist() == [[1, 3, 4, 0, 2][:k]]
