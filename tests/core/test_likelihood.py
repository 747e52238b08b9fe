"""Likelihood objectives over the whole catalogue against hand-worked values, torch and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recbole_lpo.core.item_softmax import target_nll
from recbole_lpo.core.logit_adjustment import log_prior
from recbole_lpo.core.objectives import LIKELIHOODS
from recbole_lpo.core.objectives.likelihood import (
    balanced_softmax_bias,
    class_balanced_weights,
    focal,
    inverse_propensity_weights,
    logit_adjustment_bias,
)
from recbole_lpo.core.weighting import published_code_tail_weights, r2rec_published_code_weights, tail_weights

fast = settings(max_examples=25, deadline=None)
COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=12).map(torch.tensor)
NLL = st.lists(st.floats(0, 30), min_size=1, max_size=8).map(lambda rows: torch.tensor(rows, dtype=torch.float64))

# Two targets in a catalogue of seven items, worked outside this package; the first is tail, the second head.
LOGITS = torch.tensor(
    [[2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0], [-0.3, 0.8, 1.2, -1.7, 0.6, 2.4, 0.1]], dtype=torch.float64
)
TARGET = torch.tensor([3, 5]) - 1
IS_TAIL = torch.tensor([True, False])
EVERY_WEIGHT = [class_balanced_weights, inverse_propensity_weights]
every_weight = pytest.mark.parametrize("weights", EVERY_WEIGHT)


def nll_of(logits, target, bias=None):
    """Hidden states that are the logits themselves: the items' vectors are the unit vectors."""
    return target_nll(logits, torch.eye(logits.shape[1], dtype=logits.dtype), target, bias=bias)


