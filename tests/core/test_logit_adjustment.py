"""Post-hoc logit adjustment: the prior, and what taking it off does to the order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.logit_adjustment import adjust, log_prior

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=20)


@settings(max_examples=50, deadline=None)
@given(COUNTS)
def test_the_prior_sums_to_one_over_the_items_and_follows_their_counts(counts):
    prior = log_prior(torch.tensor([0, *counts]), pad_id=0)
    assert prior[0] == 0
    assert prior[1:].exp().sum().item() == pytest.approx(1, abs=1e-5)
    for count, value in zip(counts, prior[1:].tolist(), strict=True):
        assert value == pytest.approx(float(torch.tensor((count + 1) / (sum(counts) + len(counts))).log()), abs=1e-5)


def test_an_item_that_training_never_saw_has_a_finite_prior():
    assert log_prior(torch.tensor([0, 10])).isfinite().all()


def test_strength_zero_leaves_the_scores_alone():
    scores = torch.randn(3, 4)
    assert adjust(scores, log_prior(torch.tensor([1, 2, 3, 4])), 0.0) is scores


def test_strength_one_ranks_by_the_ratio_to_popularity():
    counts = torch.tensor([99, 9, 0])
    # The model knows nothing but popularity: taking it off leaves every item alike.
    scores = log_prior(counts).expand(2, -1)
    torch.testing.assert_close(adjust(scores, log_prior(counts), 1.0), torch.zeros(2, 3))


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.floats(0, 2), st.floats(0, 2))
def test_a_greater_strength_never_moves_a_popular_item_up_past_a_rarer_one(counts, one, other):
    counts = torch.tensor(sorted(counts))
    scores, prior = torch.zeros(1, len(counts)), log_prior(counts)
    weak, strong = (adjust(scores, prior, strength)[0] for strength in sorted((one, other)))
    assert ((strong[0] - strong) >= (weak[0] - weak) - 1e-5).all()
