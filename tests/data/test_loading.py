"""Loading a dataset: in exact time order, of the right size, or refused in one line."""

from __future__ import annotations

import logging
import pickle
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.data import loading
from recbole_lpo.data.loading import exact_in_float32, load_dataset, split_dataset
from recbole_lpo.errors import InputError
from tests.conftest import SMALL, toy_rows, write_atomic

HEADER = "user_id:token\titem_id:token\ttimestamp:float"
FILE = Path("data") / "d" / "d.inter"
# Unix times of one day in seconds and in milliseconds: float32 merges all of them, or dozens at a time.
DAY_IN_SECONDS, DAY_IN_MILLISECONDS = 1_400_000_000, 1_400_000_000_000


def config_of(model="SASRec", **changes):
    return Config(model, "d", None, {**SMALL, "data_path": "data", "epochs": 1, **changes})


def loaded(rows, model="SASRec", **changes):
    """(dataset, train, validation, test) of some rows."""
    write_atomic(Path("data"), "d", rows)
    config = config_of(model, **changes)
    dataset = load_dataset(config)
    return dataset, *split_dataset(config, dataset)


def refusal(model="SASRec", **changes) -> str:
    """The one line with which a run is refused that must leave nothing behind."""
    with pytest.raises(InputError) as caught:
        recbole_lpo.run(model, "d", None, {**SMALL, "data_path": "data", "epochs": 1, **changes}, quiet=True)
    assert "\n" not in str(caught.value)
    assert not list(Path(".").rglob("metrics.json"))
    return str(caught.value)


def refusal_of(text: str | bytes, **changes) -> str:
    FILE.parent.mkdir(parents=True)
    FILE.write_bytes(text if isinstance(text, bytes) else text.encode())
    return refusal(**changes)


def refusal_of_rows(rows, **changes) -> str:
    write_atomic(Path("data"), "d", rows)
    return refusal(**changes)


# Times.


def made_exact(times, users=None):
    users = [0] * len(times) if users is None else users
    return exact_in_float32(pd.Series(times, dtype=np.float64), pd.Series(users))


def order_of(values):
    """For every value how many are smaller; the same for two lists where they have one order."""
    values = np.asarray(values)
    return (values[:, None] > values[None, :]).sum(axis=1).tolist()


@settings(deadline=None)
@given(st.lists(st.integers(DAY_IN_MILLISECONDS, DAY_IN_MILLISECONDS + 500), min_size=1, max_size=40))
def test_times_keep_their_order_and_their_ties_in_float32(times):
    assert order_of(made_exact(times).to_numpy(np.float32)) == order_of(times)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_any_finite_times_keep_their_order_in_float32(times):
    with np.errstate(over="ignore"):
        assert order_of(made_exact(times).to_numpy(np.float32)) == order_of(times)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=40))
