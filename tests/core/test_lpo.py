"""LPO against hand-worked values, closed forms and slow twins."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.item_softmax import catalogue_log_sum, item_scores, target_nll
from recbole_lpo.core.objectives import OBJECTIVES
from recbole_lpo.core.objectives.lpo import lpo
from recbole_lpo.core.weighting import tail_weights

fast = settings(max_examples=50, deadline=None)
FORMS = ["paper", "published_code"]
SCORES = ["prob", "log_prob"]

# Two targets in a catalogue of seven items, worked outside this package. Column 0 is the padding; the first target is
# a tail item, the second a head item.
LOGITS = torch.tensor(
    [[0.0, 2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0], [0.0, -0.3, 0.8, 1.2, -1.7, 0.6, 2.4, 0.1]], dtype=torch.float64
)
TARGET = torch.tensor([3, 5])
RIVALS = torch.tensor([[1, 4, 7], [6, 2, 3]])
IS_TAIL = torch.tensor([True, False])


def golden(logits=LOGITS, *, keep_padding=False):
    """(nll, log-probability of the target, of the rivals) of the two rows."""
    # Hidden states that are the logits themselves: the items' vectors are the unit vectors.
    scores = item_scores(logits, torch.eye(8, dtype=logits.dtype), torch.cat([TARGET[:, None], RIVALS], dim=1))
    nll = target_nll(logits, torch.eye(logits.shape[1], dtype=logits.dtype), TARGET)
    log_sum = catalogue_log_sum(nll, scores[:, 0], None if keep_padding else logits[:, 0])
    log_prob = scores - log_sum[:, None]
    return nll, log_prob[:, 0], log_prob[:, 1:]


def total(nll, chosen, rejected):
    """Eq. 17 with the paper's settings; its weights (Eq. 16) are float32."""
    return (tail_weights(IS_TAIL).double() * (nll + 0.5 * lpo(chosen, rejected, tau=0.1))).sum().item()


@st.composite
def lists(draw, most=6):
    """(chosen (B,), rejected (B, K)) log-probabilities in float64."""
    rows, k = draw(st.integers(1, 4)), draw(st.integers(1, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = torch.randn(rows, k + 3, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.1, 1, 4]))
    log_prob = torch.log_softmax(logits, dim=1)
    return log_prob[:, 0], log_prob[:, 1 : k + 1]


TAU = st.sampled_from([0.05, 0.1, 0.5, 1.0, 2.0])


def softplus(x):
    """Without the shortcut that torch's own takes beyond 20."""
    return torch.logaddexp(x, torch.zeros_like(x))


def agree(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-10)


# Values worked by hand


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tau": 0.1}, [4.0661575972, 4.5523887076]),
        ({"tau": 2.0}, [1.4798380389, 1.4586118371]),
        ({"tau": 2.0, "form": "published_code"}, [0.2276745598, 0.2325588804]),
        ({"tau": 1.0, "score": "log_prob"}, [3.7051731623, 2.3118588607]),
        ({"tau": 0.5, "score": "log_prob"}, [6.4092535739, 3.7473883350]),
    ],
)
def test_lpo_has_the_value_worked_by_hand(options, expected):
    _, chosen, rejected = golden()
    assert lpo(chosen, rejected, **options).tolist() == pytest.approx(expected, abs=1e-8)


def test_the_defaults_are_eq_12_with_the_papers_temperature():
    _, chosen, rejected = golden()
    assert lpo(chosen, rejected).tolist() == pytest.approx([4.0661575972, 4.5523887076], abs=1e-8)


def test_without_the_padding_cross_entropy_and_probability_have_the_values_worked_by_hand():
    _, chosen, _ = golden()
    assert (-chosen).tolist() == pytest.approx([3.9175644290, 2.4164964823], abs=1e-8)
    assert chosen.exp().tolist() == pytest.approx([0.0198894780, 0.0892337023], abs=1e-8)


