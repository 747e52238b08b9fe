"""What makes two searches the same, and what is wrong with one before anything is trained."""

from __future__ import annotations

import json

import pytest

from recbole_lpo.errors import InputError
from recbole_lpo.tune.plan import check_plan, plan_of, watched
from recbole_lpo.tune.space import Choice, Range
from recbole_lpo.tune.storage import open_study, without_password


def test_a_plan_comes_back_whole_from_plain_values(plan_for):
    space = {"hidden_size": Choice((16, 32)), "learning_rate": Range(1e-4, 1e-2, log=True)}
    plan = plan_for(space=space, objectives=("NDCG@5", "TailNDCG@5"))
    again = plan_of(json.loads(json.dumps(plan.told())))
    assert again == plan
    assert again.name == plan.name


def test_the_name_tells_searches_apart_but_not_machines(plan_for):
    plan = plan_for()
    assert plan_for(settings={"data_path": "/elsewhere"}).name == plan.name
    others = [plan_for(settings={"epochs": 3}), plan_for(seeds=(1, 2)), plan_for(space={"n_layers": Range(1, 2, True)})]
    assert len({plan.name, *(other.name for other in others)}) == 4


def test_a_sound_plan_passes(plan_for):
    check_plan(plan_for(space={"pref_tau": Range(0.1, 1), "learning_rate": Range(1e-4, 1)}, model="LPOSASRec"))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"learning_rte": Range(0, 1)}, "learning_rte: there is no such setting. Did you mean 'learning_rate'?"),
        ({"pref_tau": Range(-1, 1)}, "pref_tau = -1.0: out of range"),
        ({"pref_negatives": Choice(("uniform", "best"))}, "pref_negatives = best: unknown"),
        ({"learning_rate": Range(-1.0, 1.0)}, "learning_rate = -1.0: out of range. Allowed: >= 0"),
        ({"hidden_size": Choice((16, 16.5))}, "hidden_size = 16.5: must be a whole number"),
        ({"seed": Range(1, 9, True)}, "seed: cannot be searched"),
        ({"tail_split_ratio": Range(0.1, 0.9)}, "tail_split_ratio: cannot be searched"),
    ],
)
def test_a_space_that_no_run_would_take_is_refused(space, said, plan_for):
    with pytest.raises(InputError) as caught:
        check_plan(plan_for(space=space, model="LPOSASRec"))
    assert said in str(caught.value)


def test_a_dataset_that_is_not_there_is_refused_before_the_first_trial(plan_for):
    with pytest.raises(InputError, match=r"recbole-lpo prepare"):
        check_plan(plan_for(dataset="nowhere"))


def test_an_objective_that_is_not_measured_is_refused(plan_for):
    with pytest.raises(InputError, match=r"this run does not measure it"):
        check_plan(plan_for(objectives=("NDCG@5", "Hit@5")))


def test_early_stopping_watches_the_objective_or_the_mean_of_several():
    assert watched(["0.5*NDCG@5 + Hit@5"], None) == "0.5*NDCG@5 + Hit@5"
    assert watched(["NDCG@5", "TailNDCG@5"], "NDCG@5") == "NDCG@5"
    assert watched(["NDCG@5", "TailNDCG@5"], None) == "0.5*NDCG@5 + 0.5*TailNDCG@5"
    assert watched(["NDCG@5", "NDCG@5 + TailNDCG@5"], None) == "1*NDCG@5 + 0.5*TailNDCG@5"
    with pytest.raises(InputError, match=r"Set --valid_metric too"):
        watched(["RMSE", "NDCG@5"], None)


@pytest.mark.parametrize(
    "storage", ["nosuch://x", "postgresql://me:secret@localhost:1/x", "sqlite:////no/such/place/a.db"]
)
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(storage, plan_for):
    with pytest.raises(InputError, match=r"^storage = ") as caught:
        open_study(storage, plan_for())
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown():
    assert without_password("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    assert without_password("sqlite:///a@b.db") == "sqlite:///a@b.db"
