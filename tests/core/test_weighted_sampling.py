"""Draws with fixed weights: who may be drawn, and how often."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_lpo.core.weighted_sampling import batch_draw, cumulative_weight, weighted_draw


@pytest.fixture(params=[True, False], ids=["at once", "few numbers"])
def _either_way(request, monkeypatch):
    """Noise for every column, and draws with replacement that are completed."""
    monkeypatch.setattr("recbole_lpo.core.weighted_sampling.draws_at_once", lambda *_: request.param)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.usefixtures("_either_way")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    for row in weighted_draw(
        cumulative_weight(torch.tensor(weights)), k, exclude=exclude, generator=stream(seed)
    ).tolist():
        found = [column for column in row if column >= 0]
        assert len(set(found)) == len(found) == min(k, len(allowed))
        assert set(found) <= allowed
        assert row[: len(found)] == found


@pytest.mark.usefixtures("_either_way")
def test_ordered_pairs_come_as_often_as_plackett_luce_says():
    weight = torch.tensor([1.0, 2.0, 4.0, 0.0, 8.0])
    rows = 40_000
    exclude = torch.full((rows, 1), 1)
    drawn = weighted_draw(cumulative_weight(weight), 2, exclude=exclude, generator=stream(3))
    allowed, total = [0, 2, 4], 13.0
    pairs = [(first, second) for first in allowed for second in allowed if first != second]
    expected = [rows * float(weight[a]) / total * float(weight[b]) / (total - float(weight[a])) for a, b in pairs]
    found = [int(((drawn[:, 0] == a) & (drawn[:, 1] == b)).sum()) for a, b in pairs]
    assert sum(found) == rows
    assert chisquare(found, expected).pvalue > 1e-4


@pytest.mark.usefixtures("_either_way")
def test_what_is_filled_in_follows_the_same_law():
    # One column holds nearly all the weight, so that nearly every row has to be filled in.
    weight = torch.tensor([1e6, 1.0, 3.0])
    drawn = weighted_draw(cumulative_weight(weight), 2, exclude=torch.full((20_000, 1), -1), generator=stream(5))
    second = [int((drawn[:, 1] == column).sum()) for column in (1, 2)]
    assert chisquare(second, [sum(second) / 4, sum(second) * 3 / 4]).pvalue > 1e-4


def test_the_same_stream_gives_the_same_draw_and_torchs_own_is_left_alone():
    weight, exclude = cumulative_weight(torch.ones(50)), torch.zeros((4, 1), dtype=torch.int64)
    before = torch.get_rng_state()
    first, second = (weighted_draw(weight, 5, exclude=exclude, generator=stream(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("weight", [[1.0, -1.0], [[1.0, 1.0]], [float("nan"), 1.0], [float("inf")]])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match="weight must be"):
        cumulative_weight(torch.tensor(weight))


def test_to_draw_nothing_is_refused():
    with pytest.raises(ValueError, match="k = 0"):
        weighted_draw(cumulative_weight(torch.ones(3)), 0, exclude=torch.zeros((1, 0), dtype=torch.int64))


# From the targets of a batch


@pytest.mark.usefixtures("_either_way")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    k=st.integers(1, 12),
    history=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_row_draws_different_other_targets_of_its_batch_and_all_of_them_where_k_is_large(target, k, history, seed):
    exclude = torch.tensor([[own, *history] for own in target])
    drawn = batch_draw(torch.tensor(target), k, exclude=exclude, generator=stream(seed)).tolist()
    for own, row in zip(target, drawn, strict=True):
        allowed = set(target) - {own, *history}
        found = [item for item in row if item >= 0]
        assert len(set(found)) == len(found) == min(k, len(allowed))
        assert set(found) <= allowed
        assert row == found + [-1] * (k - len(found))


@pytest.mark.usefixtures("_either_way")
def test_an_item_counts_as_often_as_it_is_a_target_of_the_batch():
    target = torch.tensor([7] * 1000 + [3] * 2000 + [12] * 3000 + [5] * 4000)
    drawn = batch_draw(target, 1, exclude=target[:, None], generator=stream(2))[target == 5, 0]
    assert chisquare([int((drawn == item).sum()) for item in (7, 3, 12)], [4000 / 6, 8000 / 6, 2000]).pvalue > 1e-4
