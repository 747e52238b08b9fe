"""Loading whole and broken atomic files: the histories that a slow reading gives, or one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from tests.conftest import SMALL
from tests.fuzz import slow_reader
from tests.fuzz.atomic_files import atomic_files

LONGEST = SMALL["MAX_ITEM_LIST_LENGTH"]


@pytest.fixture
def config() -> Config:
    return Config("SASRec", "d", None, {**SMALL, "data_path": "data"})


def check(data: bytes, config: Config) -> None:
    """The held-out item of every user and the history before it must be those of the slow reader."""
    Path("data/d").mkdir(parents=True, exist_ok=True)
    Path("data/d/d.inter").write_bytes(data)
    expected = histories(slow_reader.atomic(data))
    try:
        dataset = load_dataset(config)
        test = split_dataset(config, dataset)[2]
    except InputError as error:
        assert not expected, f"refused: {error}"
        assert "\n" not in str(error)
        return
    inter = test._dataset.inter_feat
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    rows = zip(inter["user_id"], inter["item_id_list"], inter["item_length"], inter["item_id"], strict=True)
    assert {users[user]: [*items[known[:n].numpy()], items[item]] for user, known, n, item in rows} == expected


def histories(rows: list[tuple[str, str, float]] | None) -> dict[str, list[str]]:
    """{user: the latest items of the history, and the held-out item} of users with three interactions or more."""
    of_user: dict[str, list[tuple[float, str]]] = {}
    for user, item, time in rows or ():
        of_user.setdefault(user, []).append((time, item))
    return {
        user: [item for _, item in sorted(events, key=lambda event: event[0])][-LONGEST - 1 :]
        for user, events in of_user.items()
        if len(events) >= 3
    }


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=atomic_files())
def test_any_atomic_file_gives_the_histories_of_a_slow_reading_or_one_clear_line(data, config):
    check(data, config)


@pytest.mark.long
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=atomic_files())
def test_thousands_of_atomic_files_give_the_histories_of_a_slow_reading_or_one_clear_line(data, config):
    check(data, config)
