"""The Pareto front and the reach of a curve, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.trade_off import pareto_front, reached

fast = settings(max_examples=60, deadline=None)
# Few values, so that points coincide.
GRID = st.integers(0, 5).map(float)
POINTS = st.lists(st.tuples(GRID, GRID), min_size=1, max_size=8)
# Off a corner by more than the rounding of the walk, or not at all.
AT = st.floats(-1, 6).map(lambda at: round(at, 6))


def beats(one, other):
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


@fast
@given(POINTS)
def test_the_front_is_what_no_other_point_beats(points):
    found = pareto_front(*np.array(points).T)
    assert found.tolist() == [not any(beats(other, one) for other in points) for one in points]
    assert found.any()


def test_a_point_without_a_value_is_not_on_the_front_and_takes_none_off_it():
    assert pareto_front(np.array([1.0, np.nan, 0.5]), np.array([1.0, 9.0, np.nan])).tolist() == [True, False, False]


@fast
@given(POINTS, AT)
def test_a_curve_reaches_what_a_walk_along_it_finds(points, at):
    first, second = np.array(points).T
    # Every corner is one of the steps, exactly.
    along = np.arange(2000 * (len(points) - 1) + 1) / 2000
    x, y = (np.interp(along, np.arange(len(points)), values) for values in (first, second))
    found = float(reached(first, second, np.array(at)))
    slowly = y[x >= min(at, first.max()) - 1e-12].max()
    # The walk has steps of a two-thousandth of a segment, whose ends differ by at most 5.
    assert slowly - 1e-9 <= found <= slowly + 5 / 1000


@fast
@given(POINTS, st.floats(-1, 6), st.floats(-1, 6))
def test_less_of_the_one_is_never_paid_with_less_of_the_other(points, one, other):
    first, second = np.array(points).T
    low, high = reached(first, second, np.array(sorted([one, other])))
    assert low >= high


def test_several_curves_are_read_at_once_each_at_several_places():
    first, second = np.array([[3.0, 1.0], [4.0, 2.0]]), np.array([[0.0, 2.0], [1.0, 3.0]])
    found = reached(first[:, None], second[:, None], np.array([[2.0, 5.0], [3.0, 0.0]]))
    assert found == pytest.approx(np.array([[1.0, 0.0], [2.0, 3.0]]))
