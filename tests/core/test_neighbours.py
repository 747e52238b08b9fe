"""What followed what in training, and its mixture with a model's probabilities."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recbole_lpo.core.neighbours import mixed_log_prob, neighbour_table, neighbour_weight, with_alike_items

N = 8
fast = settings(max_examples=40, deadline=None)
HISTORIES = st.lists(st.lists(st.integers(1, N - 1), min_size=1, max_size=7), min_size=1, max_size=6)


def events(histories):
    users = np.concatenate([np.full(len(items), number) for number, items in enumerate(histories, start=1)])
    return users.astype(np.int32), np.concatenate(histories).astype(np.int32)


def slow_table(histories, reach, discount):
    found, count = np.zeros((N, N)), defaultdict(int)
    for items in histories:
        for place, item in enumerate(items):
            count[item] += 1
            for distance in range(1, reach + 1):
                if place + distance < len(items) and items[place + distance] != item:
                    found[item, items[place + distance]] += 1 / distance
                    found[items[place + distance], item] += 0.5 / distance
    scale = np.array([max(1, count[item]) ** discount for item in range(N)])
    return found / scale / scale[:, None]


@fast
@given(HISTORIES, st.integers(1, 9), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_table_is_that_of_a_count_pair_by_pair(histories, reach, discount):
    table = neighbour_table(*events(histories), N, reach=reach, discount=discount)
    np.testing.assert_allclose(table.toarray(), slow_table(histories, reach, discount), rtol=1e-5)


def test_a_pair_of_neighbours_counts_one_forward_and_half_back_over_the_root_of_both_counts():
    # 1 then 2 then 3; then 1 then 2.
    table = neighbour_table(*events([[1, 2, 3], [1, 2]]), 4, reach=2, discount=0.5).toarray()
    root = 2**0.5
    expected = [[0, 0, 0, 0], [0, 0, 2 / 2, 0.5 / root], [0, 1 / 2, 0, 1 / root], [0, 0.25 / root, 0.5 / root, 0]]
    np.testing.assert_allclose(table, expected, rtol=1e-6)


@fast
@given(HISTORIES, st.integers(1, 9), st.sampled_from([0.5, 0.8, 1.0]))
def test_the_latest_items_of_a_history_speak_by_recency(histories, reach, recency):
    table = neighbour_table(*events([[1, 2, 3, 4, 5, 6, 7], [2, 5, 1]]), N, reach=3, discount=0.5)
    length = torch.tensor([len(items) for items in histories])
    padded = torch.zeros(len(histories), 9, dtype=torch.int64)
    for row, items in enumerate(histories):
        padded[row, : len(items)] = torch.tensor(items)
    found = neighbour_weight(table, padded, length, reach=reach, recency=recency)
    for row, items in enumerate(histories):
        latest = items[::-1][:reach]
        expected = sum(recency**nth * table.toarray()[item] for nth, item in enumerate(latest))
        np.testing.assert_allclose(found[[row]].toarray()[0], expected, rtol=1e-5, atol=1e-7)


@fast
@given(st.integers(0, 2**31), st.floats(0, 0.95))
def test_the_mixture_is_the_weighted_mean_of_both_over_what_is_ranked(seed, share):
    generator = torch.Generator().manual_seed(seed)
    scores = 5 * torch.randn(5, N, generator=generator)
    weight = torch.rand(5, N, generator=generator) * (torch.rand(5, N, generator=generator) < 0.6)
    weight[:, 1] += 0.1
    barred = torch.rand(5, N, generator=generator) < 0.3
    barred[:, 1:3] = False
    scores[barred] = -torch.inf
    found = mixed_log_prob(scores, sparse.csr_matrix(weight.numpy()), share).double().exp()
    kept = weight.masked_fill(barred, 0)
    expected = (1 - share) * scores.double().softmax(1) + share * kept / kept.sum(1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(5, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_a_share_of_nothing_and_a_row_without_neighbours_keep_the_softmax():
    scores, weight = torch.randn(3, N), torch.rand(3, N)
    torch.testing.assert_close(mixed_log_prob(scores, sparse.csr_matrix(weight.numpy()), 0.0), scores.log_softmax(1))
    weight[1] = 0
    found = mixed_log_prob(scores, sparse.csr_matrix(weight.numpy()), 0.5)
    torch.testing.assert_close(found[1], scores[1].log_softmax(0))


def test_a_score_far_below_the_others_keeps_its_place():
    scores = torch.tensor([[0.0, -200.0, -300.0, -400.0]])
    found = mixed_log_prob(scores, sparse.csr_matrix([[0, 0, 0, 1.0]], dtype=np.float32), 0.3)
    assert found[0].argsort(descending=True).tolist() == [0, 3, 1, 2]
    assert found.isfinite().all()


def test_items_that_the_table_does_not_know_have_no_weight():
    scores = torch.zeros(1, 5)
    found = mixed_log_prob(scores, sparse.csr_matrix([[0, 1.0, 0]], dtype=np.float32), 0.5).exp()
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.6, 0.1, 0.1, 0.1]]))


@pytest.mark.parametrize("reach", [1, 50])
def test_users_with_one_item_have_no_neighbours(reach):
    assert neighbour_table(*events([[1], [2], [3]]), N, reach=reach, discount=0.5).nnz == 0


@fast
@given(HISTORIES, st.floats(0, 5))
def test_alike_items_weigh_the_same_for_every_item_in_units_of_the_median_row(histories, strength):
    table = neighbour_table(*events(histories), N, reach=3, discount=0.5)
    alike = sparse.csr_matrix(np.full((N, N), 1 / N, dtype=np.float32))
    found = with_alike_items(table, alike, strength).toarray()
    sums = table.toarray().sum(axis=1)
    usual = np.median(sums[sums > 0]) if sums.any() else 1
    np.testing.assert_allclose(found, table.toarray() + strength * usual / N, rtol=1e-5, atol=1e-6)