def test_with_the_padding_kept_cross_entropy_and_lpo_have_the_values_worked_by_hand():
    nll, chosen, rejected = golden(keep_padding=True)
    assert nll.tolist() == pytest.approx([3.9702187431, 2.4643075903], abs=1e-8)
    assert lpo(chosen, rejected, tau=0.1).tolist() == pytest.approx([3.8965749781, 4.3515340786], abs=1e-8)


def test_the_padding_does_not_matter_to_lpo_on_log_probabilities():
    (_, *without), (_, *kept) = golden(), golden(keep_padding=True)
    agree(lpo(*without, tau=1.0, score="log_prob"), lpo(*kept, tau=1.0, score="log_prob"))


def test_the_total_loss_has_the_value_worked_by_hand():
    _, chosen, rejected = golden()
    assert total(-chosen, chosen, rejected) == pytest.approx(5.6123277234, abs=1e-6)


def test_the_total_loss_with_the_padding_kept_has_the_value_worked_by_hand():
    assert total(*golden(keep_padding=True)) == pytest.approx(5.5746830199, abs=1e-6)


def test_the_gradient_in_the_logits_has_the_values_worked_by_hand():
    logits = LOGITS.clone().requires_grad_()
    _, chosen, rejected = golden(logits)
    lpo(chosen, rejected, tau=0.1)[0].backward()
    expected = [
        0.0, 1.7198737042, -0.2966110749, -0.2616679773, -0.4222281505, -0.2310009374, -0.1091171165, -0.3992484476,
    ]  # fmt: skip
    assert logits.grad[0].tolist() == pytest.approx(expected, abs=1e-8)


# Closed forms


@fast
@given(lists(), TAU)
def test_the_gradient_in_probabilities_is_eq_18(case, tau):
    chosen, rejected = (log_prob.exp().requires_grad_() for log_prob in case)
    lpo(chosen.log(), rejected.log(), tau=tau).sum().backward()
    scores = torch.cat([chosen.detach()[:, None], rejected.detach()], dim=1)
    share = torch.softmax(scores / tau, dim=1)
    agree(chosen.grad, (share[:, 0] - 1) / tau)
    agree(rejected.grad, share[:, 1:] / tau)


@fast
@given(st.integers(0, 10_000), TAU)
def test_the_gradient_in_the_logits_is_the_closed_form(seed, tau):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 8, generator=generator, dtype=torch.float64).mul(2).requires_grad_()
    log_prob = torch.log_softmax(logits, dim=1)
    lpo(log_prob[:, 0], log_prob[:, 1:5], tau=tau).sum().backward()
    prob = log_prob.detach().exp()[0]
    pull = torch.zeros(8, dtype=torch.float64)
    pull[:5] = torch.softmax(prob[:5] / tau, dim=0) / tau
    pull[0] -= 1 / tau
    agree(logits.grad[0], prob * (pull - (pull * prob).sum()))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_over_all_items_sums_to_zero(score, form):
    logits = LOGITS.clone().requires_grad_()
    _, chosen, rejected = golden(logits)
    lpo(chosen, rejected, tau=0.5, score=score, form=form).sum().backward()
    agree(logits.grad.sum(dim=1), [0.0, 0.0])


@pytest.mark.parametrize(("score", "tau"), [("prob", 0.1), ("prob", 2.0), ("log_prob", 1.0)])
def test_descent_lifts_the_chosen_item(score, tau):
    logits = LOGITS.clone().requires_grad_()
    _, chosen, rejected = golden(logits)
    lpo(chosen, rejected, tau=tau, score=score).sum().backward()
    assert (logits.grad.gather(1, TARGET[:, None]) < 0).all()


def test_descent_on_the_published_code_lowers_the_chosen_item():
    logits = LOGITS.clone().requires_grad_()
    _, chosen, rejected = golden(logits)
    lpo(chosen, rejected, tau=2.0, form="published_code").sum().backward()
    assert (logits.grad.gather(1, TARGET[:, None]) > 0).all()


@fast
@given(lists(), TAU)
def test_the_published_code_is_the_share_whose_log_the_paper_takes(case, tau):
    agree(lpo(*case, tau=tau, form="published_code"), (-lpo(*case, tau=tau)).exp())


