"""`eval_neighbours`: what followed the items of a history in training has a share in the ranking."""

from __future__ import annotations

import json
import math

import pytest
import torch
from recbole.utils import ModelType

from recbole_lpo.config import Config
from recbole_lpo.core.neighbours import mixed_log_prob, neighbour_table, neighbour_weight
from recbole_lpo.data.neighbours import Neighbours
from recbole_lpo.data.popularity import training_events
from recbole_lpo.errors import InputError
from recbole_lpo.trainer import evaluation
from tests.conftest import SMALL, toy_rows, write_atomic
from tests.evaluator.test_tail_metrics import EVERYTHING, built, per_user
from tests.test_cli import QUICK, answer, evaluated

SHARE, DISCOUNT, REACH, RECENCY = 0.4, 0.5, 3, 0.7
WITH_NEIGHBOURS = {
    "eval_neighbours": SHARE, "eval_neighbours_discount": DISCOUNT, "eval_neighbours_reach": REACH,
    "eval_neighbours_recency": RECENCY,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy_settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_atomic(folder, "toy", toy_rows())
    return {**SMALL, "dataset": "toy", "data_path": str(folder), "metrics": EVERYTHING, "topk": [1, 5, 10]}


def mixture_by_hand(trainer, train, rows, *, mask):
    """(scores of the mixture, target) of test rows; mask: their history is left out."""
    model, items = trainer.model.eval(), rows["item_id_list"]
    with torch.no_grad():
        scores = model.full_sort_predict(rows)
    scores[:, 0] = -torch.inf
    if mask:
        scores[trainer._before_test.cells(rows["user_id"], rows["item_id"])] = -torch.inf
    users, bought = training_events(train._dataset)
    table = neighbour_table(users, bought, model.n_items, reach=REACH, discount=DISCOUNT)
    weight = neighbour_weight(table, items, rows["item_length"], reach=REACH, recency=RECENCY)
    return mixed_log_prob(scores, weight, SHARE), rows["item_id"]


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("model", ["LPOSASRec", "GRU4Rec", "LPOCaser"])
def test_ranks_are_those_of_the_mixture(model, mask, toy_settings):
    trainer, train, _, test = built(model, toy_settings, eval_mask_history=mask, **WITH_NEIGHBOURS)
    trainer.evaluate(test, load_best_model=False)
    rows = test._dataset.inter_feat
    mixture, target = mixture_by_hand(trainer, train, rows[list(range(len(rows)))], mask=mask)
    own = mixture.gather(1, target[:, None])
    above, level = (mixture > own + 1e-6).sum(1), ((mixture - own).abs() <= 1e-6).sum(1) - 1
    assert per_user(trainer) == dict(
        zip(rows["user_id"].tolist(), (1 + above + (level + 1) // 2).tolist(), strict=True)
    )


@pytest.mark.parametrize("mask", [False, True])
def test_histories_encoded_without_padding_give_the_same_ranks(mask, toy_settings, monkeypatch):
    trainer, _, _, test = built("LPOSASRec", toy_settings, eval_mask_history=mask, **WITH_NEIGHBOURS)
    trainer.evaluate(test, load_best_model=False)
    found = per_user(trainer)
    monkeypatch.setattr(evaluation, "_WHOLE_CELLS", 0)
    trainer.evaluate(test, load_best_model=False)
    assert per_user(trainer) == found


def test_validation_too_and_fewer_users_at_once_give_the_same_ranks(toy_settings, monkeypatch):
    trainer, _, valid, test = built("LPOSASRec", toy_settings, **WITH_NEIGHBOURS)
    plain, *_ = built("LPOSASRec", toy_settings)
    for part in (valid, test):
        trainer.evaluate(part, load_best_model=False)
        plain.evaluate(part, load_best_model=False)
        found = per_user(trainer)
        assert found != per_user(plain)
        monkeypatch.setattr(evaluation, "_MOST_CELLS", 100)
        trainer.evaluate(part, load_best_model=False)
        assert per_user(trainer) == found
        monkeypatch.undo()


def test_the_adjustment_comes_on_top_of_the_mixture(toy_settings):
    trainer, _, _, test = built("LPOSASRec", toy_settings, **WITH_NEIGHBOURS)
    none, much = trainer.evaluate_adjusted(test, (0.0, 3.0), load_best_model=False)
    assert much.figures["tailshare@5"] > none.figures["tailshare@5"]


def test_the_probability_of_the_tail_is_that_of_the_mixture(toy_settings):
    trainer, train, _, test = built("LPOSASRec", toy_settings, eval_mask_history=True, **WITH_NEIGHBOURS)
    (measured,) = trainer.evaluate_adjusted(test, (0.0,), load_best_model=False, tail_prob=True)
    rows = test._dataset.inter_feat
    mixture, _ = mixture_by_hand(trainer, train, rows[list(range(len(rows)))], mask=True)
    tail = ~torch.tensor(trainer.eval_collector.split.is_head)
    tail[0] = False
    torch.testing.assert_close(
        measured.evaluation.tail_prob.float(), mixture.exp()[:, tail].sum(1), rtol=1e-4, atol=1e-5
    )


def test_models_without_histories_and_sampled_candidates_are_refused_before_data_are_read(toy_settings):
    with pytest.raises(InputError, match=r"eval_neighbours = 0.4 with model = BPR"):
        Config("BPR", None, None, {**toy_settings, **WITH_NEIGHBOURS})
    sampled = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni5"}
    with pytest.raises(InputError, match=r"eval_args.mode"):
        Config("SASRec", None, None, {**toy_settings, "eval_args": sampled, **WITH_NEIGHBOURS})
    with pytest.raises(InputError, match=r"eval_neighbours = 0.4 with model = BPR"):
        Neighbours(None, {"MODEL_TYPE": ModelType.GENERAL, "model": "BPR", "eval_neighbours": 0.4}, None)


def test_through_the_commands_run_evaluate_and_recommend_rank_alike(tmp_path, monkeypatch, capsys):
    write_atomic(tmp_path / "dataset", "toy", toy_rows())
    monkeypatch.chdir(tmp_path)
    code, out, err = answer(
        capsys, "run", "--model=LPOSASRec", "--dataset=toy", *QUICK, "--eval_neighbours=0.4", "--eval_mask_history=True"
    )
    assert code == 0, err
    assert "share 0.4" in out
    folder = out.splitlines()[-1].partition(": ")[2]
    metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
    assert metrics["protocol"]["neighbours"] == {"share": 0.4, "discount": 0.5, "reach": 10, "recency": 0.8}
    assert evaluated(capsys, folder)[0]["test"] == metrics["test"]
    without = evaluated(capsys, folder, "--eval_neighbours=0")[0]
    assert without["protocol"]["neighbours"] is None and without["test"] != metrics["test"]
    for change in ("discount=2", "reach=1", "recency=0.1"):
        assert evaluated(capsys, folder, f"--eval_neighbours_{change}")[0]["test"] != metrics["test"]
    code, out, err = answer(capsys, "recommend", f"--run_dir={folder}", "--users=u1", "--k=39", "--format=json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()] if out.startswith("{") else json.loads(out)
    total = sum(math.exp(line["score"]) for line in lines)
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("setting", "word"), [("eval_neighbours=1", "< 1"), ("eval_neighbours_recency=0", "> 0")])
def test_values_out_of_range_are_one_line(setting, word, tmp_path, monkeypatch, capsys):
    write_atomic(tmp_path / "dataset", "toy", toy_rows())
    monkeypatch.chdir(tmp_path)
    code, _, err = answer(capsys, "run", "--model=SASRec", "--dataset=toy", *QUICK, f"--{setting}")
    assert code == 2 and len(err.strip().splitlines()) == 1 and setting.partition("=")[0] in err and word in err
