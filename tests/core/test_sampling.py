"""Which rivals a target meets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_lpo.core.sampling import gumbel_noise, gumbel_top_k, straight_through_inclusion

fast = settings(max_examples=40, deadline=None)


@st.composite
def draws(draw):
    """(scores, k, scale, exclude as a mask, seed): some columns are -inf, some rows have fewer than k to draw."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    seed = draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, columns, generator=generator)
    scores[torch.rand(rows, columns, generator=generator) < draw(st.sampled_from([0.0, 0.3]))] = -torch.inf
    exclude = torch.rand(rows, columns, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.9]))
    return scores, draw(st.integers(1, 11)), draw(st.sampled_from([0.0, 0.5, 1.0])), exclude, seed


def drawn(scores, k, seed=0, **options):
    return gumbel_top_k(scores, k, generator=torch.Generator().manual_seed(seed), **options)


def as_columns(mask):
    """The mask as column numbers, filled up with -1."""
    return torch.where(mask, torch.arange(mask.shape[1]), -1)


def test_the_noise_is_standard_gumbel():
    noise = gumbel_noise((40_000,), generator=torch.Generator().manual_seed(0))
    assert stats.kstest(noise.numpy(), stats.gumbel_r.cdf).pvalue > 0.01


@pytest.mark.parametrize("uniform", [0.0, 2**-24, 1 - 2**-24])
def test_the_noise_is_finite_at_the_ends_of_the_uniform_draw(uniform, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, uniform))
    assert gumbel_noise((2, 3)).isfinite().all()


@fast
@given(draws())
def test_only_allowed_columns_are_drawn(case):
    scores, k, scale, exclude, seed = case
    allowed = ~exclude & ~scores.isneginf()
    for row, ids in zip(allowed, drawn(scores, k, seed, scale=scale, exclude=exclude), strict=True):
        assert set(ids[ids >= 0].tolist()) <= set(row.nonzero()[:, 0].tolist())


@fast
@given(draws())
def test_no_column_is_drawn_twice_in_a_row(case):
    scores, k, scale, exclude, seed = case
    for ids in drawn(scores, k, seed, scale=scale, exclude=exclude):
        assert len(set(ids[ids >= 0].tolist())) == int((ids >= 0).sum())


@fast
@given(draws())
def test_where_fewer_than_k_columns_are_allowed_the_rest_is_minus_one(case):
    scores, k, scale, exclude, seed = case
    n_allowed = (~exclude & ~scores.isneginf()).sum(dim=1)
    ids = drawn(scores, k, seed, scale=scale, exclude=exclude)
    assert ids.shape == (len(scores), k)
    expected = torch.arange(k) < n_allowed.clamp(max=k)[:, None]
    assert torch.equal(ids >= 0, expected)


@fast
@given(draws())
def test_a_scale_of_zero_takes_the_best_columns_in_order(case):
    scores, k, _, exclude, _ = case
    for row, barred, ids in zip(scores, exclude, gumbel_top_k(scores, k, scale=0.0, exclude=exclude), strict=True):
        allowed = [column for column in range(len(row)) if not barred[column] and not row[column].isneginf()]
        best = sorted(allowed, key=lambda column: -float(row[column]))[:k]
        assert ids[ids >= 0].tolist() == best


@fast
@given(draws())
def test_excluded_as_mask_or_as_column_numbers_is_the_same(case):
    scores, k, scale, exclude, seed = case
    by_mask = drawn(scores, k, seed, scale=scale, exclude=exclude)
    assert torch.equal(by_mask, drawn(scores, k, seed, scale=scale, exclude=as_columns(exclude)))


def test_an_empty_list_of_excluded_columns_excludes_nothing():
    scores = torch.randn(3, 5)
    assert torch.equal(drawn(scores, 5), drawn(scores, 5, exclude=torch.empty((3, 0), dtype=torch.int64)))


def test_the_same_generator_state_draws_the_same():
    scores = torch.randn(8, 50)
    assert torch.equal(drawn(scores, 5, seed=3), drawn(scores, 5, seed=3))


def test_another_seed_draws_something_else():
    scores = torch.randn(8, 50)
    assert not torch.equal(drawn(scores, 5, seed=3), drawn(scores, 5, seed=4))


