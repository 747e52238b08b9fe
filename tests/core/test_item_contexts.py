"""What stands around the occurrences of items: against slices of the histories."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.item_contexts import (
    all_occurrences,
    contexts_at,
    drawn_occurrences,
    histories_at,
    occurrences,
    slices,
)

N_ITEMS = 9
HISTORIES = st.lists(st.lists(st.integers(1, N_ITEMS - 1), min_size=1, max_size=12), min_size=1, max_size=6)


def flat(histories):
    users = torch.tensor([7 * user for user, history in enumerate(histories) for _ in history], dtype=torch.int32)
    return users, torch.tensor([item for history in histories for item in history], dtype=torch.int32)


def by_slices(histories, reach, least):
    """[(item, what stands around it with the item among it, its place there)] of the occurrences, by item and time."""
    found = [
        (item, history[max(0, at - reach) : at + reach + 1], min(at, reach))
        for history in histories
        for at, item in enumerate(history)
    ]
    return sorted((one for one in found if len(one[1]) > least), key=lambda one: one[0])


@given(histories=HISTORIES, reach=st.integers(1, 5), least=st.integers(1, 3))
@settings(deadline=None)
def test_contexts_are_the_slices_of_the_histories_around_each_item(histories, reach, least):
    users, items = flat(histories)
    found = occurrences(users, items, N_ITEMS, reach=reach, least=least)
    expected = by_slices(histories, reach, least)
    contexts = contexts_at(found, torch.arange(len(found.place)), reach=reach)
    assert len(found.place) == len(expected)
    for row, (item, around, at) in enumerate(expected):
        length = int(contexts.length[row])
        assert contexts.items[row, :length].tolist() == around
        assert not contexts.items[row, length:].any()
        assert contexts.offset[row, :length].tolist() == [reach - at + nth for nth in range(length)]
        assert int(items[found.place[row]]) == item
    counts = [sum(one[0] == item for one in expected) for item in range(N_ITEMS)]
    assert found.count.tolist() == counts
    assert found.start.tolist() == [sum(counts[:item]) for item in range(N_ITEMS)]


@given(histories=HISTORIES)
@settings(deadline=None)
def test_all_occurrences_of_an_item_are_its_own_and_none_is_left_out(histories):
    users, items = flat(histories)
    found = occurrences(users, items, N_ITEMS, reach=2, least=1)
    asked = torch.arange(N_ITEMS)
    places, present = all_occurrences(found, asked)
    assert present.sum(dim=1).tolist() == found.count.tolist()
    assert sorted(places[present].tolist()) == list(range(len(found.place)))
    for item in asked:
        assert (items[found.place[places[item][present[item]]]] == item).all()


def test_drawn_occurrences_come_from_those_of_their_item_evenly():
    users, items = flat([[1, 2, 1, 3], [1, 2, 3, 1], [2, 1]])
    found = occurrences(users, items, N_ITEMS, reach=3, least=1)
    drawn = drawn_occurrences(found, torch.tensor([2, 1]), 4000, torch.Generator().manual_seed(0))
    assert (items[found.place[drawn]] == torch.tensor([[2], [1]])).all()
    for row, item in ((0, 2), (1, 1)):
        share = torch.bincount(drawn[row] - found.start[item], minlength=int(found.count[item])) / 4000
        # Five standard errors of a share.
        expected = 1 / int(found.count[item])
        torch.testing.assert_close(share, torch.full_like(share, expected), atol=5 * (0.25 / 4000) ** 0.5, rtol=0)


@pytest.mark.parametrize("least", [2, 3])
def test_an_occurrence_with_too_little_around_it_is_left_out(least):
    users, items = flat([[1], [2, 3], [4, 5, 6], [1, 2, 3, 4]])
    found = occurrences(users, items, N_ITEMS, reach=3, least=least)
    kept = {2: [4, 5, 6, 1, 2, 3, 4], 3: [1, 2, 3, 4]}[least]
    assert sorted(items[found.place].tolist()) == sorted(kept)


@given(histories=HISTORIES, reach=st.integers(0, 5), backward=st.booleans())
@settings(deadline=None)
def test_the_histories_of_an_occurrence_end_with_it_from_either_side(histories, reach, backward):
    users, items = flat(histories)
    found = occurrences(users, items, N_ITEMS, reach=reach, least=0)
    which = torch.arange(len(found.place))
    rows, length = histories_at(found, which, torch.full((len(which),), backward))
    expected = [
        (item, history[at : at + reach + 1][::-1] if backward else history[max(0, at - reach) : at + 1])
        for history in histories
        for at, item in enumerate(history)
    ]
    expected = [one for _, one in sorted(expected, key=lambda one: one[0])]
    assert [row[:n].tolist() for row, n in zip(rows, length, strict=True)] == expected
    assert not rows.masked_fill(torch.arange(rows.shape[1]) < length[:, None], 0).any()


def test_slices_are_python_slices_padded_on_the_right():
    items = torch.arange(10, 20, dtype=torch.int32)
    first, length, step = torch.tensor([2, 9, 0]), torch.tensor([3, 4, 0]), torch.tensor([1, -1, 1])
    assert slices(items, first, length, step).tolist() == [[12, 13, 14, 0], [19, 18, 17, 16], [0, 0, 0, 0]]
    assert slices(items, first[:1], length[:1]).tolist() == [[12, 13, 14]]
