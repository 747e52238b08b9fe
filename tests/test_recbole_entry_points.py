"""RecBole's own functions, with nothing but `import recbole_lpo` before them."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import recbole_lpo

# isort: split
# RecBole alone cannot be imported on today's libraries: the plugin comes first, as it does for its users.
from recbole.config import Config
from recbole.model.general_recommender import BPR
from recbole.model.sequential_recommender import GRU4Rec, SASRec
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.trainer import HyperTuning, KGTrainer, S3RecTrainer, Trainer
from recbole.utils import ModelType, get_model, get_trainer

from recbole_lpo.config import RECBOLE_PROPERTIES
from recbole_lpo.errors import InputError
from recbole_lpo.model import MODEL_NAMES, OBJECTIVE_NAMES, TRANSFER_NAMES
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.registry import register
from recbole_lpo.settings import KEYS
from recbole_lpo.trainer.lpo_trainer import LPOTrainer
from tests.conftest import ROOT, SMALL, toy_rows, write_atomic

POPULARITY = ["ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage"]
TAIL = [
    "TailHit", "TailNDCG", "TailMRR", "HeadHit", "HeadNDCG", "HeadMRR", "UnseenHit", "UnseenNDCG", "UnseenMRR",
    "Coverage", "TailCoverage", "TailShare",
]  # fmt: skip
# What RecBole needs by itself to run its own sequential models at all.
SEQUENTIAL = {"train_neg_sample_args": None, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
LEAVE_ONE_OUT = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "load_col": SEQUENTIAL["load_col"],
}


@pytest.fixture(autouse=True)
def _logging_as_before():
    """RecBole's functions take the handlers off the root logger, or set its level for good."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers = before
    root.setLevel(level)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the small dataset; RecBole's functions leave `log`, `saved` and `log_tensorboard` in it."""
    folder = tmp_path_factory.mktemp("stock")
    write_atomic(folder / "data", "toy", toy_rows())
    return folder


@pytest.fixture(scope="module")
def settings(workplace):
    return {
        **SMALL,
        "dataset": "toy",
        "data_path": str(workplace / "data"),
        "metrics": ["Hit", "NDCG"],
        "state": "ERROR",
    }


@pytest.fixture(scope="module")
def stock_run(workplace, settings):
    """Runs RecBole's run_recbole once for each name; gives its result and the checkpoint that it left."""
    done = {}

    def run(model, **changes):
        key = (model, repr(changes))
        if key not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(workplace)
                patch.setattr(sys, "argv", ["test"])
                before = set(workplace.glob("saved/*.pth"))
                result = run_recbole(model, "toy", config_dict={**settings, **changes})
                (checkpoint,) = set(workplace.glob("saved/*.pth")) - before
            done[key] = result, checkpoint
        return done[key]

    return run


# Checkpoints are read that this very module has written.
pytestmark = pytest.mark.filterwarnings("ignore:RecBole reads:UserWarning")

OUR_METRICS = {"metrics": ["Hit", "NDCG", *TAIL], "valid_metric": "TailNDCG@5"}


@pytest.mark.parametrize("model", ["LPOSASRec", "LPOGRU4Rec", "LPOCaser"])
def test_run_recbole_trains_our_models_by_name(model, stock_run):
    result, _ = stock_run(model)
    assert 0 < result["test_result"]["hit@5"] <= 1
    assert round(result["best_valid_score"], 4) == result["best_valid_result"]["ndcg@5"]
    assert result["valid_score_bigger"] is True


def test_run_recbole_reads_the_settings_of_the_objective(stock_run):
    _, checkpoint = stock_run("LPOSASRec")
    config = load_data_and_model(str(checkpoint))[0]
    assert (config["pref_weight"], config["pref_tau"], config["pref_score"]) == (0.5, 0.1, "prob")


def test_run_recbole_takes_settings_of_ours(stock_run):
    plain, _ = stock_run("LPOSASRec", pref_weight=0.0, tail_reweight=False)
    assert plain["test_result"] != stock_run("LPOSASRec")[0]["test_result"]


def test_objective_function_trains_our_models_by_name(settings):
    result = objective_function({**settings, "model": "LPOSASRec"})
    assert result["model"] == "LPOSASRec"
    assert round(result["best_valid_score"], 4) == result["best_valid_result"]["ndcg@5"]