def test_times_that_float32_holds_exactly_are_left_untouched(times):
    series = pd.Series(times, dtype=np.float64)
    assert exact_in_float32(series, pd.Series([0] * len(times))) is series


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(DAY_IN_SECONDS, DAY_IN_SECONDS + 500)), min_size=1, max_size=40)
)
def test_where_there_are_too_many_times_for_float32_every_user_keeps_their_order(rows):
    users, times = (np.array(column) for column in zip(*rows, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_FLOAT32_EXACT", 1)
        found = made_exact(times, users).to_numpy(np.float32)
    for user in set(users):
        assert order_of(found[users == user]) == order_of(times[users == user])


def test_too_many_times_are_counted_within_each_user(monkeypatch):
    monkeypatch.setattr(loading, "_FLOAT32_EXACT", 3)
    times = [DAY_IN_SECONDS + step for step in (5, 1, 3, 1, 2)]
    assert made_exact(times, [1, 1, 2, 2, 2]).tolist() == [2, 1, 3, 1, 2]


def test_the_rows_of_the_table_keep_their_numbers():
    times = pd.Series([DAY_IN_SECONDS + 1, DAY_IN_SECONDS], index=[7, 3], name="timestamp")
    found = exact_in_float32(times, pd.Series([0, 0], index=[7, 3]))
    assert (found.index.tolist(), found.name, found.loc[7]) == ([7, 3], "timestamp", 2)


def sequences_of(dataset, test):
    """{user token: item tokens of the history and the target} of the test rows."""
    inter = test._dataset.inter_feat
    items, users = dataset.field2id_token["item_id"], dataset.field2id_token["user_id"]
    rows = zip(inter["user_id"], inter["item_id_list"], inter["item_length"], inter["item_id"], strict=True)
    return {users[user]: [*items[known[:n].numpy()], items[target]] for user, known, n, target in rows}


@pytest.mark.parametrize("start", [0, DAY_IN_SECONDS, DAY_IN_MILLISECONDS])
def test_histories_are_in_the_order_of_their_times_whatever_the_order_of_the_file(start):
    expected = {f"u{user}": [f"i{(user * 3 + step * 5) % 17}" for step in range(7)] for user in range(9)}
    rows = [(user, item, start + step) for user, items in expected.items() for step, item in enumerate(items)]
    random.Random(1).shuffle(rows)
    dataset, _, _, test = loaded(rows)
    assert sequences_of(dataset, test) == expected


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_general_model_holds_out_the_latest_items_too(part):
    rows = [
        (f"u{user}", f"i{(user * 3 + step * 5) % 17}", DAY_IN_SECONDS + step) for user in range(9) for step in range(7)
    ]
    random.Random(1).shuffle(rows)
    dataset, _, valid, test = loaded(rows, "BPR")
    inter = (valid if part == "valid" else test)._dataset.inter_feat
    step = 5 if part == "valid" else 6
    for user, item in zip(inter["user_id"], inter["item_id"], strict=True):
        number = int(dataset.field2id_token["user_id"][user][1:])
        assert dataset.field2id_token["item_id"][item] == f"i{(number * 3 + step * 5) % 17}"


# Counts.

COUNTS = {"users": 60, "items": 40, "interactions": 687}


def test_the_counts_that_are_asked_for_are_taken():
    write_atomic(Path("data"), "d", toy_rows())
    assert load_dataset(config_of(dataset_counts=COUNTS)).inter_num == 687


@pytest.mark.parametrize("what", ["users", "items", "interactions"])
def test_a_count_that_differs_is_refused_with_what_was_found_and_expected(what):
    message = refusal_of_rows(toy_rows(), dataset_counts={**COUNTS, what: 7})
    assert f"after filtering it has {COUNTS[what]} {what} (expected 7)" in message
    assert "set dataset_counts to ~" in message


def test_the_check_of_the_counts_can_be_switched_off_as_the_message_says():
    write_atomic(Path("data"), "d", toy_rows())
    Path("mine.yaml").write_text("dataset_counts: {users: 7}")
    given_in_code = {**SMALL, "data_path": "data", "dataset_counts": "~"}
    assert load_dataset(Config("SASRec", "d", ["mine.yaml"], given_in_code)).inter_num == 687


def test_counts_after_a_filter_of_the_users_own_are_only_warned_of(caplog):
    changes = {"dataset_counts": COUNTS, "user_inter_num_interval": "[10,inf)"}
    with caplog.at_level(logging.WARNING):
        dataset = loaded(toy_rows(), **changes)[0]
    assert 0 < dataset.user_num - 1 < 60
    assert "(expected 60)" in caplog.text
    assert "Its filter was changed (user_inter_num_interval)" in caplog.text


# What is missing or wrong.


def test_a_missing_dataset_is_refused_with_the_two_ways_to_get_it():
    message = refusal()
    assert message.startswith(f"dataset = d: {FILE} is not there. Two ways to get it: ")
    assert "`recbole-lpo prepare --output=data --name=d --source=csv --input=FILE`" in message
    assert "<data_path>/<dataset>/<dataset>.inter" in message


def test_a_missing_dataset_of_the_literature_can_be_downloaded():
    with pytest.raises(InputError, match="`recbole-lpo prepare --output=data --dataset=ml-1m --download`"):
        load_dataset(Config("Pop", "ml-1m", None, {**SMALL, "data_path": "data"}))


def test_a_missing_part_of_a_divided_dataset_is_named():
    write_atomic(Path("data"), "d", toy_rows())
    message = refusal(benchmark_filename=["train", "valid", "test"])
    assert message.startswith(f"dataset = d: {Path('data') / 'd' / 'd.train.inter'} is not there.")


@pytest.mark.parametrize(("column", "kind"), [("user_id", "token"), ("item_id", "token"), ("timestamp", "float")])
def test_a_missing_column_is_named_with_those_that_are_there(column, kind):
    message = refusal_of(HEADER.replace(column, "other") + "\n1\t2\t3\n")
    assert message.startswith(f"{FILE}: has no column {column!r}; its columns are ")
    assert "other" in message
    assert f"Name it in the header as {column}:{kind}" in message


def test_a_column_that_is_nearly_right_is_named():
    assert "Did you mean 'timestmp'?" in refusal_of(HEADER.replace("timestamp", "timestmp") + "\n1\t2\t3\n")


@pytest.mark.parametrize(
    ("column", "right", "wrong"),
    [("user_id", "token", "float"), ("item_id", "token", "token_seq"), ("timestamp", "float", "token")],
)
def test_a_column_of_the_wrong_type_is_named_with_the_right_one(column, right, wrong):
    message = refusal_of(HEADER.replace(f"{column}:{right}", f"{column}:{wrong}") + "\n1\t2\t3\n")
    assert message == f"{FILE}: column {column!r} has type {wrong!r}; RecBole needs {column}:{right}."


def test_a_header_without_types_is_refused():
    assert "the header cell 'user_id' has no type. Write name:type" in refusal_of(
        "user_id\titem_id\ttimestamp\n1\t2\t3\n"
    )


@pytest.mark.parametrize("value", ["nan", "NaN", "", "2014-07-01", "inf", "-inf", "1,5", "soon"])
@pytest.mark.parametrize("model", ["SASRec", "BPR"])
def test_a_time_that_is_no_number_is_refused_with_its_line(value, model):
    rows = toy_rows()
    rows.insert(41, ("u1", "i1", value))
    message = refusal_of_rows(rows, model=model)
    assert message.startswith(f"{FILE}: line 43: timestamp is {value!r}, not a number (1 such rows).")


def test_the_line_is_right_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr("recbole_lpo.data.checks._CHUNK_ROWS", 10)
    rows = toy_rows()
    rows.insert(41, ("u1", "i1", "never"))
    assert "line 43: timestamp is 'never'" in refusal_of_rows(rows)


def test_a_row_with_a_cell_too_few_is_refused_with_its_line():
    assert "line 3: timestamp is ''" in refusal_of(HEADER + "\nu1\ti1\t5\nu1\ti2\n")


def test_an_empty_file_is_refused():
    assert refusal_of("").startswith(f"{FILE}: is empty. An atomic file starts with a header")


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_file_with_a_header_alone_is_refused(end):
    assert refusal_of(HEADER + end) == f"{FILE}: has a header and no interactions."


@pytest.mark.parametrize(
    "content", [bytes(range(256)), (HEADER + "\n1\t2\t3\n").encode("utf-16")], ids=["bytes", "utf-16"]
)
def test_a_file_in_another_encoding_is_refused(content):
    assert refusal_of(content).startswith(f"{FILE}: cannot be read: ")


def test_a_byte_order_mark_is_named():
    assert refusal_of("\ufeff" + HEADER + "\n1\t2\t3\n").startswith(f"{FILE}: starts with a byte order mark.")


def test_a_quote_that_never_ends_is_refused():
    assert refusal_of_rows([*toy_rows(), ('"u1', "i1", 3)]).startswith(f"{FILE}: cannot be read: ")


def test_a_filter_that_leaves_nothing_is_refused():
    assert "please check the filtering settings" in refusal_of_rows(toy_rows(), user_inter_num_interval="[1000,inf)")


def test_times_that_are_not_loaded_are_refused():
    message = refusal_of_rows(toy_rows(), load_col={"inter": ["user_id", "item_id"]})
    assert message.startswith("d: RecBole cannot split the dataset: [timestamp] is not exist")


@pytest.mark.parametrize("n_items", [1, 2])
def test_data_in_which_no_user_has_enough_interactions_is_refused(n_items):
    rows = [(f"u{user}", f"i{(user + step) % 7}", step) for user in range(20) for step in range(n_items)]
    message = refusal_of_rows(rows)
    assert message.startswith("d: no user has enough interactions to train on some and hold out two ")
    assert f"({20 * n_items} interactions of 20 users)" in message


def test_a_general_model_refuses_users_with_one_interaction_alone():
    message = refusal_of_rows([(f"u{user}", f"i{user % 7}", user) for user in range(20)], model="BPR")
    assert message.startswith("d: no user has enough interactions")


def test_a_user_of_all_items_is_refused_where_negatives_are_drawn():
    message = refusal_of_rows([("u", f"i{item}", item) for item in range(9)], model="BPR")
    assert message.startswith("d: RecBole cannot split the dataset: Some users have interacted with all items")


@pytest.mark.parametrize("word", ["NA", "null", "", "[PAD]"])
@pytest.mark.parametrize("column", [0, 1])
def test_an_id_that_recbole_would_drop_is_refused_with_its_line(column, word):
    rows = toy_rows()
    rows.insert(41, tuple(word if place == column else value for place, value in enumerate(("u1", "i1", 3))))
    message = refusal_of_rows(rows)
    assert message.startswith(f"{FILE}: line 43: {('user_id', 'item_id')[column]} is {word!r}, which RecBole takes for")


@pytest.mark.parametrize("rows", ["x\tu1\ti1\t5\n", "u1\ti1\t5\nx\tu1\ti1\t5\n"], ids=["all", "one"])
def test_rows_with_more_cells_than_the_header_are_refused(rows):
    # RecBole takes the first cell for a row's number, or leaves the last one out, and says nothing.
    assert refusal_of(f"{HEADER}\n{rows}").startswith(f"{FILE}: ")


def test_lines_between_two_stray_quotation_marks_are_not_swallowed():
    rows = [("u1", "i1", 1), ('"u1', "i2", 2), ("u1", "i3", 3), ('u1"', "i4", 4)]
    assert "a quotation mark opens here" in refusal_of_rows(rows)


@pytest.mark.parametrize(
    ("first", "last"),
    # The second has a line of its own for Python's splitlines, which ends no row of a file.
    [('"best ever', 'good"'), ('"best ever\u2028', 'good"')],
    ids=["in cells", "an odd line end"],
)
def test_a_stray_quotation_mark_in_any_column_is_refused_before_rows_are_lost(first, last):
    reviews = ["fine", first, "fine", last, "fine"]
    rows = [f"u1\ti{number}\t{number}\t{review}" for number, review in enumerate(reviews)]
    said = refusal_of("\n".join([f"{HEADER}\treview:token_seq", *rows, ""]))
    assert said.startswith(f"{FILE}: line 3: review is 'best ever")


def test_a_file_with_separators_and_line_ends_in_quotation_marks_is_read_as_recbole_reads_it(toy):
    folder = Path(toy["data_path"]) / "toy"
    inter, items = (pd.read_csv(folder / f"toy.{kind}", sep="\t", dtype=str) for kind in ("inter", "item"))
    items["title:token_seq"] = [f"Story {n}, The\n(1995)" if n % 2 else f"Story {n}, The" for n in range(len(items))]
    inter["review:token_seq"] = "good,\nvery good"
    inter.to_csv(folder / "toy.inter", index=False)
    items.to_csv(folder / "toy.item", index=False)
    settings = {**SMALL, **toy, "field_separator": ",", "selected_features": ["class"]}
    found = load_dataset(Config("SASRecF", None, None, settings))
    assert (found.item_num, found.inter_num) == (41, len(inter))


def test_quotation_marks_that_close_where_they_open_are_read_as_recbole_reads_them(toy):
    path = Path(toy["data_path"]) / "toy" / "toy.item"
    path.write_text(path.read_text().replace("c1", '"c1"', 1).replace("c2", 'c"2"', 1))
    found = load_dataset(Config("SASRecF", None, None, {**SMALL, **toy, "selected_features": ["class"]}))
    assert found.item_num == 41


def test_a_stray_quotation_mark_among_the_items_is_refused_where_a_model_reads_them(toy):
    path = Path(toy["data_path"]) / "toy" / "toy.item"
    path.write_text(path.read_text().replace("c1", '"c1', 1).replace("c2", 'c2"', 1))
    with pytest.raises(InputError, match=r"toy\.item: line 3: class is 'c1.*quotation mark opens here"):
        load_dataset(Config("SASRecF", None, None, {**SMALL, **toy, "selected_features": ["class"]}))


@pytest.mark.parametrize("header", [HEADER + "\tuser_id:token", HEADER + "\tx:foo"])
def test_a_column_twice_or_of_an_unknown_type_is_refused(header):
    assert refusal_of(f"{header}\n1\t2\t3\t4\n").startswith(f"{FILE}: ")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("encoding", "utf-99", "encoding = 'utf-99': there is no such encoding"),
        ("field_separator", "", "field_separator = '': must be text"),
    ],
)
def test_an_encoding_or_separator_that_cannot_be_is_refused(setting, value, words):
    assert words in refusal_of_rows(toy_rows(), **{setting: value})


