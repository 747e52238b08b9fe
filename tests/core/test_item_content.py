"""Sums of rows over weighted sets, and vectors around their mean."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.item_content import Bags, pooled, standardised


@st.composite
def matrices(draw):
    """(sparse matrix as Bags, the same as a dense (R, V) tensor, values (V, 3)), all float64."""
    rows, columns = draw(st.integers(0, 6)), draw(st.integers(1, 5))
    stream = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    dense = torch.randn(rows, columns, generator=stream, dtype=torch.float64)
    dense = dense * (torch.rand(rows, columns, generator=stream) < draw(st.sampled_from([0.0, 0.4, 1.0])))
    member = dense.nonzero()
    size = (dense != 0).sum(dim=1)
    bags = Bags(member[:, 1], torch.cumsum(size, 0) - size, dense[member[:, 0], member[:, 1]])
    return bags, dense, torch.randn(columns, 3, generator=stream, dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(matrices())
def test_pooling_is_the_product_with_the_sparse_matrix_and_so_is_its_gradient(case):
    bags, dense, values = case
    values.requires_grad_()
    found = pooled(values, bags, bags.transposed(len(values)))
    torch.testing.assert_close(found, dense @ values)
    grad = torch.randn_like(found)
    torch.testing.assert_close(torch.autograd.grad(found, values, grad)[0], dense.T @ grad)


@settings(deadline=None, max_examples=30)
@given(matrices())
def test_transposing_twice_gives_the_same_matrix(case):
    bags, dense, _ = case
    twice = bags.transposed(dense.shape[1]).transposed(len(dense))
    identity = torch.eye(dense.shape[1], dtype=torch.float64)
    torch.testing.assert_close(pooled(identity, twice, twice.transposed(dense.shape[1])), dense)


def test_pooling_takes_weighted_sums_and_an_empty_set_gives_zeros():
    bags = Bags(torch.tensor([0, 2, 1]), torch.tensor([0, 2, 2]), torch.tensor([0.5, 0.5, 1.0]))
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert pooled(values, bags, bags.transposed(3)).tolist() == [[3.0, 4.0], [0.0, 0.0], [3.0, 4.0]]


def test_the_gradient_of_pooling_can_be_differentiated_again():
    bags = Bags(torch.tensor([0, 2, 1]), torch.tensor([0, 2, 2]), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    values = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: pooled(x, bags, bags.transposed(3)).square(), values)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 4), st.floats(0.01, 100), st.floats(-100, 100))
def test_standardised_vectors_have_mean_zero_in_every_column_and_mean_square_one(seed, n, width, spread, shift):
    stream = torch.Generator().manual_seed(seed)
    vectors = spread * torch.randn(n, width, generator=stream, dtype=torch.float64) + shift
    known = torch.rand(n, generator=stream) < 0.7
    known[:2] = True
    centre, scale = standardised(vectors, known)
    found = ((vectors - centre) * scale)[known]
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(width, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(found.square().mean()) == pytest.approx(1.0)


def test_vectors_that_are_all_the_same_are_moved_to_zero_and_not_stretched():
    centre, scale = standardised(torch.full((3, 2), 5.0), torch.tensor([True, True, False]))
    assert (centre.tolist(), float(scale)) == ([5.0, 5.0], 1.0)
