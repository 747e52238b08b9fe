"""The learning rate over the steps of a run."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.trainer.schedule import attach_schedule, rate_factor

SCHEDULES = ("constant", "cosine", "linear")

schedules = st.sampled_from(SCHEDULES)
totals = st.integers(1, 5000)
ratios = st.floats(0, 1, exclude_max=True)


def factors(total, ratio, schedule):
    return [rate_factor(step, total_steps=total, warmup_ratio=ratio, schedule=schedule) for step in range(total)]


@settings(deadline=None)
@given(st.integers(0, 10_000), totals, ratios, schedules)
def test_the_factor_is_a_share(step, total, ratio, schedule):
    assert 0 <= rate_factor(step, total_steps=total, warmup_ratio=ratio, schedule=schedule) <= 1


@settings(deadline=None)
@given(st.integers(2, 500), st.floats(0.02, 0.98), schedules)
def test_the_warm_up_rises_in_equal_steps_to_the_full_rate(total, ratio, schedule):
    n = round(ratio * total)
    warm = factors(total, ratio, schedule)[:n]
    assert warm == pytest.approx([(step + 1) / n for step in range(n)])


@settings(deadline=None)
@given(st.integers(2, 500), ratios, schedules)
def test_the_full_rate_comes_first_right_after_the_warm_up(total, ratio, schedule):
    n = round(ratio * total)
    if n < total:
        assert rate_factor(n, total_steps=total, warmup_ratio=ratio, schedule=schedule) == 1
    assert all(factor < 1 for factor in factors(total, ratio, schedule)[: max(0, n - 1)])


@settings(deadline=None)
@given(totals, ratios, st.integers(0, 10_000))
def test_a_constant_rate_stays_after_the_warm_up(total, ratio, step):
    n = round(ratio * total)
    assert rate_factor(n + step, total_steps=total, warmup_ratio=ratio, schedule="constant") == 1


@settings(deadline=None)
@given(totals, ratios, st.sampled_from(["cosine", "linear"]))
def test_a_falling_rate_never_rises_after_the_warm_up(total, ratio, schedule):
    after = factors(total, ratio, schedule)[round(ratio * total) :]
    assert all(later <= earlier for earlier, later in pairwise(after))


@settings(deadline=None)
@given(totals, ratios, st.sampled_from(["cosine", "linear"]), st.integers(0, 100))
def test_a_falling_rate_ends_at_zero_and_stays_there(total, ratio, schedule, later):
    if round(ratio * total) < total:
        found = rate_factor(total + later, total_steps=total, warmup_ratio=ratio, schedule=schedule)
        assert found == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("quarter", "cosine", "linear"), [(0, 1, 1), (1, 0.8535534, 0.75), (2, 0.5, 0.5), (3, 0.1464466, 0.25)]
)
def test_a_falling_rate_follows_its_curve(quarter, cosine, linear):
    step = 100 + quarter * 225
    options = {"total_steps": 1000, "warmup_ratio": 0.1}
    assert rate_factor(step, schedule="cosine", **options) == pytest.approx(cosine)
    assert rate_factor(step, schedule="linear", **options) == pytest.approx(linear)


def optimizer_of(rate=0.5):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates_used(optimizer, steps):
    """The learning rate with which each step is taken."""
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return used


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_step_of_the_optimizer_is_taken_at_its_own_rate(schedule):
    optimizer = optimizer_of()
    attach_schedule(optimizer, total_steps=20, warmup_ratio=0.25, schedule=schedule)
    assert rates_used(optimizer, 20) == pytest.approx([0.5 * factor for factor in factors(20, 0.25, schedule)])


def test_the_rate_is_what_moves_the_weights():
    optimizer = optimizer_of()
    weight = optimizer.param_groups[0]["params"][0]
    attach_schedule(optimizer, total_steps=4, warmup_ratio=0.5, schedule="linear")
    moved = []
    for _ in range(4):
        before = weight.item()
        weight.grad = torch.ones(1)
        optimizer.step()
        moved.append(before - weight.item())
    assert moved == pytest.approx([0.25, 0.5, 0.5, 0.25])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_that_goes_on_has_the_rates_of_one_that_never_stopped(schedule):
    whole, rest = optimizer_of(), optimizer_of()
    options = {"total_steps": 20, "warmup_ratio": 0.25, "schedule": schedule}
    attach_schedule(whole, **options)
    attach_schedule(rest, done_steps=8, **options)
    assert rates_used(rest, 12) == pytest.approx(rates_used(whole, 20)[8:])


def test_a_rate_that_never_changes_needs_no_scheduler():
    optimizer = optimizer_of()
    assert attach_schedule(optimizer, total_steps=5, warmup_ratio=0, schedule="constant") is None
    assert rates_used(optimizer, 5) == [0.5] * 5


def test_every_group_of_parameters_follows_the_schedule():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.1}], lr=0.5)
    attach_schedule(optimizer, total_steps=10, warmup_ratio=0, schedule="cosine")
    for _ in range(5):
        optimizer.step()
    factor = 0.5 * (1 + math.cos(math.pi / 2))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5 * factor, 0.1 * factor])
