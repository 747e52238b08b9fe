"""The flat dataset gives RecBole's rows, splits and batches, digit for digit, without holding them."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import recbole
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.data import loading
from recbole_lpo.data.checked_dataset import CheckedDataset
from recbole_lpo.data.flat_dataset import FlatSequentialDataset, last_two_held_out
from recbole_lpo.data.history import HistoryIndex
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.data.popularity import head_tail_split, training_events
from recbole_lpo.data.prefix_rows import PrefixRows
from recbole_lpo.data.runs import runs
from recbole_lpo.settings import SplitSettings
from recbole_lpo.trainer.lpo_trainer import trainer_class
from tests.conftest import REAL_DATA, SMALL, toy_rows, write_atomic

RECBOLES_DATA = Path(recbole.__file__).parent / "dataset_example"
WIDE = "user_id:token\titem_id:token\ttimestamp:float\trating:float\tshop:token"


def config_of(data, model="SASRec", **changes):
    return Config(model, None, None, {**SMALL, "dataset_counts": "~", **data, **changes})


def loaded(data, kind=FlatSequentialDataset, model="SASRec", **changes):
    """A dataset that is not built yet, of RecBole's class or of ours."""
    own = FlatSequentialDataset if kind is FlatSequentialDataset else None
    with patch.object(loading, "own_dataset_class", lambda config: own):
        dataset = load_dataset(config_of(data, model, **changes))
    assert type(dataset) is kind
    return dataset


def built(dataset):
    """The whole dataset and the parts of its split."""
    return [dataset, *dataset.build()]


def assert_same_columns(expected: Interaction, found: Interaction):
    assert found.columns == expected.columns
    assert len(found) == len(expected)
    for name in expected.columns:
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name]), name


def assert_same_datasets(expected: list, found: list):
    for one, other in zip(expected, found, strict=True):
        assert_same_columns(one.inter_feat, other.inter_feat)
        assert_same_columns(one[np.arange(len(one))], other[np.arange(len(other))])
        assert one.field2type == other.field2type
        assert one.field2seqlen == other.field2seqlen


@pytest.fixture
def wide(tmp_path):
    """The small dataset with two more columns."""
    rows = [(*row, number % 5, f"s{number % 3}") for number, row in enumerate(toy_rows())]
    path = write_atomic(tmp_path / "data", "wide", rows, WIDE)
    fields = ["user_id", "item_id", "timestamp", "rating", "shop"]
    return {"dataset": "wide", "data_path": str(path), "load_col": {"inter": fields}}


# Rows and splits.


def test_rows_and_splits_are_recboles_for_any_log_with_equal_times_and_short_users(toy):
    template = loaded(toy)

    def built_from(rows, longest, kind):
        dataset = kind.__new__(kind)
        dataset.__dict__.update(copy.deepcopy(template.__dict__))
        dataset.max_item_list_len = dataset.config["MAX_ITEM_LIST_LENGTH"] = longest
        dataset.inter_feat = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).astype(
            {"timestamp": np.float64}
        )
        return built(dataset)

    row = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 5))

    @settings(deadline=None, max_examples=60)
    @given(st.lists(row, min_size=1, max_size=18), st.integers(1, 5))
    def check(rows, longest):
        assert_same_datasets(
            built_from(rows, longest, SequentialDataset), built_from(rows, longest, FlatSequentialDataset)
        )

    check()


