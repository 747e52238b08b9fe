"""`also_select`: one training, a best epoch and a run folder for each of several metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import recbole_lpo
from recbole_lpo.cli import main
from recbole_lpo.errors import InputError
from recbole_lpo.run_folder import read_history, read_settings
from recbole_lpo.trainer.checkpoint import read_checkpoint
from recbole_lpo.trainer.selection import selected_folder
from tests.conftest import SMALL, write_toy
from tests.run_folders import differences
from tests.trainer.test_resume import Stop, stop_after

FIRST, SECOND = "Hit@5", "0.5*NDCG@5 + 0.5*MRR@5"
# With these the patience under one runs out before the best epoch under the other, and it improves again later.
TRAINING = {"learning_rate": 0.001, "seed": 18, "epochs": 12, "stopping_step": 1}


ITEM_CLASS = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {**SMALL, **write_toy(tmp_path_factory.mktemp("data")), **TRAINING, "valid_metric": FIRST}


@pytest.fixture(scope="module")
def both(data, tmp_path_factory):
    """A finished run that has chosen by both metrics."""
    folder = tmp_path_factory.mktemp("both") / "run"
    recbole_lpo.run("SASRec", None, None, {**data, "also_select": [SECOND], "run_dir": str(folder)}, quiet=True)
    return folder


@pytest.mark.parametrize("metric", [FIRST, SECOND])
def test_what_is_chosen_by_a_metric_is_what_a_run_of_its_own_gives(metric, data, both):
    alone = recbole_lpo.run("SASRec", None, None, {**data, "valid_metric": metric, "run_dir": "alone"}, quiet=True)
    folder = both if metric == FIRST else selected_folder(both, SECOND)
    found = json.loads((folder / "metrics.json").read_text())
    assert (folder / "per_user.csv.gz").read_bytes() == Path("alone/per_user.csv.gz").read_bytes()
    for key in ("test", "adjusted", "n", "split", "protocol"):
        assert found[key] == alone[key]
    assert found["epochs"]["best"] == alone["epochs"]["best"]
    assert found["valid"].items() >= alone["valid"].items()
    alone_best = [record["best"] for record in read_history(Path("alone"))]
    best = [record["best"] for record in read_history(folder)]
    assert best == alone_best + [False] * (len(best) - len(alone_best))


def test_after_its_patience_a_metric_takes_no_later_epoch_however_good(both):
    first, second = (
        read_checkpoint(folder / "checkpoint" / "best.safetensors")["about"]["epoch"]
        for folder in (both, selected_folder(both, SECOND))
    )
    scores = [record["valid/hit@5"] for record in read_history(both)]
    assert first < scores.index(max(scores))
    assert first < second


def test_each_best_epoch_is_a_run_folder_that_the_commands_take(both, capsys):
    folder = selected_folder(both, SECOND)
    assert (read_settings(folder)["valid_metric"], read_settings(folder)["also_select"]) == (SECOND, [])
    assert main(["evaluate", f"--run_dir={folder}"]) == 0
    figures = json.loads((folder / "metrics.json").read_text())["test"]
    assert recbole_lpo.evaluate(folder)[0]["test"] == figures


@pytest.mark.parametrize("epoch", [1, 4, 6])
def test_a_run_that_goes_on_chooses_as_the_one_that_never_stopped(epoch, data, both, monkeypatch):
    settings = {**data, "also_select": [SECOND], "run_dir": "halves"}
    with monkeypatch.context() as patch:
        stop_after(epoch, patch)
        with pytest.raises(Stop):
            recbole_lpo.run("SASRec", None, None, settings, quiet=True)
    recbole_lpo.resume("halves", quiet=True)
    assert differences(both, Path("halves")) == []
    assert differences(selected_folder(both, SECOND), selected_folder(Path("halves"), SECOND)) == []


def test_patience_cannot_be_raised_after_epochs_that_were_not_looked_at(both):
    before = (both / "history.jsonl").read_bytes()
    with pytest.raises(InputError, match=rf"^stopping_step = 5: with 1 the patience under {FIRST} had run out while"):
        recbole_lpo.resume(both, {"stopping_step": 5}, quiet=True)
    assert (both / "history.jsonl").read_bytes() == before


def test_patience_can_be_raised_where_every_epoch_was_looked_at(data):
    settings = {**data, "also_select": ["HeadHit@5"], "learning_rate": 0.0}
    recbole_lpo.run("SASRec", None, None, {**settings, "run_dir": "run"}, quiet=True)
    recbole_lpo.resume("run", {"stopping_step": 3}, quiet=True)
    recbole_lpo.run("SASRec", None, None, {**settings, "stopping_step": 3, "run_dir": "whole"}, quiet=True)
    assert differences(Path("whole"), Path("run")) == []


def test_best_weights_that_are_missing_are_found_before_anything_is_trained(data, monkeypatch):
    settings = {**data, "also_select": [SECOND], "run_dir": "run"}
    with monkeypatch.context() as patch:
        stop_after(6, patch)
        with pytest.raises(Stop):
            recbole_lpo.run("SASRec", None, None, settings, quiet=True)
    (selected_folder(Path("run"), SECOND) / "checkpoint" / "best.safetensors").unlink()
    with pytest.raises(InputError, match=r"selected/.*best.safetensors: there is no such checkpoint"):
        recbole_lpo.resume("run", quiet=True)


@pytest.mark.once
def test_a_comparison_has_a_table_for_each_way_of_choosing(data, tmp_path, capsys):
    flags = [f"--{key}={value}" for key, value in {**data, "epochs": 3}.items() if key not in ("dataset", "seed")]
    command = ["compare", "--models=SASRec,LPOSASRec", "--datasets=toy", "--output=out", f"--also_select={SECOND}"]
    assert main([*command, *flags]) == 0
    table = capsys.readouterr().out
    assert [line for line in table.splitlines() if line.startswith("## ")] == [
        "## toy, at 5",
        f"## toy, best epochs by {SECOND}, at 5",
    ]
    assert table.count("### Differences from SASRec") == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<h2>toy, best epochs by {SECOND}</h2>" in page
    lines = (tmp_path / "out" / "runs.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["selected_by", "", "", SECOND, SECOND]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"also_select": ["TailNDGC@5"]}, "also_select = TailNDGC@5: this run does not measure it"),
        ({"also_select": ["NDCG@5 +"]}, "also_select = NDCG@5 +: not understood"),
        ({"also_select": ["hit@5"]}, "also_select: names Hit@5 a second time, or it is the valid_metric"),
        ({"also_select": [SECOND, SECOND.replace(" ", "")]}, "a second time"),
        ({"also_select": [SECOND], "eval_step": 0}, "with eval_step = 0: nothing is validated"),
        ({"also_select": [SECOND], "model": "S3Rec", "load_col": ITEM_CLASS}, "also_select with model = S3Rec"),
        ({"also_select": ["HeadNDCG@5"], "tail_split_ratio": 0}, "also_select = headndcg@5: no validation user is in"),
    ],
)
def test_metrics_that_cannot_choose_are_refused(settings, said, data):
    with pytest.raises(InputError) as caught:
        recbole_lpo.run(config_dict={**data, "model": "SASRec", **settings}, quiet=True)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
