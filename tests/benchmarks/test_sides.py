"""Both sides are what they are said to be: RecBole's own trainer as its users have it, and ours; the same targets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import recbole.evaluator.collector
import recbole.trainer.trainer as recbole_trainer
import torch
from recbole.data.interaction import Interaction

from benchmarks.cases import NO_ANOMALY, OURS, RECBOLE
from benchmarks.measure import accuracy, end_to_end, evaluation, softmax
from benchmarks.prefix_rows import on_prefix_rows, parts_by_length
from benchmarks.sides import build
from tests.conftest import SMALL, toy_rows, write_atomic

_CONFIG = {key: value for key, value in SMALL.items() if key not in ("MAX_ITEM_LIST_LENGTH", "pref_num_rejected")}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "dropout_prob": 0.0}


@pytest.fixture(autouse=True)
def _anomaly_mode_as_before():
    yield
    torch.autograd.set_detect_anomaly(False)


@pytest.fixture
def toy_case(tmp_path):
    # Some users have too few interactions for a validation or a training row.
    short = [(f"s{n}{step}", f"i{step}", step + 1) for n in (3, 4) for step in range(n)]
    short += [(f"s{n}", f"i{step}", step + 1) for n in (3, 4) for step in range(n)]
    folder = write_atomic(tmp_path / "data", "toy", [*toy_rows(), *short])

    def case(model: str, **config):
        settings = {"dataset": "toy", "model": model, "max_length": 8, "config": {**_CONFIG, **config}}
        return settings, {"toy": str(folder)}

    return case


def test_recbole_runs_its_own_trainer_collector_and_anomaly_mode(toy_case):
    settings, folders = toy_case("SASRec", metrics=["Hit", "NDCG", "MRR"])
    built = build(RECBOLE, settings, folders)
    assert type(built.trainer) is recbole_trainer.Trainer
    assert type(built.trainer.eval_collector) is recbole.evaluator.collector.Collector
    assert torch.is_anomaly_enabled()
    build(NO_ANOMALY, settings, folders)
    assert not torch.is_anomaly_enabled()


def test_both_sides_count_the_same_targets_and_steps(toy_case):
    settings, folders = toy_case("SASRec", metrics=["Hit", "NDCG", "MRR"])
    ours, theirs = build(OURS, settings, folders), build(RECBOLE, settings, folders)
    assert ours.n_targets == theirs.n_targets == len(theirs.train_data._dataset)
    assert ours.steps == theirs.steps == len(theirs.train_data)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_prefix_rows_in_parts_train_as_recboles_epoch_does(toy_case, model):
    settings, folders = toy_case(model, **_NO_DROPOUT, metrics=["Hit", "NDCG", "MRR"])
    theirs = build(NO_ANOMALY, settings, folders)
    settings["config"]["batching"] = "prefix"
    ours = build(OURS, settings, folders, on_prefix_rows)
    losses = [built.trainer._train_epoch(built.train_data, 0) for built in (theirs, ours)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for weight, other in zip(theirs.model.parameters(), ours.model.parameters(), strict=True):
        assert torch.allclose(weight, other, atol=2e-4)


def test_parts_hold_every_row_once_and_end_with_their_longest():
    length = torch.tensor([3, 1, 8, 2, 2, 5, 1, 7, 4, 6, 1, 8])
    items = torch.where(torch.arange(8) < length[:, None], torch.arange(1, 13)[:, None], 0)
    names = SimpleNamespace(ITEM_SEQ="items", ITEM_SEQ_LEN="length", POS_ITEM_ID="target")
    parts = list(parts_by_length(Interaction({"items": items, "length": length, "target": length * 10}), names))
    assert torch.equal(torch.cat([part.length for part in parts]), length.sort().values)
    for part in parts:
        assert torch.equal(part.target, part.length * 10) and torch.equal(part.position, part.length - 1)
        assert part.items.shape[1] == part.length.max()
        assert torch.equal((part.items > 0).sum(dim=1), part.length)


def test_our_side_ends_once_it_has_reached_what_recbole_reached(toy_case):
    settings, folders = toy_case("SASRec", metrics=["NDCG"], topk=[10], epochs=3)
    theirs = end_to_end.measure(RECBOLE, settings, folders)
    scores = [score for _, score in theirs["curve"]]
    assert theirs["best_score"] == max(scores) == scores[theirs["epochs"] - 1] and len(scores) == 3
    at_once = end_to_end.measure(OURS, settings | {"target": 0.0}, folders)
    assert at_once["epochs_trained"] == 1 and at_once["seconds"] > 0
    never = end_to_end.measure(OURS, settings | {"target": 1.1}, folders)
    assert never["epochs_trained"] == 3 and never["seconds"] is None


def test_packed_batches_and_prefix_rows_are_measured_on_the_same_test(toy_case):
    metrics = ["Hit", "NDCG", "TailHit", "TailNDCG"]
    settings, folders = toy_case("SASRec", metrics=metrics, epochs=2, seed=2021)
    for side in ("packed", "prefix"):
        found = accuracy.measure(side, settings, folders)
        assert found["epochs_trained"] == 2
        assert all(0 <= found[figure] <= 1 for figure in accuracy.FIGURES)


def test_the_evaluation_of_both_sides_ranks_the_same_users_and_items(toy_case):
    settings, folders = toy_case("SASRec", metrics=["Hit", "NDCG", "MRR"])
    ours, theirs = (evaluation.measure(side, settings, folders) for side in (OURS, RECBOLE))
    assert {name: ours[name] for name in ("users", "items")} == {name: theirs[name] for name in ("users", "items")}


@pytest.mark.parametrize("side", ["ours", "bfloat16", "dense", "matmuls"])
def test_every_way_to_the_loss_of_a_catalogue_is_timed(side):
    settings = {"targets": 8, "items": 50, "width": 4, "warm_steps": 1, "min_steps": 2, "seconds": 0.0}
    figures = softmax.measure(side, settings, {})
    assert figures["steps"] == 2 and figures["step_seconds"] > 0 and figures["peak_mb"] > 0


def test_the_bare_matrix_products_are_the_three_of_the_loss():
    hidden, table = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    softmax._matmuls(hidden, table, torch.zeros(6, dtype=torch.int64))
    scores = hidden @ table.T
    assert torch.allclose(hidden.grad, scores @ table, atol=1e-5)
    assert torch.allclose(table.grad, scores.T @ hidden, atol=1e-5)
