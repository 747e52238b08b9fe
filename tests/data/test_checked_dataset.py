"""A dataset over a file that is checked and read in one pass is RecBole's own, number by number."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import Dataset

from recbole_lpo.config import Config
from recbole_lpo.data import interaction_table
from recbole_lpo.data.checked_dataset import CheckedDataset
from recbole_lpo.data.interaction_table import read_interactions
from tests.conftest import REAL_DATA, SMALL, write_atomic

HEADER = "user_id:token\titem_id:token\ttimestamp:float\trating:float\tshop:token"
FIELDS = ["user_id", "item_id", "timestamp", "rating", "shop"]
USERS, ITEMS = ("u1", "7", "07", "7.0", "True", "é", " a b"), ("i1", "1", "01", "-", "i2", "#", "nan.")
TIMES, RATINGS, SHOPS = (
    ("1", "2.5", "-3", "1e3", "1400000000.1", "0.1"),
    ("4", "0.3", "", "NA", "many"),
    ("s1", "s2", "", "nan"),
)
ROWS = st.lists(st.tuples(*map(st.sampled_from, (USERS, ITEMS, TIMES, RATINGS, SHOPS))), min_size=1, max_size=14)


def config_of(path, **changes) -> Config:
    given = {**SMALL, "data_path": str(path), "load_col": {"inter": FIELDS}, "user_inter_num_interval": None}
    return Config("BPR", "d", None, {**given, "item_inter_num_interval": None, **changes})


def loaded(kind, config):
    """What a dataset class has loaded, or the words with which it failed."""
    try:
        dataset = kind(config)
    except (ValueError, IndexError) as error:
        return str(error)
    assert dataset.inter_feat.dtypes.map(lambda kind: kind.kind).isin(["i", "f", "O"]).all()
    return dataset


def assert_recboles(config) -> None:
    expected, found = loaded(Dataset, config), loaded(CheckedDataset, config)
    if isinstance(expected, str):
        assert found == expected
        return
    for name in ("inter_feat", "item_feat"):
        one, other = getattr(expected, name), getattr(found, name)
        if one is not None:
            pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert list(expected.field2id_token) == list(found.field2id_token)
    for field, tokens in expected.field2id_token.items():
        assert found.field2id_token[field].dtype == tokens.dtype
        np.testing.assert_array_equal(found.field2id_token[field], tokens)
    for name in ("field2token_id", "field2type", "field2source", "field2seqlen", "field2bucketnum", "feat_name_list"):
        assert getattr(found, name) == getattr(expected, name), name


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    rows=ROWS,
    chunk=st.sampled_from([1, 2, 5, 100]),
    changes=st.sampled_from(
        [
            {},
            {"load_col": None},
            {"load_col": {"inter": FIELDS[:3]}},
            {"load_col": None, "unload_col": {"inter": ["shop"]}},
            {"user_inter_num_interval": "[2,inf)"},
            {"user_inter_num_interval": "[2,4]", "item_inter_num_interval": "[2,inf)"},
            {"val_interval": {"shop": ["s1", "s3"]}},
            {"val_interval": {"rating": "[1,inf)"}},
            {"rm_dup_inter": "last"},
            {"threshold": {"rating": 1}},
            {"alias_of_user_id": ["shop"]},
        ]
    ),
)
def test_any_plain_file_gives_recboles_tables_and_numbers(rows, chunk, changes, tmp_path):
    path = write_atomic(tmp_path, "d", rows, HEADER)
    with patch.object(interaction_table, "_CHUNK_ROWS", chunk):
        assert_recboles(config_of(path / "d", **changes))


@pytest.mark.parametrize("known", [["i1", "1"], ["i2", "new", "i1", "01", "1", "-", "#", "nan."]])
@pytest.mark.parametrize(
    "changes", [{}, {"filter_inter_by_user_or_item": True}, {"item_inter_num_interval": "[2,inf)"}]
)
def test_items_with_features_are_numbered_with_those_of_the_interactions(known, changes, tmp_path):
    rows = [(USERS[n % 5], ITEMS[n * n % 7], n, 4, "s") for n in range(20)]
    path = write_atomic(tmp_path, "d", rows, HEADER)
    (path / "d" / "d.item").write_text("\n".join(["item_id:token\tname:token", *(f"{item}\t{item}" for item in known)]))
    assert_recboles(config_of(path / "d", load_col=None, **changes))


@pytest.mark.parametrize(
    ("header", "row", "changes"),
    [
        (HEADER, ("u", '"i 1"', 3, 4, "s"), {}),
        (HEADER.replace("shop:token", "tags:token_seq"), ("u", "i", 3, 4, "a b"), {"load_col": None}),
        (HEADER.replace("\t", "::"), ("u::i::3::4::s",), {"field_separator": "::", "load_col": None}),
    ],
)
def test_what_the_fast_reading_would_read_otherwise_is_left_to_recbole(header, row, changes, tmp_path):
    path = write_atomic(tmp_path, "d", [row] * 3, header)
    config = config_of(path / "d", **changes)
    assert read_interactions(path / "d" / "d.inter", config, lambda field: True) is None
    assert_recboles(config)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("name", ["amazon-beauty", "amazon-toys-games"])
def test_real_data_are_recboles(name):
    config = Config("BPR", name, None, {"data_path": str(REAL_DATA), "load_col": None})
    table = read_interactions(Path(config["data_path"]) / f"{name}.inter", config, lambda field: True)
    assert table is not None
    assert_recboles(config)


def test_a_plain_file_is_read_with_every_id_held_once(tmp_path):
    rows = [(f"user {n % 7}", f"item {n % 11}", n) for n in range(5000)]
    path = write_atomic(tmp_path, "d", rows)
    with patch.object(interaction_table, "_CHUNK_ROWS", 600):
        table = read_interactions(path / "d" / "d.inter", config_of(path / "d"), lambda field: True)
    assert [str(kind) for kind in table.dtypes] == ["category", "category", "float64"]
    assert (len(table["user_id"].cat.categories), len(table["item_id"].cat.categories)) == (7, 11)
    assert table["item_id"].tolist() == [item for _, item, _ in rows]
