"""The rank of the held-out item, and the metrics that follow from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recbole_lpo.core.ranking import group_mean, hit_at, mrr_at, ndcg_at, target_rank

fast = settings(max_examples=50, deadline=None)
RANKS = st.lists(st.integers(1, 60), min_size=1, max_size=30).map(torch.tensor)
METRICS = [hit_at, ndcg_at, mrr_at]


@st.composite
def tables(draw, ties=True):
    """(scores, target, exclude): whole-number scores with many ties, or distinct ones."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    if ties:
        scores = torch.randint(0, 4, (rows, columns), generator=generator).float()
    else:
        scores = torch.stack([torch.randperm(columns, generator=generator) for _ in range(rows)]).float()
    target = torch.randint(0, columns, (rows,), generator=generator)
    return scores, target, torch.rand(rows, columns, generator=generator) < 0.3


@fast
@given(tables(ties=False))
def test_among_distinct_scores_the_rank_is_the_place_in_the_sorted_list(table):
    scores, target, _ = table
    order = np.argsort(-scores.numpy(), axis=1)
    expected = [row.tolist().index(one) + 1 for row, one in zip(order, target.tolist(), strict=True)]
    assert target_rank(scores, target).tolist() == expected


@fast
@given(tables())
def test_equal_scores_count_half_rounded_up(table):
    scores, target, exclude = table
    ranks = target_rank(scores, target, exclude=exclude)
    for row, barred, one, rank in zip(scores, exclude, target, ranks, strict=True):
        rivals = [score for item, score in enumerate(row) if item != one and not barred[item]]
        above, level = sum(score > row[one] for score in rivals), sum(score == row[one] for score in rivals)
        assert rank == 1 + above + math.ceil(level / 2)


@fast
@given(tables())
def test_the_rank_lies_between_the_best_and_the_worst_order_of_equal_scores(table):
    scores, target, _ = table
    own = scores.gather(1, target[:, None])
    best, worst = 1 + (scores > own).sum(dim=1), (scores >= own).sum(dim=1)
    rank = target_rank(scores, target)
    assert ((best <= rank) & (rank <= worst)).all()


@fast
@given(tables())
def test_a_rising_transform_of_the_scores_leaves_the_rank(table):
    scores, target, exclude = table
    expected = target_rank(scores, target, exclude=exclude)
    assert torch.equal(target_rank((scores / 2).exp() - 7, target, exclude=exclude), expected)


@fast
@given(tables())
def test_rows_are_ranked_independently_of_the_batch(table):
    scores, target, exclude = table
    one_by_one = [target_rank(scores[[row]], target[[row]], exclude=exclude[[row]]) for row in range(len(scores))]
    assert torch.equal(torch.cat(one_by_one), target_rank(scores, target, exclude=exclude))


@fast
@given(tables())
def test_excluded_items_never_count(table):
    scores, target, exclude = table
    kept = ~exclude | (torch.arange(scores.shape[1]) == target[:, None])
    expected = [
        target_rank(row[keep][None], keep[:one].sum()[None]).item()
        for row, one, keep in zip(scores, target, kept, strict=True)
    ]
    assert target_rank(scores, target, exclude=exclude).tolist() == expected


def test_an_excluded_target_still_takes_part():
    scores, target = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([1])
    assert target_rank(scores, target, exclude=torch.tensor([[False, True, False]])).tolist() == [2]


def test_items_at_minus_infinity_rank_below_every_score():
    assert target_rank(torch.tensor([[-torch.inf, -50.0, -torch.inf]]), torch.tensor([1])).tolist() == [1]


@pytest.mark.parametrize(("n_items", "middle"), [(1, 1), (2, 2), (9, 5), (100, 51)])
def test_a_model_that_scores_all_items_alike_gets_the_middle(n_items, middle):
    assert target_rank(torch.zeros(3, n_items), torch.zeros(3, dtype=torch.int64)).tolist() == [middle] * 3


def test_scores_that_are_not_numbers_are_refused():
    scores = torch.zeros(4, 5)
    scores[1, 2] = scores[3, 0] = torch.nan
    with pytest.raises(ValueError, match="2 of 4 rows"):
        target_rank(scores, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("metric", METRICS)
@fast
@given(ranks=RANKS, k=st.integers(1, 50))
def test_metrics_lie_between_0_and_1(metric, ranks, k):
    assert ((metric(ranks, k) >= 0) & (metric(ranks, k) <= 1)).all()


@pytest.mark.parametrize("metric", METRICS)
@fast
@given(ranks=RANKS, k=st.integers(1, 50))
def test_a_longer_list_never_lowers_a_metric(metric, ranks, k):
    assert (metric(ranks, k) <= metric(ranks, k + 1)).all()


@fast
@given(RANKS, st.integers(1, 50))
def test_mrr_is_at_most_ndcg_is_at_most_the_hit_rate(ranks, k):
    assert (mrr_at(ranks, k) <= ndcg_at(ranks, k)).all()
    assert (ndcg_at(ranks, k) <= hit_at(ranks, k)).all()


def test_metrics_of_ranks_1_2_3_5_and_6_cut_at_5():
    ranks = torch.tensor([1, 2, 3, 5, 6])
    assert hit_at(ranks, 5).tolist() == [1, 1, 1, 1, 0]
    assert ndcg_at(ranks, 5).tolist() == pytest.approx([1, 0.6309297535714575, 0.5, 0.38685280723454163, 0])
    assert mrr_at(ranks, 5).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 5, 0])


@fast
@given(tables(ties=False), st.integers(1, 12))
def test_ndcg_is_that_of_scikit_learn(table, k):
    scores, target, _ = table
    if scores.shape[1] == 1:
        return
    relevance = torch.nn.functional.one_hot(target, scores.shape[1])
    ours = ndcg_at(target_rank(scores, target), k).mean().item()
    assert ours == pytest.approx(ndcg_score(relevance.numpy(), scores.numpy(), k=k))


def test_a_group_without_users_has_no_mean():
    assert math.isnan(group_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)))


def test_no_users_at_all_have_no_mean():
    assert math.isnan(group_mean(torch.ones(0)))


@pytest.mark.parametrize("metric", METRICS)
@fast
@given(ranks=RANKS, seed=st.integers(0, 1000))
def test_the_overall_mean_is_the_mean_of_the_groups_weighted_by_users(metric, ranks, seed):
    values = metric(ranks, 10)
    is_tail = torch.rand(len(ranks), generator=torch.Generator().manual_seed(seed)) < 0.5
    groups = [(int(member.sum()), group_mean(values, member)) for member in (is_tail, ~is_tail)]
    weighted = sum(users * mean for users, mean in groups if users) / len(ranks)
    assert group_mean(values) == pytest.approx(weighted, abs=1e-12)
