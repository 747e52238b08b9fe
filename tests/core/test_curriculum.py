"""MELT's curriculum: its range, its ends and the formulas of its repository."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_lpo.core.curriculum import item_curriculum, user_curriculum

KNOWN = st.lists(st.integers(1, 500), min_size=1, max_size=8).map(torch.tensor)


@given(known=KNOWN, progress=st.floats(0, 1), at_tail=st.integers(0, 60), longest=st.integers(1, 60))
def test_weights_lie_between_zero_and_one(known, progress, at_tail, longest):
    users = user_curriculum(known.clamp(min=at_tail + 1), progress=progress, tail_length=at_tail, max_length=longest)
    items = item_curriculum(known, progress=progress, tail_count=at_tail)
    for weight in (users, items):
        assert (weight >= 0).all() and (weight <= 1).all()


def test_at_first_those_just_above_the_tail_count_nothing_and_at_the_end_all():
    least = torch.tensor([9])
    for progress, expected in ((0.0, 0.0), (1.0, 1.0)):
        assert user_curriculum(least, progress=progress, tail_length=8, max_length=50).item() == pytest.approx(expected)
        assert item_curriculum(least, progress=progress, tail_count=8).item() == pytest.approx(expected)


def test_who_is_known_best_counts_all_at_first():
    assert user_curriculum(torch.tensor([50, 90]), progress=0, tail_length=8, max_length=50).tolist() == [1, 1]
    nearly = math.sin(math.pi / 100 * 49)
    found = item_curriculum(torch.tensor([58, 400]), progress=0, tail_count=8)
    assert found.tolist() == pytest.approx([nearly, nearly])


def test_golden_values():
    users = user_curriculum(torch.tensor([9, 20, 41]), progress=0.25, tail_length=8, max_length=50)
    # sin(pi / 2 * (1 / 4 + 0, 11 / 41, 32 / 41))
    assert users.tolist() == pytest.approx([0.382683, 0.727130, 0.998854], abs=1e-6)
    items = item_curriculum(torch.tensor([15, 40]), progress=0.5, tail_count=14)
    # sin(pi / 4 + pi / 100 * (0, 25))
    assert items.tolist() == pytest.approx([0.707107, 1.0], abs=1e-6)


@pytest.mark.parametrize("longest", [8, 9, 5])
def test_histories_as_short_as_those_of_the_tail_do_not_divide_by_zero(longest):
    found = user_curriculum(torch.tensor([9, 12]), progress=0.5, tail_length=8, max_length=longest)
    assert found.isfinite().all()