NO_FILES = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs ../shared/data")
# Leaves users with one to four interactions among others.
POPULAR = {"item_inter_num_interval": "[40,inf)", "user_inter_num_interval": "[0,inf)"}


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (RECBOLES_DATA, {"dataset": "ml-100k", "MAX_ITEM_LIST_LENGTH": 20}),
        pytest.param(REAL_DATA, {"dataset": "amazon-beauty", "MAX_ITEM_LIST_LENGTH": 50}, marks=NO_FILES),
        pytest.param(REAL_DATA, {"dataset": "amazon-toys-games", **POPULAR}, marks=NO_FILES),
    ],
    ids=["ml-100k", "amazon-beauty", "amazon-toys-games"],
)
def test_on_real_data_every_row_of_every_part_is_recboles(path, data):
    data = {**data, "data_path": str(path)}
    plain, flat = (built(loaded(data, kind)) for kind in (SequentialDataset, FlatSequentialDataset))
    for one, other in zip(plain, flat, strict=True):
        assert_same_columns(one.inter_feat, other.inter_feat)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unused_col": {"inter": ["rating", "shop"]}},
        {"unused_col": {"inter": ["timestamp_list"]}},
        {"numerical_features": ["rating"]},
        {"threshold": {"rating": 3}},
        {"LIST_SUFFIX": "_before", "ITEM_LIST_LENGTH_FIELD": "known"},
    ],
)
def test_further_columns_are_recboles(changes, wide):
    expected, found = (built(loaded(wide, kind, **changes)) for kind in (SequentialDataset, FlatSequentialDataset))
    assert isinstance(found[1].inter_feat, PrefixRows)
    assert_same_datasets(expected, found)


@pytest.mark.parametrize(
    ("split", "group_by"),
    [
        ({"RS": [0.8, 0.1, 0.1]}, "user"),
        ({"RS": [0.8, 0.1, 0.1]}, "none"),
        ({"TS": [0.8, 0.1, 0.1]}, "user"),
        ({"LS": "valid_only"}, "user"),
        ({"LS": "test_only"}, "user"),
    ],
)
def test_other_splits_are_recboles(split, group_by, toy):
    changes = {"eval_args": {"split": split, "group_by": group_by, "order": "TO", "mode": "full"}}
    expected, found = (built(loaded(toy, kind, **changes)) for kind in (SequentialDataset, FlatSequentialDataset))
    assert_same_datasets(expected, found)


def test_where_interactions_hold_sequences_the_rows_are_recboles_own(tmp_path):
    rows = [(*row, "a b") for row in toy_rows()]
    header = "user_id:token\titem_id:token\ttimestamp:float\ttags:token_seq"
    path = write_atomic(tmp_path / "data", "tagged", rows, header)
    data = {"dataset": "tagged", "data_path": str(path), "load_col": None}
    expected, found = (built(loaded(data, kind)) for kind in (SequentialDataset, FlatSequentialDataset))
    assert type(found[1].inter_feat) is Interaction
    assert_same_datasets(expected, found)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_last_two_rows_are_held_out_as_recbole_does(users):
    groups = Dataset._grouped_index(None, users)
    expected = Dataset._split_index_by_leave_one_out(None, groups, leave_one_num=2)
    found = last_two_held_out(np.array(users, dtype=np.int64))
    assert [part.tolist() for part in found] == expected


def test_the_last_two_rows_are_held_out_where_there_are_enough():
    parts = last_two_held_out(np.array([7, 3, 7, 5, 3, 7, 7]))
    assert [part.tolist() for part in parts] == [[0, 2, 1, 3], [5], [6, 4]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), max_size=20))
def test_runs_start_where_the_value_changes(values):
    expected = [len(list(run)) for _, run in itertools.groupby(values)]
    start, length = runs(np.array(values, dtype=np.int64))
    assert length.tolist() == expected
    assert start.tolist() == [sum(expected[:nth]) for nth in range(len(expected))]


# What RecBole does with them.

N_ROWS = 627
INDICES = {
    "slice": slice(3, 9),
    "number": 5,
    "list": [4, 4, 0],
    "array": np.array([6, 2]),
    "array backwards": np.arange(9)[::-1],
    "array of int32": np.array([6, 2], dtype=np.int32),
    "tensor": torch.tensor([6, 2]),
    "mask": torch.arange(N_ROWS) % 7 == 0,
    "mask in numpy": np.arange(N_ROWS) % 7 == 0,
    "range": range(2, 5),
    "nothing": [],
}