@pytest.mark.parametrize("model", ["LPOSASRec", "LPOGRU4Rec", "LPOCaser"])
def test_the_checkpoint_of_run_recbole_gives_the_same_figures_again(model, stock_run):
    result, checkpoint = stock_run(model)
    config, loaded, _, train, valid, test = load_data_and_model(str(checkpoint))
    assert type(loaded) is getattr(recbole_lpo.model, model)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, loaded)
    trainer.eval_collector.data_collect(train)
    assert trainer.evaluate(test, load_best_model=False) == result["test_result"]
    # RecBole rounds what it shows to four digits; early stopping has seen all of them.
    assert trainer.evaluate(valid, load_best_model=False) == pytest.approx(result["best_valid_result"], abs=5.1e-5)


def test_the_checkpoint_of_run_recbole_is_read_in_another_process(stock_run, workplace):
    result, checkpoint = stock_run("LPOSASRec")
    code = f"""
import json, recbole_lpo
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer
config, model, dataset, train, valid, test = load_data_and_model({str(checkpoint)!r})
trainer = Trainer(config, model)
trainer.eval_collector.data_collect(train)
print(json.dumps(trainer.evaluate(test, load_best_model=False)))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=workplace, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == result["test_result"]


CHOICES = {"choice": {"pref_weight": [0.0, 0.7]}}


@pytest.mark.parametrize("objective", [objective_function, recbole_lpo.objective_function], ids=["recbole", "ours"])
def test_hyper_tuning_tries_every_choice(objective, settings):
    pytest.importorskip("hyperopt")
    file = Path("fixed.yaml")
    file.write_text(json.dumps({**settings, "model": "LPOSASRec", "epochs": 1}))
    tuning = HyperTuning(objective, params_dict=CHOICES, fixed_config_file_list=[str(file)], algo="exhaustive")
    tuning.run()
    scores = {params: result["best_valid_score"] for params, result in tuning.params2result.items()}
    assert set(scores) == {"pref_weight:0.0", "pref_weight:0.7"}
    assert tuning.best_score == max(scores.values())
    assert scores[tuning.params2str(tuning.best_params)] == max(scores.values())


def test_every_trial_of_our_objective_function_leaves_its_run_folder(settings):
    for weight in (0.0, 0.7):
        recbole_lpo.objective_function({**settings, "model": "LPOSASRec", "epochs": 1, "pref_weight": weight})
    kept = [read_yaml(path)["pref_weight"] for path in Path("runs").rglob("settings.yaml")]
    assert sorted(kept) == [0.0, 0.7]


def test_our_objective_function_gives_what_a_run_gives(settings):
    found = recbole_lpo.objective_function({**settings, "model": "SASRec"}, test=True)
    metrics = recbole_lpo.run("SASRec", None, None, settings, quiet=True)
    assert found == {
        "model": "SASRec",
        "best_valid_score": metrics["valid"]["ndcg@5"],
        "valid_score_bigger": True,
        "best_valid_result": metrics["valid"],
        "test_result": metrics["test"],
        "run_dir": found["run_dir"],
    }
    assert (Path(found["run_dir"]) / "metrics.json").is_file()


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_get_trainer_gives_our_trainer_for_our_names(name):
    assert get_trainer(ModelType.SEQUENTIAL, name) is LPOTrainer


@pytest.mark.parametrize(
    ("name", "kind", "trainer"),
    [
        ("SASRec", ModelType.SEQUENTIAL, Trainer), ("BPR", ModelType.GENERAL, Trainer),
        ("S3Rec", ModelType.SEQUENTIAL, S3RecTrainer), ("CKE", ModelType.KNOWLEDGE, KGTrainer),
    ],
)  # fmt: skip
def test_get_trainer_gives_recboles_trainer_for_its_names(name, kind, trainer):
    assert get_trainer(kind, name) is trainer


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_get_model_gives_one_class_for_each_of_our_names(name):
    model = get_model(name)
    assert model is get_model(name) is getattr(recbole_lpo.model, name)
    assert model.__name__ == name


@pytest.mark.parametrize(("name", "model"), [("SASRec", SASRec), ("GRU4Rec", GRU4Rec), ("BPR", BPR)])
def test_get_model_gives_recboles_class_for_its_names(name, model):
    assert get_model(name) is model


@pytest.mark.parametrize(("typo", "meant"), [("LPOSASRecc", "LPOSASRec"), ("lpogru4rec", "LPOGRU4Rec"), ("BRP", "BPR")])
def test_an_unknown_model_is_refused_with_the_nearest_and_how_models_are_called(typo, meant):
    with pytest.raises(InputError, match=rf"^model = {typo}: unknown\. Did you mean '{meant}'\? Ours have ") as caught:
        get_model(typo)
    said = str(caught.value)
    assert len(said) < 700
    assert all(f" {part}" in said for part in (*OBJECTIVE_NAMES, *TRANSFER_NAMES, *BACKBONES))


def test_run_recbole_refuses_an_unknown_model_in_the_same_words(settings):
    with pytest.raises(InputError, match=r"^model = LPOSASRecc: unknown\. Did you mean 'LPOSASRec'"):
        run_recbole("LPOSASRecc", "toy", config_dict=settings)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_our_classes_pass_through_pickle(name):
    model = get_model(name)
    assert pickle.loads(pickle.dumps(model)) is model


def test_a_config_of_recbole_for_our_model_passes_through_pickle(settings):
    config = Config("LPOSASRec", "toy", None, dict(settings))
    again = pickle.loads(pickle.dumps(config))
    assert again.final_config_dict == config.final_config_dict
    assert again.model_class is get_model("LPOSASRec")


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "FPMC"])
def test_the_config_of_a_model_of_recbole_is_recboles(model):
    config = Config(model, "toy")
    files = [RECBOLE_PROPERTIES / f"{name}.yaml" for name in ("overall", "dataset/sample", f"model/{model}")]
    theirs = {key: value for file in files for key, value in read_yaml(file).items()}
    derived = {"data_path", "eval_args", "repeatable"}
    assert {key: config[key] for key in theirs if key not in derived} == {
        key: value for key, value in theirs.items() if key not in derived
    }
    assert set(KEYS).isdisjoint(config.final_config_dict)


def test_the_config_of_sasrec_still_refuses_recboles_own_negatives():
    with pytest.raises(ValueError, match="should be None when the loss_type is CE") as caught:
        Config("SASRec", "toy")
    assert not isinstance(caught.value, InputError)


def test_a_second_registration_changes_nothing():
    before = (Config._load_internal_config_dict, Config._convert_config_dict, get_model("LPOSASRec"))
    register()
    assert before == (Config._load_internal_config_dict, Config._convert_config_dict, get_model("LPOSASRec"))


@pytest.mark.parametrize(("model", "needs"), [("GRU4Rec", SEQUENTIAL), ("BPR", LEAVE_ONE_OUT)])
class TestMetricsOfAStockRun:
    """Models of RecBole under RecBole's run_recbole, Config and Trainer."""

    def test_the_four_popularity_metrics_that_crash_in_recbole_work(self, model, needs, stock_run):
        metrics = {"metrics": ["NDCG", *POPULARITY], "tail_ratio": 0.5}
        result = stock_run(model, **needs, **metrics)[0]["test_result"]
        found = {name: result[f"{name.lower()}@5"] for name in POPULARITY}
        assert all(math.isfinite(value) for value in found.values())
        assert 0 < found["ItemCoverage"] < 1
        assert 0 < found["GiniIndex"] < 1
        assert 0 <= found["TailPercentage"] <= 1
        assert found["AveragePopularity"] > 1

    def test_head_and_tail_metrics_are_measured_and_one_stops_the_training(self, model, needs, stock_run):
        result = stock_run(model, **needs, **OUR_METRICS)[0]
        test = result["test_result"]
        assert set(test) == {f"{name.lower()}@{k}" for name in OUR_METRICS["metrics"] for k in (3, 5)}
        assert result["best_valid_score"] == result["best_valid_result"]["tailndcg@5"]
        assert 0 <= test["tailhit@5"] <= 1
        low, high = sorted([test["tailhit@5"], test["headhit@5"]])
        assert low <= test["hit@5"] <= high


def test_average_popularity_is_the_mean_count_of_the_recommended_items(stock_run):
    result, checkpoint = stock_run("BPR", **LEAVE_ONE_OUT, metrics=["NDCG", *POPULARITY], tail_ratio=0.5)
    config, model, _, train, _, test = load_data_and_model(str(checkpoint))
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(train)
    struct = []
    measure = trainer.evaluator.evaluate
    trainer.evaluator.evaluate = lambda found: struct.append(found) or measure(found)
    trainer.evaluate(test, load_best_model=False)
    counts = train.dataset.item_counter
    items = struct[0].get("rec.items")[:, :5].tolist()
    mean = sum(counts[item] for row in items for item in row) / (5 * len(items))
    assert result["test_result"]["averagepopularity@5"] == pytest.approx(mean, abs=1e-4)


def test_a_run_of_ours_leaves_no_thread_and_no_log_handler_behind(settings):
    before = threading.active_count(), logging.getLogger().handlers[:]
    recbole_lpo.run("SASRec", None, None, {**settings, "epochs": 1}, quiet=True)
    assert (threading.active_count(), logging.getLogger().handlers) == before
