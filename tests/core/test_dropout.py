"""Dropout with cheap masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.dropout import dropout


@given(p=st.floats(0, 1), shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_an_element_is_zero_or_itself_over_what_is_kept(p, shape, seed):
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    found = dropout(x, p, True)
    assert found.shape == x.shape
    kept = found != 0
    torch.testing.assert_close(found[kept] * (1 - p), x[kept], rtol=2**-16 / max(1 - p, 2**-16), atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p):
    torch.manual_seed(0)
    n = 400_000
    found = dropout(torch.ones(n), p, True)
    # Five standard deviations.
    assert (found == 0).double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    assert found.double().mean().item() == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_the_masks_of_neighbours_are_independent(p):
    torch.manual_seed(0)
    zero = (dropout(torch.ones(100_000, 8), p, True) == 0).double()
    correlation = torch.corrcoef(zero.T) - torch.eye(8)
    assert correlation.abs().max() < 5 / 100_000**0.5


def test_the_seed_decides_the_mask():
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropout(torch.ones(1000), 0.5, True))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_nothing_is_dropped_in_evaluation_or_at_p_0_and_everything_at_p_1():
    x = torch.randn(7, 3)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x
    assert not dropout(x, 1.0, True).any()


def test_the_gradient_passes_where_the_element_did():
    x = torch.randn(50, 3, requires_grad=True)
    found = dropout(x, 0.25, True)
    found.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), found.detach())