def batch(seed, n_items, rows=6):
    """(logits, target) in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, n_items, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, n_items, (rows,), generator=generator)


def agree(found, expected, **tolerance):
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, **(tolerance or {"rtol": 1e-9, "atol": 1e-10}))


# Weights for head and tail


def test_weighted_cross_entropy_has_the_value_worked_by_hand():
    nll = nll_of(LOGITS, TARGET)
    assert nll.tolist() == pytest.approx([3.9175644290, 2.4164964823], abs=1e-8)
    weights = tail_weights(IS_TAIL, dtype=torch.float64)
    assert weights.tolist() == pytest.approx([0.7310585786, 0.2689414214], abs=1e-8)
    expected = 0.7310585786 * 3.9175644290 + 0.2689414214 * 2.4164964823
    assert (weights * nll).sum().item() == pytest.approx(expected, abs=1e-8)


def test_r2rec_as_released_has_the_value_worked_by_hand():
    weights = r2rec_published_code_weights(IS_TAIL, alpha_tail=2.0, dtype=torch.float64)
    assert (weights * nll_of(LOGITS, TARGET)).sum().item() == pytest.approx(1.8693163718, abs=1e-8)


@fast
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-3, 3))
def test_weighted_cross_entropy_is_torch_s_with_class_weights(seed, alpha_tail, alpha_head):
    logits, target = batch(seed, 7)
    tail_item = torch.arange(7) % 3 == 0
    weights = tail_weights(tail_item[target], alpha_tail=alpha_tail, alpha_head=alpha_head, dtype=torch.float64)
    class_weight = torch.where(tail_item, math.exp(alpha_tail), math.exp(alpha_head)).double()
    expected = functional.cross_entropy(logits, target, weight=class_weight, reduction="mean")
    agree((weights * nll_of(logits, target)).sum(), expected, rtol=1e-6, atol=1e-8)


@fast
@given(st.lists(st.booleans(), min_size=1, max_size=20).map(torch.tensor), st.floats(-3, 3))
def test_r2rec_as_released_weighs_as_lpo4rec_does_over_the_number_of_rows(is_tail, alpha):
    found = r2rec_published_code_weights(is_tail, alpha_tail=alpha)
    agree(found * len(is_tail), published_code_tail_weights(is_tail, alpha_tail=alpha), rtol=1e-6, atol=1e-7)


def test_in_a_batch_without_tail_rows_r2rec_as_released_takes_the_plain_mean():
    assert r2rec_published_code_weights(torch.zeros(8, dtype=torch.bool)).tolist() == [1 / 8] * 8


# A prior in the scores


@fast
@given(st.integers(0, 10_000), COUNTS, st.floats(0, 3))
def test_logit_adjusted_cross_entropy_is_the_pairwise_form_of_the_paper(seed, counts, strength):
    logits, target = batch(seed, len(counts))
    share = (counts + 1.0) / (counts + 1.0).sum()
    found = nll_of(logits, target, logit_adjustment_bias(counts, strength=strength))
    for row, (one, wanted) in enumerate(zip(logits.tolist(), target.tolist(), strict=True)):
        ratios = (share / share[wanted]).tolist()
        terms = sum(r**strength * math.exp(score - one[wanted]) for r, score in zip(ratios, one, strict=True))
        assert found[row].item() == pytest.approx(math.log(terms), rel=1e-5, abs=1e-5)


@fast
@given(st.integers(0, 10_000), COUNTS)
def test_without_strength_logit_adjustment_is_the_cross_entropy_itself(seed, counts):
    logits, target = batch(seed, len(counts))
    bias = logit_adjustment_bias(counts, strength=0.0)
    assert torch.equal(nll_of(logits, target, bias), nll_of(logits, target))


@fast
@given(st.integers(0, 10_000), COUNTS)
def test_balanced_softmax_is_logit_adjustment_of_strength_1_with_the_counts_as_prior(seed, counts):
    logits, target = batch(seed, len(counts))
    # The adjustment adds one interaction to each item.
    adjusted = nll_of(logits, target, logit_adjustment_bias(counts, strength=1.0))
    agree(nll_of(logits, target, balanced_softmax_bias(counts + 1)), adjusted, rtol=1e-5, atol=1e-5)


@fast
@given(st.integers(0, 10_000), COUNTS)
def test_balanced_softmax_weighs_each_item_s_share_by_its_count(seed, counts):
    logits, target = batch(seed, len(counts))
    shares = counts.clamp(min=1) * logits.exp()
    expected = -(shares.gather(1, target[:, None])[:, 0] / shares.sum(dim=1)).log()
    agree(nll_of(logits, target, balanced_softmax_bias(counts)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [logit_adjustment_bias, balanced_softmax_bias])
@fast
@given(st.integers(0, 10_000), COUNTS, st.floats(-50, 50))
def test_a_constant_added_to_all_scores_does_not_matter(bias, seed, counts, constant):
    logits, target = batch(seed, len(counts))
    agree(nll_of(logits + constant, target, bias(counts)), nll_of(logits, target, bias(counts)))


@pytest.mark.parametrize("bias", [logit_adjustment_bias, balanced_softmax_bias])
def test_a_popular_item_gets_more_than_a_rare_one_and_an_unseen_one_stays_finite(bias):
    found = bias(torch.tensor([0, 1, 5, 100]))
    assert found.isfinite().all()
    assert found[0] <= found[1] < found[2] < found[3]


def test_the_prior_in_training_is_that_of_the_adjustment_after_it():
    counts = torch.tensor([3, 1, 6])
    agree(logit_adjustment_bias(counts, strength=0.3), 0.3 * log_prior(counts))


# Focal


def test_focal_has_the_value_worked_by_hand():
    nll = nll_of(LOGITS, TARGET)
    expected = [(1 - 0.0198894780) ** 2 * 3.9175644290, (1 - 0.0892337023) ** 2 * 2.4164964823]
    assert focal(nll, gamma=2.0).tolist() == pytest.approx(expected, abs=1e-8)


@fast
@given(NLL)
def test_without_gamma_focal_is_the_cross_entropy(nll):
    agree(focal(nll, gamma=0.0), nll)


@fast
@given(NLL, st.floats(0, 5))
def test_focal_is_the_printed_formula_and_never_above_the_cross_entropy(nll, gamma):
    found = focal(nll, gamma=gamma)
    agree(found, (1 - (-nll).exp()) ** gamma * nll, rtol=1e-6, atol=1e-9)
    assert (found <= nll + 1e-12).all()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=4), st.sampled_from([0.3, 1.0, 2.0, 5.0]))
def test_the_gradient_of_focal_agrees_with_finite_differences(nll, gamma):
    rows = torch.tensor(nll, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: focal(one, gamma=gamma), [rows])


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
def test_focal_and_its_gradient_are_finite_in_float32_at_the_extremes(gamma):
    # -1e-7: rounding may put a certain target's probability above 1.
    nll = torch.tensor([-1e-7, 0.0, 1e-30, 1e-12, 1e-6, 1e-3, 1.0, 100.0, 1e4], requires_grad=True)
    loss = focal(nll, gamma=gamma)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert nll.grad.isfinite().all()
    assert (loss[1:] >= 0).all()


# Weights by the count of the target


@every_weight
@fast
@given(COUNTS)
def test_a_rarer_item_never_weighs_less(weights, counts):
    found = weights(counts)
    order = torch.argsort(counts)
    assert (found[order].diff() <= 1e-12).all()
    assert (found > 0).all()


@fast
@given(COUNTS)
def test_at_zero_strength_all_items_weigh_one(counts):
    agree(class_balanced_weights(counts, beta=0.0), torch.ones(len(counts)))
    agree(inverse_propensity_weights(counts, power=0.0), torch.ones(len(counts)))


@fast
@given(COUNTS, st.floats(0.01, 0.9999))
def test_class_balanced_weights_are_the_printed_formula_with_a_mean_of_1(counts, beta):
    raw = (1 - beta) / (1 - beta ** counts.clamp(min=1).double())
    agree(class_balanced_weights(counts, beta=beta), raw / raw.mean(), rtol=1e-7, atol=1e-9)


def test_near_1_class_balanced_weights_are_inverse_counts():
    counts = torch.tensor([1, 4, 20])
    agree(class_balanced_weights(counts, beta=1 - 1e-12), (1 / counts) / (1 / counts).mean(), rtol=1e-6, atol=0)


@fast
@given(COUNTS, st.floats(0, 2), st.floats(1, 50))
def test_inverse_propensity_weights_are_clipped_and_have_a_mean_of_1_over_the_data(counts, power, clip):
    found, seen = inverse_propensity_weights(counts, power=power, clip=clip), counts.clamp(min=1).double()
    agree((found * seen).sum() / seen.sum(), 1.0, rtol=1e-9, atol=0)
    assert (found.max() / found[counts.argmax()]).item() <= clip * (1 + 1e-9)


def test_with_power_1_and_room_enough_every_item_has_the_same_say():
    counts = torch.tensor([1, 4, 20])
    agree(inverse_propensity_weights(counts, power=1.0, clip=100.0) * counts, [25 / 3] * 3)


@every_weight
def test_weights_stay_finite_for_a_catalogue_that_nobody_has_seen(weights):
    assert weights(torch.zeros(4, dtype=torch.int64)).tolist() == [1.0] * 4


# All of them


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_objective_changes_one_part_of_the_cross_entropy_at_most(name):
    parts = [part for part in vars(LIKELIHOODS[name]).values() if part is not None]
    assert len(parts) == (0 if name in ("ce", "weighted_ce", "r2rec") else 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    assert focal(torch.tensor([0.5], dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (logit_adjustment_bias, {"strength": -0.1}, r"strength = -0.1: must be >= 0"),
        (focal, {"gamma": -1.0}, r"gamma = -1.0: must be >= 0"),
        (focal, {"gamma": math.nan}, r"gamma = nan: must be >= 0"),
        (class_balanced_weights, {"beta": 1.0}, r"beta = 1.0: must be >= 0 and < 1"),
        (inverse_propensity_weights, {"power": -1.0}, r"power = -1.0: must be >= 0"),
        (inverse_propensity_weights, {"clip": 0.5}, r"clip = 0.5: must be >= 1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(part, options, message):
    with pytest.raises(ValueError, match=message):
        part(torch.tensor([1.0, 2.0]), **options)
