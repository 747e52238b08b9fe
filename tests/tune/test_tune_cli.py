"""`recbole-lpo tune` as a user types it: two processes, killed, started again, and what it leaves."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from recbole_lpo.cli import main
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.tune import tune_cli
from tests.conftest import SMALL
from tests.run_folders import start_and_kill

pytestmark = pytest.mark.once

optuna = pytest.importorskip("optuna")

N_TRIALS = 6


@pytest.fixture
def command(toy, tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: {loguniform: [1e-4, 1e-1]}\nn_layers: {int: [1, 2]}\n")
    settings = {**SMALL, **toy, "valid_metric": "0.5*NDCG@5 + 0.5*TailNDCG@5", "epochs": 3}
    settings.pop("n_layers")
    flags = [f"--{key}={value}" for key, value in settings.items()]
    return ["tune", "--model=SASRec", "--space=space.yaml", "--output=out", f"--trials={N_TRIALS}", *flags]


def finished(tmp_path):
    """The numbers of the trials that are finished, with the times of their metrics."""
    return {path.parts[-3]: path.stat().st_mtime_ns for path in tmp_path.glob("out/trials/*/*/metrics.json")}


def test_a_search_of_two_processes_killed_in_the_middle_ends_with_the_trials_asked_for(command, tmp_path, capsys):
    parallel = [*command, "--jobs=2", "--pruner=none"]
    start_and_kill(parallel, lambda: finished(tmp_path))
    before = finished(tmp_path)
    assert 1 <= len(before) < N_TRIALS

    assert main(parallel) == 0
    said = capsys.readouterr()
    assert before.items() <= finished(tmp_path).items()
    assert f"[{N_TRIALS}/{N_TRIALS}] trial" in said.err
    assert " left\n" in said.err
    with open(tmp_path / "out" / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["finished"] * N_TRIALS
    assert f"{N_TRIALS} trials: {N_TRIALS} finished, 0 pruned, 0 failed" in said.out
    assert said.out.startswith((tmp_path / "out" / "tune.md").read_text())
    objective = "0.5*NDCG@5 + 0.5*TailNDCG@5"
    best = max(rows, key=lambda row: float(row[objective]))
    settings = read_yaml(tmp_path / "out" / "best.yaml")
    assert settings["learning_rate"] == float(best["learning_rate"])

    # The same command once more has nothing to do, and another search is not let in.
    assert main(parallel) == 0
    assert len(finished(tmp_path)) == len({*finished(tmp_path)}) >= N_TRIALS
    assert main([*command, "--pruner=hyperband"]) == 2
    assert "belongs to another search, which differs in pruner" in capsys.readouterr().err

    # A comparison takes what was found, and comes to the figures that the search has measured.
    assert main(["compare", "--models=SASRec", "--datasets=toy", "--tuned=out", "--output=compared"]) == 0
    table = capsys.readouterr().out
    assert "| seeds | trials |" in table
    assert f"| 1 | {N_TRIALS} |" in table
    (run,) = (tmp_path / "compared").glob("runs/*/*/*/metrics.json")
    metrics = json.loads(run.read_text())
    assert metrics["valid"][objective.lower()] == pytest.approx(float(best[objective]))
    assert f"| {metrics['test']['ndcg@5']:.4f} | {metrics['test']['tailndcg@5']:.4f} |" in said.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--space=no.yaml"], "no.yaml: there is no such file"),
        (["--trials=0"], "--trials=0: must be a whole number >= 1"),
        (["--trials=many"], "--trials=many"),
        (["--timeout=-1"], "--timeout=-1: must be a number >= 0"),
        (["--pruner=medium"], "Did you mean 'median'"),
        (["--objectives=NDCG@5,TailNDCG@5", "--pruner=median"], "a search for several objectives prunes nothing"),
        (["--objectives=NDCG@5,NDCG@5"], "one is named twice"),
        (["--model=SASREC2"], "Did you mean 'SASRec'"),
        (["--seed=3"], "seeds are given by --seeds"),
        (["--engine=spark"], "--engine=spark: unknown"),
        (["--learning_rte=1"], "learning_rate"),
        (["--storage=nosuch://x"], "storage = nosuch://x: cannot be used"),
    ],
)
def test_wrong_input_ends_before_anything_is_run(changes, said, command, tmp_path, capsys):
    replaced = [word for word in command if not any(word.startswith(one.partition("=")[0] + "=") for one in changes)]
    assert main([*replaced, *changes]) == 2
    assert said in capsys.readouterr().err
    assert not finished(tmp_path)


def test_a_folder_with_something_else_in_it_is_refused(command, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    assert main(command) == 2
    assert "holds something that is no search" in capsys.readouterr().err


def test_a_search_does_not_go_on_over_other_data(command, toy, tmp_path, capsys):
    short = [*(flag for flag in command if not flag.startswith(("--trials", "--epochs"))), "--epochs=1"]
    assert main([*short, "--trials=1"]) == 0
    file = Path(toy["data_path"]) / "toy" / "toy.inter"
    file.write_text(file.read_text() + "u1\ti3\t99\n")
    assert main([*short, "--trials=2"]) == 2
    assert "the files of toy have changed since this search was begun" in capsys.readouterr().err
    assert len(finished(tmp_path)) == 1


def test_a_search_that_was_begun_before_searches_knew_their_data_goes_on(command, tmp_path, capsys, monkeypatch):
    short = [*(flag for flag in command if not flag.startswith(("--trials", "--epochs"))), "--epochs=1"]
    with monkeypatch.context() as patched:
        patched.setattr(tune_cli, "data_fingerprint", lambda *files: ())
        assert main([*short, "--trials=1"]) == 0
    plan = tmp_path / "out" / "tune.json"
    told = json.loads(plan.read_text())
    assert told.pop("data") == []
    plan.write_text(json.dumps(told))
    # Twice: the first time writes the plan anew.
    for n_trials in (2, 3):
        assert main([*short, f"--trials={n_trials}"]) == 0
        assert len(finished(tmp_path)) == n_trials


def test_without_optuna_the_extra_is_named(command, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(command) == 2
    assert "pip install 'recbole-lpo[tune]'" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    assert main(["tune", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--space", "--trials", "--timeout", "--objectives", "--pruner", "--seeds", "--jobs", "--storage"):
        assert option in said