class Hostile:
    def __reduce__(self):
        return open, ("pwned", "w")


@pytest.mark.parametrize("name", ["d-SequentialDataset.pth", "d-for-SASRec-dataloader.pth"])
def test_a_pickled_dataset_in_a_strangers_run_folder_is_refused_and_nothing_runs(name):
    write_atomic(Path("data"), "d", toy_rows())
    done = recbole_lpo.run("SASRec", "d", None, {**SMALL, "data_path": "data", "epochs": 1}, quiet=True)
    (Path(done["run_dir"]) / "checkpoint" / name).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InputError, match=f"{name}: RecBole would load this pickle"):
        recbole_lpo.load(done["run_dir"])
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset_save_path", "file.pth"),
        ("dataloaders_save_path", "file.pth"),
        ("save_dataset", True),
        ("save_dataloaders", True),
    ],
)
def test_a_pickled_dataset_that_is_asked_for_is_refused_and_nothing_runs(key, value):
    Path("file.pth").write_bytes(pickle.dumps(Hostile()))
    assert refusal_of_rows(toy_rows(), **{key: value}).startswith(f"{key} = {value}: is not supported.")
    assert not Path("pwned").exists()


# Short users among others.


@pytest.fixture
def with_short_users():
    """Rows of the small dataset, and users with one and with two items of it among them."""
    short = [(f"solo{user}", f"i{user}", user) for user in range(9)]
    short += [(f"duo{user}", f"i{user + step}", step) for user in range(5) for step in range(2)]
    rows = toy_rows() + short
    random.Random(2).shuffle(rows)
    return rows


