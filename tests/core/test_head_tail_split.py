"""Which items are head and which are tail."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.popularity import HeadTailSplit

fast = settings(max_examples=60, deadline=None)
# Few distinct counts, so that most cuts go through a tie.
COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=14)
PERCENT = st.integers(0, 100)


def splits_of(counts, percent):
    """A split under each rule."""
    return [
        HeadTailSplit.from_counts(counts, rule="item_share", ratio=percent / 100),
        HeadTailSplit.from_counts(counts, rule="interaction_share", ratio=percent / 100),
        HeadTailSplit.from_counts(counts, rule="count_threshold", threshold=percent // 15),
    ]


def by_popularity(counts, keys=None):
    """Item numbers, most popular first; slow and plain."""
    return sorted(range(len(counts)), key=lambda item: (-counts[item], item if keys is None else keys[item]))


@fast
@given(COUNTS, PERCENT)
def test_head_and_tail_partition_the_items(counts, percent):
    for split in splits_of(counts, percent):
        assert sorted([*split.head_ids, *split.tail_ids]) == list(range(len(counts)))
        assert split.n_items == len(counts)
        assert split.is_head.nonzero()[0].tolist() == sorted(split.head_ids)


@fast
@given(COUNTS, PERCENT)
def test_no_tail_item_is_more_popular_than_a_head_item(counts, percent):
    for split in splits_of(counts, percent):
        lowest, highest = min(split.counts[split.head_ids], default=9), max(split.counts[split.tail_ids], default=0)
        assert lowest >= highest


@fast
@given(COUNTS, PERCENT)
def test_items_never_seen_are_tail_under_every_rule(counts, percent):
    for split in splits_of(counts, percent):
        unseen = [item for item, count in enumerate(counts) if count == 0]
        assert set(unseen) <= set(split.tail_ids)
        assert split.n_unseen == len(unseen)


@fast
@given(COUNTS, PERCENT)
def test_item_share_takes_the_floor_of_the_share_of_the_items(counts, percent):
    split = HeadTailSplit.from_counts(counts, rule="item_share", ratio=percent / 100)
    wanted = by_popularity(counts)[: percent * len(counts) // 100]
    assert split.head_ids.tolist() == [item for item in wanted if counts[item]]


@fast
@given(COUNTS, PERCENT)
def test_interaction_share_takes_the_fewest_items_that_hold_the_share(counts, percent):
    split = HeadTailSplit.from_counts(counts, rule="interaction_share", ratio=percent / 100)
    wanted, held = [], 0
    for item in by_popularity(counts):
        if 100 * held >= percent * sum(counts):
            break
        wanted.append(item)
        held += counts[item]
    assert split.head_ids.tolist() == wanted


@fast
@given(COUNTS, st.integers(0, 7))
def test_count_threshold_takes_the_items_above_the_threshold(counts, threshold):
    split = HeadTailSplit.from_counts(counts, rule="count_threshold", threshold=threshold)
    assert set(split.head_ids) == {item for item, count in enumerate(counts) if count > threshold}


@fast
@given(COUNTS, PERCENT)
def test_both_groups_are_sorted_by_popularity(counts, percent):
    for split in splits_of(counts, percent):
        assert [*split.head_ids, *split.tail_ids] == by_popularity(counts)


@fast
@given(COUNTS, PERCENT)
def test_n_tied_counts_the_items_of_the_count_that_the_cut_goes_through(counts, percent):
    for split in splits_of(counts, percent):
        in_head = {counts[item] for item in split.head_ids}
        cut_through = [count for count in in_head if count in {counts[item] for item in split.tail_ids}]
        assert split.n_tied == (counts.count(cut_through[0]) if cut_through else 0)


@fast
@given(COUNTS, PERCENT)
def test_cut_count_is_the_count_of_the_least_popular_head_item(counts, percent):
    for split in splits_of(counts, percent):
        assert split.cut_count == min((counts[item] for item in split.head_ids), default=None)


@pytest.mark.parametrize("rule", ["item_share", "interaction_share"])
def test_a_ratio_of_zero_leaves_no_head(rule):
    split = HeadTailSplit.from_counts([3, 0, 5, 1], rule=rule, ratio=0)
    assert split.head_ids.tolist() == []
    assert split.tail_ids.tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize("rule", ["item_share", "interaction_share"])
def test_a_ratio_of_one_leaves_only_unseen_items_to_the_tail(rule):
    split = HeadTailSplit.from_counts([3, 0, 5, 1], rule=rule, ratio=1)
    assert split.head_ids.tolist() == [2, 0, 3]
    assert split.tail_ids.tolist() == [1]


def test_without_a_ratio_a_fifth_of_the_items_is_head():
    assert HeadTailSplit.from_counts(list(range(1, 21))).head_ids.tolist() == [19, 18, 17, 16]


def test_without_a_ratio_the_head_holds_four_fifths_of_the_interactions():
    split = HeadTailSplit.from_counts([50, 30, 15, 5], rule="interaction_share")
    assert split.head_ids.tolist() == [0, 1]


@pytest.mark.parametrize(("percent", "n_items"), [(29, 100), (57, 100), (58, 100), (7, 100), (70, 10), (60, 5)])
def test_the_size_of_the_head_is_free_of_rounding_errors(percent, n_items):
    split = HeadTailSplit.from_counts([1] * n_items, rule="item_share", ratio=percent / 100)
    assert len(split.head_ids) == percent * n_items // 100


def test_equally_popular_items_go_by_token():
    split = HeadTailSplit.from_counts([3, 3, 9, 3, 3], ratio=0.6, tie_break=["d", "a", "z", "c", "b"])
    assert split.head_ids.tolist() == [2, 1, 4]
    assert split.tail_ids.tolist() == [3, 0]


def test_without_tokens_equally_popular_items_go_by_column_number():
    assert HeadTailSplit.from_counts([3, 3, 9, 3, 3], ratio=0.6).head_ids.tolist() == [2, 0, 1]


@fast
@given(COUNTS, PERCENT, st.randoms(use_true_random=False))
def test_with_tokens_the_numbering_of_the_items_does_not_matter(counts, percent, draw):
    tokens = [f"item{number}" for number in range(len(counts))]
    pairs = list(zip(counts, tokens, strict=True))
    draw.shuffle(pairs)
    shuffled_counts, shuffled_tokens = zip(*pairs, strict=True)
    one = HeadTailSplit.from_counts(counts, ratio=percent / 100, tie_break=tokens)
    other = HeadTailSplit.from_counts(shuffled_counts, ratio=percent / 100, tie_break=shuffled_tokens)
    assert [tokens[item] for item in one.head_ids] == [shuffled_tokens[item] for item in other.head_ids]


def test_when_all_items_tie_the_tokens_alone_decide():
    split = HeadTailSplit.from_counts([4] * 5, ratio=0.4, tie_break=["e", "d", "c", "b", "a"])
    assert split.head_ids.tolist() == [4, 3]
    assert split.n_tied == 5


def test_a_cut_between_two_counts_has_no_tie():
    assert HeadTailSplit.from_counts([5, 5, 2, 2], ratio=0.5).n_tied == 0


@fast
@given(COUNTS, PERCENT, st.integers(0, 20))
def test_the_padding_column_is_in_neither_group_whatever_its_count(counts, percent, count_of_padding):
    pad_id = len(counts) // 2
    padded = [*counts[:pad_id], count_of_padding, *counts[pad_id:]]
    split = HeadTailSplit.from_counts(padded, ratio=percent / 100, pad_id=pad_id)
    bare = HeadTailSplit.from_counts(counts, ratio=percent / 100)
    assert not split.is_head[pad_id]
    assert [item - (item > pad_id) for item in split.head_ids] == bare.head_ids.tolist()
    assert [item - (item > pad_id) for item in split.tail_ids] == bare.tail_ids.tolist()
    assert (split.n_items, split.n_tied) == (bare.n_items, bare.n_tied)


@pytest.mark.parametrize("name", ["is_head", "head_ids", "tail_ids", "counts"])
def test_its_arrays_cannot_be_written(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(HeadTailSplit.from_counts([3, 1, 2], ratio=0.5), name)[0] = 0


def test_its_fields_cannot_be_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        HeadTailSplit.from_counts([3, 1, 2]).n_tied = 1


def test_the_callers_counts_stay_the_callers():
    counts = np.array([3, 1, 2])
    split = HeadTailSplit.from_counts(counts, ratio=0.5, pad_id=0)
    counts[1] = 9
    assert split.counts.tolist() == [0, 1, 2]
    assert counts.tolist() == [3, 9, 2]


def test_its_description_has_the_numbers_of_the_split_as_plain_values():
    split = HeadTailSplit.from_counts([0, 6, 2, 2, 0], ratio=0.5, pad_id=0)
    assert json.loads(json.dumps(split.describe())) == {
        "rule": "item_share", "ratio": 0.5, "threshold": None, "items": 4, "head_items": 2, "tail_items": 2,
        "unseen_items": 1, "interactions": 10, "head_interaction_share": 0.8, "cut_count": 2, "n_tied": 2,
    }  # fmt: skip


def test_a_catalogue_without_interactions_is_all_tail():
    split = HeadTailSplit.from_counts([0, 0, 0], rule="interaction_share", ratio=0.8)
    assert split.tail_ids.tolist() == [0, 1, 2]
    assert split.describe()["head_interaction_share"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.01}, "ratio"),
        ({"ratio": -0.1}, "ratio"),
        ({"ratio": 20}, "not per cent"),
        ({"ratio": float("nan")}, "ratio"),
        ({"rule": "interaction_share", "ratio": 2}, "ratio"),
        ({"rule": "count_threshold"}, "threshold"),
        ({"rule": "count_threshold", "threshold": -1}, "threshold"),
        ({"rule": "pareto"}, "item_share"),
        ({"counts": [1, -1, 2]}, "item 1"),
        ({"counts": [1.0, 2.0, 3.0]}, "integer"),
        ({"counts": [[1, 2, 3]]}, "one-dimensional"),
        ({"tie_break": ["a", "b"]}, "tie_break"),
        ({"pad_id": 3}, "pad_id"),
        ({"pad_id": -1}, "pad_id"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeadTailSplit.from_counts(**{"counts": [1, 2, 3], **arguments})
