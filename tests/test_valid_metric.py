"""`valid_metric`: one metric or a weighted sum, in every run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.config_checks import larger_is_better
from recbole_lpo.errors import InputError
from recbole_lpo.valid_metric import ValidMetric, parse_valid_metric
from tests.conftest import SMALL

SUM = "0.25*NDCG@5 + 0.75*TailNDCG@5"
names = st.builds(
    lambda name, k: f"{name}@{k}", st.sampled_from(["NDCG", "Hit", "TailNDCG", "MRR"]), st.integers(1, 99)
)
terms = st.dictionaries(names, st.floats(1e-6, 1e6), min_size=1, max_size=4)


@given(terms)
def test_what_is_written_out_is_read_back(weights):
    text = " + ".join(f"{weight!r} * {name}" for name, weight in weights.items())
    assert parse_valid_metric(text) == ValidMetric(tuple((weight, name) for name, weight in weights.items()))


@given(terms, st.data())
def test_the_value_is_the_weighted_sum(weights, data):
    figures = {name.lower(): data.draw(st.floats(0, 1)) for name in weights}
    expected = math.fsum(weight * figures[name.lower()] for name, weight in weights.items())
    text = "+".join(f"{weight!r}*{name}" for name, weight in weights.items())
    assert parse_valid_metric(text).value(figures) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@given(st.floats(0, 1))
def test_a_single_metric_is_its_figure_to_the_last_digit(figure):
    assert parse_valid_metric("TailNDCG@10").value({"tailndcg@10": figure}) == figure


def test_a_missing_weight_is_1_and_an_exponent_is_a_number():
    assert parse_valid_metric("NDCG@10+1e-1*Hit@5 + GAUC").terms == ((1.0, "NDCG@10"), (0.1, "Hit@5"), (1.0, "GAUC"))


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        parsed = parse_valid_metric(text)
    except InputError as error:
        assert str(error).startswith("valid_metric = ")
    else:
        assert all(weight > 0 for weight, _ in parsed.terms)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not understood at 'its end'"),
        ("0.5*NDCG@10 + ", "not understood at 'its end'"),
        ("NDCG@10 - Hit@10", "not understood at 'NDCG@10 - Hit@10'"),
        ("0*NDCG@10", "the weight 0 is out of range. Allowed: > 0"),
        ("1e999*NDCG@10", "out of range"),
        ("NDCG@10 + 0.5*ndcg@10", "names NDCG@10 twice"),
        ("__import__('os').system('x')", "not understood"),
    ],
)
def test_what_is_no_sum_is_refused_with_the_place(text, said):
    with pytest.raises(InputError) as caught:
        parse_valid_metric(text)
    assert said in str(caught.value)


def test_metrics_of_both_kinds_do_not_go_into_one_sum():
    assert larger_is_better(SUM)
    assert not larger_is_better("0.5*RMSE + MAE")
    with pytest.raises(InputError, match=r"of RMSE the smaller value is the better one"):
        larger_is_better("RMSE + NDCG@10")


def test_a_sum_with_a_metric_that_is_not_measured_is_refused():
    with pytest.raises(InputError, match=r"this run does not measure Hit@7\. Take one of"):
        Config("SASRec", "ml-100k", None, {"valid_metric": "NDCG@10 + Hit@7"})


def test_early_stopping_watches_the_sum(toy):
    result = recbole_lpo.run("LPOSASRec", config_dict={**toy, **SMALL, "valid_metric": SUM, "epochs": 3}, quiet=True)
    lines = (Path(result["run_dir"]) / "history.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    sums = [0.25 * epoch["valid/ndcg@5"] + 0.75 * epoch["valid/tailndcg@5"] for epoch in epochs]
    assert [epoch[f"valid/{SUM.lower()}"] for epoch in epochs] == pytest.approx(sums)
    assert result["epochs"]["best"] == sums.index(max(sums))
    assert result["valid"][SUM.lower()] == pytest.approx(max(sums))
    assert result["protocol"]["valid_metric"] == SUM
