"""What a comparison runs: from names, from a yaml file, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from recbole_lpo.compare.study import Run, study_of
from recbole_lpo.compare.varied import varied_settings
from recbole_lpo.errors import InputError
from tests.conftest import toy_rows, write_atomic


def written(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return str(path)


def test_names_make_a_run_for_every_method_dataset_and_seed():
    study = study_of(models=["SASRec", "LPOSASRec"], datasets=["a", "b"], seeds=2, settings={"epochs": 3})
    runs = study.runs()
    assert len(runs) == 8
    assert {(run.method, run.dataset, run.seed) for run in runs} == {
        (method, dataset, seed) for method in ("SASRec", "LPOSASRec") for dataset in "ab" for seed in (2020, 2021)
    }
    assert all(run.settings["epochs"] == 3 and run.settings["seed"] == run.seed for run in runs)
    assert study.baseline == "SASRec"


def test_a_file_names_rows_with_settings_of_their_own(tmp_path):
    text = """
datasets: toy
seeds: [5, 9]
settings: {epochs: 7}
baseline: plain
runs:
  plain: {model: SASRec}
  small lambda: {model: LPOSASRec, pref_weight: 0.1, epochs: 8}
  GRU4Rec:
"""
    study = study_of(file=written(tmp_path, text))
    settings = {run.method: run.settings for run in study.runs() if run.seed == 9}
    assert study.seeds == (5, 9)
    assert settings["plain"] == {"model": "SASRec", "epochs": 7, "dataset": "toy", "seed": 9}
    assert settings["small lambda"]["pref_weight"] == 0.1
    assert settings["small lambda"]["epochs"] == 8
    assert settings["GRU4Rec"]["model"] == "GRU4Rec"


RANKED_AGAIN = """
datasets: toy
runs:
  plain: {model: SASRec, also_select: [TailNDCG@5]}
  neighbours: {weights_of: plain, eval_neighbours: 0.5}
"""


def test_a_row_with_weights_of_another_is_that_run_with_a_ranking_of_its_own(tmp_path):
    study = study_of(file=written(tmp_path, RANKED_AGAIN), seeds=[3])
    trained, again = study.runs()
    assert again.source == trained
    assert again.settings == {**trained.settings, "eval_neighbours": 0.5, "also_select": []}
    other = study_of(file=written(tmp_path, RANKED_AGAIN), seeds=[3], settings={"epochs": 3}).runs()
    assert other[1].folder(tmp_path) != again.folder(tmp_path)
    # One that is trained with these settings stops at another epoch: it is another run.
    assert Run("neighbours", "toy", 3, again.settings).folder(tmp_path) != again.folder(tmp_path)


ON_A_REFERENCE = """
datasets: toy
seeds: [3, 4]
runs:
  DPO: {model: DPOSASRec, learning_rate: 1.0e-5, reference_of: plain}
  plain: {model: SASRec}
  again: {weights_of: DPO, eval_neighbours: 0.5}
