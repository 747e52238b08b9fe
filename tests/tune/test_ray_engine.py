"""Searches on Ray: what comes back from it, and a search itself where Ray is installed."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna")

from recbole_lpo.cli import main
from recbole_lpo.tune.outcome import tally
from recbole_lpo.tune.ray_engine import _keep
from recbole_lpo.tune.storage import open_study
from tests.conftest import SMALL


def result(name, rate, *, error=None, **metrics):
    return SimpleNamespace(
        config={"learning_rate": rate}, error=error, path=f"/ray/{name}", metrics={"trial_id": name, **metrics}
    )


def test_what_ray_gives_back_is_kept_once_and_in_its_state(plan_for, storage):
    plan = plan_for()
    found = {"values": [0.5], "valid": {"ndcg@5": 0.5}, "folders": ["somewhere"], "epochs": 2}
    results = [
        result("a", 1e-3, objective_0=0.5, epoch=3, found=json.dumps(found)),
        result("b", 2e-3, objective_0=0.1, epoch=1),
        result("c", 3e-3, error=RuntimeError("no memory")),
        # Ray has not started it.
        result("d", 4e-3),
    ]
    study = open_study(storage, plan)
    _keep(study, plan, results)
    _keep(study, plan, results)
    trials = study.get_trials()
    assert tally(trials) == {"finished": 1, "pruned": 1, "failed": 1}
    assert study.best_trial.params == {"learning_rate": 1e-3}
    assert study.best_trial.user_attrs["valid"] == {"ndcg@5": 0.5}
    assert (trials[1].last_step, trials[2].user_attrs["failure"]) == (1, "no memory")


@pytest.fixture
def command(toy, tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: {loguniform: [1e-4, 1e-1]}\n")
    flags = [f"--{key}={value}" for key, value in {**SMALL, **toy}.items()]
    return ["tune", "--engine=ray", "--model=SASRec", "--space=space.yaml", "--output=out", "--trials=2", *flags]


def test_without_ray_the_extra_is_named(command, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(command) == 2
    assert "pip install 'recbole-lpo[ray]'" in capsys.readouterr().err


def test_the_rule_of_ray_that_pauses_trials_is_refused(command, capsys):
    assert main([*command, "--pruner=median"]) == 2
    assert "Take hyperband or none" in capsys.readouterr().err


def test_a_search_on_ray_leaves_what_any_search_leaves(command, tmp_path, capsys):
    pytest.importorskip("ray", minversion="2.43", reason="Ray is an extra")
    assert main(command) == 0
    assert "2 trials: " in capsys.readouterr().out
    assert (tmp_path / "out" / "best.yaml").is_file()