@fast
@given(lists(), TAU, st.sampled_from(SCORES))
def test_lpo_is_what_a_slow_loop_gives(case, tau, score):
    found = lpo(*case, tau=tau, score=score)
    for loss, chosen, rejected in zip(found, *(part.tolist() for part in case), strict=True):
        own, *others = (math.exp(one) if score == "prob" else one for one in [chosen, *rejected])
        agree(loss, math.log1p(sum(math.exp((other - own) / tau) for other in others)))


@fast
@given(lists(), TAU)
def test_on_log_probabilities_it_is_s_dpo_without_a_reference(case, tau):
    chosen, rejected = case
    margin = (chosen[:, None] - rejected) / tau
    agree(lpo(*case, tau=tau, score="log_prob"), softplus(torch.logsumexp(-margin, dim=1)))


@fast
@given(lists(most=1), TAU)
def test_with_one_rival_on_log_probabilities_it_is_a_logistic_loss(case, tau):
    chosen, rejected = case
    agree(lpo(*case, tau=tau, score="log_prob"), softplus((rejected[:, 0] - chosen) / tau))


@fast
@given(lists(), TAU, st.floats(-50, 50))
def test_on_log_probabilities_a_constant_added_to_all_does_not_matter(case, tau, constant):
    chosen, rejected = case
    shifted = lpo(chosen + constant, rejected + constant, tau=tau, score="log_prob")
    agree(shifted, lpo(chosen, rejected, tau=tau, score="log_prob"))


@fast
@given(lists(), TAU)
def test_the_list_loss_lies_between_the_worst_pair_and_the_sum_of_pairs(case, tau):
    chosen, rejected = case
    pairs = softplus((rejected - chosen[:, None]) / tau)
    loss = lpo(chosen, rejected, tau=tau, score="log_prob")
    rounding = 1e-12 * (1 + loss)
    assert (pairs.max(dim=1).values <= loss + rounding).all()
    assert (loss <= pairs.sum(dim=1) + rounding).all()


@pytest.mark.parametrize("score", SCORES)
def test_at_a_high_temperature_only_the_number_of_rivals_matters(score):
    logits = LOGITS.clone().requires_grad_()
    _, chosen, rejected = golden(logits)
    loss = lpo(chosen, rejected, tau=1e9, score=score)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log(4)] * 2, abs=1e-7)
    assert logits.grad.abs().max() < 1e-8


def test_at_a_low_temperature_only_the_strongest_rival_matters():
    _, chosen, rejected = golden()
    tau = 1e-4
    behind = (rejected - chosen[:, None]).max(dim=1).values.clamp(min=0)
    torch.testing.assert_close(tau * lpo(chosen, rejected, tau=tau, score="log_prob"), behind, rtol=0, atol=1e-3)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_a_certain_target_still_pays_for_its_rivals_on_probabilities(tau):
    chosen, rejected = torch.zeros(1, dtype=torch.float64), torch.full((1, 5), -1e4, dtype=torch.float64)
    agree(lpo(chosen, rejected, tau=tau), [math.log1p(5 * math.exp(-1 / tau))])


# Properties


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("k", [1, 3, 10])
def test_equal_scores_give_the_log_of_the_length_of_the_list(score, k):
    loss = lpo(torch.full((2,), -5.0), torch.full((2, k), -5.0), score=score)
    assert loss.tolist() == pytest.approx([math.log(1 + k)] * 2)


@fast
@given(lists(), TAU, st.sampled_from(SCORES))
def test_the_loss_is_never_negative(case, tau, score):
    assert (lpo(*case, tau=tau, score=score) >= 0).all()


@fast
@given(lists(), TAU, st.sampled_from(SCORES), st.sampled_from(FORMS), st.randoms(use_true_random=False))
def test_the_order_of_the_rivals_does_not_matter(case, tau, score, form, draw):
    chosen, rejected = case
    order = list(range(rejected.shape[1]))
    draw.shuffle(order)
    options = {"tau": tau, "score": score, "form": form}
    agree(lpo(chosen, rejected[:, order], **options), lpo(chosen, rejected, **options))


