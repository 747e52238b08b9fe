"""Paired tests against scipy, against their definitions, and on data without any difference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_lpo.compare.significance import heights_above_curve, holm, paired_differences, paired_over_seeds

fast = settings(max_examples=40, deadline=None)


def drawn(users, comparisons, seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    # Most users of a top-k metric score 0 under both methods.
    values = random.normal(shift, 1.0, (users, comparisons)) * (random.random((users, comparisons)) < 0.4)
    return values, np.ones((users, comparisons), dtype=bool)


def test_the_p_value_is_that_of_scipy_s_permutation_test():
    values, member = drawn(60, 3, shift=0.5)
    ours = paired_differences(values, member, rounds=20_000).p
    for column in range(3):
        scipy_s = stats.permutation_test(
            (values[:, column], np.zeros(60)),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            n_resamples=20_000,
            vectorized=True,
        ).pvalue
        assert ours[column] == pytest.approx(scipy_s, abs=0.02)


def test_the_p_value_of_few_users_is_that_of_all_their_sign_patterns():
    values = np.array([[0.3], [-0.1], [0.7], [0.2], [0.5]])
    sums = np.array(list(itertools.product([1, -1], repeat=5))) @ values[:, 0]
    exact = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-12)
    found = paired_differences(values, np.ones_like(values, dtype=bool), rounds=50_000).p[0]
    assert found == pytest.approx(exact, abs=0.01)


def test_the_interval_is_that_of_scipy_s_percentile_bootstrap():
    values, member = drawn(300, 1, shift=0.5)
    ours = paired_differences(values, member, rounds=10, bootstrap_rounds=20_000)
    scipy_s = stats.bootstrap((values[:, 0],), np.mean, n_resamples=20_000, method="percentile").confidence_interval
    assert ours.low[0] == pytest.approx(scipy_s.low, abs=0.01)
    assert ours.high[0] == pytest.approx(scipy_s.high, abs=0.01)


def test_without_a_difference_one_test_in_twenty_finds_one():
    values, member = drawn(200, 2_000, seed=3)
    p = paired_differences(values, member, rounds=2_000, bootstrap_rounds=10).p
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_the_interval_holds_the_true_mean_nineteen_times_in_twenty():
    random = np.random.default_rng(5)
    values = random.normal(0.3, 1.0, (200, 1_000))
    found = paired_differences(values, np.ones_like(values, dtype=bool), rounds=10, bootstrap_rounds=1_000)
    assert np.mean((found.low <= 0.3) & (found.high >= 0.3)) == pytest.approx(0.95, abs=0.025)


def test_users_outside_a_group_change_nothing():
    values, member = drawn(80, 1)
    member[50:] = False
    inside = paired_differences(values, member, seed=4)
    other = np.where(member, values, 99.0)
    outside = paired_differences(other, member, seed=4)
    for name in ("mean", "low", "high", "p", "effect", "n"):
        assert getattr(inside, name) == pytest.approx(getattr(outside, name))
    assert inside.mean[0] == pytest.approx(values[:50].mean())
    assert inside.n[0] == 50


def test_equal_methods_have_no_difference_and_no_effect():
    found = paired_differences(np.zeros((40, 1)), np.ones((40, 1), dtype=bool), rounds=100)
    assert found.mean[0] == 0
    assert found.p[0] == 1
    assert np.isnan(found.effect[0])


def test_a_group_without_users_is_refused():
    with pytest.raises(ValueError, match="no users"):
        paired_differences(np.zeros((3, 1)), np.zeros((3, 1), dtype=bool))


@fast
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_keeps_their_order_and_stays_below_one(values):
    p = np.array(values)
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


def test_holm_agrees_with_an_example_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_could_not_be_tested():
    assert holm(np.array([0.02, np.nan, 0.03])) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)


def test_the_test_over_seeds_is_the_paired_t_test():
    a, b = np.array([0.041, 0.043, 0.040]), np.array([0.039, 0.042, 0.0385])
    assert paired_over_seeds(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert np.isnan(paired_over_seeds(a[:1], b[:1]))
    assert paired_over_seeds(a, a) == 1


def on_a_curve(users, seed, share=0.5, lift=0.0):
    """(method, curve, in tail): the method takes one end of the curve or the other by a coin, so it is on the line."""
    random = np.random.default_rng(seed)
    in_tail = random.random(users) < 0.6
    shift = np.where(in_tail, 0.1, -0.3)
    weak = random.random(users) * 0.5 + 0.2
    strong = weak + shift + random.normal(0, 0.05, users)
    method = np.where(random.random(users) < share, strong, weak) + random.normal(0, 0.1, users) + lift * in_tail
    return method, np.stack([weak, strong], axis=1), in_tail


def test_a_method_on_the_curve_is_called_off_it_one_time_in_twenty():
    outside = 0
    for seed in range(300):
        method, curve, in_tail = on_a_curve(200, seed)
        height = heights_above_curve(method[:, None], curve, in_tail, bootstrap_rounds=300)[0]
        outside += not height.low <= 0 <= height.high
    assert outside / 300 == pytest.approx(0.05, abs=0.035)


def test_the_height_is_the_tail_value_less_that_of_the_curve_at_the_same_overall_value():
    method, curve, in_tail = on_a_curve(4_000, seed=1, lift=0.05)
    height = heights_above_curve(method[:, None], curve, in_tail, bootstrap_rounds=300)[0]
    # What lifts the tail by 0.05 lifts the overall value too, to where the curve has less on the tail.
    weak, strong = curve.mean(axis=0)
    share = (weak - method.mean()) / (weak - strong)
    on_curve = curve[in_tail].mean(axis=0) @ [1 - share, share]
    assert height.mean == pytest.approx(method[in_tail].mean() - on_curve)
    assert height.low < height.mean < height.high
    assert height.low > 0


def test_with_more_methods_each_interval_is_wider():
    method, curve, in_tail = on_a_curve(300, seed=2)
    alone = heights_above_curve(method[:, None], curve, in_tail)[0]
    first, *_ = heights_above_curve(np.repeat(method[:, None], 5, axis=1), curve, in_tail)
    assert first.mean == pytest.approx(alone.mean)
    assert first.low < alone.low
    assert first.high > alone.high


def test_without_users_in_the_tail_there_is_no_height():
    with pytest.raises(ValueError, match="no users with a tail target"):
        heights_above_curve(np.ones((3, 1)), np.ones((3, 2)), np.zeros(3, dtype=bool))
