"""Objectives without a reference against hand-worked values, closed forms and slow twins."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.objectives.dpo import dpo
from recbole_lpo.core.objectives.lpo import lpo
from recbole_lpo.core.objectives.reference_free import bpr, cpo, mppo, orpo, simpo

fast = settings(max_examples=25, deadline=None)

FORMS = {
    "simpo": (simpo, {"beta": 1.5, "gamma": 0.6}),
    "orpo": (orpo, {}),
    "cpo": (cpo, {"beta": 0.7}),
    "bpr": (bpr, {}),
    "mppo": (mppo, {}),
}
every_form = pytest.mark.parametrize("form", FORMS)

# Two targets in a catalogue of seven items, worked outside this package. Without the padding.
LOGITS = torch.tensor(
    [[2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0], [-0.3, 0.8, 1.2, -1.7, 0.6, 2.4, 0.1]], dtype=torch.float64
)
ITEMS = torch.tensor([[3, 1, 4, 7], [5, 6, 2, 3]]) - 1  # the target, then its rivals


def golden(logits=LOGITS, *, rivals=3):
    """(chosen, rejected) of the two rows."""
    log_prob = torch.log_softmax(logits, dim=1).gather(1, ITEMS[:, : rivals + 1])
    return log_prob[:, 0], log_prob[:, 1:]


@st.composite
def lists(draw, most=6):
    """(chosen (B,), rejected (B, K)) log-probabilities in float64."""
    rows, k = draw(st.integers(1, 4)), draw(st.integers(1, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = torch.randn(rows, k + 3, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.1, 1, 4]))
    log_prob = torch.log_softmax(logits, dim=1)
    return log_prob[:, 0], log_prob[:, 1 : k + 1]


def agree(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-10)


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def slow(form, chosen, rejected):
    """The loss of one row in plain Python."""
    if form == "mppo":
        return softplus(sum(math.exp(rival) for rival in rejected) - len(rejected) * math.exp(chosen))

    def log_odds(log_prob):
        return log_prob - math.log(-math.expm1(min(log_prob, -1e-6)))

    one = {
        "simpo": lambda rival: softplus(0.6 - 1.5 * (chosen - rival)),
        "orpo": lambda rival: softplus(log_odds(rival) - log_odds(chosen)),
        "cpo": lambda rival: softplus(0.7 * (rival - chosen)),
        "bpr": lambda rival: softplus(rival - chosen),
    }[form]
    return sum(one(rival) for rival in rejected) / len(rejected)


# Values worked by hand


@pytest.mark.parametrize(
    ("objective", "rivals", "expected"),
    [
        (simpo, 1, [7.0009114665, 4.6100016521]),
        (orpo, 1, [3.5199357556, 2.5629086068]),
        (orpo, 3, [2.8630200115, 1.4885580287]),
        (mppo, 3, [1.1227173531, 1.0015121762]),
    ],
)
def test_the_loss_has_the_value_worked_by_hand(objective, rivals, expected):
    assert objective(*golden(rivals=rivals)).tolist() == pytest.approx(expected, abs=1e-8)


@every_form
@fast
@given(lists())
def test_the_loss_is_what_a_slow_loop_gives(form, case):
    objective, options = FORMS[form]
    expected = [slow(form, *row) for row in zip(*(part.tolist() for part in case), strict=True)]
    agree(objective(*case, **options), expected)


# Identities


@fast
@given(lists())
def test_simpo_without_margin_cpo_and_dpo_beside_a_constant_reference_are_bpr(case):
    chosen, rejected = case
    expected = bpr(*case)
    agree(simpo(*case, beta=1.0, gamma=0.0), expected)
    agree(cpo(*case, beta=1.0), expected)
    agree(dpo(*case, torch.full_like(chosen, -2.0), torch.full_like(rejected, -2.0), beta=1.0), expected)


@fast
@given(lists(most=1))
def test_with_one_rival_lpo_on_log_probabilities_is_bpr(case):
    agree(lpo(*case, tau=1.0, score="log_prob"), bpr(*case))


@fast
@given(lists(), st.floats(0.1, 5), st.floats(0, 5))
def test_the_margin_of_simpo_is_a_lead_of_gamma_over_beta_nats(case, beta, gamma):
    chosen, rejected = case
    agree(simpo(*case, beta=beta, gamma=gamma), cpo(chosen - gamma / beta, rejected, beta=beta))


@every_form
def test_equal_scores_give_the_constant_of_the_loss(form):
    objective, options = FORMS[form]
    loss = objective(torch.full((2,), -5.0), torch.full((2, 3), -5.0), **options)
    constant = math.log1p(math.exp(options["gamma"])) if form == "simpo" else math.log(2)
    assert loss.tolist() == pytest.approx([constant] * 2)


@fast
@given(st.floats(-6, 6))
def test_with_two_items_the_log_odds_ratio_is_twice_the_difference_of_logits(difference):
    # In a catalogue of two, log 1/(1 + e^-x) and log 1/(1 + e^x).
    log_prob = torch.log_softmax(torch.tensor([[difference, 0.0]], dtype=torch.float64), dim=1)
    agree(orpo(log_prob[:, 0], log_prob[:, 1:]), [softplus(-2 * difference)])


@fast
@given(st.integers(0, 10_000))
def test_log_odds_are_a_logit_against_the_log_sum_of_the_others(seed):
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    log_prob = torch.log_softmax(logits, dim=1)
    odds = torch.stack(
        [logits[0, j] - torch.logsumexp(logits[0, [i for i in range(6) if i != j]], dim=0) for j in range(6)]
    )
    agree(orpo(log_prob[:, 0], log_prob[:, 1:4]), [sum(softplus((odds[j] - odds[0]).item()) for j in (1, 2, 3)) / 3])


def test_where_all_probabilities_are_small_orpo_is_bpr():
    log_prob = torch.log_softmax(
        torch.randn(4, 5000, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )
    case = log_prob[:, 0], log_prob[:, 1:4]
    torch.testing.assert_close(orpo(*case), bpr(*case), rtol=0, atol=2e-3)


# Bounds


@every_form
@fast
@given(lists())
def test_the_loss_is_never_negative(form, case):
    objective, options = FORMS[form]
    assert (objective(*case, **options) >= 0).all()


@fast
@given(lists())
def test_mppo_stays_within_its_narrow_band(case):
    loss, k = mppo(*case), case[1].shape[1]
    assert (loss >= math.log1p(math.exp(-k)) - 1e-12).all()
    assert (loss <= math.log1p(math.e) + 1e-12).all()


def test_mppo_reaches_both_ends_of_its_band():
    none, sure = torch.full((1, 3), -1e4), torch.zeros(1)
    assert mppo(sure, none).item() == pytest.approx(math.log1p(math.exp(-3)))
    assert mppo(none[:, 0], torch.tensor([[0.0, -1e4, -1e4]])).item() == pytest.approx(math.log1p(math.e))


# Gradients


@every_form
@settings(max_examples=5, deadline=None)
@given(lists(most=3))
def test_the_gradient_agrees_with_finite_differences(form, case):
    objective, options = FORMS[form]
    # Odds near certainty bend too sharply for finite differences.
    inputs = [part.clamp(max=-0.05).requires_grad_() for part in case]
    assert torch.autograd.gradcheck(lambda *parts: objective(*parts, **options), inputs)


@fast
@given(lists(), st.floats(0.1, 5), st.floats(0, 5))
def test_the_gradient_of_simpo_is_the_closed_form(case, beta, gamma):
    chosen, rejected = (part.clone().requires_grad_() for part in case)
    simpo(chosen, rejected, beta=beta, gamma=gamma).sum().backward()
    wrong = torch.sigmoid(gamma - beta * (case[0][:, None] - case[1]))
    agree(chosen.grad, -beta * wrong.mean(dim=1))
    agree(rejected.grad, beta * wrong / wrong.shape[1])


@every_form
def test_the_gradient_over_all_items_sums_to_zero(form):
    objective, options = FORMS[form]
    logits = LOGITS.clone().requires_grad_()
    objective(*golden(logits), **options).sum().backward()
    agree(logits.grad.sum(dim=1), [0.0, 0.0])


@every_form
def test_descent_lifts_the_chosen_item(form):
    objective, options = FORMS[form]
    logits = LOGITS.clone().requires_grad_()
    objective(*golden(logits), **options).sum().backward()
    assert (logits.grad.gather(1, ITEMS[:, :1]) < 0).all()


def test_the_pull_of_mppo_fades_with_the_probability_of_its_target():
    logits = torch.zeros(2, 1000, dtype=torch.float64)
    logits[0, 0] = -5.0
    logits.requires_grad_()
    log_prob = torch.log_softmax(logits, dim=1)
    mppo(log_prob[:, 0], log_prob[:, 1:4]).sum().backward()
    share = (log_prob[0, 0] - log_prob[1, 0]).exp().item()
    assert (logits.grad[0, 0] / logits.grad[1, 0]).item() == pytest.approx(share, rel=0.01)


# Rivals


@every_form
@fast
@given(case=lists(), draw=st.randoms(use_true_random=False))
def test_the_order_of_the_rivals_does_not_matter(form, case, draw):
    objective, options = FORMS[form]
    chosen, rejected = case
    order = list(range(rejected.shape[1]))
    draw.shuffle(order)
    agree(objective(chosen, rejected[:, order], **options), objective(*case, **options))


@every_form
def test_an_absent_rival_counts_as_if_it_were_left_out(form):
    objective, options = FORMS[form]
    beside = [part.clone().requires_grad_() for part in golden()]
    alone = [part.clone().requires_grad_() for part in golden()]
    absent = torch.full((2, 1), -math.inf, dtype=torch.float64)
    found = objective(beside[0], torch.cat([absent, beside[1][:, :1], absent, beside[1][:, 1:]], dim=1), **options)
    expected = objective(*alone, **options)
    agree(found, expected)
    found.sum().backward()
    expected.sum().backward()
    for with_absent, without in zip(beside, alone, strict=True):
        agree(with_absent.grad, without.grad)


@pytest.mark.parametrize("k", [0, 3])
@every_form
def test_without_any_rival_there_is_no_loss_and_no_pull(form, k):
    objective, options = FORMS[form]
    chosen = torch.tensor([-3.0, -1.0], requires_grad=True)
    rejected = torch.full((2, k), -math.inf, requires_grad=True)
    loss = objective(chosen, rejected, **options)
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert chosen.grad.tolist() == [0.0, 0.0]
    assert (rejected.grad == 0).all()


@pytest.mark.parametrize("form", ["simpo", "cpo", "bpr"])
@fast
@given(case=lists(), constant=st.floats(-50, 50))
def test_a_constant_added_to_all_log_probabilities_does_not_matter(form, case, constant):
    objective, options = FORMS[form]
    chosen, rejected = case
    agree(objective(chosen + constant, rejected + constant, **options), objective(*case, **options))


@every_form
@fast
@given(constant=st.floats(-50, 50))
def test_a_constant_added_to_all_logits_does_not_matter(form, constant):
    objective, options = FORMS[form]
    agree(objective(*golden(LOGITS + constant), **options), objective(*golden(), **options))


@pytest.mark.parametrize("form", ["orpo", "mppo"])
def test_the_softmax_denominator_matters_to_odds_and_probabilities(form):
    objective, options = FORMS[form]
    chosen, rejected = golden()
    assert (objective(chosen - 2, rejected - 2, **options) - objective(chosen, rejected, **options)).abs().min() > 1e-3


@every_form
def test_a_reference_is_not_read(form):
    objective, options = FORMS[form]
    chosen, rejected = golden()
    unread = torch.full_like(chosen, math.nan), torch.full_like(rejected, math.nan)
    agree(objective(chosen, rejected, *unread, **options), objective(chosen, rejected, **options))


# Numbers

EXTREMES = [-1e4, -200.0, -20.0, -1.0, -1e-3, -1e-6, -1e-12]
EXTREME_LISTS = list(itertools.product(EXTREMES, EXTREMES, [*EXTREMES, -math.inf]))


@every_form
def test_values_and_gradients_are_finite_in_float32_at_the_extremes(form):
    objective, options = FORMS[form]
    table = torch.tensor(EXTREME_LISTS)
    chosen, rejected = table[:, 0].clone().requires_grad_(), table[:, 1:].clone().requires_grad_()
    loss = objective(chosen, rejected, **options)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert chosen.grad.isfinite().all()
    assert rejected.grad.isfinite().all()


@every_form
def test_float32_agrees_with_float64_at_the_extremes(form):
    objective, options = FORMS[form]
    single = torch.tensor(EXTREME_LISTS)
    double = objective(single[:, 0].double(), single[:, 1:].double(), **options)
    torch.testing.assert_close(objective(single[:, 0], single[:, 1:], **options).double(), double, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_prob", [math.log1p(-1e-12), 0.0, 1e-6])
def test_orpo_is_finite_for_a_certain_item_and_for_one_that_rounding_put_above_one(dtype, log_prob):
    for sure_is_chosen in (True, False):
        certain = torch.tensor([log_prob], dtype=dtype, requires_grad=True)
        other = torch.tensor([-30.0], dtype=dtype, requires_grad=True)
        chosen, rejected = (certain, other) if sure_is_chosen else (other, certain)
        loss = orpo(chosen, rejected[:, None])
        loss.backward()
        assert loss.isfinite().all()
        assert certain.grad.isfinite().all()
        assert other.grad.isfinite().all()


def test_the_loss_keeps_its_digits_where_the_rival_leads_by_more_than_twenty_nats():
    chosen, rejected = torch.tensor([-21.0], dtype=torch.float64), torch.tensor([[-0.5]], dtype=torch.float64)
    assert bpr(chosen, rejected).item() - 20.5 == pytest.approx(math.log1p(math.exp(-20.5)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_form
def test_half_precision_is_computed_in_float32(form, dtype):
    objective, options = FORMS[form]
    loss = objective(torch.tensor([-3.0], dtype=dtype), torch.tensor([[-1.0, -math.inf]], dtype=dtype), **options)
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (simpo, {"beta": 0.0}, r"beta = 0.0: must be > 0"),
        (simpo, {"gamma": -0.5}, r"gamma = -0.5: must be >= 0"),
        (simpo, {"gamma": math.inf}, r"gamma = inf: must be >= 0 and finite"),
        (cpo, {"beta": -1.0}, r"beta = -1.0: must be > 0"),
        (cpo, {"beta": math.nan}, r"beta = nan: must be > 0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(objective, options, message):
    with pytest.raises(ValueError, match=message):
        objective(*golden(), **options)
