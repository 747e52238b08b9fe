"""Draws with fixed weights: who may be drawn, and how often."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_lpo.core.weighted_sampling import weighted_draw


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.01, 1.0, 50.0]), min_size=1, max_size=12),
    k=st.integers(1, 14),
    barred=st.lists(st.integers(-1, 11), max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_row_draws_distinct_allowed_columns_and_all_of_them_where_k_is_large(weights, k, barred, seed):
    barred = [column for column in barred if column < len(weights)]
    exclude = torch.tensor([barred] * 3, dtype=torch.int64).reshape(3, len(barred))
    allowed = {column for column, weight in enumerate(weights) if weight > 0 and column not in barred}
    for row in weighted_draw(torch.tensor(weights), k, exclude=exclude, generator=stream(seed)).tolist():
        found = [column for column in row if column >= 0]
        assert len(set(found)) == len(found) == min(k, len(allowed))
        assert set(found) <= allowed
        assert row[: len(found)] == found


def test_ordered_pairs_come_as_often_as_plackett_luce_says():
    weight = torch.tensor([1.0, 2.0, 4.0, 0.0, 8.0])
    rows = 40_000
    exclude = torch.full((rows, 1), 1)
    drawn = weighted_draw(weight, 2, exclude=exclude, generator=stream(3))
    allowed, total = [0, 2, 4], 13.0
    pairs = [(first, second) for first in allowed for second in allowed if first != second]
    expected = [rows * float(weight[a]) / total * float(weight[b]) / (total - float(weight[a])) for a, b in pairs]
    found = [int(((drawn[:, 0] == a) & (drawn[:, 1] == b)).sum()) for a, b in pairs]
    assert sum(found) == rows
    assert chisquare(found, expected).pvalue > 1e-4


def test_what_is_filled_in_follows_the_same_law():
    # One column holds nearly all the weight, so that nearly every row has to be filled in.
    weight = torch.tensor([1e6, 1.0, 3.0])
    drawn = weighted_draw(weight, 2, exclude=torch.full((20_000, 1), -1), generator=stream(5))
    second = [int((drawn[:, 1] == column).sum()) for column in (1, 2)]
    assert chisquare(second, [sum(second) / 4, sum(second) * 3 / 4]).pvalue > 1e-4


def test_the_same_stream_gives_the_same_draw_and_torchs_own_is_left_alone():
    weight, exclude = torch.ones(50), torch.zeros((4, 1), dtype=torch.int64)
    before = torch.get_rng_state()
    first, second = (weighted_draw(weight, 5, exclude=exclude, generator=stream(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("weight", "k"), [(torch.ones(3), 0), (torch.tensor([1.0, -1.0]), 1), (torch.ones(2, 2), 1)])
def test_wrong_arguments_are_named(weight, k):
    with pytest.raises(ValueError, match=r"k =|weight"):
        weighted_draw(weight, k, exclude=torch.zeros((1, 0), dtype=torch.int64))
