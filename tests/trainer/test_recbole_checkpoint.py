"""Checkpoints of RecBole itself: read as data, whatever they name; nothing in them runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import recbole_lpo
from recbole_lpo.cli import main
from recbole_lpo.errors import InputError
from recbole_lpo.trainer.recbole_checkpoint import read_recbole_checkpoint
from tests.conftest import ROOT, SMALL, write_toy

TRAINED_BY_RECBOLE = """
import json, sys, recbole_lpo
from recbole.quick_start import run_recbole
sys.argv = ["test"]
result = run_recbole(model=MODEL, config_dict=json.loads(SETTINGS), saved=True)
print(json.dumps(result["test_result"]))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, file, test figures) of a model that RecBole alone has trained in a process of its own."""
    folder, done = tmp_path_factory.mktemp("recbole"), {}
    settings = {**SMALL, **write_toy(folder / "data"), "metrics": ["Hit", "NDCG"], "metric_decimal_place": 12}
    settings |= {"train_neg_sample_args": None, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    code = TRAINED_BY_RECBOLE.replace("MODEL", "'SASRec'").replace("SETTINGS", repr(json.dumps(settings)))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    (file,) = folder.glob("saved/*.pth")
    done["figures"] = json.loads(said.stdout.splitlines()[-1])
    return settings["data_path"], file, done["figures"]


def test_the_figures_are_those_that_recbole_measured(trained):
    _, file, figures = trained
    (found,) = recbole_lpo.evaluate(recbole_lpo.load_recbole_checkpoint(file, {"topk": [3, 5]}))
    assert {key: found["test"][key] for key in figures} == pytest.approx(figures, abs=1e-9)
    assert found["n"]["tail"] > 0


def test_the_command_line_measures_it_with_a_warning(trained, capsys, caplog):
    data_path, file, figures = trained
    assert main(["evaluate", f"--recbole_checkpoint={file}", f"--data_path={data_path}", "--topk=[3,5]", "--json"]) == 0
    assert "RecBole's checkpoints do not say which items they are of" in caplog.text
    assert json.loads(capsys.readouterr().out)[0]["test"]["ndcg@5"] == pytest.approx(figures["ndcg@5"], abs=1e-9)


def test_weights_and_settings_are_those_of_the_file(trained):
    settings, weights, _ = read_recbole_checkpoint(trained[1])
    # RecBole pickles its Config: only unpickling it for good tells what is right.
    content = torch.load(trained[1], weights_only=False)
    assert weights.keys() == content["state_dict"].keys()
    assert all(torch.equal(weights[name], value) for name, value in content["state_dict"].items())
    assert (settings["hidden_size"], settings["model"], settings["dataset"]) == (16, "SASRec", "toy")


class Creature:
    """Touches a file when it is unpickled."""

    def __init__(self, function=os.system, *arguments):
        self.call = function, arguments or ("touch pwned",)

    def __reduce__(self):
        return self.call


def pretend(**parts):
    content = {"config": None, "state_dict": {}, "other_parameter": None, **parts}
    torch.save(content, "file.pth", pickle_protocol=4)
    return Path("file.pth")


@pytest.mark.parametrize("part", ["config", "state_dict", "other_parameter", "optimizer"])
@pytest.mark.parametrize(
    "creature",
    [
        Creature(), Creature(eval, "open('pwned', 'w')"), Creature(getattr, "text", "upper"),
        Creature(torch.load, "pwned"), Creature(pickle.loads, b""), Creature(subprocess.getoutput, "touch pwned"),
    ],
    ids=["os.system", "eval", "getattr", "torch.load", "pickle.loads", "subprocess"],
)  # fmt: skip
def test_a_hostile_file_is_refused_and_nothing_runs(creature, part):
    with pytest.raises(InputError, match=r"^file\.pth: not a checkpoint of RecBole, or damaged \(it names "):
        read_recbole_checkpoint(pretend(**{part: creature}))
    assert not Path("pwned").exists()


def test_a_function_of_recbole_is_not_called():
    """RecBole's `init_logger` would make a folder."""
    from recbole.utils import ensure_dir

    with pytest.raises(InputError):
        read_recbole_checkpoint(pretend(config=Creature(ensure_dir, "pwned")))
    assert not Path("pwned").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"config": 1})])
def test_what_is_no_such_file_is_refused(content):
    Path("file.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"^file\.pth: not a checkpoint of RecBole, or damaged"):
        read_recbole_checkpoint(Path("file.pth"))


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"^nowhere\.pth: there is no such file"):
        read_recbole_checkpoint(Path("nowhere.pth"))
