"""The DPO family against hand-worked values, closed forms and slow twins."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.objectives import NEEDS_REFERENCE, OBJECTIVES
from recbole_lpo.core.objectives.dpo import dmpo, dpo, ipo, sdpo
from recbole_lpo.core.objectives.lpo import lpo

fast = settings(max_examples=25, deadline=None)

# Every form of the family, with a beta that makes it well curved on nats.
FORMS = {
    "dpo": (dpo, {"beta": 0.7}),
    "cdpo": (dpo, {"beta": 0.7, "label_smoothing": 0.2}),
    "robust": (dpo, {"beta": 0.7, "label_smoothing": 0.2, "robust": True}),
    "sdpo": (sdpo, {"beta": 0.7}),
    "dmpo": (dmpo, {"beta": 0.7}),
    "ipo": (ipo, {"beta": 0.3}),
}
every_form = pytest.mark.parametrize("form", FORMS)
BETA = st.sampled_from([0.05, 0.1, 0.5, 1.0, 3.0])
SMOOTHING = st.sampled_from([0.05, 0.2, 0.45])

# Two targets in a catalogue of seven items, policy and reference, worked outside this package. Without the padding.
LOGITS = torch.tensor(
    [[2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0], [-0.3, 0.8, 1.2, -1.7, 0.6, 2.4, 0.1]], dtype=torch.float64
)
REFERENCE = torch.tensor(
    [[1.0, 0.0, -0.5, 0.5, 0.75, -1.0, 0.2], [0.4, 0.3, 0.9, -0.2, -0.6, 1.1, 0.0]], dtype=torch.float64
)
ITEMS = torch.tensor([[3, 1, 4, 7], [5, 6, 2, 3]]) - 1  # the target, then its rivals


def golden(logits=LOGITS, *, rivals=3):
    """(chosen, rejected, ref_chosen, ref_rejected) of the two rows."""
    policy, reference = (torch.log_softmax(z, dim=1).gather(1, ITEMS[:, : rivals + 1]) for z in (logits, REFERENCE))
    return policy[:, 0], policy[:, 1:], reference[:, 0], reference[:, 1:]


@st.composite
def pairs(draw, most=6):
    """(chosen (B,), rejected (B, K), ref_chosen (B,), ref_rejected (B, K)) log-probabilities in float64."""
    rows, k = draw(st.integers(1, 4)), draw(st.integers(1, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = torch.randn(2, rows, k + 3, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.1, 1, 4]))
    policy, reference = torch.log_softmax(logits, dim=2)
    return policy[:, 0], policy[:, 1 : k + 1], reference[:, 0], reference[:, 1 : k + 1]


def log_ratio_margin(case):
    chosen, rejected, ref_chosen, ref_rejected = case
    return (chosen - ref_chosen)[:, None] - (rejected - ref_rejected)


def without_reference(case):
    """The same policy beside a reference that gives all items the same probability."""
    chosen, rejected, *_ = case
    return chosen, rejected, torch.full_like(chosen, -3.0), torch.full_like(rejected, -3.0)


def agree(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-10)


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def slow(form, margins):
    """The loss of one row in plain Python, from its margins D."""
    options = FORMS[form][1]
    beta, e, k = options["beta"], options.get("label_smoothing"), len(margins)
    if form == "sdpo":
        return math.log(1 + sum(math.exp(-beta * d) for d in margins))
    if form == "dmpo":
        return softplus(-beta / k * sum(margins))
    one = {
        "dpo": lambda d: softplus(-beta * d),
        "cdpo": lambda d: (1 - e) * softplus(-beta * d) + e * softplus(beta * d),
        "robust": lambda d: ((1 - e) * softplus(-beta * d) - e * softplus(beta * d)) / (1 - 2 * e),
        "ipo": lambda d: (d - 1 / (2 * beta)) ** 2,
    }[form]
    return sum(one(d) for d in margins) / k


# Values worked by hand


@pytest.mark.parametrize(
    ("objective", "options", "rivals", "expected"),
    [
        (dpo, {}, 1, [0.7709570478, 0.6981596805]),
        (dpo, {"beta": 1.0}, 1, [1.7014132780, 0.7443966601]),
        (dpo, {"beta": 1.0}, 3, [1.6479450033, 0.4962455279]),
        (sdpo, {}, 3, [2.6124694706, 1.1013837385]),
        (dmpo, {}, 3, [1.6472444396, 0.4740769842]),
        (ipo, {}, 1, [42.25, 26.01]),
    ],
)
def test_the_loss_has_the_value_worked_by_hand(objective, options, rivals, expected):
    assert objective(*golden(rivals=rivals), **options).tolist() == pytest.approx(expected, abs=1e-8)


@every_form
@fast
@given(pairs())
def test_the_loss_is_what_a_slow_loop_gives(form, case):
    objective, options = FORMS[form]
    agree(objective(*case, **options), [slow(form, margins) for margins in log_ratio_margin(case).tolist()])


# Identities


@fast
@given(pairs(most=1), BETA)
def test_with_one_rival_sdpo_dmpo_and_dpo_are_one(case, beta):
    agree(sdpo(*case, beta=beta), dpo(*case, beta=beta))
    agree(dmpo(*case, beta=beta), dpo(*case, beta=beta))


@fast
@given(pairs(), BETA)
def test_with_a_constant_reference_sdpo_is_lpo_on_log_probabilities(case, beta):
    found = sdpo(*without_reference(case), beta=beta)
    agree(found, lpo(case[0], case[1], tau=1 / beta, score="log_prob"))


@fast
@given(pairs(), BETA)
def test_where_the_policy_is_the_reference_the_losses_are_constants(case, beta):
    chosen, rejected, *_ = case
    same, k = (chosen, rejected, chosen, rejected), rejected.shape[1]
    constant = torch.ones_like(chosen)
    agree(dpo(*same, beta=beta), math.log(2) * constant)
    agree(sdpo(*same, beta=beta), math.log(1 + k) * constant)
    agree(dmpo(*same, beta=beta), math.log(2) * constant)
    agree(ipo(*same, beta=beta), constant / (4 * beta**2))


@fast
@given(pairs(), BETA, SMOOTHING)
def test_cdpo_is_dpo_plus_a_share_of_the_margin(case, beta, e):
    expected = dpo(*case, beta=beta) + e * beta * log_ratio_margin(case).mean(dim=1)
    agree(dpo(*case, beta=beta, label_smoothing=e), expected)


@fast
@given(pairs(), BETA, SMOOTHING)
def test_robust_dpo_over_flipped_preferences_is_dpo_over_the_true_ones(case, beta, e):
    # Swapping policy and reference turns every margin round.
    swapped = (*case[2:], *case[:2])
    right, wrong = (dpo(*one, beta=beta, label_smoothing=e, robust=True) for one in (case, swapped))
    agree((1 - e) * right + e * wrong, dpo(*case, beta=beta))


@fast
@given(pairs(), BETA)
def test_without_smoothing_the_robust_form_is_dpo(case, beta):
    agree(dpo(*case, beta=beta, robust=True), dpo(*case, beta=beta))


# Bounds and limits


@fast
@given(pairs(), BETA)
def test_sdpo_lies_between_the_worst_pair_and_the_sum_of_pairs(case, beta):
    chosen, rejected, ref_chosen, ref_rejected = case
    columns = range(rejected.shape[1])
    one_by_one = torch.stack(
        [dpo(chosen, rejected[:, [k]], ref_chosen, ref_rejected[:, [k]], beta=beta) for k in columns], dim=1
    )
    loss = sdpo(*case, beta=beta)
    rounding = 1e-12 * (1 + loss)
    assert (one_by_one.amax(dim=1) <= loss + rounding).all()
    assert (loss <= one_by_one.sum(dim=1) + rounding).all()


@fast
@given(pairs(), BETA)
def test_dmpo_is_never_above_the_mean_of_pairs(case, beta):
    assert (dmpo(*case, beta=beta) <= dpo(*case, beta=beta) + 1e-12).all()


@pytest.mark.parametrize("form", ["dpo", "cdpo", "sdpo", "dmpo", "ipo"])
@fast
@given(pairs())
def test_the_loss_is_never_negative(form, case):
    objective, options = FORMS[form]
    assert (objective(*case, **options) >= 0).all()


def test_the_robust_form_falls_below_zero_on_a_wide_margin():
    ones = torch.ones(1)
    assert dpo(0 * ones, -9 * ones[:, None], -ones, -ones[:, None], beta=1.0, label_smoothing=0.3, robust=True) < 0


def test_at_a_small_beta_only_the_number_of_rivals_matters():
    case = golden()
    assert dpo(*case, beta=1e-9).tolist() == pytest.approx([math.log(2)] * 2, abs=1e-7)
    assert dmpo(*case, beta=1e-9).tolist() == pytest.approx([math.log(2)] * 2, abs=1e-7)
    assert sdpo(*case, beta=1e-9).tolist() == pytest.approx([math.log(4)] * 2, abs=1e-7)


def test_at_a_large_beta_only_the_worst_margin_matters_to_sdpo():
    case = golden()
    behind = (-log_ratio_margin(case)).amax(dim=1).clamp(min=0)
    torch.testing.assert_close(sdpo(*case, beta=1e4) / 1e4, behind, rtol=0, atol=1e-3)


# Gradients


@every_form
@settings(max_examples=5, deadline=None)
@given(pairs(most=3))
def test_the_gradient_agrees_with_finite_differences(form, case):
    objective, options = FORMS[form]
    policy = [part.clone().requires_grad_() for part in case[:2]]
    assert torch.autograd.gradcheck(lambda *inputs: objective(*inputs, *case[2:], **options), policy)


@fast
@given(pairs(), BETA)
def test_the_gradient_of_sdpo_is_the_closed_form(case, beta):
    chosen, rejected = (part.clone().requires_grad_() for part in case[:2])
    sdpo(chosen, rejected, *case[2:], beta=beta).sum().backward()
    behind = -beta * log_ratio_margin(case)
    wrong = torch.sigmoid(torch.logsumexp(behind, dim=1))
    agree(chosen.grad, -beta * wrong)
    agree(rejected.grad, beta * wrong[:, None] * torch.softmax(behind, dim=1))


@every_form
def test_the_gradient_over_all_items_sums_to_zero(form):
    objective, options = FORMS[form]
    logits = LOGITS.clone().requires_grad_()
    objective(*golden(logits), **options).sum().backward()
    agree(logits.grad.sum(dim=1), [0.0, 0.0])


@every_form
def test_descent_lifts_the_chosen_item_over_its_rivals(form):
    objective, options = FORMS[form]
    logits = LOGITS.clone().requires_grad_()
    objective(*golden(logits), **options).sum().backward()
    pull = logits.grad.gather(1, ITEMS)
    assert (pull[:, 0] < 0).all()
    assert (pull[:, 1:] >= 0).all()


def test_ipo_draws_a_margin_back_that_is_wider_than_its_aim():
    chosen = torch.tensor([-1.0], requires_grad=True)
    same = torch.full((1, 1), -2.0)
    ipo(chosen, torch.tensor([[-7.0]]), torch.tensor([-2.0]), same, beta=0.1).backward()
    assert chosen.grad > 0


# Rivals


@every_form
@fast
@given(case=pairs(), draw=st.randoms(use_true_random=False))
def test_the_order_of_the_rivals_does_not_matter(form, case, draw):
    objective, options = FORMS[form]
    chosen, rejected, ref_chosen, ref_rejected = case
    order = list(range(rejected.shape[1]))
    draw.shuffle(order)
    agree(
        objective(chosen, rejected[:, order], ref_chosen, ref_rejected[:, order], **options),
        objective(*case, **options),
    )


@pytest.mark.parametrize("under_reference", [-math.inf, -2.0, math.nan])
@every_form
def test_an_absent_rival_counts_as_if_it_were_left_out(form, under_reference):
    objective, options = FORMS[form]
    chosen, rejected, ref_chosen, ref_rejected = golden()
    policy = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]
    alone = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]

    def beside(part, value):
        column = torch.full((2, 1), value, dtype=torch.float64)
        return torch.cat([column, part[:, :1], column, part[:, 1:]], dim=1)

    found = objective(
        policy[0], beside(policy[1], -math.inf), ref_chosen, beside(ref_rejected, under_reference), **options
    )
    expected = objective(*alone, ref_chosen, ref_rejected, **options)
    agree(found, expected)
    found.sum().backward()
    expected.sum().backward()
    for with_absent, without in zip(policy, alone, strict=True):
        agree(with_absent.grad, without.grad)


@pytest.mark.parametrize("k", [0, 3])
@every_form
def test_without_any_rival_there_is_no_loss_and_no_pull(form, k):
    objective, options = FORMS[form]
    chosen = torch.tensor([-3.0, -1.0], requires_grad=True)
    rejected = torch.full((2, k), -math.inf, requires_grad=True)
    loss = objective(chosen, rejected, torch.zeros(2), torch.full((2, k), -math.inf), **options)
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert chosen.grad.tolist() == [0.0, 0.0]
    assert (rejected.grad == 0).all()


@every_form
@fast
@given(case=pairs(), policy=st.floats(-50, 50), reference=st.floats(-50, 50))
def test_a_constant_added_within_a_policy_does_not_matter(form, case, policy, reference):
    objective, options = FORMS[form]
    shifted = [part + constant for part, constant in zip(case, [policy, policy, reference, reference], strict=True)]
    agree(objective(*shifted, **options), objective(*case, **options))


# Numbers

EXTREMES = [-1e4, -200.0, -20.0, -1.0, -1e-3, -1e-6, -1e-12]
EXTREME_PAIRS = list(
    itertools.product(EXTREMES, EXTREMES, [*EXTREMES, -math.inf], *[[-1e4, -1.0, -1e-12]] * 3)
)  # chosen, two rivals, and the same three under the reference


def columns(table):
    return table[:, 0], table[:, 1:3], table[:, 3], table[:, 4:]


@every_form
def test_values_and_gradients_are_finite_in_float32_at_the_extremes(form):
    objective, options = FORMS[form]
    chosen, rejected, *reference = columns(torch.tensor(EXTREME_PAIRS))
    policy = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]
    loss = objective(*policy, *reference, **options)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert all(leaf.grad.isfinite().all() for leaf in policy)


@every_form
def test_float32_agrees_with_float64_at_the_extremes(form):
    objective, options = FORMS[form]
    single = torch.tensor(EXTREME_PAIRS)
    found = objective(*columns(single), **options).double()
    # Log-probabilities of -1e4 have a grain of 1e-3 in float32.
    torch.testing.assert_close(found, objective(*columns(single.double()), **options), rtol=2e-6, atol=4e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_form
def test_half_precision_is_computed_in_float32(form, dtype):
    objective, options = FORMS[form]
    one, two = torch.tensor([-3.0], dtype=dtype), torch.tensor([[-1.0, -math.inf]], dtype=dtype)
    loss = objective(one, two, one, two, **options)
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()


# Names and errors


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (dpo, {"beta": 0.0}, r"beta = 0.0: must be > 0"),
        (sdpo, {"beta": -1.0}, r"beta = -1.0: must be > 0"),
        (dmpo, {"beta": math.inf}, r"beta = inf: must be > 0 and finite"),
        (ipo, {"beta": math.nan}, r"beta = nan: must be > 0"),
        (dpo, {"label_smoothing": -0.1}, r"label_smoothing = -0.1: must be >= 0 and < 0.5"),
        (dpo, {"label_smoothing": 0.5}, r"label_smoothing = 0.5: must be >= 0 and < 0.5"),
        (dpo, {"robust": "no"}, r"robust = 'no': must be True or False"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(objective, options, message):
    with pytest.raises(ValueError, match=message):
        objective(*golden(), **options)


@pytest.mark.parametrize("name", sorted(NEEDS_REFERENCE))
@pytest.mark.parametrize("given_parts", [(True, False), (False, True), (False, False)])
def test_without_its_reference_it_says_what_it_needs(name, given_parts):
    chosen, rejected, *reference = golden()
    reference = [part if there else None for part, there in zip(reference, given_parts, strict=True)]
    with pytest.raises(ValueError, match=f"{name} compares with a reference policy: ref_log_prob_chosen"):
        OBJECTIVES[name](chosen, rejected, *reference)


@pytest.mark.parametrize("name", sorted(NEEDS_REFERENCE))
def test_a_reference_of_other_items_is_refused(name):
    chosen, rejected, ref_chosen, ref_rejected = golden()
    with pytest.raises(ValueError, match=r"shape \(2, 1\), the policy's \(2, 3\)"):
        OBJECTIVES[name](chosen, rejected, ref_chosen, ref_rejected[:, :1])
    with pytest.raises(ValueError, match=r"shape \(1,\), the policy's \(2,\)"):
        OBJECTIVES[name](chosen, rejected, ref_chosen[:1], ref_rejected)


def test_every_objective_is_found_by_its_name():
    names = ["lpo", "dpo", "sdpo", "dmpo", "dynamicpo", "simpo", "orpo", "cpo", "ipo", "mppo", "bpr"]
    assert list(OBJECTIVES) == names
    assert [OBJECTIVES[name].__name__ for name in names] == names
    assert {"dpo", "sdpo", "dmpo", "dynamicpo", "ipo"} == NEEDS_REFERENCE


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_the_shape_of_the_contract(name):
    parameters = list(inspect.signature(OBJECTIVES[name]).parameters.values())
    tensors, hyper = parameters[:4], parameters[4:]
    assert [one.name for one in tensors] == [
        "log_prob_chosen", "log_prob_rejected", "ref_log_prob_chosen", "ref_log_prob_rejected",
    ]  # fmt: skip
    assert [one.default for one in tensors[2:]] == [None, None]
    assert all(one.kind is one.KEYWORD_ONLY and one.default is not one.empty for one in hyper)
    assert OBJECTIVES[name](*golden()).shape == (2,)