"""


def test_a_row_with_a_reference_of_another_row_has_the_run_of_its_own_seed_with_that_rows_settings(tmp_path):
    runs = {(run.method, run.seed): run for run in study_of(file=written(tmp_path, ON_A_REFERENCE)).runs()}
    for seed in (3, 4):
        own, plain = runs["DPO", seed], runs["plain", seed]
        assert own.reference == plain
        assert own.told(tmp_path) == {**own.settings, "pref_reference": str(plain.folder(tmp_path).resolve())}
        assert "learning_rate" not in plain.settings
        assert plain.told(tmp_path) == plain.settings
        assert (runs["again", seed].source, runs["again", seed].reference) == (own, None)


def test_another_reference_makes_another_run(tmp_path):
    def folder(text):
        return study_of(file=written(tmp_path, text)).runs()[0].folder(tmp_path)

    first = folder(ON_A_REFERENCE)
    assert folder(ON_A_REFERENCE) == first
    assert folder(ON_A_REFERENCE.replace("{model: SASRec}", "{model: SASRec, epochs: 3}")) != first
    assert folder(ON_A_REFERENCE.replace(", reference_of: plain", "")) != first


def test_another_setting_seed_or_file_makes_another_folder(tmp_path):
    data_path = str(write_atomic(tmp_path, "toy", toy_rows()))
    settings = {"model": "SASRec", "epochs": 1, "data_path": data_path, "dataset": "toy", "seed": 1}
    run = Run("SASRec", "toy", 1, settings)
    folder = run.folder(tmp_path)
    assert Run("SASRec", "toy", 1, dict(settings)).folder(tmp_path) == folder
    assert Run("SASRec", "toy", 1, {**settings, "epochs": 2}).folder(tmp_path) != folder
    write_atomic(tmp_path, "toy", toy_rows(seed=1))
    assert run.folder(tmp_path) != folder


def test_a_copy_of_the_data_elsewhere_has_the_same_folder(tmp_path):
    here = str(write_atomic(tmp_path / "here", "toy", toy_rows()))
    settings = {"model": "SASRec", "epochs": 1, "data_path": here}
    there = shutil.copytree(here, tmp_path / "there", copy_function=shutil.copyfile)
    moved = Run("SASRec", "toy", 1, {**settings, "data_path": str(there)})
    assert moved.folder(tmp_path) == Run("SASRec", "toy", 1, settings).folder(tmp_path)


def test_other_vectors_of_the_same_name_make_another_folder(tmp_path):
    data_path, vectors = str(write_atomic(tmp_path, "toy", toy_rows())), tmp_path / "vectors.npy"
    vectors.write_bytes(b"some")
    settings = {"model": "SASRec", "data_path": data_path, "content_file": [str(vectors)]}
    folder = Run("SASRec", "toy", 1, settings).folder(tmp_path)
    vectors.write_bytes(b"same" * 2)
    of_others = Run("SASRec", "toy", 1, settings).folder(tmp_path)
    assert of_others != folder
    vectors.with_suffix(".tokens").write_text("i1\ni2\n")
    assert Run("SASRec", "toy", 1, settings).folder(tmp_path) != of_others


def test_no_name_of_a_row_leaves_the_output_folder(tmp_path):
    folders = [Run(name, "toy", 1, {}).folder(tmp_path) for name in ("..", ".", "a/b", "a_b", "λ 0.1", "../../x")]
    assert len(set(folders)) == len(folders)
    assert all(folder.parent.parent == tmp_path / "runs" / "toy" and ".." not in folder.parts for folder in folders)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runz: {SASRec: }\ndatasets: [a]", "Did you mean 'runs'"),
        ("runs: [SASRec]\ndatasets: [a]", "runs must hold"),
        ("runs: {SASREC2: }\ndatasets: [a]", "Did you mean 'SASRec'"),
        ("runs: {SASRec: }", "no dataset"),
        ("datasets: [a]", "no method"),
        ("runs: {SASRec: {seed: 3}}\ndatasets: [a]", "seed: a comparison sets it"),
        ("runs: {SASRec: }\ndatasets: [a]\nsettings: {model: Pop}", "model: a comparison sets it"),
        ("runs: {SASRec: }\ndatasets: [a]\nbaseline: SASrec", "Did you mean 'SASRec'"),
        ('runs: {"a\\ab": {model: SASRec}}\ndatasets: [a]', "text that can be printed"),
        ("runs: {SASRec: }\ndatasets: [a]\nseeds: 0", "seeds = 0"),
        ("runs: {SASRec: }\ndatasets: [a]\nseeds: [1, 1]", "different whole numbers"),
        ("runs: {SASRec: }\ndatasets: [a]\nseeds: many", "seeds = many"),
        ("runs: {SASRec: , b: {weights_of: SASrec}}\ndatasets: [a]", "weights_of = SASrec.*Did you mean 'SASRec'"),
        ("runs: {SASRec: , b: {weights_of: SASRec}, c: {weights_of: b}}\ndatasets: [a]", "no row that is trained"),
        ("runs: {SASRec: , b: {weights_of: SASRec, pref_tau: 2}}\ndatasets: [a]", "pref_tau: training depends"),
        ("runs: {SASRec: , SimPOSASRec: {reference_of: SASRec}}\ndatasets: [a]", "SimPOSASRec has no reference"),
        ("runs: {SASRec: , DPOSASRec: {reference_of: SASrec}}\ndatasets: [a]", "reference_of = SASrec.*'SASRec'"),
        ("runs: {DPOSASRec: {reference_of: DPOSASRec}}\ndatasets: [a]", "no row that is trained without another"),
        ("runs: {Pop: , DPOSASRec: {reference_of: Pop, pref_reference: x}}\ndatasets: [a]", "pref_reference = x, and"),
    ],
)
def test_what_a_study_file_says_wrong_is_named(tmp_path, text, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        study_of(file=written(tmp_path, text))


def searched(
    folder, model="LPOSASRec", dataset="toy", best="{learning_rate: 0.003, epochs: 9, pref_tau: 0.5, seed: 1}"
):
    folder.mkdir(parents=True)
    plan = {"model": model, "dataset": dataset, "space": {"learning_rate": {}}}
    (folder / "tune.json").write_text(json.dumps(plan))
    (folder / "trials.csv").write_text("trial,state\n0,finished\n1,pruned\n2,failed\n")
    if best:
        (folder / "best.yaml").write_text(best)
    return str(folder)


def test_a_row_takes_what_a_search_found_for_its_model_and_dataset_and_tells_the_trials(tmp_path):
    study = study_of(
        models=["SASRec", "LPOSASRec"],
        datasets=["toy", "other"],
        settings={"epochs": 3, "learning_rate": 0.1},
        tuned=[searched(tmp_path / "search")],
    )
    settings = {(run.method, run.dataset): run.settings for run in study.runs()}
    tuned = settings["LPOSASRec", "toy"]
    # What was searched stands above the comparison's own settings, what was held fixed does not.
    assert (tuned["learning_rate"], tuned["epochs"], tuned["pref_tau"], tuned["seed"]) == (0.003, 3, 0.5, 2020)
    plain = {"epochs": 3, "learning_rate": 0.1, "seed": 2020}
    assert settings["SASRec", "toy"] == {**plain, "model": "SASRec", "dataset": "toy"}
    assert settings["LPOSASRec", "other"] == {**plain, "model": "LPOSASRec", "dataset": "other"}
    rows = [("LPOSASRec", "toy"), ("LPOSASRec", "other"), ("SASRec", "toy")]
    assert [study.n_trials(*row) for row in rows] == [3, 0, 0]


def test_a_row_that_names_what_was_searched_has_its_own_value(tmp_path):
    text = "datasets: [toy]\nruns: {tuned: {model: LPOSASRec}, fast: {model: LPOSASRec, learning_rate: 0.01}}"
    study = study_of(file=written(tmp_path, text), tuned=[searched(tmp_path / "search")])
    assert {run.method: run.settings["learning_rate"] for run in study.runs()} == {"tuned": 0.003, "fast": 0.01}
    [varied] = varied_settings(study)
    assert (varied.setting, varied.rows) == ("learning_rate", [(0.003, "tuned"), (0.01, "fast")])


def test_the_reference_that_a_search_was_held_to_gives_way_to_that_of_the_row(tmp_path):
    found = searched(tmp_path / "search", "DPOSASRec", best="{pref_reference: runs/of-one-seed, pref_beta: 0.5}")
    study = study_of(file=written(tmp_path, ON_A_REFERENCE), tuned=[found])
    own = next(run for run in study.runs() if (run.method, run.seed) == ("DPO", 4))
    assert own.settings["pref_beta"] == 0.5
    assert "pref_reference" not in own.settings
    assert own.told(tmp_path)["pref_reference"] == str(own.reference.folder(tmp_path).resolve())
    assert own.reference.seed == 4


def test_a_folder_that_gives_no_settings_for_a_row_is_refused(tmp_path):
    names = {"models": ["LPOSASRec"], "datasets": ["toy"]}
    with pytest.raises(InputError, match=r"is no folder of a search"):
        study_of(**names, tuned=[str(tmp_path)])
    with pytest.raises(InputError, match=r"has no best\.yaml"):
        study_of(**names, tuned=[searched(tmp_path / "front", best=None)])
    with pytest.raises(InputError, match=r"no row is SASRec on toy"):
        study_of(**names, tuned=[searched(tmp_path / "other", model="SASRec")])
    with pytest.raises(InputError, match=r"is a second search for LPOSASRec on toy"):
        study_of(**names, tuned=[searched(tmp_path / "one"), searched(tmp_path / "two")])
