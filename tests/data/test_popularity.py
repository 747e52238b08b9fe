"""Popularity of items in RecBole's training data."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.data.popularity import head_tail_split, training_counts, training_events
from recbole_lpo.settings import SplitSettings
from tests.conftest import REAL_DATA, SMALL, toy_rows, write_atomic


def training_part(settings, name="LPOSASRec"):
    config = Config(name, None, None, {**SMALL, **settings})
    return split_dataset(config, load_dataset(config))[0]._dataset


def histories(rows):
    """The training items of each user in time order: all but the last two."""
    users = sorted({user for user, _, _ in rows})
    return {user: [item for _, item in sorted((t, i) for u, i, t in rows if u == user)][:-2] for user in users}


def by_token(counts, dataset):
    """Counts by the items' external tokens; those never seen are left out."""
    tokens = dataset.field2id_token[dataset.iid_field]
    return {str(token): int(count) for token, count in zip(tokens, counts, strict=True) if count}


@pytest.mark.parametrize("longest", [1, 3, 50])
def test_counts_are_those_of_all_training_interactions(longest, toy):
    dataset = training_part({**toy, "MAX_ITEM_LIST_LENGTH": longest})
    expected = Counter(item for items in histories(toy_rows()).values() for item in items)
    assert by_token(training_counts(dataset), dataset) == expected


def test_a_general_models_dataset_gives_the_same_counts(toy):
    dataset = training_part(toy, "BPR")
    expected = Counter(item for items in histories(toy_rows()).values() for item in items)
    assert by_token(training_counts(dataset), dataset) == expected


@pytest.mark.parametrize("name", ["LPOSASRec", "BPR"])
def test_augmented_counts_are_occurrences_in_the_prefixes_of_two_or_more(name, toy):
    dataset = training_part({**toy, "MAX_ITEM_LIST_LENGTH": 50}, name)
    expected = Counter()
    for items in histories(toy_rows()).values():
        for end in range(2, len(items) + 1):
            expected.update(items[:end])
    assert by_token(training_counts(dataset, augmented=True), dataset) == expected


def test_augmented_counts_do_not_depend_on_the_longest_history(toy):
    one, other = (training_part({**toy, "MAX_ITEM_LIST_LENGTH": longest}) for longest in (1, 50))
    assert training_counts(one, augmented=True).tolist() == training_counts(other, augmented=True).tolist()


@pytest.mark.parametrize("name", ["LPOSASRec", "BPR"])
def test_events_are_each_users_items_in_time_order(name, toy):
    dataset = training_part(toy, name)
    users, items = training_events(dataset)
    tokens = [dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field)]
    found = {}
    for user, item in zip(users, items, strict=True):
        found.setdefault(str(tokens[0][user]), []).append(str(tokens[1][item]))
    assert found == histories(toy_rows())


def test_events_are_found_under_other_names_of_the_columns(tmp_path):
    header = "who:token\tproduct:token\tat:float"
    path = write_atomic(tmp_path / "data", "named", toy_rows(), header)
    names = {"USER_ID_FIELD": "who", "ITEM_ID_FIELD": "product", "TIME_FIELD": "at", "LIST_SUFFIX": "_before"}
    dataset = training_part({"dataset": "named", "data_path": str(path), **names})
    expected = Counter(item for items in histories(toy_rows()).values() for item in items)
    assert by_token(training_counts(dataset), dataset) == expected


def test_the_padding_item_counts_nothing(toy):
    assert training_counts(training_part(toy))[0] == 0


def test_other_validation_and_test_items_change_neither_the_counts_nor_the_split(tmp_path, toy):
    rows = toy_rows()
    last = {user: max(t for u, _, t in rows if u == user) for user, _, _ in rows}
    held_out = [index for index, (user, _, time) in enumerate(rows) if time > last[user] - 2]
    items = [rows[index][1] for index in held_out]
    random.Random(1).shuffle(items)
    for index, item in zip(held_out, items, strict=True):
        rows[index] = (rows[index][0], item, rows[index][2])
    path = write_atomic(tmp_path / "data", "changed", rows)
    one, other = training_part(toy), training_part({"dataset": "changed", "data_path": str(path)})
    assert by_token(training_counts(one), one) == by_token(training_counts(other), other)
    assert head_tokens(one) == head_tokens(other)


def head_tokens(dataset, **settings):
    split = head_tail_split(dataset, SplitSettings(**settings))
    return [str(dataset.field2id_token[dataset.iid_field][item]) for item in split.head_ids]


def test_the_split_orders_equally_popular_items_by_token(toy):
    dataset = training_part(toy)
    counts = by_token(training_counts(dataset), dataset)
    assert head_tokens(dataset, tail_split_ratio=1) == sorted(counts, key=lambda token: (-counts[token], token))


def test_the_split_orders_equally_popular_items_by_number_where_asked(toy):
    dataset = training_part(toy)
    split = head_tail_split(dataset, SplitSettings(tail_split_ratio=1, tail_split_tie_break="id"))
    counts = training_counts(dataset)
    expected = sorted((item for item in range(len(counts)) if counts[item]), key=lambda item: (-counts[item], item))
    assert split.head_ids.tolist() == expected


def test_the_split_follows_every_setting(toy):
    dataset = training_part(toy)
    counts = training_counts(dataset, augmented=True)
    rule = {"tail_split_rule": "count_threshold", "tail_split_threshold": 40, "tail_split_counts": "augmented"}
    split = head_tail_split(dataset, SplitSettings(**rule))
    assert sorted(split.head_ids) == [item for item in range(len(counts)) if counts[item] > 40]


def test_the_split_leaves_the_padding_out(toy):
    split = head_tail_split(training_part(toy), SplitSettings())
    assert split.n_items == 40
    assert 0 not in [*split.head_ids, *split.tail_ids]


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs ../shared/data")
def test_on_amazon_beauty_the_split_has_the_numbers_counted_from_the_file():
    settings = {"dataset": "amazon-beauty", "data_path": str(REAL_DATA), "MAX_ITEM_LIST_LENGTH": 1}
    split = head_tail_split(training_part(settings), SplitSettings()).describe()
    assert (split["items"], split["interactions"]) == (12_101, 153_776)
    assert (split["head_items"], split["cut_count"], split["n_tied"], split["unseen_items"]) == (2_420, 15, 199, 33)