def test_with_a_generator_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    drawn(torch.randn(8, 50, generator=torch.Generator().manual_seed(0)), 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_stream_decides():
    scores = torch.zeros(8, 50)
    torch.manual_seed(5)
    one = gumbel_top_k(scores, 5)
    torch.manual_seed(5)
    assert torch.equal(gumbel_top_k(scores, 5), one)


def test_no_gradient_flows_through_the_choice():
    ids = drawn(torch.randn(4, 6, requires_grad=True), 2)
    assert ids.dtype == torch.int64
    assert not ids.requires_grad


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_single_rival_is_drawn_from_the_softmax_of_the_scores(scale):
    scores, n = torch.tensor([1.5, -0.5, 0.0, 2.0, -2.0]), 20_000
    ids = drawn(scores.expand(n, 5), 1, seed=1, scale=scale)[:, 0]
    share = torch.bincount(ids, minlength=5).double() / n
    expected = torch.softmax(scores.double() / scale, dim=0)
    assert ((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_ordered_pairs_follow_plackett_luce():
    scores, n, scale = np.array([1.0, 0.0, -0.7, 0.4]), 20_000, 0.8
    ids = drawn(torch.tensor(scores).expand(n, 4), 2, seed=2, scale=scale).tolist()
    weight = np.exp(scores / scale)
    pairs = list(itertools.permutations(range(4), 2))
    expected = [weight[a] / weight.sum() * weight[b] / (weight.sum() - weight[a]) for a, b in pairs]
    observed = [ids.count([a, b]) for a, b in pairs]
    assert stats.chisquare(observed, n * np.array(expected)).pvalue > 0.001


def test_excluding_a_column_leaves_the_odds_of_the_others():
    scores, n = torch.tensor([0.0, 3.0, 1.0]), 20_000
    ids = drawn(scores.expand(n, 3), 1, seed=3, exclude=torch.full((n, 1), 1))[:, 0]
    expected = torch.softmax(torch.tensor([0.0, 1.0]), dim=0)[1].item()
    assert abs((ids == 2).double().mean().item() - expected) < 4 * (expected * (1 - expected) / n) ** 0.5


def p_value_of_uniform(scores, n=20_000):
    ids = drawn(scores.expand(n, len(scores)), 1, seed=4)[:, 0]
    return stats.chisquare(torch.bincount(ids, minlength=len(scores)).numpy()).pvalue


def test_noise_on_small_probabilities_draws_as_good_as_uniformly():
    log_prob = torch.log_softmax(torch.randn(60, generator=torch.Generator().manual_seed(0)), dim=0)
    assert log_prob.exp().max() > 5 * log_prob.exp().median()
    assert p_value_of_uniform(log_prob.exp()) > 0.01


def test_noise_on_log_probabilities_does_not():
    log_prob = torch.log_softmax(torch.randn(60, generator=torch.Generator().manual_seed(0)), dim=0)
    assert p_value_of_uniform(log_prob) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_float_type_are_drawn_from(dtype):
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0]], dtype=dtype)
    assert gumbel_top_k(scores, 3, scale=0.0).tolist() == [[0, 2, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k = 0"),
        ({"scale": -0.1}, "scale"),
        ({"scores": torch.zeros(4)}, "two dimensions"),
        ({"exclude": torch.zeros((2, 3), dtype=torch.bool)}, "exclude mask"),
        ({"exclude": torch.zeros((3, 1), dtype=torch.int64)}, "exclude must be"),
        ({"exclude": torch.full((2, 1), 4)}, "names column 4"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        gumbel_top_k(**{"scores": torch.zeros((2, 4)), "k": 2, **arguments})


@fast
@given(draws())
def test_straight_through_has_exactly_the_choice_as_its_value(case):
    scores, k, _, exclude, seed = case
    ids = drawn(scores, k, seed, exclude=exclude)
    inclusion = straight_through_inclusion(scores.requires_grad_(), ids, temperature=0.7, exclude=exclude)
    for row, chosen in zip(inclusion.tolist(), ids.tolist(), strict=True):
        assert row == [float(column in chosen) for column in range(len(row))]


@fast
@given(draws(), st.sampled_from([0.3, 1.0, 2.0]))
def test_straight_through_has_the_gradient_of_k_times_the_softmax(case, temperature):
    scores, k, _, exclude, seed = case
    ids = drawn(scores, k, seed, exclude=exclude)
    generator = torch.Generator().manual_seed(seed)
    noise, pull = (torch.randn(scores.shape, dtype=torch.float64, generator=generator) for _ in range(2))
    leaf = scores.double().requires_grad_()
    inclusion = straight_through_inclusion(leaf, ids, temperature=temperature, noise=noise, exclude=exclude)
    (inclusion * pull).sum().backward()
    for row, found in enumerate(leaf.grad):
        allowed = (~exclude[row] & ~scores[row].isneginf()).nonzero()[:, 0]
        expected = torch.zeros_like(found)
        if len(allowed):
            soft = torch.softmax((scores[row].double() + noise[row])[allowed] / temperature, dim=0)
            centred = pull[row][allowed] - (soft * pull[row][allowed]).sum()
            expected[allowed] = min(k, len(allowed)) * soft * centred / temperature
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_straight_through_gradient_is_that_of_finite_differences():
    scores = torch.tensor([[0.3, -1.0, 0.8, 0.1]], dtype=torch.float64, requires_grad=True)
    pull = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    (straight_through_inclusion(scores, torch.tensor([[2, 0]]), temperature=0.5) * pull).sum().backward()
    step = 1e-6
    for column in range(4):
        up, down = (scores.detach() + sign * step * torch.eye(4)[column] for sign in (1, -1))
        soft_up, soft_down = (2 * torch.softmax(moved / 0.5, dim=1) for moved in (up, down))
        expected = (((soft_up - soft_down) * pull).sum() / (2 * step)).item()
        assert expected != 0
        assert scores.grad[0, column].item() == pytest.approx(expected, rel=1e-6)


def test_straight_through_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match="temperature"):
        straight_through_inclusion(torch.zeros((1, 2)), torch.tensor([[0]]), temperature=0.0)
