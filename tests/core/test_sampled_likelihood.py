"""Likelihood objectives on drawn items against hand-worked values, the full softmax and closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recbole_lpo.core.objectives import lpo
from recbole_lpo.core.objectives.sampled_likelihood import gbce, gbce_beta, sampled_softmax

fast = settings(max_examples=25, deadline=None)

# Two targets in a catalogue of seven items, worked outside this package.
LOGITS = torch.tensor(
    [[2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0], [-0.3, 0.8, 1.2, -1.7, 0.6, 2.4, 0.1]], dtype=torch.float64
)
ITEMS = torch.tensor([[3, 1, 4, 7], [5, 6, 2, 3]]) - 1  # the target, then what was drawn
FORMS = {
    "gbce": lambda *scores: gbce(*scores, beta=0.6),
    "sampled": sampled_softmax,
    "log_q": lambda target, drawn: sampled_softmax(target, drawn, torch.full_like(drawn, math.log(1 / 50)).detach()),
}
every_form = pytest.mark.parametrize("form", FORMS)


@st.composite
def scores(draw):
    """(score of the target (B,), scores of drawn items (B, K)) in float64."""
    rows, k = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    found = torch.randn(rows, k + 1, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.1, 1, 5]))
    return found[:, 0], found[:, 1:]


def golden():
    found = LOGITS.gather(1, ITEMS)
    return found[:, 0], found[:, 1:]


def agree(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-10)


# gBCE


def test_gbce_has_the_value_worked_by_hand():
    beta = gbce_beta(0.75, 3 / 6)
    assert beta == 0.625
    assert gbce(*golden(), beta=beta).tolist() == pytest.approx([1.4905978828, 1.3486623136], abs=1e-8)


@fast
@given(scores())
def test_without_calibration_gbce_is_the_binary_cross_entropy_with_k_negatives(case):
    target, drawn = case
    logits = torch.cat([target[:, None], drawn], dim=1)
    label = torch.zeros_like(logits)
    label[:, 0] = 1
    expected = functional.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(dim=1)
    torch.testing.assert_close(gbce(*case, beta=gbce_beta(0.0, 0.3)), expected)


@fast
@given(scores(), st.floats(0.01, 1))
def test_gbce_is_the_target_s_probability_to_the_power_of_beta(case, beta):
    target, drawn = case
    likelihood = torch.sigmoid(target) ** beta * (1 - torch.sigmoid(drawn)).prod(dim=1)
    torch.testing.assert_close(gbce(*case, beta=beta), -likelihood.log() / (drawn.shape[1] + 1), rtol=1e-6, atol=1e-9)


@fast
@given(st.floats(0, 1), st.floats(0.001, 1))
def test_the_beta_of_gbce_is_the_printed_formula(calibration, rate):
    expected = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    assert gbce_beta(calibration, rate) == pytest.approx(expected, rel=1e-9)
    assert min(rate, 1) - 1e-12 <= gbce_beta(calibration, rate) <= 1


def test_more_draws_than_items_need_no_calibration():
    assert gbce_beta(0.75, 1.7) == 1


def test_where_all_items_are_drawn_gbce_learns_their_probabilities():
    # One context whose next items are seen with these shares: the optimum of full calibration is the share itself.
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    score = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([score], max_iter=200, tolerance_grad=1e-12)
    others = torch.tensor([[j for j in range(4) if j != i] for i in range(4)])

    def step():
        optimizer.zero_grad()
        loss = (shares * gbce(score, score[others], beta=gbce_beta(1.0, 3 / 3))).sum()
        loss.backward()
        return loss

    optimizer.step(step)
    torch.testing.assert_close(torch.sigmoid(score).detach(), shares, rtol=0, atol=1e-5)


def test_a_constant_added_to_all_scores_matters_to_gbce():
    target, drawn = golden()
    assert (gbce(target + 2, drawn + 2) - gbce(target, drawn)).abs().min() > 0.1


# Sampled softmax


@fast
@given(scores())
def test_with_all_other_items_and_no_correction_it_is_the_full_softmax(case):
    target, others = case
    logits = torch.cat([target[:, None], others], dim=1)
    agree(sampled_softmax(*case), functional.cross_entropy(logits, torch.zeros(len(logits)).long(), reduction="none"))


@fast
@given(scores())
def test_without_correction_it_is_lpo_on_log_probabilities(case):
    agree(sampled_softmax(*case), lpo(*case, tau=1.0, score="log_prob"))


@fast
@given(scores())
def test_with_each_other_item_drawn_once_and_uniformly_the_correction_cancels(case):
    k = case[1].shape[1]
    agree(sampled_softmax(*case, torch.full_like(case[1], -math.log(k))), sampled_softmax(*case))


def test_the_corrected_sum_is_an_unbiased_estimate_of_that_of_all_other_items():
    logits, prob = LOGITS[0], torch.tensor([0.3, 0.2, 0.1, 0.15, 0.05, 0.1, 0.1], dtype=torch.float64)
    target, k, sums = 2, 2, 0.0
    # Over every pair that two draws with repetition can give, a hit on the target passed over.
    for pair in itertools.product(range(7), repeat=k):
        columns = torch.tensor(pair)
        drawn = logits[columns].masked_fill(columns == target, -torch.inf)
        loss = sampled_softmax(logits[target][None], drawn[None], prob[columns].log()[None])
        sums += (prob[columns].prod() * (loss[0] + logits[target]).exp()).item()
    assert sums == pytest.approx(logits.exp().sum().item(), rel=1e-9)


@pytest.mark.parametrize("form", ["sampled", "log_q"])
@fast
@given(case=scores(), constant=st.floats(-50, 50))
def test_a_constant_added_to_all_scores_does_not_matter_to_the_softmax(form, case, constant):
    target, drawn = case
    agree(FORMS[form](target + constant, drawn + constant), FORMS[form](target, drawn))


# Both


@every_form
@fast
@given(case=scores(), draw=st.randoms(use_true_random=False))
def test_the_order_of_the_drawn_items_does_not_matter(form, case, draw):
    order = list(range(case[1].shape[1]))
    draw.shuffle(order)
    agree(FORMS[form](case[0], case[1][:, order]), FORMS[form](*case))


@every_form
@settings(max_examples=5, deadline=None)
@given(scores())
def test_the_gradient_agrees_with_finite_differences(form, case):
    assert torch.autograd.gradcheck(FORMS[form], [part.clone().requires_grad_() for part in case])


@pytest.mark.parametrize("form", ["gbce", "sampled"])
def test_an_absent_item_counts_as_if_it_were_left_out(form):
    target, drawn = golden()
    absent = torch.full((2, 1), -math.inf, dtype=torch.float64)
    agree(FORMS[form](target, torch.cat([absent, drawn[:, :1], absent, drawn[:, 1:]], dim=1)), FORMS[form](*golden()))


@every_form
def test_with_nothing_drawn_but_the_target_values_and_gradients_are_finite(form):
    target = torch.tensor([3.0, -3.0], requires_grad=True)
    drawn = torch.full((2, 3), -math.inf, requires_grad=True)
    loss = FORMS[form](target, drawn)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert target.grad.isfinite().all()
    assert (drawn.grad == 0).all()


EXTREMES = [-1e30, -1e4, -100.0, -1e-6, 0.0, 20.0, 100.0, 1e4, 1e30]


@every_form
def test_values_and_gradients_are_finite_in_float32_at_the_extremes(form):
    table = torch.tensor(list(itertools.product(EXTREMES, EXTREMES, [*EXTREMES, -math.inf])))
    target, drawn = table[:, 0].clone().requires_grad_(), table[:, 1:].clone().requires_grad_()
    loss = FORMS[form](target, drawn)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert target.grad.isfinite().all()
    assert drawn.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_form
def test_half_precision_is_computed_in_float32(form, dtype):
    loss = FORMS[form](torch.tensor([-3.0], dtype=dtype), torch.tensor([[-1.0, -math.inf]], dtype=dtype))
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gbce(*golden(), beta=0.0), r"beta = 0.0: must be > 0 and <= 1"),
        (lambda: gbce(*golden(), beta=1.5), r"beta = 1.5: must be > 0 and <= 1"),
        (lambda: gbce_beta(1.2, 0.5), r"calibration = 1.2: must be from 0 to 1"),
        (lambda: gbce_beta(0.5, 0.0), r"sampling_rate = 0.0: must be > 0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
