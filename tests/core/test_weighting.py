"""How much each row of a batch counts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recbole_lpo.core.weighting import (
    group_counts,
    published_code_tail_weights,
    r2rec_published_code_weights,
    tail_weights,
)

fast = settings(max_examples=50, deadline=None)
GROUPS = st.lists(st.booleans(), min_size=1, max_size=30).map(torch.tensor)
MIXED = GROUPS.filter(lambda is_tail: 0 < int(is_tail.sum()) < len(is_tail))
ALPHA = st.floats(-5, 5)


@fast
@given(GROUPS, ALPHA, ALPHA)
def test_weights_sum_to_one(is_tail, alpha_tail, alpha_head):
    weights = tail_weights(is_tail, alpha_tail=alpha_tail, alpha_head=alpha_head)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)


@fast
@given(MIXED, ALPHA, ALPHA)
def test_a_tail_row_weighs_e_to_the_difference_of_the_alphas_times_a_head_row(is_tail, alpha_tail, alpha_head):
    weights = tail_weights(is_tail, alpha_tail=alpha_tail, alpha_head=alpha_head)
    ratio = (weights[is_tail][0] / weights[~is_tail][0]).item()
    assert ratio == pytest.approx(math.exp(alpha_tail - alpha_head), rel=1e-5)


@pytest.mark.parametrize("weigh", [tail_weights, published_code_tail_weights])
def test_by_default_a_tail_row_weighs_e_head_rows(weigh):
    assert weigh(torch.tensor([True, False])).tolist() == pytest.approx([0.7310585786, 0.2689414214], abs=1e-7)


@pytest.mark.parametrize("group", [True, False])
def test_in_a_batch_of_one_group_every_row_weighs_the_same(group):
    assert tail_weights(torch.full((7,), group)).tolist() == pytest.approx([1 / 7] * 7)


@fast
@given(GROUPS, ALPHA)
def test_equal_alphas_are_the_mean(is_tail, alpha):
    weights = tail_weights(is_tail, alpha_tail=alpha, alpha_head=alpha)
    assert weights.tolist() == pytest.approx([1 / len(is_tail)] * len(is_tail))


@fast
@given(MIXED, ALPHA, ALPHA, st.integers(0, 1000))
def test_the_weighted_cross_entropy_is_torchs_with_class_weights(is_tail, alpha_tail, alpha_head, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(is_tail), 6, generator=generator, dtype=torch.float64)
    # Columns 0 to 2 are head, 3 to 5 are tail.
    target = torch.randint(0, 3, (len(is_tail),), generator=generator) + 3 * is_tail
    class_weight = torch.tensor([math.exp(alpha_head)] * 3 + [math.exp(alpha_tail)] * 3, dtype=torch.float64)
    weights = tail_weights(is_tail, alpha_tail=alpha_tail, alpha_head=alpha_head)
    ours = (weights * functional.cross_entropy(logits, target, reduction="none")).sum()
    theirs = functional.cross_entropy(logits, target, weight=class_weight)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


@fast
@given(MIXED, ALPHA, ALPHA)
def test_with_a_tail_row_the_published_code_weighs_the_same(is_tail, alpha_tail, alpha_head):
    alphas = {"alpha_tail": alpha_tail, "alpha_head": alpha_head}
    assert torch.equal(published_code_tail_weights(is_tail, **alphas), tail_weights(is_tail, **alphas))


def test_without_a_tail_row_the_published_code_gives_every_row_the_weight_one():
    assert published_code_tail_weights(torch.zeros(128, dtype=torch.bool)).tolist() == [1.0] * 128


@fast
@given(GROUPS, ALPHA, ALPHA, st.integers(0, 30))
@pytest.mark.parametrize("weigh", [tail_weights, published_code_tail_weights, r2rec_published_code_weights])
def test_the_weights_of_the_parts_of_a_batch_are_those_of_the_whole(weigh, is_tail, alpha_tail, alpha_head, cut):
    alphas = {"alpha_tail": alpha_tail, "alpha_head": alpha_head}
    parts = [weigh(part, **alphas, counts=group_counts(is_tail)) for part in (is_tail[:cut], is_tail[cut:])]
    torch.testing.assert_close(torch.cat(parts), weigh(is_tail, **alphas))


def test_head_rows_are_counted_before_tail_rows():
    assert group_counts(torch.tensor([True, False, False])).tolist() == [2, 1]
