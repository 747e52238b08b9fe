"""Sparse gradients of gathered rows add up to what dense ones give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_lpo.core.gathered_rows import make_lookups_sparse, rows_of, with_sparse_rows
from recbole_lpo.core.item_softmax import item_scores, target_nll
from recbole_lpo.core.reused_memory import LEAST_BYTES, reused_empty


def table_and_hidden(n_items=9):
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (n_items, 3))
    return [one.requires_grad_() for one in made]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 8), min_size=2, max_size=2), min_size=0, max_size=5))
def test_rows_and_their_gradient_are_those_of_indexing(columns):
    columns = torch.tensor(columns, dtype=torch.int64).view(-1, 2)
    table, _ = table_and_hidden()
    found, expected = rows_of(with_sparse_rows(table), columns), table[columns]
    assert torch.equal(found, expected)
    ours, theirs = (torch.autograd.grad(one.sin().sum(), table)[0] for one in (found, expected))
    assert ours.layout == torch.strided
    torch.testing.assert_close(ours, theirs)


def test_the_gather_itself_makes_no_gradient_as_large_as_the_table():
    table, _ = table_and_hidden()
    seen = []
    shared = with_sparse_rows(table)
    shared.register_hook(lambda grad: seen.append(grad.layout))
    rows_of(shared, torch.tensor([1, 1, 5])).sum().backward()
    assert seen == [torch.sparse_coo]


@pytest.mark.parametrize("method", ["dense", "chunked"])
def test_softmax_and_gathered_scores_share_one_dense_gradient(method):
    table, hidden = table_and_hidden()
    target, rivals = torch.tensor([2, 0, 8]), torch.tensor([[1, 1], [4, -1], [2, 8]])

    def gradients(shared):
        nll = target_nll(hidden, shared, target, method=method)
        own = item_scores(hidden, shared, target[:, None])
        loss = nll + (own - item_scores(hidden, shared, rivals)).exp().sum(dim=1)
        return torch.autograd.grad(loss.sum(), [table, hidden])

    for ours, theirs in zip(gradients(with_sparse_rows(table)), gradients(table), strict=True):
        assert ours.layout == torch.strided
        torch.testing.assert_close(ours, theirs)


def test_a_computed_table_takes_sparse_rows_too():
    source, hidden = table_and_hidden()
    columns = torch.tensor([[1], [4], [4]])
    shared = with_sparse_rows(source * 2)
    (found,) = torch.autograd.grad(item_scores(hidden, shared, columns).exp().sum(), source)
    (expected,) = torch.autograd.grad(item_scores(hidden, source * 2, columns).exp().sum(), source)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("with_softmax", [False, True])
def test_sparse_lookups_leave_a_parameter_with_the_dense_gradient_of_ordinary_ones(with_softmax):
    items = torch.tensor([[3, 0, 5], [5, 2, 0]])

    def gradient(sparse):
        torch.manual_seed(0)
        embedding = nn.Embedding(9, 4, padding_idx=0)
        if sparse:
            make_lookups_sparse(embedding)
        table = with_sparse_rows(embedding.weight) if sparse else embedding.weight
        hidden = embedding(items).sin().sum(dim=1)
        loss = target_nll(hidden, table, torch.tensor([1, 7])) if with_softmax else hidden
        loss.sum().backward()
        assert embedding.weight.grad.layout == torch.strided
        return embedding.weight.grad

    torch.testing.assert_close(gradient(sparse=True), gradient(sparse=False))


def test_a_table_that_learns_nothing_is_indexed():
    table, _ = table_and_hidden()
    with torch.no_grad():
        assert torch.equal(rows_of(with_sparse_rows(table), torch.tensor([1, 4])), table[[1, 4]])


def test_the_gradient_of_a_large_table_is_the_softmax_s_own_in_one_place_at_every_step():
    embedding = nn.Embedding(LEAST_BYTES // 4 // 50, 64)
    make_lookups_sparse(embedding)
    places = []
    for number in range(3):
        item_table = with_sparse_rows(embedding.weight)
        hidden = embedding(torch.tensor([1, 2, 2 + number]))
        target_nll(hidden, item_table, torch.tensor([3, 4, 5]), method="chunked").sum().backward()
        places.append(embedding.weight.grad.data_ptr())
        embedding.weight.grad = None
    # A copy, or a sum with the gradient of the lookups, would lie elsewhere.
    place = reused_empty(embedding.weight.shape, "gradient", like=embedding.weight).data_ptr()
    assert places == [place] * 3
