"""RecBole's own search, HyperTuning, with our objective function and a file of RecBole's form."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

pytest.importorskip("hyperopt")

import recbole_lpo

# isort: split
# RecBole alone cannot be imported on today's libraries: the plugin comes first, as it does for its users.
from recbole.trainer import HyperTuning

from recbole_lpo.errors import InputError
from recbole_lpo.properties_files import read_yaml
from tests.conftest import SMALL

RANGES = "learning_rate loguniform -9,-3\nhidden_size quniform 8,32,8\nhidden_dropout_prob uniform 0.1,0.4\n"


@pytest.fixture
def search(toy, tmp_path):
    """Runs HyperTuning on a file with this text, one epoch a trial."""
    settings = {**SMALL, **toy, "model": "LPOSASRec", "epochs": 1, "n_heads": 1}
    for name in ("hidden_size", "n_layers"):
        settings.pop(name)
    (tmp_path / "fixed.yaml").write_text(yaml.safe_dump(settings))

    def run(text, **how):
        (tmp_path / "hyper.test").write_text(text)
        tuning = HyperTuning(
            recbole_lpo.objective_function,
            params_file=str(tmp_path / "hyper.test"),
            fixed_config_file_list=[str(tmp_path / "fixed.yaml")],
            **how,
        )
        tuning.run()
        return tuning

    return run


def test_exhaustive_search_tries_every_choice_of_a_file(search):
    tuning = search("n_layers choice [1, 2]\npref_negatives choice ['uniform', 'head_gumbel']\n", algo="exhaustive")
    assert len(tuning.params2result) == 4
    assert tuning.best_score == max(result["best_valid_score"] for result in tuning.params2result.values())


@pytest.mark.parametrize("algo", ["random", "bayes"])
def test_a_search_over_ranges_draws_within_them_and_every_run_can_be_read_again(algo, search):
    tuning = search(RANGES, algo=algo, max_evals=2)
    assert len(tuning.params2result) == 2
    for result in tuning.params2result.values():
        kept = read_yaml(Path(result["run_dir"]) / "settings.yaml")
        assert math.exp(-9) <= kept["learning_rate"] <= math.exp(-3)
        assert kept["hidden_size"] in (8, 16, 24, 32)
        assert 0.1 <= kept["hidden_dropout_prob"] <= 0.4


def test_no_trial_looks_at_the_test_items_and_the_winner_can_be_measured_after_it(search, tmp_path):
    tuning = search("n_layers choice [1, 2]\n")
    assert [result["test_result"] for result in tuning.params2result.values()] == [{}, {}]
    tuning.export_result(str(tmp_path / "result.txt"))
    best = tuning.params2result[tuning.params2str(tuning.best_params)]
    (measured,) = recbole_lpo.evaluate(best["run_dir"])
    assert 0 <= measured["test"]["ndcg@5"] <= 1


def test_code_in_a_file_is_refused_and_not_run(search):
    with pytest.raises(InputError, match="is no literal value"):
        search("n_layers choice [open('broken', 'w')]\n")
    assert not Path("broken").exists()
