"""Ranks and lists of a walk over the catalogue: those of all scores at once, whatever the chunk."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core import catalogue_walk
from recbole_lpo.core.catalogue_walk import rank_products, rank_scores

fast = settings(max_examples=60, deadline=None)


@st.composite
def catalogues(draw):
    """(hidden, item_table, target, excluded, biases, k) of whole numbers: products without rounding, with many ties."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    n_rows, n_items, width = draw(st.integers(1, 6)), draw(st.integers(1, 50)), draw(st.integers(1, 4))
    hidden = torch.randint(-2, 3, (n_rows, width), generator=generator).float()
    item_table = torch.randint(-2, 3, (n_items, width), generator=generator).float()
    target = torch.randint(0, n_items, (n_rows,), generator=generator)
    barred = torch.rand(n_rows, n_items, generator=generator) < draw(st.sampled_from([0.0, 0.3]))
    barred[torch.arange(n_rows), target] = False
    biases = [None, torch.randint(-1, 2, (n_items,), generator=generator).float()][: draw(st.integers(1, 2))]
    return hidden, item_table, target, barred.nonzero(as_tuple=True), biases, draw(st.integers(0, n_items))


def slowly(hidden, item_table, target, excluded, bias, k):
    """(rank, ties, list) of each row, by sorting and counting in Python."""
    scores = hidden @ item_table.T
    scores[excluded] = -torch.inf
    if bias is not None:
        scores = scores + bias
    found = []
    for row, one in zip(scores.tolist(), target.tolist(), strict=True):
        above, ties = sum(score > row[one] for score in row), sum(score == row[one] for score in row) - 1
        order = sorted(range(len(row)), key=lambda column, row=row: (-row[column], column))
        found.append((1 + above + math.ceil(ties / 2), ties, order[:k]))
    return found


def as_rows(ranking):
    return list(zip(ranking.rank.tolist(), ranking.ties.tolist(), ranking.top.tolist(), strict=True))


@fast
@given(catalogues(), st.one_of(st.none(), st.integers(1, 60)))
def test_ranks_ties_and_lists_in_any_chunk_are_those_of_a_slow_count(made, chunk):
    hidden, item_table, target, excluded, biases, k = made
    found = rank_products(hidden, item_table, target, chunk=chunk, excluded=excluded, biases=biases, k=k)
    assert [as_rows(one) for one in found] == [slowly(hidden, item_table, target, excluded, bias, k) for bias in biases]


@fast
@given(catalogues(), st.sampled_from([1, 7, 2**20]))
def test_scores_that_are_all_there_are_ranked_as_their_products_are(made, cells):
    hidden, item_table, target, excluded, biases, k = made
    scores = hidden @ item_table.T
    scores[excluded] = -torch.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_walk, "_COUNT_CELLS", cells)
        found = rank_scores(scores, target, biases=biases, k=k)
    expected = rank_products(hidden, item_table, target, excluded=excluded, biases=biases, k=k)
    assert [as_rows(one) for one in found] == [as_rows(one) for one in expected]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chunk", [1, 7, 64, 300, 1000])
def test_scores_with_rounding_are_ranked_in_any_chunk_as_at_once(chunk):
    hidden, item_table = normal(33, 64), normal(700, 64, seed=1)
    target = torch.arange(33) * 20
    whole = rank_scores(hidden @ item_table.T, target, k=10)[0]
    found = rank_products(hidden, item_table, target, chunk=chunk, k=10)[0]
    assert as_rows(found) == as_rows(whole)


@pytest.mark.parametrize("n_rows", [7, 300])
@pytest.mark.parametrize("chunk", [16, 100, 640])
def test_a_model_that_scores_all_items_alike_gets_the_middle_in_any_chunk(n_rows, chunk):
    # Not exact in float32, so that a product of another shape may round otherwise.
    hidden, item_table = normal(1, 64).expand(n_rows, -1), normal(1, 64, seed=1).expand(640, -1)
    found = rank_products(hidden, item_table, torch.arange(n_rows), chunk=chunk)[0]
    assert found.rank.tolist() == [1 + math.ceil(639 / 2)] * n_rows
    assert found.ties.tolist() == [639] * n_rows


def test_the_score_of_the_target_is_that_of_its_chunk_even_where_a_smaller_product_rounds_otherwise(monkeypatch):
    exact = catalogue_walk._own_scores
    monkeypatch.setattr(catalogue_walk, "_own_scores", lambda *given: exact(*given) * (1 + 1e-6))
    hidden, item_table, target = normal(20, 8), normal(200, 8, seed=1), torch.arange(20)
    found = rank_products(hidden, item_table, target, chunk=50)[0]
    assert as_rows(found) == as_rows(rank_scores(hidden @ item_table.T, target)[0])
    assert found.ties.tolist() == [0] * 20


@pytest.mark.parametrize("chunk", [2, 50])
def test_scores_that_are_not_numbers_are_refused_with_their_rows(chunk):
    hidden = normal(4, 3)
    hidden[1] = hidden[3] = torch.nan
    with pytest.raises(ValueError, match="2 of 4 rows of scores hold NaN"):
        rank_products(hidden, normal(9, 3), torch.zeros(4, dtype=torch.int64), chunk=chunk, k=2)


def test_a_batch_without_rows_has_no_ranks():
    found = rank_products(normal(0, 3), normal(9, 3), torch.empty(0, dtype=torch.int64), k=2)[0]
    assert as_rows(found) == []


@fast
@given(catalogues(), st.one_of(st.none(), st.integers(1, 60)), st.sampled_from([1, 2**20]))
def test_the_probability_of_a_group_is_that_of_the_softmax_in_any_chunk(made, chunk, cells):
    hidden, item_table, target, excluded, biases, k = made
    # Far apart, so that a term that is not set against the highest score overflows.
    hidden = hidden * 40
    group = torch.arange(len(item_table)) % 3 == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_walk, "_COUNT_CELLS", cells)
        found = rank_products(
            hidden, item_table, target, chunk=chunk, excluded=excluded, biases=biases, k=k, group=group
        )
    scores = (hidden @ item_table.T).double()
    scores[excluded] = -torch.inf
    expected = torch.softmax(scores, dim=1)[:, group].sum(dim=1)
    torch.testing.assert_close(found[0].group_prob, expected, rtol=1e-5, atol=1e-9)
    assert [one.group_prob for one in found[1:]] == [None] * (len(biases) - 1)


def test_the_probability_of_a_group_is_of_the_scores_under_the_first_bias():
    scores, bias = normal(4, 30), normal(30, seed=2)
    group = torch.arange(30) < 10
    found = rank_scores(scores, torch.arange(4), biases=[bias, None], group=group)[0].group_prob
    torch.testing.assert_close(found, torch.softmax((scores + bias).double(), dim=1)[:, :10].sum(dim=1))
