"""What each user has met before an evaluation."""

from __future__ import annotations

import pytest
import torch

from recbole_lpo.config import Config
from recbole_lpo.data.history import HistoryIndex
from recbole_lpo.data.loading import load_dataset, split_dataset
from tests.conftest import SMALL, toy_rows


def parts(settings, name="LPOSASRec", longest=3):
    config = Config(name, None, None, {**SMALL, **settings, "MAX_ITEM_LIST_LENGTH": longest})
    return [loader._dataset for loader in split_dataset(config, load_dataset(config))]


def met_before(dataset, held_out):
    """The item numbers of each user, by user number, in time order, less the last `held_out`."""
    users, items = (dataset.field2token_id[field] for field in (dataset.uid_field, dataset.iid_field))
    found = {}
    for user, item, _ in sorted(toy_rows(), key=lambda row: row[2]):
        found.setdefault(users[user], []).append(items[item])
    return {user: met[:-held_out] for user, met in found.items()}


@pytest.mark.parametrize("name", ["LPOSASRec", "BPR"])
def test_before_validation_a_user_has_met_the_training_items(name, toy):
    train, _, _ = parts(toy, name)
    index, expected = HistoryIndex(train), met_before(train, 2)
    assert {user: index.items_of(user).tolist() for user in expected} == expected


@pytest.mark.parametrize("name", ["LPOSASRec", "BPR"])
def test_before_the_test_a_user_has_met_the_validation_item_too(name, toy):
    train, valid, _ = parts(toy, name)
    index, expected = HistoryIndex(train, valid), met_before(train, 1)
    assert {user: index.items_of(user).tolist() for user in expected} == expected


def test_the_padding_user_has_met_nothing(toy):
    train, valid, _ = parts(toy)
    assert HistoryIndex(train, valid).items_of(0).tolist() == []


def test_cells_are_all_that_the_users_have_met_less_the_target(toy):
    train, valid, test = parts(toy)
    users, target = test.inter_feat["user_id"], test.inter_feat["item_id"]
    rows, items = HistoryIndex(train, valid).cells(users, target)
    met = met_before(train, 1)
    expected = [
        (row, item)
        for row, (user, one) in enumerate(zip(users.tolist(), target.tolist(), strict=True))
        for item in met[user]
        if item != one
    ]
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == expected
    assert len(expected) < sum(map(len, met.values())), "no target of the example was met before"


def test_cells_follow_the_order_and_the_repetitions_of_the_users_asked_for(toy):
    train, _, _ = parts(toy)
    index, met = HistoryIndex(train), met_before(train, 2)
    rows, items = index.cells(torch.tensor([9, 0, 4, 9]), torch.tensor([-1, -1, -1, met[9][0]]))
    expected = [(0, item) for item in met[9]] + [(2, item) for item in met[4]]
    expected += [(3, item) for item in met[9] if item != met[9][0]]
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == expected


def test_no_users_have_no_cells(toy):
    train, _, _ = parts(toy)
    nobody = torch.empty(0, dtype=torch.int64)
    assert [len(part) for part in HistoryIndex(train).cells(nobody, nobody)] == [0, 0]
