"""`recbole-lpo compare` as a user types it: killed, started again, with a run that fails."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
from pathlib import Path

import pytest

from recbole_lpo.cli import main
from recbole_lpo.compare import compare_cli
from recbole_lpo.compare.execute import is_finished
from recbole_lpo.interruption import Interrupted
from tests.conftest import SMALL
from tests.run_folders import start_and_kill

pytestmark = pytest.mark.once

STUDY = """
datasets: [toy]
seeds: [2021]
baseline: SASRec
runs:
  SASRec:
  rivals & weights: {model: LPOSASRec}
  too fast: {model: LPOSASRec, learning_rate: 1.0e+30}
"""


@pytest.fixture
def command(toy, tmp_path):
    settings = {**SMALL, "data_path": toy["data_path"], "epochs": 1}
    flags = [f"--{key}={value}" for key, value in settings.items()]
    (tmp_path / "study.yaml").write_text(STUDY)
    return ["compare", "--study=study.yaml", "--output=out", "--jobs=2", *flags]


def finished(tmp_path):
    return {path.parent: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/*/*/metrics.json")}


def test_a_comparison_killed_in_the_middle_goes_on_and_reports_what_failed(command, tmp_path, capsys):
    start_and_kill(command, lambda: finished(tmp_path))
    before = finished(tmp_path)
    assert before

    assert main(command) == 1
    said = capsys.readouterr()
    after = finished(tmp_path)
    assert len(after) == 2
    assert before.items() <= after.items()
    assert all(is_finished(folder) for folder in after)
    assert "too fast seed 2021" in said.err
    assert "## Runs that failed" in said.out
    assert "learning rate" in said.out

    table = (tmp_path / "out" / "table.md").read_text()
    assert table in said.out
    assert "| rivals & weights |" in table
    assert "### Differences from SASRec" in table
    assert r"rivals \& weights" in (tmp_path / "out" / "table.tex").read_text()
    with open(tmp_path / "out" / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        metrics = json.loads((tmp_path / row["folder"] / "metrics.json").read_text())
        assert float(row["ndcg@5"]) == metrics["test"]["ndcg@5"]
        assert int(row["seed"]) == metrics["seed"]
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        means = {(row["method"], row["metric"]): row for row in csv.DictReader(file)}
    theirs, ours = ({row["method"]: row for row in rows}[method] for method in ("SASRec", "rivals & weights"))
    assert float(means["SASRec", "tailhit@5"]["mean"]) == float(theirs["tailhit@5"])
    difference = float(means["rivals & weights", "ndcg@5"]["difference"])
    assert difference == pytest.approx(float(ours["ndcg@5"]) - float(theirs["ndcg@5"]))

    page = (tmp_path / "out" / "report.html").read_text()
    assert "rivals &amp; weights" in page
    assert "Best on the tail" in page
    assert "Runs that failed: 1" in page
    assert page.count("Missing: ") == 1
    assert "Missing: fewer than two values of learning_rate have finished runs." in page
    assert not (tmp_path / "out" / "figures").exists()

    # A damaged run is no finished run, and is run again; nothing else is.
    damaged = next(iter(after))
    (damaged / "metrics.json").write_text("{")
    (tmp_path / "out" / "report.html").unlink()
    main([*command, "--figures"])
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "figures" / "toy-trade-off.png").is_file()
    again = finished(tmp_path)
    assert is_finished(damaged)
    assert {path for path in after if again[path] != after[path]} == {damaged}
    # It went on from its last epoch, and trained none again.
    assert (damaged / "train.log").read_text().count("epoch   0") == 1


AGAIN = """
datasets: [toy]
seeds: [2021]
runs:
  SASRec:
  as it was: {weights_of: SASRec, eval_logit_adjust: 0}
  neighbours: {weights_of: SASRec, eval_neighbours: 0.5}
  too fast: {model: LPOSASRec, learning_rate: 1.0e+30}
  of nothing: {weights_of: too fast}
"""


def test_rows_with_the_weights_of_another_rank_them_again_and_train_nothing(command, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(AGAIN)
    assert main(command) == 1
    said = capsys.readouterr()
    assert "of nothing seed 2021: FAILED: error:" in said.err
    assert "has not finished" in said.err
    folders = {path.parts[-2]: path for path in tmp_path.glob("out/runs/toy/*/2021-*") if is_finished(path)}
    trained, same, other = (folders[name] for name in ("SASRec", "as_it_was-" + _hash("as it was"), "neighbours"))
    assert (same / "per_user.csv.gz").read_bytes() == (trained / "per_user.csv.gz").read_bytes()
    assert (same / "history.jsonl").read_bytes() == (trained / "history.jsonl").read_bytes()
    of_trained, of_same, of_other = (
        json.loads((folder / "metrics.json").read_text()) for folder in (trained, same, other)
    )
    for part in ("valid", "test", "adjusted", "epochs", "parameters", "n", "split", "protocol"):
        assert of_same[part] == of_trained[part], part
    assert of_other["protocol"]["neighbours"]["share"] == 0.5
    assert of_other["valid"] != of_trained["valid"]
    assert "neighbours: not trained, the weights of SASRec" in said.out

    # A folder of its own: what the commands do with a finished run, they do with this one.
    assert main(["evaluate", f"--run_dir={other}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["test"] == of_other["test"]


WITHOUT_LISTS = """
datasets: [toy]
seeds: [2021]
settings:
  metrics: [AUC]
  valid_metric: AUC
  threshold: {rating: 3}
  load_col: {inter: [user_id, item_id, timestamp, rating]}
  eval_args: {mode: labeled, split: {RS: [0.8, 0.1, 0.1]}, order: RO, group_by: user}