@pytest.fixture
def both(toy):
    """The whole dataset built by RecBole and by us."""
    found = [loaded(toy, kind) for kind in (SequentialDataset, FlatSequentialDataset)]
    for dataset in found:
        dataset.build()
    assert len(found[0]) == N_ROWS
    return found


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_rows_are_taken_as_recbole_takes_them(index, both):
    plain, flat = both
    rows = flat[index]
    assert type(rows) is Interaction
    assert_same_columns(plain[index], rows)


def shuffled(inter):
    torch.manual_seed(3)
    inter.shuffle()


def with_a_new_column(inter):
    inter["new"] = torch.arange(len(inter))
    inter.sort(by="item_id")


CHANGES = {
    "sorted": lambda inter: inter.sort(by=["item_id", "timestamp"]),
    "shuffled": shuffled,
    "with a new column": with_a_new_column,
    "with a column changed": lambda inter: inter.update(Interaction({"item_id": torch.zeros(len(inter)).long()})),
    "without a column": lambda inter: inter.drop("timestamp_list"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda inter: pickle.loads(pickle.dumps(inter))])
def test_a_copy_can_be_changed_in_place_and_the_original_stays(change, copied, both):
    plain, flat = (copied(dataset.inter_feat) for dataset in both)
    for inter in (plain, flat):
        change(inter)
    assert_same_columns(plain, flat)
    assert_same_columns(plain[[7, 5]], flat[[7, 5]])
    assert_same_columns(both[0].inter_feat, both[1].inter_feat)


def test_a_column_that_is_not_there_is_an_error(both):
    inter = both[1].inter_feat
    assert "other" not in inter
    with pytest.raises(KeyError):
        inter["other"]
    with pytest.raises(ValueError, match="other"):
        inter.drop("other")


def test_counts_and_matrices_of_the_dataset_are_recboles(both):
    plain, flat = both
    assert flat.item_counter == plain.item_counter
    assert flat.user_counter == plain.user_counter
    assert str(flat) == str(plain)
    for form in ("coo", "csr"):
        assert (flat.inter_matrix(form) != plain.inter_matrix(form)).nnz == 0
    matrices = []
    for dataset in both:
        torch.manual_seed(1)
        matrices.append([part.tolist() for part in dataset.history_item_matrix()])
    assert matrices[0] == matrices[1]


LOADERS = {
    "one target a row": {},
    "drawn negatives": {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}},
    "sampled evaluation": {"eval_args": {"mode": {"valid": "uni5", "test": "uni5"}}},
}


@pytest.mark.parametrize("changes", LOADERS.values(), ids=LOADERS)
def test_loaders_give_recboles_batches_in_recboles_order(changes, toy):
    batches = []
    for kind in (SequentialDataset, FlatSequentialDataset):
        dataset = loaded(toy, kind, **changes)
        np.random.seed(5)
        torch.manual_seed(5)
        train, valid, test = split_dataset(dataset.config, dataset)
        batches.append([list(train), *([batch[0] for batch in part] for part in (valid, test))])
    for expected, found in zip(*batches, strict=True):
        for one, other in zip(expected, found, strict=True):
            assert type(other) is Interaction
            assert set(other.columns) == set(one.columns)
            assert all(torch.equal(one[name], other[name]) for name in one.columns)


# What is held.


def held_bytes(loaders) -> int:
    return len(pickle.dumps([loader._dataset.inter_feat for loader in loaders]))


def test_what_is_held_does_not_depend_on_the_longest_history(toy):
    short, long = (loaded(toy, MAX_ITEM_LIST_LENGTH=longest) for longest in (4, 4000))
    short, long = (split_dataset(dataset.config, dataset) for dataset in (short, long))
    assert abs(held_bytes(short) - held_bytes(long)) < 16


