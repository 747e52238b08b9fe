"""The list of cases, the order in which they run, and the goals that look at them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cases import Case, Side, cases
from benchmarks.goals import GOALS, Goal
from benchmarks.schedule import jobs, together

DATASETS = ("amazon-beauty", "ml-100k")


@pytest.mark.parametrize("quick", [True, False])
def test_no_two_cases_have_one_name(quick):
    names = [case.name for case in cases(DATASETS, quick=quick)]
    assert len(set(names)) == len(names)


def test_every_goal_looks_at_a_case_and_a_side_that_are_measured():
    known = {(case.name, side.name) for case in cases(DATASETS, quick=False) for side in case.sides}
    looked_at = {place[:2] for goal in GOALS for place in (goal.top, goal.bottom) if place}
    assert looked_at <= known


def test_the_sides_of_a_case_take_turns():
    case = Case("a", "training", {}, (Side("ours"), Side("recbole"), Side("aside", once=True)), repeat=3)
    order = [(job.repetition, job.side.name) for job in jobs([case])]
    assert order == [
        (0, "ours"), (0, "recbole"), (0, "aside"), (1, "recbole"), (1, "ours"), (2, "ours"), (2, "recbole"),
    ]  # fmt: skip


def test_what_differs_by_less_than_the_machine_does_is_measured_step_by_step():
    every = cases(DATASETS, quick=False)
    alike = {case.name for case in every if case.name.startswith(("preference/", "catalogue/loss/"))}
    assert {case.name for case in every if case.step_by_step} == alike
    case = Case("a", "training", {}, (Side("x"), Side("y")), repeat=2, step_by_step=True)
    alone = Case("b", "training", {}, (Side("alone"),))
    groups = [[(job.repetition, job.side.name) for job in group] for group in together(list(jobs([case, alone])))]
    assert groups == [[(0, "x"), (0, "y")], [(1, "y"), (1, "x")], [(0, "alone")]]


def test_recbole_always_goes_first_where_its_result_is_the_target():
    case = next(case for case in cases(DATASETS, quick=True) if case.name.startswith("end-to-end"))
    assert [job.side.name for job in jobs([case], 2)] == ["recbole", "ours"] * 2


def test_each_repetition_of_an_accuracy_has_a_seed_of_its_own_and_both_sides_share_it():
    case = Case("a", "accuracy", {"config": {"epochs": 3}}, (Side("packed"), Side("prefix")), repeat=2, seeds=True)
    seeds = [job.settings["config"] for job in jobs([case])]
    assert seeds == [{"epochs": 3, "seed": 2020}] * 2 + [{"epochs": 3, "seed": 2021}] * 2


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.1, 50))
def test_a_goal_is_met_where_its_ratio_is_within_the_bound(top, bottom, bound):
    figures = {("case", "recbole"): {"seconds": top}, ("case", "ours"): {"seconds": bottom}}
    places = ("case", "recbole", "seconds"), ("case", "ours", "seconds")
    value = Goal("", *places).measured(figures)
    assert value == top / bottom
    assert Goal("", *places, at_least=bound).is_met(value) == (top / bottom >= bound)
    assert Goal("", *places, at_most=bound).is_met(value) == (top / bottom <= bound)


def test_a_goal_without_its_figures_has_no_value():
    goal = Goal("", ("case", "recbole", "seconds"), ("case", "ours", "seconds"), at_least=1)
    assert goal.measured({}) is None
    assert goal.measured({("case", "recbole"): {"seconds": 1.0}, ("case", "ours"): {"reason": "failed"}}) is None