runs: {LR: , FM: }
"""
WITHOUT_VALIDATION = """
datasets: [toy]
seeds: [2021]
settings: {eval_step: 0, eval_args: {split: {LS: test_only}}}
runs: {SASRec: , again: {weights_of: SASRec, eval_neighbours: 0.5}}
"""


@pytest.mark.parametrize(
    ("study", "said"),
    [(WITHOUT_LISTS, "| method | AUC |"), (WITHOUT_VALIDATION, "| again |")],
    ids=["values", "no validation"],
)
def test_runs_without_lists_or_without_validation_items_have_a_table_too(study, said, command, toy, tmp_path, capsys):
    header, *rows = inter_of(toy).read_text().splitlines()
    rated = [f"{row}\t{1 + number % 5}" for number, row in enumerate(rows)]
    inter_of(toy).write_text("\n".join([f"{header}\trating:float", *rated, ""]))
    (tmp_path / "study.yaml").write_text(study)
    of_lists = ("--metrics", "--topk", "--valid_metric") if "AUC" in study else ()
    assert main([flag for flag in command if not flag.startswith(of_lists)] if of_lists else command) == 0
    assert said in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "report.html").is_file()


def inter_of(toy) -> Path:
    return Path(toy["data_path"]) / "toy" / "toy.inter"


REFERENCED = """
datasets: [toy]
seeds: [2021, 2022]
runs:
  DPO: {model: DPOSASRec, learning_rate: 1.0e-9, reference_of: SASRec}
  SASRec: {epochs: 2}
  too fast: {model: SASRec, learning_rate: 1.0e+30}
  of nothing: {model: SDPOSASRec, reference_of: too fast}
"""


def test_rows_with_a_reference_of_another_row_start_from_its_run_of_the_same_seed(command, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(REFERENCED)
    assert main(command) == 1
    said = capsys.readouterr()
    assert "of nothing seed 2021: FAILED: error: pref_reference" in said.err
    assert "has not finished" in said.err
    assert "DPO: its reference policy is SASRec of the same seed." in said.out
    # No reference was trained beside them.
    assert not (tmp_path / "runs").exists()
    for seed in (2021, 2022):
        [tuned], [plain] = (
            [json.loads(path.read_text()) for path in tmp_path.glob(f"out/runs/toy/{row}/{seed}-*/metrics.json")]
            for row in ("DPO", "SASRec")
        )
        # At that learning rate its weights are still those that it started from.
        assert tuned["test"] == plain["test"]


def _hash(name):
    return hashlib.sha256(name.encode()).hexdigest()[:6]


def test_an_interrupted_comparison_says_how_it_goes_on(command, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(compare_cli, "execute", interrupted)
    assert main(command) == 143
    assert "interrupted by SIGTERM: what is finished is kept, and the same command goes on" in capsys.readouterr().err


def test_wrong_input_ends_before_anything_is_run(command, tmp_path, capsys):
    assert main([*command, "--pref_wieght=1"]) == 2
    assert "pref_weight" in capsys.readouterr().err
    assert main(["compare", "--models=SASRec", "--datasets=toy", "--jobs=0"]) == 2
    assert "--jobs=0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_refused(command, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    assert main(command) == 2
    assert "holds something that is no comparison" in capsys.readouterr().err
    (tmp_path / "out" / "thesis.tex").unlink()
    (tmp_path / "out" / "study.yaml").write_text("runs: {Pop: {model: Pop}}")
    assert main(command) == 2
    assert "belongs to another study (its rows: Pop)" in capsys.readouterr().err
    # A row of the same name with other settings is no sign of the same study.
    other = "runs: {SASRec: {model: SASRec}, Pop: {model: Pop}}\ndatasets: [toy]"
    (tmp_path / "out" / "study.yaml").write_text(other)
    assert main(command) == 2
    assert "belongs to another study (its rows: SASRec, Pop)" in capsys.readouterr().err
    assert (tmp_path / "out" / "study.yaml").read_text() == other


def test_help_names_every_option(capsys):
    assert main(["compare", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--models", "--datasets", "--seeds", "--study", "--baseline", "--output", "--jobs", "--figures"):
        assert option in said