def test_users_with_too_few_items_change_no_history_and_no_target_of_the_others(with_short_users):
    dataset, _, _, test = loaded(toy_rows())
    alone = sequences_of(dataset, test)
    dataset, _, _, test = loaded(with_short_users)
    assert sequences_of(dataset, test) == alone


def test_a_run_with_users_of_one_and_two_items_evaluates_the_others(with_short_users):
    write_atomic(Path("data"), "d", with_short_users)
    metrics = recbole_lpo.run("LPOSASRec", "d", None, {**SMALL, "data_path": "data", "epochs": 1}, quiet=True)
    assert metrics["n"]["users"] == 60


def test_the_interactions_of_users_with_one_item_are_trained_on_by_a_general_model(with_short_users):
    _, train, _, test = loaded(with_short_users, "BPR")
    users = train._dataset.inter_feat["user_id"].numpy()
    solo = [train._dataset.token2id("user_id", f"solo{user}") for user in range(9)]
    assert np.isin(solo, users).all()
    assert not np.isin(solo, test._dataset.inter_feat["user_id"].numpy()).any()


def test_windows_line_ends_change_nothing():
    dataset, _, _, test = loaded(toy_rows())
    expected = sequences_of(dataset, test)
    FILE.write_bytes(FILE.read_bytes().replace(b"\n", b"\r\n"))
    config = config_of()
    dataset = load_dataset(config)
    assert sequences_of(dataset, split_dataset(config, dataset)[2]) == expected


def test_item_columns_that_are_not_there_are_refused():
    write_atomic(Path("data"), "d", toy_rows())
    message = refusal("LPOSASRecF")
    assert message.startswith(
        "selected_features = ['class']: LPOSASRecF reads these columns of the items, and d.item has no"
    )
