"""The training loop: when it stops, which weights it keeps, what it writes down, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from recbole.trainer import S3RecTrainer
from torch import nn

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError, RunError
from recbole_lpo.model.packed import packed_loss
from recbole_lpo.trainer import epoch_steps, lpo_trainer
from recbole_lpo.trainer.checkpoint import read_checkpoint
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.run_log import without_tensorboard
from tests.conftest import SMALL, toy_rows, write_atomic


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Settings of the small dataset, and its loaders."""
    settings = {"dataset": "toy", "data_path": str(write_atomic(tmp_path_factory.mktemp("data"), "toy", toy_rows()))}
    config = Config("LPOSASRec", None, None, {**SMALL, **settings})
    return settings, split_dataset(config, load_dataset(config))


class Scripted:
    """A trainer whose epochs train nothing and whose validation scores are given.

    Every epoch writes its number into the weights, so that weights tell the epoch that they are of.
    """

    def __init__(self, data, scores, *, model="LPOSASRec", **settings):
        self.settings, (self.train, self.valid, self.test) = data
        settings = {**SMALL, **self.settings, "epochs": len(scores), "stopping_step": 100, **settings}
        self.config = Config(model, None, None, settings)
        self.model = self.config.model_class(self.config, self.train._dataset)
        with without_tensorboard():
            self.trainer = trainer_class(self.config["MODEL_TYPE"], model)(self.config, self.model)
        self.trainer.run_dir = Path("run")
        self.trainer._train_epoch = self.train_epoch
        self.scores, self.trained = scores, []
        self.evaluate_really, self.trainer._evaluate_exactly = self.trainer._evaluate_exactly, self.evaluate

    def train_epoch(self, train_data, epoch, **_):
        self.trained.append(epoch)
        with torch.no_grad():
            self.model.item_embedding.weight.fill_(epoch)
        return 1.0

    def evaluate(self, data, *_):
        return {self.trainer.valid_metric: self.scores[self.trained[-1]]}

    def fit(self, **options):
        return self.trainer.fit(self.train, self.valid, verbose=False, **options)

    def epoch_of_the_weights(self) -> float:
        return self.model.item_embedding.weight[1, 1].item()


def test_the_best_epoch_is_the_one_with_the_highest_score(data):
    run = Scripted(data, [0.1, 0.4, 0.3, 0.2])
    assert run.fit() == (0.4, {"ndcg@5": 0.4})
    assert run.trainer.best_epoch == 1


def test_where_smaller_is_better_the_best_epoch_is_the_one_with_the_lowest_score(data):
    metrics = {"metrics": ["AveragePopularity"], "valid_metric": "AveragePopularity@5"}
    run = Scripted(data, [3.0, 1.0, 2.0], **metrics)
    assert run.fit()[0] == 1.0
    assert run.trainer.best_epoch == 1


def test_a_tie_is_no_improvement(data):
    run = Scripted(data, [0.3, 0.3, 0.3])
    run.fit()
    assert run.trainer.best_epoch == 0
    assert [record["best"] for record in run.trainer.history] == [True, False, False]


def test_a_difference_in_the_last_digit_is_an_improvement(data):
    run = Scripted(data, [0.3, 0.3 + 1e-12, 0.3 + 2e-12])
    run.fit()
    assert run.trainer.best_epoch == 2


def test_the_score_that_decides_is_not_rounded_to_the_digits_that_are_shown(data):
    run = Scripted(data, [0.3], metric_decimal_place=2)
    run.trainer._evaluate_exactly = run.evaluate_really
    score, _ = run.trainer._valid_epoch(run.valid)
    assert round(score, 2) != score


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_training_stops_after_more_than_stopping_step_evaluations_without_improvement(patience, data):
    run = Scripted(data, [0.5] + [0.4] * 9, stopping_step=patience)
    run.fit()
    assert run.trained == list(range(1 + patience + 1))


def test_ties_use_up_the_patience(data):
    run = Scripted(data, [0.5] * 10, stopping_step=2)
    run.fit()
    assert len(run.trained) == 4


def test_an_improvement_gives_the_patience_back(data):
    run = Scripted(data, [0.1, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.9], stopping_step=2)
    run.fit()
    assert (len(run.trained), run.trainer.best_epoch) == (7, 3)


def test_patience_counts_evaluations_not_epochs(data):
    run = Scripted(data, [0.5] * 20, stopping_step=1, eval_step=3)
    run.fit()
    assert (len(run.trained), run.trainer.best_epoch) == (9, 2)