@fast
@given(lists(), TAU, st.sampled_from(SCORES), st.sampled_from(FORMS))
def test_an_absent_rival_counts_as_if_it_were_left_out(case, tau, score, form):
    chosen, rejected = case
    options = {"tau": tau, "score": score, "form": form}
    absent = torch.full((len(chosen), 2), -torch.inf, dtype=torch.float64)
    with_absent = torch.cat([absent[:, :1], rejected, absent[:, 1:]], dim=1)
    agree(lpo(chosen, with_absent, **options), lpo(chosen, rejected, **options))


@pytest.mark.parametrize("score", SCORES)
def test_without_any_rival_there_is_no_loss(score):
    assert lpo(torch.tensor([-3.0]), torch.full((1, 4), -torch.inf), score=score).tolist() == [0.0]


@fast
@given(lists(), TAU, st.sampled_from(SCORES), st.sampled_from(FORMS))
def test_rivals_that_each_count_once_need_no_weights(case, tau, score, form):
    options = {"tau": tau, "score": score, "form": form}
    agree(lpo(*case, **options, rejected_weight=torch.ones_like(case[1])), lpo(*case, **options))


@fast
@given(lists(), TAU, st.sampled_from(SCORES), st.sampled_from(FORMS), st.integers(0, 63))
def test_rivals_of_weight_zero_are_absent(case, tau, score, form, bits):
    chosen, rejected = case
    weight = torch.tensor([bits >> column & 1 for column in range(rejected.shape[1])]).double().expand_as(rejected)
    options = {"tau": tau, "score": score, "form": form}
    absent = rejected.masked_fill(weight == 0, -torch.inf)
    agree(lpo(chosen, rejected, **options, rejected_weight=weight), lpo(chosen, absent, **options))


@fast
@given(lists(), TAU, st.sampled_from(SCORES))
def test_a_rival_of_weight_two_counts_as_two(case, tau, score):
    chosen, rejected = case
    twice = lpo(chosen, torch.cat([rejected, rejected], dim=1), tau=tau, score=score)
    agree(lpo(chosen, rejected, tau=tau, score=score, rejected_weight=torch.full_like(rejected, 2)), twice)


# Numbers

EXTREMES = [-1e4, -200.0, -20.0, -1.0, -1e-3, -1e-6, -1e-12]
# How often each of two rivals counts; the first may be the only one to stand out and yet not count.
WEIGHTS = [None, (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
EXTREME_LISTS = list(itertools.product(EXTREMES, EXTREMES, [*EXTREMES, -math.inf]))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tau", [0.05, 2.0])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_values_and_gradients_are_finite_in_float32_at_the_extremes(score, tau, form, weight):
    table = torch.tensor(EXTREME_LISTS)
    chosen, rejected = table[:, 0].clone().requires_grad_(), table[:, 1:].clone().requires_grad_()
    weight = None if weight is None else torch.tensor(weight).expand_as(rejected).clone().requires_grad_()
    loss = lpo(chosen, rejected, tau=tau, score=score, form=form, rejected_weight=weight)
    loss.sum().backward()
    assert loss.isfinite().all()
    for leaf in [chosen, rejected] if weight is None else [chosen, rejected, weight]:
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_float32_agrees_with_float64_at_the_extremes(score, weight):
    table = torch.tensor(EXTREME_LISTS, dtype=torch.float64)
    weight = None if weight is None else torch.tensor(weight).expand(len(table), 2)
    single = lpo(table[:, 0].float(), table[:, 1:].float(), score=score, rejected_weight=weight)
    double = lpo(table[:, 0], table[:, 1:], score=score, rejected_weight=weight)
    torch.testing.assert_close(single.double(), double, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    assert lpo(torch.tensor([-3.0], dtype=dtype), torch.tensor([[-1.0]], dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.0}, "tau = 0"),
        ({"tau": -0.1}, "tau = -0.1"),
        ({"score": "logit"}, "prob, log_prob"),
        ({"form": "official"}, "paper, published_code"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        lpo(torch.zeros(1), torch.zeros((1, 1)), **options)


def test_it_is_found_by_name():
    assert OBJECTIVES["lpo"] is lpo