def test_an_epoch_and_an_evaluation_leave_nothing_behind(toy):
    dataset = loaded(toy)
    loaders = train, valid, test = split_dataset(dataset.config, dataset)
    before = held_bytes(loaders)
    head_tail_split(train._dataset, SplitSettings())
    HistoryIndex(train._dataset, valid._dataset)
    assert sum(len(batch) for batch in train) + sum(len(batch[0]) for batch in test) == N_ROWS - 60
    grown = held_bytes(loaders) - before
    # The users and items of validation, asked for by name.
    assert grown < 60 * 2 * 8 + 1000


def test_a_row_costs_a_place_and_an_interaction_its_values(toy):
    train = loaded(toy).build()[0]
    columns = train.inter_feat.interaction
    tensors = [columns.events, columns.log.first, *columns.log.fields.values()]
    assert sum(one.nbytes for one in tensors) == 4 * len(train) + 8 * 61 + 3 * 4 * 687


# Where it is used.


def test_general_models_have_recboles_rows_from_a_checked_file(toy):
    assert type(load_dataset(config_of(toy, "BPR"))) is CheckedDataset


def divided_beforehand(tmp_path, rows):
    """Settings of data whose training, validation and test file have the same rows, (user, history, target, time)."""
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float"
    for part in ("train", "valid", "test"):
        path = write_atomic(tmp_path / "data", f"d.{part}", rows, header)
        (path / "d").mkdir(exist_ok=True)
        (path / f"d.{part}" / f"d.{part}.inter").rename(path / "d" / f"d.{part}.inter")
    parts = {"benchmark_filename": ["train", "valid", "test"], "load_col": None, "alias_of_item_id": ["item_id_list"]}
    return {"dataset": "d", "data_path": str(path), **parts}


def test_files_divided_beforehand_stay_recboles(tmp_path):
    rows = [(f"u{user}", "i1 i2", f"i{user % 5}", 3) for user in range(9)]
    dataset = load_dataset(config_of(divided_beforehand(tmp_path, rows)))
    assert type(dataset) is SequentialDataset
    assert [len(part) for part in dataset.build()] == [9, 9, 9]


def test_rows_divided_beforehand_are_trained_on_as_they_are_and_counted_in_the_order_of_their_lengths(tmp_path):
    # Longest first; the histories of u2 do not go on from each other.
    rows = [("u1", "a b c", "d", 1), ("u1", "a b", "c", 1), ("u1", "a", "b", 1)]
    rows += [("u2", "e", "f", 1), ("u2", "g h", "i", 1)]
    config = config_of(divided_beforehand(tmp_path, rows))
    train, _, _ = split_dataset(config, load_dataset(config))
    users, items = training_events(train._dataset)
    names = train._dataset.field2id_token["item_id"][items]
    assert ["".join(names[users == user]) for user in (1, 2)] == ["abcd", "efi"]
    model = config.model_class(config, train._dataset)
    trainer = trainer_class(config["MODEL_TYPE"], "SASRec")(config, model)
    assert trainer._pack(train) is None


@pytest.mark.parametrize(
    ("model", "batching"),
    # FEARec reads whole columns of the dataset while it trains.
    [("SASRec", "packed"), ("LPOGRU4Rec", "packed"), ("LPOCaser", "prefix"), ("FEARec", "prefix")],
)
def test_a_run_gives_the_metrics_that_it_gives_on_recboles_rows(model, batching, toy, monkeypatch):
    metrics = []
    for _ in range(2):
        settings = {**SMALL, **toy, "batching": batching, "eval_mask_history": True}
        found = recbole_lpo.run(model, None, None, settings, quiet=True)
        metrics.append({key: found[key] for key in ("valid", "test", "split", "n", "epochs", "protocol")})
        monkeypatch.setattr(loading, "own_dataset_class", lambda config: None)
    assert metrics[0] == metrics[1]
