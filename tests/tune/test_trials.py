"""Trials: which count, which are run again, what they see, and what is found at the end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

optuna = pytest.importorskip("optuna")

from recbole_lpo.properties_files import read_yaml  # noqa: E402  after the library that they need
from recbole_lpo.trainer.evaluation import TailEvaluation  # noqa: E402
from recbole_lpo.tune import claims, outcome, worker  # noqa: E402
from recbole_lpo.tune.claims import DROPPED, FAILURE, WORKER, Watch, claim, counted, this_process  # noqa: E402
from recbole_lpo.tune.outcome import best_trials, tally, winners  # noqa: E402
from recbole_lpo.tune.report import write_report  # noqa: E402
from recbole_lpo.tune.space import Choice, Range  # noqa: E402
from recbole_lpo.tune.storage import open_study  # noqa: E402
from recbole_lpo.tune.trial_run import distributions, drawn, settings_of  # noqa: E402
from recbole_lpo.tune.worker import BROKEN, work  # noqa: E402

STATES = optuna.trial.TrialState


@pytest.fixture
def quick_trials(monkeypatch):
    """Trials without training, which report a score that falls with the distance of learning_rate from 0.01."""

    def found(plan, settings, folder, on_validation):
        score = 1 / (1 + abs(settings["learning_rate"] - 0.01))
        for epoch in range(plan.settings["epochs"]):
            if on_validation:
                on_validation(epoch, score)
        return {"values": [score] * len(plan.objectives), "valid": {"ndcg@5": score}, "folders": [], "epochs": 2}

    monkeypatch.setattr(worker, "run_seeds", found)


def params_of(study):
    return [trial.params for trial in counted(study.get_trials())]


def test_every_kind_of_range_is_drawn_from_within(plan_for):
    space = {
        "a": Choice((1, True, "x", [1, 2], None)),
        "b": Range(1, 9, whole=True, step=3),
        "c": Range(8, 512, whole=True, log=True),
        "d": Range(0.1, 0.55, step=0.1),
        "e": Range(1e-4, 1e-2, log=True),
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(60):
        trial = study.ask()
        found = drawn(trial, space)
        assert any(found["a"] is value or found["a"] == value == [1, 2] for value in space["a"].values)
        assert found["b"] in (1, 4, 7)
        assert found["c"] in range(8, 513)
        assert min(abs(found["d"] - step / 10) for step in range(1, 6)) < 1e-9
        assert 1e-4 <= found["e"] <= 1e-2
        assert settings_of(trial.params, space) == found
    assert set(distributions(space)) == set(space)


@pytest.mark.once
def test_processes_on_one_storage_run_exactly_the_trials_asked_for(plan_for, storage, tmp_path, quick_trials):
    plan = plan_for()
    study = open_study(storage, plan)
    threads = [
        threading.Thread(target=work, args=(plan, storage, tmp_path), kwargs={"total": 9, "until": None})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally(study.get_trials()) == {"finished": 9, "pruned": 0, "failed": 0}
    assert len({json.dumps(params) for params in params_of(study)}) == 9
    work(plan, storage, tmp_path, total=9, until=None)
    assert len(counted(study.get_trials())) == 9


def test_a_trial_too_many_is_given_back(plan_for, storage, monkeypatch):
    plan = plan_for()
    study = open_study(storage, plan)
    # Another process takes the last place between the look and the claim.
    ask = study.ask
    monkeypatch.setattr(study, "ask", lambda: (open_study(storage, plan).ask(), ask())[1])
    assert claim(study, 1) is None
    assert [trial.user_attrs.get(DROPPED) is None for trial in study.get_trials()] == [True, False]


@pytest.mark.once
def test_an_interrupted_search_draws_what_an_uninterrupted_one_draws(plan_for, tmp_path, quick_trials):
    plan, whole, parts = plan_for(), f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    work(plan, whole, tmp_path, total=14, until=None)
    work(plan, parts, tmp_path, total=12, until=None)
    lost = open_study(parts, plan)
    trial, place = claim(lost, 14)
    lost.sampler = worker.seeded_sampler(plan, place)
    drawn(trial, plan.space)
    trial.set_user_attr(WORKER, {**this_process(), "pid": ended_process(), "started": 0.0})
    assert Watch(lost).fail_lost() == [12]
    work(plan, parts, tmp_path, total=14, until=None)
    assert params_of(open_study(parts, plan)) == params_of(open_study(whole, plan))


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def running(study, **changes):
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr(WORKER, {**this_process(), **changes})
    return trial


def test_settings_that_lose_their_process_twice_count_as_failed(plan_for, storage):
    study = open_study(storage, plan_for())
    watch = Watch(study)
    for _ in range(2):
        study.sampler = optuna.samplers.RandomSampler(seed=3)
        running(study, pid=ended_process())
        assert len(watch.fail_lost()) == 1
    first, second = study.get_trials()
    assert first.params == second.params
    assert (DROPPED in first.user_attrs, FAILURE in second.user_attrs) == (True, True)
    assert tally([first, second]) == {"finished": 0, "pruned": 0, "failed": 1}


def test_a_process_that_runs_here_keeps_its_trial(plan_for, storage):
    study = open_study(storage, plan_for())
    running(study)
    assert Watch(study).fail_lost() == []
    # The number of a process that has ended may be another's by now.
    running(study, started=this_process()["started"] - 100)
    assert Watch(study).fail_lost() == [1]


def test_a_trial_elsewhere_is_lost_once_it_has_been_silent(plan_for, storage, monkeypatch):
    study, now = open_study(storage, plan_for()), [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    silent, beating = running(study, host="elsewhere"), running(study, host=socket.gethostname() + "-not")
    watch = Watch(study)
    for beat in range(8):
        now[0] = beat * 30.0
        beating.set_user_attr(claims.BEAT, beat)
        found = watch.fail_lost()
        assert found == ([silent.number] if now[0] == 180 else [])


def test_a_trial_in_its_worst_company_is_pruned_and_its_weights_go(plan_for, storage, tmp_path):
    plan = plan_for(pruner="median", settings={"epochs": 6})
    study = open_study(storage, plan)
    for number in range(5):
        study.add_trial(
            optuna.trial.create_trial(
                params={"learning_rate": 0.001 * (number + 1)},
                distributions=distributions(plan.space),
                value=0.9,
                intermediate_values=dict.fromkeys(range(1, 7), 0.9),
                user_attrs={"folders": []},
            )
        )
    work(plan, storage, tmp_path, total=6, until=None)
    pruned = study.get_trials()[5]
    assert pruned.state == STATES.PRUNED
    assert pruned.last_step == 2
    assert set(pruned.intermediate_values) == {1, 2}
    folder = tmp_path / "trials" / "0005" / "1"
    assert (folder / "settings.yaml").is_file()
    assert not (folder / "checkpoint").exists()


@pytest.mark.once
def test_hyperband_ends_trials_early_too(plan_for, storage, tmp_path, quick_trials):
    plan = plan_for(pruner="hyperband", settings={"epochs": 9})
    work(plan, storage, tmp_path, total=20, until=None)
    counts = tally(open_study(storage, plan).get_trials())
    assert counts["pruned"] > 0
    assert counts["finished"] > 0


def test_trials_never_look_at_the_test_items_and_the_winner_does_once(plan_for, storage, tmp_path, monkeypatch):
    plan = plan_for(seeds=(1, 2))

    # What measures the test items in a run.
    def refuse(self, data, strengths, **_):
        assert not strengths
        return []

    with monkeypatch.context() as patch:
        patch.setattr(TailEvaluation, "evaluate_adjusted", refuse)
        work(plan, storage, tmp_path, total=2, until=None)
    study = open_study(storage, plan)
    assert tally(study.get_trials()) == {"finished": 2, "pruned": 0, "failed": 0}
    for trial in study.get_trials():
        runs = [json.loads((Path(folder) / "metrics.json").read_text()) for folder in trial.user_attrs["folders"]]
        assert [run["seed"] for run in runs] == [1, 2]
        assert all(run["test"] == {} and run["n"] is None and run["adjusted"] == [] for run in runs)
        assert trial.value == pytest.approx(sum(run["valid"]["ndcg@5"] for run in runs) / 2)
        assert not any((Path(folder) / "per_user.csv.gz").exists() for folder in trial.user_attrs["folders"])
    measured, evaluate = [], outcome.evaluate
    monkeypatch.setattr(
        outcome, "evaluate", lambda folder, **given: measured.append(folder) or evaluate(folder, **given)
    )
    (winner,) = winners(study, plan)
    assert winner.number == study.best_trial.number
    assert measured == list(winner.folders)
    assert winners(open_study(storage, plan), plan) == [winner]
    assert len(measured) == 2
    assert set(winner.test) == {"ndcg@5", "tailndcg@5"}


def test_what_fails_is_kept_with_its_reason_and_three_in_a_row_stop_the_process(plan_for, storage, tmp_path):
    plan = plan_for(space={"n_heads": Choice((3, 5, 7))})
    assert work(plan, storage, tmp_path, total=9, until=None) == BROKEN
    trials = open_study(storage, plan).get_trials()
    assert [trial.state for trial in trials] == [STATES.FAIL] * 3
    assert all("the heads share the width" in trial.user_attrs[FAILURE] for trial in trials)


def test_a_loss_that_is_not_finite_fails_its_trial_and_no_more(plan_for, storage, tmp_path):
    plan = plan_for(space={"learning_rate": Choice((1e30, 2e30, 3e30, 4e30))})
    assert work(plan, storage, tmp_path, total=4, until=None) == 0
    assert tally(open_study(storage, plan).get_trials()) == {"finished": 0, "pruned": 0, "failed": 4}


def test_nothing_is_started_after_the_time_is_up(plan_for, storage, tmp_path):
    assert work(plan_for(), storage, tmp_path, total=4, until=0.0) == 0
    assert open_study(storage, plan_for()).get_trials() == []


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(points)
def test_the_front_holds_exactly_the_trials_that_no_other_beats(values):
    study = optuna.create_study(directions=["maximize", "minimize"])
    for pair in values:
        study.add_trial(optuna.trial.create_trial(values=pair))

    def beats(one, other):
        return one != other and one[0] >= other[0] and one[1] <= other[1]

    expected = [pair for pair in values if not any(beats(other, pair) for other in values)]
    found = [tuple(trial.values) for trial in best_trials(study)]
    assert sorted(found) == sorted(expected)
    assert [pair[0] for pair in found] == sorted((pair[0] for pair in found), reverse=True)


def test_several_objectives_give_a_file_for_each_trial_of_the_front(plan_for, storage, tmp_path):
    plan = plan_for(objectives=("NDCG@5", "TailNDCG@5"), settings={"valid_metric": "NDCG@5 + TailNDCG@5"})
    work(plan, storage, tmp_path, total=3, until=None)
    study = open_study(storage, plan)
    found = winners(study, plan)
    text = write_report(study, plan, found, tmp_path)
    files = {int(path.stem): read_yaml(path) for path in (tmp_path / "front").glob("*.yaml")}
    assert set(files) == {winner.number for winner in found}
    for winner in found:
        assert files[winner.number]["learning_rate"] == winner.settings["learning_rate"]
        best = study.get_trials()[winner.number]
        assert winner.values == (best.user_attrs["valid"]["ndcg@5"], best.user_attrs["valid"]["tailndcg@5"])
    assert "## The front" in text
    assert not (tmp_path / "best.yaml").exists()


@pytest.mark.once
def test_the_importance_of_settings_is_told_once_there_are_trials_enough(plan_for, storage, tmp_path, quick_trials):
    plan = plan_for(space={"learning_rate": Range(1e-3, 1.0), "n_layers": Range(1, 3, whole=True, step=1)})
    work(plan, storage, tmp_path, total=12, until=None)
    study = open_study(storage, plan)
    text = write_report(study, plan, [], tmp_path)
    shares = dict(
        line.strip("| ").split(" | ") for line in text.partition("Importance")[2].splitlines() if "0." in line
    )
    assert float(shares["learning_rate"]) > 0.5


def test_a_storage_of_journal_files_works_as_well(plan_for, tmp_path, quick_trials):
    plan, storage = plan_for(), f"journal:{tmp_path / 'study.log'}"
    work(plan, storage, tmp_path, total=3, until=None)
    assert tally(open_study(storage, plan).get_trials())["finished"] == 3
    assert os.path.getsize(tmp_path / "study.log") > 0
