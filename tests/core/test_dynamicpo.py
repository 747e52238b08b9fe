"""DynamicPO against hand-worked values, identities and a slow twin in exact arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.objectives.dpo import dmpo, dpo, sdpo
from recbole_lpo.core.objectives.dynamicpo import BASES, beta_factor, borderline_rivals, dynamicpo

fast = settings(max_examples=50, deadline=None)
every_base = pytest.mark.parametrize("base", BASES)

# Two rows in a catalogue of seven items, policy and reference, worked outside this package. In the first all rivals
# stand above the target, in the second none does.
LOGITS = torch.tensor(
    [[2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0], [-0.3, 0.8, 1.2, -1.7, 0.6, 2.4, 0.1]], dtype=torch.float64
)
REFERENCE = torch.tensor(
    [[1.0, 0.0, -0.5, 0.5, 0.75, -1.0, 0.2], [0.4, 0.3, 0.9, -0.2, -0.6, 1.1, 0.0]], dtype=torch.float64
)
VIOLATED = (0, [3, 1, 4, 7, 6])  # the row, the target and its rivals
SEPARATED = (1, [6, 1, 2, 3, 4, 5])


def golden(row, items):
    """(chosen, rejected, ref_chosen, ref_rejected) of one row."""
    columns = [item - 1 for item in items]
    policy, reference = (torch.log_softmax(z[[row]], dim=1)[:, columns] for z in (LOGITS, REFERENCE))
    return policy[:, 0], policy[:, 1:], reference[:, 0], reference[:, 1:]


@st.composite
def cases(draw, most=7):
    """(chosen (B,), rejected (B, K), ref_chosen (B,), ref_rejected (B, K)) in float64.

    The policy's values are smooth, or quarters with many ties; the target is among the rivals or above them all.
    """
    rows, k = draw(st.integers(1, 5)), draw(st.integers(1, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 100_000)))
    policy, reference = torch.randn(2, rows, k + 1, generator=generator, dtype=torch.float64) * 2
    if draw(st.booleans()):
        policy = (policy * 2).round() / 4
    policy[:, 0] += draw(st.sampled_from([0.0, 1.0, 12.0]))
    return policy[:, 0] - 20, policy[:, 1:] - 20, reference[:, 0] - 20, reference[:, 1:] - 20


def agree(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-10)


# The slow twin: one row, plain Python, clusters in fractions


def spread(cluster):
    mean = sum(cluster) / len(cluster)
    return sum((value - mean) ** 2 for value in cluster)


def partitions(values):
    """(cost, size of the top cluster, top cluster, whether equal values stay together) of every pair of cuts."""
    ordered = sorted((Fraction(value) for value in values), reverse=True)
    for p, q in itertools.combinations(range(1, len(ordered)), 2):
        parts = ordered[:p], ordered[p:q], ordered[q:]
        whole = ordered[p - 1] > ordered[p] and ordered[q - 1] > ordered[q]
        yield sum(spread(part) for part in parts), p, parts[0], whole


def slow_borderline(chosen, rejected):
    reach = [place for place, value in enumerate(rejected) if value >= chosen]
    if reach:
        return reach
    if len(set(rejected)) < 3:
        top = [max(rejected)]
    else:
        *_, top = min((cost, size, part) for cost, size, part, whole in partitions(rejected) if whole)
    return [place for place, value in enumerate(rejected) if Fraction(value) in top]


def slow_factor(chosen, rejected, border, margin, scale):
    hard = [rejected[place] for place in border]
    easy = [value for place, value in enumerate(rejected) if place not in border] or hard
    found = []
    for value in hard:
        d1, d2 = chosen - value, value - sum(easy) / len(easy)
        distance = abs(d1) + abs(d2)
        if distance == 0:
            found.append(1 - scale if margin > 0 else 1.0)
        else:
            found.append(1 + scale * math.tanh((d1 - d2 - margin) / distance))
    return found


def slow(chosen, rejected, ref_chosen, ref_rejected, *, beta=1.0, margin=2.0, scale=0.5, base="dmpo"):
    border = slow_borderline(chosen, rejected)
    factor = slow_factor(chosen, rejected, border, margin, scale)
    pulls = [
        beta * f * ((chosen - ref_chosen) - (rejected[place] - ref_rejected[place]))
        for place, f in zip(border, factor, strict=True)
    ]
    if base == "sdpo":
        return math.log(1 + sum(math.exp(-pull) for pull in pulls))
    mean = sum(pulls) / len(pulls)
    return max(-mean, 0) + math.log1p(math.exp(-abs(mean)))


def rows_of(case):
    return zip(*(part.tolist() for part in case), strict=True)


# Values worked by hand


@pytest.mark.parametrize(("row", "expected"), [(VIOLATED, 1.1479585777), (SEPARATED, 0.5005478981)])
def test_on_dmpo_the_loss_has_the_value_worked_by_hand(row, expected):
    assert dynamicpo(*golden(*row)).item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (VIOLATED, [0.5474258732, 0.5344451957, 0.5179862100, 0.7689414214]),
        (SEPARATED, [0, 0.7151566718, 0.6462019404, 0, 0.7575343439]),
    ],
)
def test_each_borderline_rival_has_the_factor_worked_by_hand(row, expected):
    chosen, rejected, *_ = golden(*row)
    factor = beta_factor(chosen, rejected, borderline_rivals(chosen, rejected))
    assert factor[0].tolist() == pytest.approx(expected, abs=1e-8)


# Which rivals are borderline


@fast
@given(cases())
def test_the_borderline_rivals_are_those_of_a_slow_search(case):
    chosen, rejected, *_ = case
    found = [row.nonzero()[:, 0].tolist() for row in borderline_rivals(chosen, rejected)]
    assert found == [slow_borderline(*row) for row in rows_of((chosen, rejected))]


@fast
@given(st.lists(st.integers(-8, 0).map(lambda n: n / 4), min_size=3, max_size=9))
def test_the_top_cluster_is_that_of_a_best_of_all_partitions(values):
    above = torch.tensor([1.0], dtype=torch.float64)
    rejected = torch.tensor([values], dtype=torch.float64)
    top = sorted((Fraction(v) for v in rejected[borderline_rivals(above, rejected)].tolist()), reverse=True)
    if len(set(values)) < 3:
        assert top == [Fraction(max(values))] * values.count(max(values))
    else:
        least = min(cost for cost, *_ in partitions(values))
        assert top in [part for cost, _, part, _ in partitions(values) if cost == least]


@pytest.mark.parametrize(
    ("rejected", "top"),
    [
        ([-3.0, -1.0, -4.0, -2.0], [-1.0]),  # three partitions are equally good: the fewest on top
        ([-1.0, -1.0, -2.0, -3.0], [-1.0, -1.0]),  # equal values stay together
        ([-1.0, -1.25, -1.5, -9.0, -20.0], [-1.0, -1.25, -1.5]),
        ([-5.0, -1.0, -5.0, -1.0], [-1.0, -1.0]),  # two distinct values: the higher, as often as it occurs
        ([-5.0, -5.0, -5.0], [-5.0, -5.0, -5.0]),
        ([-5.0, -2.0], [-2.0]),
        ([-5.0], [-5.0]),
    ],
)
def test_where_none_reaches_the_chosen_item_the_top_cluster_is_borderline(rejected, top):
    rejected = torch.tensor([rejected])
    assert rejected[borderline_rivals(torch.tensor([0.0]), rejected)].tolist() == top


@pytest.mark.parametrize("step", [0.1, 0.3, 1 / 3, 0.7])
@pytest.mark.parametrize("start", [-1.1, -5.3, -17.9])
def test_rounding_does_not_decide_between_partitions_that_are_equally_good(step, start):
    rejected = torch.tensor([[start - step * n for n in (2, 0, 3, 1)]], dtype=torch.float64)
    assert borderline_rivals(torch.tensor([0.0]), rejected).tolist() == [[False, True, False, False]]


def test_a_rival_that_equals_the_chosen_item_reaches_it():
    found = borderline_rivals(torch.tensor([-2.0]), torch.tensor([[-2.0, -1.0, -2.5, -math.inf]]))
    assert found.tolist() == [[True, True, False, False]]


@fast
@given(cases(), st.integers(0, 127))
def test_every_row_with_a_rival_has_a_borderline_one_and_none_is_absent(case, bits):
    chosen, rejected, *_ = case
    there = torch.tensor([bool(bits >> column & 1) for column in range(rejected.shape[1])])
    found = borderline_rivals(chosen, rejected.masked_fill(~there, -math.inf))
    assert (found.any(dim=1) == there.any()).all()
    assert not (found & ~there).any()


# The factor of beta


@fast
@given(cases(), st.sampled_from([0.0, 0.5, 2.0, 6.0]), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_the_factor_is_what_a_slow_loop_gives(case, margin, scale):
    chosen, rejected, *_ = case
    border = borderline_rivals(chosen, rejected)
    found = beta_factor(chosen, rejected, border, margin=margin, scale=scale)
    for factor, marked, row in zip(found, border, rows_of((chosen, rejected)), strict=True):
        places = marked.nonzero()[:, 0].tolist()
        agree(factor[places], slow_factor(*row, places, margin, scale))
        assert (factor[~marked] == 0).all()


@fast
@given(cases())
def test_the_factor_lies_between_a_half_and_1_381(case):
    chosen, rejected, *_ = case
    border = borderline_rivals(chosen, rejected)
    factor = beta_factor(chosen, rejected, border)[border]
    assert (factor >= 0.5).all()
    assert (factor < 1.3808).all()


def test_beta_only_shrinks_where_the_preference_is_violated():
    chosen, rejected, *_ = golden(*VIOLATED)
    harder = rejected - rejected.mean() >= 0
    factor = beta_factor(chosen, rejected, borderline_rivals(chosen, rejected))
    assert (factor < 1).all()
    assert (factor[harder] <= 0.62).all()


def test_the_factor_is_one_where_the_distances_differ_by_the_margin():
    # One borderline rival at -3; the easy ones have the mean -4: d1 = 3, d2 = 1.
    chosen, rejected = torch.tensor([0.0]), torch.tensor([[-3.0, -3.875, -4.125]])
    border = torch.tensor([[True, False, False]])
    assert beta_factor(chosen, rejected, border, margin=2.0).tolist() == [[1.0, 0.0, 0.0]]


def test_a_rival_that_equals_all_there_is_has_the_least_factor():
    chosen, rejected = torch.tensor([-2.0]), torch.full((1, 3), -2.0)
    border = borderline_rivals(chosen, rejected)
    assert beta_factor(chosen, rejected, border, margin=2.0, scale=0.25).tolist() == [[0.75] * 3]
    assert beta_factor(chosen, rejected, border, margin=0.0, scale=0.25).tolist() == [[1.0] * 3]


# The loss


@every_base
@fast
@given(cases(), st.sampled_from([0.1, 1.0, 2.0]), st.sampled_from([0.5, 2.0, 6.0]), st.sampled_from([0.0, 0.5, 0.9]))
def test_the_loss_is_what_a_slow_loop_gives(base, case, beta, margin, scale):
    options = {"beta": beta, "margin": margin, "scale": scale, "base": base}
    agree(dynamicpo(*case, **options), [slow(*row, **options) for row in rows_of(case)])


@every_base
@fast
@given(cases(most=1), st.sampled_from([0.1, 1.0, 2.0]))
def test_with_one_violated_rival_it_is_dpo_with_another_beta(base, case, beta):
    chosen, rejected, *reference = case
    rejected = torch.maximum(rejected, chosen[:, None] + 0.125)
    behind = chosen - rejected[:, 0]
    factor = 1 + 0.5 * torch.tanh((behind - 2) / behind.abs())
    found = dynamicpo(chosen, rejected, *reference, beta=beta, base=base)
    for row, f in enumerate(factor.tolist()):
        one = [part[[row]] for part in (chosen, rejected, *reference)]
        agree(found[[row]], dpo(*one, beta=beta * f))


@pytest.mark.parametrize(("base", "plain"), [("dmpo", dmpo), ("sdpo", sdpo)])
@fast
@given(cases(), st.sampled_from([0.1, 1.0, 2.0]))
def test_with_scale_zero_and_all_rivals_borderline_it_is_its_base(base, plain, case, beta):
    _, rejected, *reference = case
    below_all = rejected.amin(dim=1) - 0.5
    found = dynamicpo(below_all, rejected, *reference, beta=beta, scale=0.0, base=base)
    agree(found, plain(below_all, rejected, *reference, beta=beta))


@every_base
@fast
@given(cases())
def test_the_loss_is_never_negative(base, case):
    assert (dynamicpo(*case, base=base) >= 0).all()


# Gradients


@every_base
@fast
@given(cases())
def test_no_gradient_flows_through_the_choice_of_rivals_or_the_factor(base, case):
    chosen, rejected = (part.clone().requires_grad_() for part in case[:2])
    dynamicpo(chosen, rejected, *case[2:], base=base).sum().backward()
    border = borderline_rivals(*case[:2])
    weight = beta_factor(*case[:2], border)
    if base == "dmpo":
        weight = weight / border.sum(dim=1, keepdim=True)
    pull = weight * ((case[0] - case[2])[:, None] - (case[1] - case[3]))
    if base == "dmpo":
        by_pull = -torch.sigmoid(-pull.sum(dim=1))[:, None].expand_as(pull)
    else:
        behind = (-pull).masked_fill(~border, -math.inf)
        by_pull = -torch.softmax(torch.nn.functional.pad(behind, (1, 0)), dim=1)[:, 1:]
    agree(rejected.grad, -by_pull * weight)
    agree(chosen.grad, (by_pull * weight).sum(dim=1))


def test_the_choice_and_the_factor_carry_no_gradient():
    chosen, rejected, *_ = (part.clone().requires_grad_() for part in golden(*SEPARATED))
    border = borderline_rivals(chosen, rejected)
    assert not border.requires_grad
    assert not beta_factor(chosen, rejected, border).requires_grad


@every_base
@pytest.mark.parametrize("row", [VIOLATED, SEPARATED])
def test_with_a_fixed_beta_the_gradient_agrees_with_finite_differences(base, row):
    chosen, rejected, *reference = golden(*row)
    policy = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]
    assert torch.autograd.gradcheck(lambda *inputs: dynamicpo(*inputs, *reference, scale=0.0, base=base), policy)


@every_base
@pytest.mark.parametrize("row", [VIOLATED, SEPARATED])
def test_the_gradient_over_all_items_sums_to_zero(base, row):
    number, items = row
    logits = LOGITS.clone().requires_grad_()
    log_prob = torch.log_softmax(logits[[number]], dim=1)[:, [item - 1 for item in items]]
    dynamicpo(log_prob[:, 0], log_prob[:, 1:], *golden(*row)[2:], base=base).sum().backward()
    assert logits.grad[number, items[0] - 1] < 0
    agree(logits.grad.sum(dim=1), [0.0, 0.0])


# Rivals


@every_base
@fast
@given(case=cases(), draw=st.randoms(use_true_random=False))
def test_the_order_of_the_rivals_does_not_matter(base, case, draw):
    chosen, rejected, ref_chosen, ref_rejected = case
    order = list(range(rejected.shape[1]))
    draw.shuffle(order)
    shuffled = dynamicpo(chosen, rejected[:, order], ref_chosen, ref_rejected[:, order], base=base)
    agree(shuffled, dynamicpo(*case, base=base))


@pytest.mark.parametrize("under_reference", [-math.inf, -2.0, math.nan])
@every_base
@fast
@given(case=cases())
def test_an_absent_rival_counts_as_if_it_were_left_out(base, under_reference, case):
    chosen, rejected, ref_chosen, ref_rejected = case

    def beside(part, value):
        column = torch.full((len(part), 1), value, dtype=torch.float64)
        return torch.cat([column, part[:, :1], column, part[:, 1:]], dim=1)

    policy = [chosen.clone().requires_grad_(), beside(rejected, -math.inf).requires_grad_()]
    alone = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]
    found = dynamicpo(*policy, ref_chosen, beside(ref_rejected, under_reference), base=base)
    expected = dynamicpo(*alone, ref_chosen, ref_rejected, base=base)
    agree(found, expected)
    found.sum().backward()
    expected.sum().backward()
    agree(policy[0].grad, alone[0].grad)
    agree(policy[1].grad, beside(alone[1].grad, 0.0))


@pytest.mark.parametrize("k", [0, 3])
@every_base
def test_without_any_rival_there_is_no_loss_and_no_pull(base, k):
    chosen = torch.tensor([-3.0, -1.0], requires_grad=True)
    rejected = torch.full((2, k), -math.inf, requires_grad=True)
    loss = dynamicpo(chosen, rejected, torch.zeros(2), torch.full((2, k), -math.inf), base=base)
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert chosen.grad.tolist() == [0.0, 0.0]
    assert (rejected.grad == 0).all()


@every_base
@fast
@given(case=cases(), policy=st.integers(-40, 40), reference=st.floats(-50, 50))
def test_a_constant_added_within_a_policy_does_not_matter(base, case, policy, reference):
    # By quarters for the policy: a shift that rounds could break or make a tie with the chosen item.
    shifts = [policy / 4, policy / 4, reference, reference]
    shifted = [part + shift for part, shift in zip(case, shifts, strict=True)]
    agree(dynamicpo(*shifted, base=base), dynamicpo(*case, base=base))


# Numbers

EXTREMES = [-1e4, -200.0, -20.0, -1.0, -1e-3, -1e-6, -1e-12]
EXTREME_PAIRS = list(
    itertools.product(EXTREMES, EXTREMES, EXTREMES, [-300.0, -math.inf], [-1e4, -1e-12], [-1e4, -1e-12])
)


def columns(table):
    """(chosen, three rivals, and both under the reference)."""
    return table[:, 0], table[:, 1:4], table[:, 4], table[:, 5:].expand(-1, 3)


@every_base
@pytest.mark.parametrize("margin", [0.0, 2.0, 6.0])
def test_values_and_gradients_are_finite_in_float32_at_the_extremes(base, margin):
    chosen, rejected, *reference = columns(torch.tensor(EXTREME_PAIRS))
    policy = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]
    loss = dynamicpo(*policy, *reference, margin=margin, base=base)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert all(leaf.grad.isfinite().all() for leaf in policy)


def test_the_top_cluster_is_found_in_float32_beside_a_rival_far_away():
    # In float32 the square of the distance to the last would drown the others.
    rejected = torch.tensor([[-1.0, -1.001, -3.0, -1e4, -3.001, -1.002]])
    assert borderline_rivals(torch.tensor([0.0]), rejected).tolist() == [[True, True, False, False, False, True]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_base
def test_half_precision_is_computed_in_float32(base, dtype):
    one, two = torch.tensor([-3.0], dtype=dtype), torch.tensor([[-1.0, -math.inf]], dtype=dtype)
    loss = dynamicpo(one, two, one, two, base=base)
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, r"beta = 0.0: must be > 0"),
        ({"margin": -1.0}, r"margin = -1.0: must be >= 0"),
        ({"margin": math.nan}, r"margin = nan: must be >= 0"),
        ({"scale": 1.0}, r"scale = 1.0: must be >= 0 and < 1"),
        ({"scale": -0.1}, r"scale = -0.1: must be >= 0 and < 1"),
        ({"base": "dpo"}, r"base = 'dpo': must be one of dmpo, sdpo"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        dynamicpo(*golden(*VIOLATED), **options)