def test_the_weights_that_are_tested_are_those_of_the_best_epoch(data):
    run = Scripted(data, [0.1, 0.4, 0.3])
    run.fit()
    assert run.epoch_of_the_weights() == 2
    run.trainer._evaluate_exactly = run.evaluate_really
    run.trainer.evaluate(run.test)
    assert run.epoch_of_the_weights() == 1


def test_without_validation_the_last_epoch_is_kept(data):
    run = Scripted(data, [0.9, 0.1, 0.1], eval_step=0)
    run.fit()
    run.trainer._evaluate_exactly = run.evaluate_really
    run.trainer.evaluate(run.test)
    assert run.epoch_of_the_weights() == 2


def test_without_epochs_the_fresh_model_can_be_tested(data):
    run = Scripted(data, [])
    run.fit()
    run.trainer._evaluate_exactly = run.evaluate_really
    assert "ndcg@5" in run.trainer.evaluate(run.test)


def test_what_is_called_back_sees_every_evaluation(data):
    run, seen = Scripted(data, [0.1, 0.3, 0.2]), []
    run.fit(callback_fn=lambda *found: seen.append(found))
    assert seen == [(0, 0.1), (1, 0.3), (2, 0.2)]


def test_where_validation_is_rarer_than_the_epochs_the_last_one_is_validated(data):
    run = Scripted(data, [0.1, 0.2], eval_step=5)
    assert run.fit()[0] == 0.2


def test_a_valid_metric_of_a_group_without_users_is_refused(data):
    settings = {**SMALL, **data[0], "tail_split_ratio": 0, "valid_metric": "HeadNDCG@5"}
    with pytest.raises(InputError, match=r"^valid_metric = headndcg@5: no validation user is in that group"):
        recbole_lpo.run("SASRec", None, None, settings, quiet=True)


def test_data_without_validation_interactions_is_refused(tmp_path):
    rows = [(f"u{user}", f"i{(user + step) % 7}", step) for user in range(20) for step in range(3)]
    settings = {**SMALL, "dataset": "three", "data_path": str(write_atomic(tmp_path, "three", rows))}
    with pytest.raises(InputError, match=r"^The data has no validation interactions: every user needs at least 4"):
        recbole_lpo.run("SASRec", None, None, settings, quiet=True)


def test_data_without_validation_interactions_serves_a_run_without_validation(tmp_path):
    rows = [(f"u{user}", f"i{(user + step) % 7}", step) for user in range(20) for step in range(3)]
    settings = {**SMALL, "dataset": "three", "data_path": str(write_atomic(tmp_path, "three", rows)), "eval_step": 0}
    assert recbole_lpo.run("SASRec", None, None, settings, quiet=True)["n"]["users"] == 20


