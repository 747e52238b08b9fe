"""Items that share rare attribute values are alike."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recbole_lpo.core import alike_items as module
from recbole_lpo.core.alike_items import alike_items

V = 6
fast = settings(max_examples=60, deadline=None)
CATALOGUES = st.lists(st.sets(st.integers(0, V - 1)), min_size=1, max_size=12)


def matrix(catalogue):
    cells = [(item, value) for item, values in enumerate(catalogue) for value in sorted(values)]
    row, col = zip(*cells, strict=True) if cells else ((), ())
    return sparse.csr_matrix((np.ones(len(cells), dtype=np.float32), (row, col)), shape=(len(catalogue), V))


def slow(catalogue, most, most_holders):
    """The twin: item by item, from sets."""
    n = len(catalogue)
    holders = {value: sum(value in values for values in catalogue) for value in range(V)}
    weight = {value: math.log(n / held) if 1 < held <= most_holders else 0.0 for value, held in holders.items() if held}
    length = [math.sqrt(sum(weight[value] ** 2 for value in values)) for values in catalogue]
    found = np.zeros((n, n))
    for one in range(n):
        for other in range(n):
            shared = sum(weight[value] ** 2 for value in catalogue[one] & catalogue[other])
            if one != other and shared:
                found[one, other] = round(shared / length[one] / length[other], 6)
        lowest = sorted(found[one], reverse=True)[most - 1 if most <= n else n - 1]
        kept = np.where(found[one] >= max(lowest, 1e-9), found[one], 0) ** 4
        found[one] = kept / kept.sum() if kept.sum() else 0
    return found


@fast
@given(CATALOGUES, st.integers(1, 13), st.integers(1, 12), st.sampled_from([1, 3, 1024]))
def test_the_table_is_that_of_sets_compared_one_by_one(catalogue, most, most_holders, rows_at_once):
    before, module._ROWS_AT_ONCE = module._ROWS_AT_ONCE, rows_at_once
    try:
        found = alike_items(matrix(catalogue), most=most, most_holders=most_holders)
    finally:
        module._ROWS_AT_ONCE = before
    np.testing.assert_allclose(found.toarray(), slow(catalogue, most, most_holders), rtol=1e-4, atol=1e-6)


@fast
@given(CATALOGUES, st.integers(1, 13))
def test_a_row_sums_to_one_or_is_empty_and_no_item_is_like_itself(catalogue, most):
    found = alike_items(matrix(catalogue), most=most)
    sums = np.asarray(found.sum(axis=1)).ravel()
    assert np.all(np.isclose(sums, 1, atol=1e-5) | (sums == 0))
    assert not found.diagonal().any() and (found.data > 0).all()


def test_a_shared_rare_value_makes_more_alike_than_a_shared_common_one():
    # Items 0 and 1 share value 0, which nobody else has; 0 shares value 1 with 2, 3 and 4.
    found = alike_items(matrix([{0, 1}, {0}, {1}, {1}, {1}, set()])).toarray()
    rare, common = math.log(6 / 2), math.log(6 / 4)
    length = math.hypot(rare, common)
    likeness = [(rare / length) ** 4, (common / length) ** 4]
    expected = np.array([0, likeness[0], *3 * [likeness[1]], 0]) / (likeness[0] + 3 * likeness[1])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert found[0, 1] > 10 * found[0, 2]


def test_equals_are_kept_together_beyond_the_number_that_is_asked_for():
    found = alike_items(matrix([{0}, {0}, {0}, {0}, {1}]), most=1).toarray()
    np.testing.assert_allclose(found[0], [0, 1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)


def test_a_value_that_too_many_items_have_does_not_count():
    assert not alike_items(matrix([{0}, {0}, {0}, {1}]), most_holders=2).nnz
    assert alike_items(matrix([{0}, {0}, {0}, {1}]), most_holders=3).nnz == 6


def test_no_items_make_an_empty_table():
    assert alike_items(sparse.csr_matrix((0, 3), dtype=np.float32)).shape == (0, 0)
