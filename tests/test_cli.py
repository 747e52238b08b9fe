"""Through the command that a user types."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import recbole_lpo
from recbole_lpo.cli import main, parse_settings
from recbole_lpo.errors import InputError
from tests.conftest import ROOT, toy_rows, write_atomic

QUICK = [
    "--hidden_size=16", "--inner_size=32", "--embedding_size=16", "--epochs=2", "--train_batch_size=64",
    "--MAX_ITEM_LIST_LENGTH=8", "--topk=[3,5]", "--valid_metric=NDCG@5", "--pref_num_rejected=4", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workplace")
    write_atomic(folder / "dataset", "toy", toy_rows())
    return folder


@pytest.fixture
def in_workplace(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture(scope="module")
def finished(workplace):
    """A run folder, made by the script itself in a process of its own, and what it printed."""
    command = [sys.executable, str(ROOT / "run_recbole_lpo.py"), "--model=LPOSASRec", "--dataset=toy", *QUICK]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return workplace / done.stdout.splitlines()[-1].partition(": ")[2], done


def answer(capsys, *arguments):
    """(exit code, stdout, stderr) of a command run in this process."""
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_run_prints_overall_head_tail_and_coverage_with_the_counts(finished):
    text = finished[1].stdout
    for word in ("LPOSASRec", "head HR", "tail NDCG", "coverage", "test users", "tie at the cut", "never saw"):
        assert word in text


def first_loss(capsys, *arguments) -> float:
    code, out, err = answer(capsys, "run", "--dataset=toy", *QUICK, *arguments)
    assert code == 0, err
    folder = Path(out.splitlines()[-1].partition(": ")[2])
    return json.loads((folder / "history.jsonl").read_text(encoding="utf-8").splitlines()[0])["train_loss"]


@pytest.mark.parametrize("model", ["SASRec", "LPOSASRec"])
def test_the_loss_of_the_first_epoch_does_not_depend_on_how_the_softmax_is_computed(model, in_workplace, capsys):
    methods = ["dense", "chunked", "auto", *(["fused"] if hasattr(functional, "linear_cross_entropy") else [])]
    losses = [first_loss(capsys, f"--model={model}", f"--item_softmax={method}") for method in methods]
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-5)
    assert losses[2] == losses[0]


def test_a_softmax_that_the_installed_torch_does_not_have_is_refused(in_workplace, capsys, monkeypatch):
    monkeypatch.delattr(functional, "linear_cross_entropy", raising=False)
    code, _, err = answer(capsys, "run", "--model=SASRec", "--dataset=toy", *QUICK, "--item_softmax=fused")
    assert code == 2
    assert f"item_softmax = fused: torch {torch.__version__} has no linear_cross_entropy" in err


def test_a_quiet_run_says_nothing_but_the_table(finished):
    assert finished[1].stderr == ""


def test_a_run_folder_holds_what_the_design_promises(finished):
    folder = finished[0]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"settings.yaml", "metrics.json", "per_user.csv.gz", "checkpoint", "train.log", "tensorboard"}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) >= {"model", "dataset", "seed", "protocol", "split", "valid", "test", "n", "seconds"}
    assert metrics["memory"]["peak_mb"] is None or metrics["memory"]["peak_mb"] > 50
    assert set(metrics["n"]) == {"users", "head", "tail", "unseen"}
    assert set(metrics["seconds"]) >= {"prepare", "train_epoch", "evaluate", "total"}
    assert {"hit@5", "ndcg@3", "tailhit@5", "tailndcg@5", "headmrr@3", "tailshare@5"} <= set(metrics["test"])


def test_the_rows_per_user_give_the_metrics_again(finished):
    folder = finished[0]
    metrics = json.loads((folder / "metrics.json").read_text())
    with gzip.open(folder / "per_user.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == metrics["n"]["users"]
    tail = [int(row["rank"]) <= 5 for row in rows if row["group"] in ("tail", "unseen")]
    assert sum(tail) / len(tail) == pytest.approx(metrics["test"]["tailhit@5"], abs=1e-12)
    everyone = [int(row["rank"]) <= 5 for row in rows]
    assert sum(everyone) / len(everyone) == pytest.approx(metrics["test"]["hit@5"], abs=1e-12)


def test_the_settings_of_a_run_folder_run_again_to_the_same_result(finished, in_workplace, capsys):
    code, out, err = answer(capsys, f"--config_files={finished[0] / 'settings.yaml'}", "--quiet")
    assert code == 0, err
    again = in_workplace / out.splitlines()[-1].partition(": ")[2]
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (finished[0], again))
    assert (first["test"], first["valid"]) == (second["test"], second["valid"])
    assert (finished[0] / "per_user.csv.gz").read_bytes() == (again / "per_user.csv.gz").read_bytes()


def test_several_models_give_one_table_under_one_protocol(in_workplace, capsys):
    code, out, err = answer(capsys, "run", "--model=LPOGRU4Rec,GRU4Rec,Pop,BPR", "--dataset=toy", *QUICK)
    assert code == 0, err
    named = [line.split()[:2] for line in out.splitlines() if line.startswith(("LPOGRU", "GRU", "Pop", "BPR"))]
    assert [name for name, length in named if length == "3"] == ["LPOGRU4Rec", "GRU4Rec", "Pop", "BPR"]
    assert "not measured on the same users" not in out.lower()
    assert "different head/tail splits" not in out


def test_presets_and_settings_files_reach_the_run(in_workplace, capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 7\npref_tau: 0.5\n")
    arguments = ["--model=LPOCaser", "--dataset=toy", "--preset=log_prob", f"--config_files={tmp_path / 'mine.yaml'}"]
    code, out, err = answer(capsys, *arguments, *QUICK)
    assert code == 0, err
    written = (in_workplace / out.splitlines()[-1].partition(": ")[2] / "settings.yaml").read_text()
    assert "pref_score: log_prob" in written
    assert "pref_tau: 0.5" in written
    assert "seed: 7" in written


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=LPOSASRecc", "--dataset=toy"], ["LPOSASRecc", "LPOSASRec"]),
        (["--model=LPOSASRec"], ["--dataset"]),
        (["--dataset=toy"], ["--model"]),
        (["--model=LPOSASRec", "--dataset=nowhere"], ["nowhere", "prepare", "--data_path"]),
        (["--model=LPOSASRec", "--dataset=toy", "--pref_wieght=1"], ["pref_wieght", "pref_weight"]),
        (["--model=LPOSASRec", "--dataset=toy", "--lerning_rate=1"], ["lerning_rate", "learning_rate"]),
        (["--model=LPOSASRec", "--dataset=toy", "--pref_tau=0"], ["pref_tau", "0", "> 0"]),
        (["--model=LPOSASRec", "--dataset=toy", "--pref_num_rejected=500"], ["pref_num_rejected", "500", "head"]),
        (["--model=LPOSASRec", "--dataset=toy", "--preset=papr"], ["papr", "paper"]),
        (["--model=LPOSASRec", "--dataset=toy", "--metrics=['TailHitt']"], ["TailHitt", "TailHit"]),
        (["--model=LPOSASRec", "--dataset=toy", "--valid_metric=GAUC"], ["valid_metric", "GAUC"]),
        (["--model=LPOSASRec", "--dataset=toy", "--topk=[1000]", "--valid_metric=NDCG@1000"], ["topk", "1000"]),
        (["--model=LPOSASRec", "--dataset=toy", "--config_files=none.yaml"], ["none.yaml"]),
        (["--model=SASRec,Pop", "--dataset=toy", "--run_dir=x"], ["run_dir"]),
        (["--model=LPOSASRec", "--dataset=toy", "--seed=1", "--seed=2"], ["seed", "twice"]),
        (["--model=LPOSASRec", "--dataset=toy", "toy"], ["toy", "--key=value"]),
        (["recomend"], ["recomend", "recommend"]),
        (["--dataset=toy"], ["--model is missing", "--model=LPOSASRec"]),
        (["--models=SASRec", "--dataset=toy"], ["--models: is an option of `recbole-lpo compare`."]),
        (
            ["--model=LPOSASRec", "--dataset=toy", "--jobs=2"],
            ["--jobs", "`recbole-lpo compare` and `recbole-lpo tune`"],
        ),
        (["compare", "--models=Pop", "--datasets=toy", "--sedes=2"], ["--sedes", "Did you mean '--seeds'?"]),
        (["tune", "--model=Pop", "--dataset=toy", "--prunner=none"], ["--prunner", "Did you mean '--pruner'?"]),
        (["compare", "--study=none.yaml"], ["none.yaml", "Check --study"]),
        (["evaluate"], ["--run_dir --recbole_checkpoint is required", "`recbole-lpo evaluate --help`"]),
        (["evaluate", "--run_dir=x", "--tokp=[5]"], ["does not take --tokp=[5]", "Did you mean '--topk'?"]),
        (["--model=Pop", "--dataset=tyo"], ["tyo", "Did you mean 'toy'?", "--name=tyo --source=csv --input=FILE"]),
        (["--model=FM", "--dataset=toy"], ["FM: learns from labels", "'label'", "threshold"]),
        (["--model=S3Rec", "--dataset=toy"], ["S3Rec: RecBole cannot make it", "Field [class] not defined"]),
        (["--model=LPOSASRec", "--dataset=toy", "--tail_split_ratio=0"], ["head", "0"]),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(arguments, words, in_workplace, capsys):
    given = [word for word in QUICK if not any(word.split("=")[0] == one.split("=")[0] for one in arguments)]
    code, _, err = answer(capsys, *arguments, *(given if len(arguments) > 1 else []))
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize("model", ["LightGBM", "XGBoost"])
def test_a_model_of_a_library_that_is_missing_is_refused_with_its_name(model, in_workplace, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    code, _, err = answer(capsys, f"--model={model}", "--dataset=toy")
    assert code == 2
    assert err == (
        f"error: model = {model}: needs the package lightgbm, which is not installed: pip install lightgbm.\n"
    )


def test_a_model_of_labels_learns_from_negatives_that_are_sampled(in_workplace, capsys):
    sampled = "--train_neg_sample_args={'distribution': 'uniform', 'sample_num': 1}"
    code, out, err = answer(capsys, "--model=FM", "--dataset=toy", *QUICK, sampled)
    assert code == 0, err
    assert "tail HR" in out


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "recbole_lpo", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("recbole-lpo ")


def test_an_unfinished_run_is_measured_with_a_warning(finished, in_workplace, capsys, caplog, tmp_path):
    folder = Path(shutil.copytree(finished[0], tmp_path / "run"))
    evaluated(capsys, folder)
    assert "has not finished" not in caplog.text
    (folder / "metrics.json").unlink()
    evaluated(capsys, folder)
    assert f"{folder}: its training has not finished; these are its best weights so far" in caplog.text


def test_a_failing_model_does_not_cost_the_table_of_those_before_it(in_workplace, capsys):
    code, out, _ = answer(
        capsys, "--model=Pop,LPOSASRec", "--dataset=toy", *[w for w in QUICK if "rejected" not in w],
        "--pref_num_rejected=500",
    )  # fmt: skip
    assert code == 2
    assert "Pop" in out
    assert "tail HR" in out


def test_a_value_is_data_and_never_code(tmp_path):
    hostile = "__import__('pathlib').Path('pwned').touch()"
    assert parse_settings([f"--note={hostile}"]) == {"note": hostile}
    assert not (tmp_path / "pwned").exists()


def test_values_read_as_in_recbole():
    given = ["--a=1e-3", "--b=[1,2]", "--c=True", "--d=none", "--e=None", "--f={'LS': 'x'}", "--g", "text", "-m", "X"]
    assert parse_settings(given) == {
        "a": 1e-3, "b": [1, 2], "c": True, "d": "none", "e": None, "f": {"LS": "x"}, "g": "text", "model": "X",
    }  # fmt: skip


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(InputError, match="--seed"):
        parse_settings(["--seed", "--quiet"])


def recommended(capsys, folder, *arguments):
    code, out, err = answer(capsys, "recommend", f"--run_dir={folder}", "--format=json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_recommend_gives_k_new_items_to_each_user_best_first(finished, in_workplace, capsys):
    lines = recommended(capsys, finished[0], "--users=u1,u2", "--k=4")
    assert [(line["user"], line["rank"]) for line in lines] == [(u, r) for u in ("u1", "u2") for r in (1, 2, 3, 4)]
    met = {(user, item) for user, item, _ in toy_rows()}
    assert all((line["user"], line["item"]) not in met for line in lines)
    scores = [line["score"] for line in lines[:4]]
    assert scores == sorted(scores, reverse=True)


def test_recommend_can_keep_to_the_tail(finished, in_workplace, capsys):
    lines = recommended(capsys, finished[0], "--users=u1", "--k=5", "--tail_only")
    assert {line["group"] for line in lines} == {"tail"}


def test_a_new_user_with_the_history_of_a_known_one_gets_the_same_list(finished, in_workplace, capsys):
    history = [item for _, _, item in sorted((step, user, item) for user, item, step in toy_rows() if user == "u3")]
    known = recommended(capsys, finished[0], "--users=u3", "--k=6")
    new = recommended(capsys, finished[0], f"--items={','.join(history)}", "--k=6")
    assert [line["item"] for line in new] == [line["item"] for line in known]


@pytest.mark.parametrize(("model", "users"), [("Caser", "user_embedding"), ("FPMC", "UI_emb")])
def test_a_new_user_of_a_model_with_vectors_of_users_has_the_average_one(model, users, in_workplace, capsys):
    code, out, err = answer(capsys, f"--model={model}", "--dataset=toy", *QUICK)
    assert code == 0, err
    loaded = recbole_lpo.load(out.splitlines()[-1].partition(": ")[2])
    lists = []
    for start in (-5.0, 5.0):
        with torch.no_grad():
            getattr(loaded.model, users).weight[0] = start
        lists.append(recbole_lpo.recommend(loaded, items=["i1", "i2", "i3"], k=5))
    assert lists[0] == lists[1]


def test_a_run_whose_data_has_changed_is_measured_with_a_warning(toy, in_workplace, capsys, caplog, tmp_path):
    data = shutil.copytree(toy["data_path"], tmp_path / "changing")
    code, out, err = answer(capsys, "--model=Pop", "--dataset=toy", *QUICK, f"--data_path={data}")
    assert code == 0, err
    folder = out.splitlines()[-1].partition(": ")[2]
    evaluated(capsys, folder)
    assert "other interactions" not in caplog.text
    file = data / "toy" / "toy.inter"
    file.write_text(file.read_text() + "u1\ti3\t99\n")
    evaluated(capsys, folder)
    assert "was trained on other interactions of these items: toy has changed since" in caplog.text


def test_recommend_writes_csv_and_a_table(finished, in_workplace, capsys, tmp_path):
    code, out, _ = answer(capsys, "recommend", f"--run_dir={finished[0]}", "--users=u1", "--k=2")
    assert code == 0
    assert out.splitlines()[0].split() == ["user", "rank", "item", "score", "group"]
    file = tmp_path / "lists.csv"
    arguments = ["recommend", f"--run_dir={finished[0]}", "--users=u1", "--k=2", "--format=csv", f"--output={file}"]
    assert main(arguments) == 0
    assert len(list(csv.DictReader(io.StringIO(file.read_text())))) == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--users=nobody"], "nobody"),
        (["--items=i1,nothing"], "nothing"),
        ([], "users"),
        (["--users=u1", "--k=0"], "k = 0"),
        (["--users_file=none.txt"], "none.txt"),
    ],
)
def test_wrong_input_to_recommend_is_one_line_and_exit_code_2(arguments, word, finished, in_workplace, capsys):
    code, _, err = answer(capsys, "recommend", f"--run_dir={finished[0]}", *arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert word in err


def test_a_folder_without_a_run_cannot_recommend(in_workplace, capsys, tmp_path):
    code, _, err = answer(capsys, "recommend", f"--run_dir={tmp_path}", "--users=u1")
    assert code == 2
    assert "not a run folder" in err


def test_a_finished_run_folder_is_not_written_over(finished, in_workplace, capsys):
    code, _, err = answer(capsys, "--model=Pop", "--dataset=toy", f"--run_dir={finished[0]}", *QUICK)
    assert code == 2
    assert "finished run" in err


def test_help_and_version_need_nothing_else(capsys):
    assert answer(capsys, "--help")[0] == 0
    assert answer(capsys, "--version")[1].startswith("recbole-lpo ")


def test_wrong_input_leaves_no_run_folder_behind(tmp_path, capsys):
    assert answer(capsys, "--model=LPOSASRec", "--dataset=nowhere", "--quiet")[0] == 2
    assert not (tmp_path / "runs").exists()


def test_recommending_writes_nothing_beside_what_it_was_asked_for(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(finished[0].parents[3])
    before = set(finished[0].parents[3].iterdir())
    assert answer(capsys, "recommend", f"--run_dir={finished[0]}", "--users=u1")[0] == 0
    assert set(finished[0].parents[3].iterdir()) == before


def evaluated(capsys, folder, *arguments):
    code, out, err = answer(capsys, "evaluate", f"--run_dir={folder}", "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_evaluate_measures_a_finished_run_again_to_the_same_figures(finished, in_workplace, capsys):
    metrics = json.loads((finished[0] / "metrics.json").read_text())
    assert evaluated(capsys, finished[0])[0]["test"] == metrics["test"]
    assert evaluated(capsys, finished[0], "--on=valid")[0]["valid"] == metrics["valid"]


def test_figures_of_validation_items_are_never_called_those_of_test_items(finished, in_workplace, capsys):
    assert "test" not in evaluated(capsys, finished[0], "--on=valid")[0]
    code, out, err = answer(capsys, "evaluate", f"--run_dir={finished[0]}", "--on=valid")
    assert code == 0, err
    assert " validation users, " in out and " test users" not in out
    assert "Measured on the validation items." in out
    assert f"{json.loads((finished[0] / 'metrics.json').read_text())['valid']['hit@5']:.4f}" in out


def test_the_curve_of_logit_adjustment_shifts_the_lists_to_the_tail(finished, in_workplace, capsys):
    curve = evaluated(capsys, finished[0], "--eval_logit_adjust=0,0.5,2")
    assert [point["protocol"]["logit_adjust"] for point in curve] == [0, 0.5, 2]
    shares = [point["test"]["tailshare@5"] for point in curve]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_a_run_measures_the_curve_of_logit_adjustment_as_evaluate_does_and_prints_it(finished, in_workplace, capsys):
    metrics = json.loads((finished[0] / "metrics.json").read_text())
    assert [point["strength"] for point in metrics["adjusted"]] == [0.1, 0.3, 0.5, 1.0]
    for part in ("valid", "test"):
        curve = evaluated(capsys, finished[0], "--eval_logit_adjust=0.1,0.3,0.5,1", f"--on={part}")
        assert [point[part] for point in curve] == [point[part] for point in metrics["adjusted"]]
    rows = [line.split()[:3] for line in finished[1].stdout.splitlines() if line.startswith("LPOSASRec t=")]
    assert rows == [["LPOSASRec", f"t={strength}", "5"] for strength in ("0.1", "0.3", "0.5", "1")]


@pytest.mark.parametrize(
    "without", ["--eval_logit_adjust_curve=[]", "--tail_split_ratio=1", "--eval_args={'mode': 'uni20'}"]
)
def test_there_is_no_curve_where_none_is_asked_for_nothing_is_tail_or_few_items_are_ranked(
    without, in_workplace, capsys
):
    code, out, err = answer(capsys, "--model=Pop", "--dataset=toy", *QUICK, without)
    assert code == 0, err
    metrics = json.loads((in_workplace / out.splitlines()[-1].partition(": ")[2] / "metrics.json").read_text())
    assert metrics["adjusted"] == []
    assert "t=" not in out


def test_a_run_with_logit_adjustment_is_measured_as_evaluate_measures_it(finished, in_workplace, capsys):
    code, out, err = answer(capsys, "--model=LPOSASRec", "--dataset=toy", *QUICK, "--eval_logit_adjust=0.5")
    assert code == 0, err
    adjusted = json.loads((in_workplace / out.splitlines()[-1].partition(": ")[2] / "metrics.json").read_text())
    assert adjusted["protocol"]["logit_adjust"] == 0.5
    assert "LPOSASRec t=0.5" in out
    folder = out.splitlines()[-1].partition(": ")[2]
    [again] = evaluated(capsys, folder)
    assert (again["protocol"]["logit_adjust"], again["test"]) == (0.5, adjusted["test"])
    [plain] = evaluated(capsys, folder, "--eval_logit_adjust=0")
    assert plain["test"] != adjusted["test"]
    lists = [recommended(capsys, folder, "--users=u1,u2,u3", *more) for more in ([], ["--eval_logit_adjust=0.5"])]
    assert lists[0] == lists[1] != recommended(capsys, folder, "--users=u1,u2,u3", "--eval_logit_adjust=0")


def test_a_run_without_validation_items_cannot_be_measured_on_them(in_workplace, capsys):
    whole = ["--model=Pop", "--dataset=toy", *QUICK, "--eval_step=0", "--eval_args={'split': {'LS': 'test_only'}}"]
    code, out, err = answer(capsys, *whole)
    assert code == 0, err
    folder = out.splitlines()[-1].partition(": ")[2]
    code, _, err = answer(capsys, "evaluate", f"--run_dir={folder}", "--on=valid")
    assert code == 2
    assert err == (
        "error: on = valid: the run's split {'LS': 'test_only'} leaves no items to validate on. Measure on = test.\n"
    )


def test_evaluate_can_leave_the_history_out(finished, in_workplace, capsys):
    code, out, err = answer(capsys, "evaluate", f"--run_dir={finished[0]}", "--eval_mask_history=True")
    assert code == 0, err
    assert "left out of the ranking" in out


@pytest.mark.parametrize("strengths", ["much", "-1", "0,,1"])
def test_a_strength_that_is_no_number_from_0_is_refused(strengths, finished, in_workplace, capsys):
    code, _, err = answer(capsys, "evaluate", f"--run_dir={finished[0]}", f"--eval_logit_adjust={strengths}")
    assert code == 2
    assert "eval_logit_adjust" in err
    assert len(err.strip().splitlines()) == 1


def test_recommend_with_logit_adjustment_favours_rare_items(finished, in_workplace, capsys):
    shares = []
    for strength in ("0", "5"):
        users = f"--users={','.join(f'u{n}' for n in range(20))}"
        lines = recommended(capsys, finished[0], users, "--k=3", f"--eval_logit_adjust={strength}")
        shares.append(sum(line["group"] == "tail" for line in lines) / len(lines))
    assert shares[1] > shares[0]