class Breaks:
    """The loss of a batch, but not finite after some batches."""

    def __init__(self, loss, batches, value):
        self.loss, self.left, self.value = loss, batches, value

    def __call__(self, *arguments):
        self.left -= 1
        return self.loss(*arguments) * (1.0 if self.left >= 0 else self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("batching", ["packed", "prefix"])
def test_a_loss_that_is_not_finite_ends_the_run_with_epoch_step_and_rate_and_keeps_the_best_weights(
    batching, value, data, monkeypatch
):
    settings, (train, valid, _) = data
    config = Config("LPOSASRec", None, None, {**SMALL, **settings, "batching": batching, "learning_rate": 0.0125})
    model = config.model_class(config, train._dataset)
    with without_tensorboard():
        trainer = trainer_class(config["MODEL_TYPE"], "LPOSASRec")(config, model)
    trainer.run_dir = Path("run")
    saved = []
    save = trainer._save_checkpoint
    trainer._save_checkpoint = lambda *a, **options: (save(*a, **options), saved.append(trainer.best_file.read_bytes()))
    steps = len(trainer._pack(train) or train)
    if batching == "packed":
        monkeypatch.setattr(epoch_steps, "packed_loss", Breaks(packed_loss, steps + 2, value))
    else:
        model.calculate_loss = Breaks(model.calculate_loss, steps + 2, value)
    where = rf"epoch 1, step 3 of {steps}, at learning rate 0\.0125 \(best so far: epoch 0\)"
    with pytest.raises(RunError, match=rf"^LPOSASRec: the training loss is (nan|inf) in {where}") as caught:
        trainer.fit(train, valid, verbose=False)
    assert "Kept: run/checkpoint/best.safetensors, run/checkpoint/last.safetensors." in str(caught.value)
    assert [trainer.best_file.read_bytes()] == saved
    assert all(torch.isfinite(weight).all() for weight in read_checkpoint(trainer.best_file)["weights"].values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_message_of_a_loss_that_is_not_finite_names_it_and_the_best_epoch(value, data):
    run = Scripted(data, [0.1, 0.2, 0.3])
    run.fit()
    with pytest.raises(
        RunError, match=rf"loss is {value} in epoch 2 .*best so far: epoch 2\)\. Kept: .*Lower learning_rate"
    ):
        run.trainer._check_nan(torch.tensor(value))


def test_a_loss_that_is_not_finite_tells_its_parts_and_the_loss_before(data):
    settings = {**SMALL, **data[0], "learning_rate": 1e30}
    parts = r"head/ce (nan|inf), head/pref \S+, tail/ce (nan|inf), tail/pref \S+ \(ce_weight 1, pref_weight 0\.5\)"
    said = rf"\(no epoch was finished\)\. Its parts: {parts}\. The step before had \d+\.\d+\. Lower learning_rate"
    with pytest.raises(RunError, match=said):
        recbole_lpo.run("LPOSASRec", None, None, settings, quiet=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_validation_metric_that_is_not_finite_ends_the_run_with_the_epoch_and_the_loss(value, data):
    run = Scripted(data, [0.1, value, 0.2])
    said = rf"^LPOSASRec: the validation metric ndcg@5 is {value} after epoch 1\. Its training loss was .*Kept: run"
    with pytest.raises(RunError, match=said):
        run.fit()
    assert len(run.trained) == 2


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Lines of `history.jsonl` of a short real run with a warm-up, and what the run returned."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {**SMALL, **data[0], "epochs": 4, "warmup_ratio": 0.5, "lr_schedule": "linear", "learning_rate": 0.01}
    metrics = recbole_lpo.run("LPOSASRec", None, None, {**settings, "run_dir": str(folder / "run")}, quiet=True)
    lines = (folder / "run" / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], metrics


def test_the_history_has_a_line_for_every_epoch(finished):
    assert [record["epoch"] for record in finished[0]] == [0, 1, 2, 3]


@pytest.mark.parametrize("group", ["head", "tail"])
@pytest.mark.parametrize("part", ["n", "ce", "pref", "prob", "pref_gradient_share"])
def test_the_history_has_the_parts_of_the_loss_for_head_and_tail(group, part, finished):
    assert all(record[f"{group}/{part}"] > 0 for record in finished[0])


def test_every_target_of_an_epoch_is_in_the_head_or_in_the_tail(finished, data):
    targets = len(data[1][0]._dataset)
    assert {record["head/n"] + record["tail/n"] for record in finished[0]} == {targets}


def test_the_history_has_the_validation_metrics(finished):
    history, metrics = finished
    best = history[metrics["epochs"]["best"]]
    assert {key: best[f"valid/{key}"] for key in metrics["valid"]} == metrics["valid"]


def test_the_warm_up_raises_the_learning_rate_and_the_schedule_lowers_it(finished):
    # The rate that the epoch ends with: half of all steps are warm-up, then it falls to 0.
    rates = [record["learning_rate"] for record in finished[0]]
    assert rates[1] == pytest.approx(0.01)
    assert 0 < rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[3] == pytest.approx(0, abs=1e-12)


def test_without_warm_up_and_schedule_the_learning_rate_stays(data):
    settings = {**SMALL, **data[0], "learning_rate": 0.01}
    metrics = recbole_lpo.run("LPOSASRec", None, None, settings, quiet=True)
    lines = (Path(metrics["run_dir"]) / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["learning_rate"] for line in lines] == [0.01, 0.01]


def test_a_seed_gives_the_same_run_again(finished, data):
    settings = {**SMALL, **data[0], "epochs": 4, "warmup_ratio": 0.5, "lr_schedule": "linear", "learning_rate": 0.01}
    again = recbole_lpo.run("LPOSASRec", None, None, settings, quiet=True)
    assert (again["test"], again["valid"]) == (finished[1]["test"], finished[1]["valid"])


def test_gradients_are_clipped_where_that_is_asked_for(data, monkeypatch):
    seen, clip = [], nn.utils.clip_grad_norm_
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *a, **options: (seen.append(options), clip(*a, **options)))
    recbole_lpo.run("LPOSASRec", None, None, {**SMALL, **data[0], "clip_grad_norm": {"max_norm": 0.5}}, quiet=True)
    assert seen
    assert all(options["max_norm"] == 0.5 for options in seen)


def test_a_trainer_with_phases_of_its_own_keeps_its_loop():
    assert trainer_class("sequential", "S3Rec").fit is S3RecTrainer.fit
    assert trainer_class("sequential", "SASRec").fit is lpo_trainer.LoopPolicy.fit


def test_a_model_that_recbole_trains_outside_pytorch_is_refused():
    with pytest.raises(InputError, match=r"^model = XGBoost: RecBole trains it outside PyTorch"):
        trainer_class("decisiontree", "XGBoost")
