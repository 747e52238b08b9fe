"""Large tensors of one step lie where those of the last one were, and never where one is still in use."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.reused_memory import LEAST_BYTES, give_back_spare, reused_empty

pytestmark = pytest.mark.once
LARGE = LEAST_BYTES // 4
FLOAT, DOUBLE, HALF = torch.empty(0), torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.bfloat16)


@pytest.fixture(autouse=True)
def _no_spare_of_other_tests():
    give_back_spare()
    yield
    give_back_spare()


@pytest.mark.parametrize("n", [0, 1, LARGE - 1, LARGE, 3 * LARGE + 1])
@pytest.mark.parametrize("like", [FLOAT, DOUBLE, HALF])
def test_a_tensor_has_the_cells_and_the_dtype_that_were_asked_for(n, like):
    found = reused_empty((n,), "scores", like=like)
    found.fill_(2.5)
    assert (found.shape, found.dtype) == ((n,), like.dtype)
    assert (found == 2.5).sum() == n


@pytest.mark.parametrize("n", [LARGE, LARGE + LARGE // 5])
def test_the_next_tensor_lies_where_the_last_one_was_if_it_fits(n):
    place = reused_empty((LARGE,), "scores", like=FLOAT).data_ptr()
    assert reused_empty((n,), "scores", like=FLOAT).data_ptr() == place


def test_tensors_of_another_use_leave_the_place_alone():
    place = reused_empty((LARGE,), "scores", like=FLOAT).data_ptr()
    reused_empty((LARGE,), "gradient", like=FLOAT)
    assert reused_empty((LARGE,), "scores", like=FLOAT).data_ptr() == place


def test_a_tensor_that_does_not_fit_lies_elsewhere():
    reused_empty((LARGE,), "scores", like=FLOAT)
    found = reused_empty((4 * LARGE,), "scores", like=FLOAT)
    assert found.fill_(1).sum() == 4 * LARGE


def test_what_was_given_back_is_not_waited_with():
    reused_empty((LARGE,), "scores", like=FLOAT)
    give_back_spare()
    assert reused_empty((LARGE,), "scores", like=FLOAT).fill_(3).sum() == 3 * LARGE


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=8))
def test_no_two_tensors_in_use_share_memory_even_through_views(steps):
    kept = []
    for number, (size, through_a_view, forget) in enumerate(steps):
        tensor = reused_empty((size * LARGE,), "scores", like=FLOAT).fill_(number)
        kept.append((number, tensor[LARGE // 2 :] if through_a_view else tensor))
        del tensor
        if forget:
            kept.pop(0)
        assert all(bool((one == value).all()) for value, one in kept)
