"""`python -m benchmarks` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import DONE, WRONG_INPUT, main
from tests.conftest import ROOT, toy_rows, write_atomic

pytestmark = pytest.mark.once


def test_a_quick_run_measures_both_sides_prints_the_table_and_keeps_the_figures(tmp_path):
    data = write_atomic(tmp_path / "data", "toy", toy_rows())
    command = [
        sys.executable, "-m", "benchmarks", "--quick", "--only=epoch/toy/GRU4Rec", "--sides=ours,recbole",
        "--datasets=toy", f"--data_path={data}", "--threads=1", f"--results={tmp_path / 'results'}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == DONE, done.stderr
    assert "| toy, GRU4Rec |" in done.stdout and "too short to compare" in done.stdout
    text = next((tmp_path / "results").glob("*.json")).read_text(encoding="utf-8")
    assert str(tmp_path) not in text and str(ROOT) not in text
    kept = json.loads(text)
    assert kept["threads"] == 1 and kept["quick"]
    assert [one["side"] for one in kept["measurements"]] == ["ours", "recbole"]
    ours, theirs = (one["figures"] for one in kept["measurements"])
    assert ours["targets"] == theirs["targets"] and ours["steps_per_epoch"] == theirs["steps_per_epoch"] == 1
    assert all(0 < figures["baseline_mb"] < figures["peak_mb"] for figures in (ours, theirs))


def test_sides_whose_steps_go_in_turns_are_all_measured(tmp_path):
    data = write_atomic(tmp_path / "data", "toy", toy_rows(n_items=80))
    command = [
        sys.executable, "-m", "benchmarks", "--quick", "--only=preference", "--sides=SASRec,LPOSASRec",
        "--datasets=toy", f"--data_path={data}", "--threads=1", f"--results={tmp_path / 'results'}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == DONE, done.stderr
    assert "[1-2/2] preference/toy SASRec, LPOSASRec" in done.stderr and "| LPOSASRec |" in done.stdout
    kept = json.loads(next((tmp_path / "results").glob("*.json")).read_text(encoding="utf-8"))["measurements"]
    assert [one["side"] for one in kept] == ["SASRec", "LPOSASRec"]
    assert all(one["figures"]["steps"] == one["figures"]["steps_per_epoch"] == 1 for one in kept)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only=nothing"], "fits no case"),
        (["--only=evaluation/ml-100k", "--sides=theirs"], "Sides: ours, recbole"),
        (["--datasets=no-such-data"], "recbole-lpo prepare --dataset=no-such-data"),
        (["--datasets="], "names no dataset"),
    ],
)
def test_wrong_input_ends_in_one_line_that_says_what_to_do(arguments, words, capsys):
    assert main(arguments) == WRONG_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1


def test_a_whole_name_means_that_case_alone(capsys):
    assert main(["--list", "--only=catalogue/loss/10000"]) == DONE
    assert capsys.readouterr().out.count("\n") == 1


def test_the_list_names_cases_that_run_by_name_only(capsys):
    assert main(["--list", "--only=ml-100k"]) == DONE
    listed = capsys.readouterr().out
    assert "evaluation/ml-100k: ours, recbole\n" in listed
    assert "end-to-end/ml-100k/SASRec: recbole, ours  (only where --only names it)" in listed
    assert "beauty" not in listed.replace("preference/amazon-beauty", "")
