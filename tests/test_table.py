"""The printed table: its figures, its counts, its warnings."""

from __future__ import annotations

import copy

import pytest

from recbole_lpo.table import caption, result_table

RUN = {
    "model": "LPOSASRec",
    "dataset": "toy",
    "seed": 1,
    "protocol": {
        "split": {"LS": "valid_and_test"}, "order": "TO", "candidates": "full", "mask_history": False, "tied_users": 0,
    },
    "split": {
        "rule": "item_share", "ratio": 0.2, "threshold": None, "items": 1000, "head_items": 200, "tail_items": 800,
        "n_tied": 7, "cut_count": 15,
    },
    "n": {"users": 5000, "head": 2000, "tail": 3000, "unseen": 12},
    "test": {"hit@5": 0.1, "hit@10": 0.2, "ndcg@5": 0.05, "ndcg@10": 0.06, "tailhit@5": None, "tailhit@10": 0.01},
}  # fmt: skip


def changed(**parts) -> dict:
    """RUN with some parts of its own; a dict is merged into the part of that name."""
    run = copy.deepcopy(RUN)
    for name, part in parts.items():
        run[name] = {**run[name], **part} if isinstance(part, dict) else part
    return run


def test_a_row_for_each_length_of_list_and_a_dash_where_a_figure_does_not_exist():
    rows = [line.split() for line in result_table([RUN]).splitlines()[2:4]]
    assert rows == [["LPOSASRec", "5", "0.1000", "0.0500", "-"], ["10", "0.2000", "0.0600", "0.0100"]]


CURVE = [
    {"strength": strength, "valid": {}, "test": {key: value * strength for key, value in RUN["test"].items() if value}}
    for strength in (0.3, 1.0)
]


@pytest.mark.parametrize(("watched", "length", "rate"), [("NDCG@10", "10", "0.0600"), ("TailHit@5", "5", "0.0300")])
def test_the_curve_of_a_model_follows_its_rows_at_the_length_that_training_watched(watched, length, rate):
    run = changed(protocol={"valid_metric": watched}, adjusted=CURVE)
    lines = [line.split() for line in result_table([run, changed(model="SASRec")]).splitlines()[2:8]]
    assert [line[:3] for line in lines[2:4]] == [["LPOSASRec", "t=0.3", length], ["LPOSASRec", "t=1", length]]
    assert lines[2][3] == rate
    assert lines[4][:2] == ["SASRec", "5"]


def test_the_curve_is_explained_where_there_is_one():
    assert "t: post-hoc logit adjustment" in result_table([changed(adjusted=CURVE)])
    assert "t: post-hoc" not in result_table([changed(adjusted=[])])


def test_metrics_that_were_not_measured_have_no_column():
    assert "coverage" not in result_table([RUN])


@pytest.mark.parametrize("words", ["5,000 test users", "2,000 with a head", "3,000 with a tail", "12 of these"])
def test_the_counts_behind_the_figures_are_said(words):
    assert words in result_table([RUN])


@pytest.mark.parametrize(
    "words", ["200 of 1,000", "7 items tie at the cut (15 interactions)", "all items ranked", "ranked too", "Seed 1."]
)
def test_the_split_and_the_protocol_are_said(words):
    assert words in result_table([RUN])


def test_a_masked_history_is_said():
    assert "left out of the ranking" in result_table([changed(protocol={"mask_history": True})])


def test_rows_of_different_users_are_not_to_be_compared():
    other = changed(model="BPR", n={"users": 4999})
    assert "Not measured on the same users" in result_table([RUN, other])


def test_rows_of_different_splits_are_not_to_be_compared():
    other = changed(model="SASRec", split={"ratio": 0.8})
    assert "different head/tail splits" in result_table([RUN, other])


def test_a_model_that_scores_items_alike_is_reported():
    assert "ranks are coarse" in result_table([changed(protocol={"tied_users": 100})])
    assert "ranks are coarse" not in result_table([changed(protocol={"tied_users": 2})])
    seeds = [changed(protocol={"tied_users": tied}) for tied in (100, 300, 200)]
    assert result_table(seeds).count("ranks are coarse") == 1
    assert "for 300 users" in result_table(seeds)


def test_metrics_without_a_column_get_a_line():
    text = result_table([changed(test={"gauc": 0.75, "itemcoverage@5": 0.5})])
    assert "LPOSASRec: gauc 0.7500  itemcoverage@5 0.5000" in text


def test_a_run_without_any_list_metric_has_no_empty_table():
    assert result_table([RUN | {"test": {"gauc": 0.75}}]).startswith("LPOSASRec: gauc 0.7500")


def test_models_that_read_histories_of_different_lengths_say_so():
    runs = [changed(model=name, protocol={"max_history": n}) for name, n in (("SASRec", 50), ("Caser", 10))]
    assert "Items of a history that are read: SASRec 50, Caser 10." in caption(runs)
    assert not any("Items of a history" in line for line in caption(runs[:1]))
