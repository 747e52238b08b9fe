"""A run that goes on is the run that never stopped, to the bit; what may be changed when it does; what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import recbole_lpo
from recbole_lpo.cli import main
from recbole_lpo.errors import InputError, RunError
from recbole_lpo.interruption import Interrupted
from recbole_lpo.run_folder import read_settings
from recbole_lpo.trainer import checkpoint
from recbole_lpo.trainer.checkpoint import read_checkpoint
from recbole_lpo.trainer.lpo_trainer import LoopPolicy
from tests.conftest import SMALL, write_toy
from tests.run_folders import differences

RUNS = {
    "packed": {"model": "SASRec"},
    "prefix rows": {"model": "SASRec", "batching": "prefix"},
    "recurrent": {"model": "GRU4Rec"},
    "general": {"model": "BPR"},
    "a counter beside the weights": {"model": "MultiVAE"},
    "two optimizers": {"model": "RecVAE"},
    "arrays beside the weights": {"model": "EASE"},
    "rivals": {"model": "LPOSASRec"},
    "rivals, prefix rows": {"model": "LPOCaser"},
    "self-play": {"model": "LPOSASRec", "pref_negatives": "self_play", "pref_self_play_top": 10},
    "a reference": {"model": "DPOSASRec"},
    "a reference, mixed precision": {"model": "DPOSASRec", "enable_amp": True},
    "sampled negatives": {"model": "GBCESASRec"},
    "warm-up and schedule": {"model": "LPOSASRec", "warmup_ratio": 0.4, "lr_schedule": "linear"},
    "sparse optimizer states": {"model": "SASRec", "learner": "adagrad", "item_softmax": "chunked"},
    "without validation": {"model": "SASRec", "eval_step": 0},
    "checkpoints now and then": {"model": "SASRec", "checkpoint_every": 3},
    "sampled candidates": {"model": "BPR", "eval_args": {"mode": "uni5"}, "metrics": ["NDCG"], "topk": [3, 5]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {**SMALL, **write_toy(tmp_path_factory.mktemp("data")), "epochs": 4}


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished run of two epochs; copied by those that change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    recbole_lpo.run("SASRec", None, None, {**data, "epochs": 2, "run_dir": str(folder)}, quiet=True)
    return folder


@pytest.fixture
def run_dir(finished):
    return Path(shutil.copytree(finished, "run"))


class Stop(Exception):
    """Ends a run as the death of its process would, without a chance to write."""


def stop_after(epoch, monkeypatch):
    report = LoopPolicy._report

    def report_and_stop(self, record, verbose):
        report(self, record, verbose)
        if record["epoch"] == epoch:
            raise Stop

    monkeypatch.setattr(LoopPolicy, "_report", report_and_stop)


def refusal(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("packed", "general") else pytest.mark.once) for name in RUNS]
)
def test_a_run_that_goes_on_is_the_one_that_never_stopped(name, data, monkeypatch):
    settings = {**data, **RUNS[name]}
    recbole_lpo.run(config_dict={**settings, "run_dir": "whole"}, quiet=True)
    with monkeypatch.context() as patch:
        # RecBole trains EASE for one epoch: its run is killed before it is tested.
        stop_after(0 if settings["model"] == "EASE" else 1, patch)
        with pytest.raises(Stop):
            recbole_lpo.run(config_dict={**settings, "run_dir": "halves"}, quiet=True)
    recbole_lpo.resume("halves", quiet=True)
    assert differences(Path("whole"), Path("halves")) == []


def test_more_epochs_extend_a_finished_run(data, run_dir):
    recbole_lpo.run("SASRec", None, None, {**data, "run_dir": "whole"}, quiet=True)
    assert main(["--resume=run", "--epochs=4", "--quiet"]) == 0
    assert differences(Path("whole"), run_dir) == []
    assert read_settings(run_dir)["epochs"] == 4


def test_a_larger_patience_extends_a_run_that_stopped_early(data):
    settings = {**data, "learning_rate": 0.0, "epochs": 9}
    stopped = recbole_lpo.run("SASRec", None, None, {**settings, "stopping_step": 1, "run_dir": "run"}, quiet=True)
    assert stopped["epochs"] == {"trained": 3, "best": 0, "stopped_early": True}
    said = refusal(recbole_lpo.resume, "run")
    assert "It stopped early after 3 epochs: NDCG@5 had not improved for more than stopping_step = 1" in said
    assert "raise stopping_step" in refusal(recbole_lpo.resume, "run", {"epochs": 20})
    recbole_lpo.resume("run", {"stopping_step": 3}, quiet=True)
    recbole_lpo.run("SASRec", None, None, {**settings, "stopping_step": 3, "run_dir": "whole"}, quiet=True)
    assert differences(Path("whole"), Path("run")) == []


def test_a_finished_run_is_not_gone_on_with(run_dir):
    said = refusal(recbole_lpo.resume, run_dir)
    assert "is finished, all its 2 epochs are trained. To train on, raise epochs: --resume=run --epochs=4" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.1}, "learning_rate = 0.1: the run was started with 0.001, and with another value"),
        ({"model": "GRU4Rec"}, "model = GRU4Rec: the run was started with SASRec"),
        ({"epochs": 1}, "epochs = 1: the run was started with 2; it can only be raised"),
        ({"epochs": "many"}, "epochs = many: the run was started with 2; it can only be raised"),
        ({"stopping_step": 1}, "stopping_step = 1: the run was started with 10; it can only be raised"),
    ],
)
def test_a_change_that_would_make_it_another_run_is_refused(changes, said, run_dir):
    assert said in refusal(recbole_lpo.resume, run_dir, changes)


@pytest.mark.parametrize("schedule", [{"warmup_ratio": 0.5}, {"lr_schedule": "cosine"}])
def test_a_run_whose_learning_rate_follows_the_epochs_cannot_have_more_of_them(schedule, data):
    recbole_lpo.run("SASRec", None, None, {**data, **schedule, "epochs": 1, "run_dir": "run"}, quiet=True)
    said = refusal(recbole_lpo.resume, "run", {"epochs": 2})
    assert "epochs = 2: the learning rate of this run follows `epochs`" in said


def test_a_run_cannot_go_on_with_other_data(data, tmp_path, run_dir):
    shutil.copytree(data["data_path"], "elsewhere")
    assert recbole_lpo.resume(run_dir, {"data_path": "elsewhere", "epochs": 3}, quiet=True)["epochs"]["trained"] == 3
    file = Path("elsewhere") / "toy" / "toy.inter"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    said = refusal(recbole_lpo.resume, run_dir, {"data_path": "elsewhere", "epochs": 4})
    assert "the data or their split have changed since the run was begun" in said


@pytest.mark.parametrize("folder", ["nowhere", "empty", "no checkpoint"])
def test_a_folder_without_anything_to_go_on_from_is_refused(folder, run_dir):
    Path("empty").mkdir()
    if folder == "no checkpoint":
        (run_dir / "checkpoint" / "last.safetensors").unlink()
        folder = run_dir
    refusal(recbole_lpo.resume, folder)


def test_a_damaged_checkpoint_is_refused_and_named(run_dir):
    file = run_dir / "checkpoint" / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert refusal(recbole_lpo.resume, run_dir).startswith(f"{file}: not a checkpoint of recbole_lpo, or damaged")


@pytest.mark.parametrize("damage", ["cut", "missing", "of another epoch"])
def test_best_weights_that_are_not_whole_are_found_before_anything_is_trained(damage, data):
    settings = {**data, "learning_rate": 0.0, "epochs": 2, "run_dir": "run"}
    recbole_lpo.run("SASRec", None, None, settings, quiet=True)
    best, last = (Path("run") / "checkpoint" / f"{name}.safetensors" for name in ("best", "last"))
    if damage == "of another epoch":
        best.write_bytes(last.read_bytes())
    else:
        best.unlink() if damage == "missing" else best.write_bytes(best.read_bytes()[:-9])
    assert refusal(recbole_lpo.resume, "run", {"epochs": 3}).startswith(f"{best}: ")


def test_weights_alone_are_nothing_to_go_on_from(run_dir):
    folder = run_dir / "checkpoint"
    (folder / "last.safetensors").write_bytes((folder / "best.safetensors").read_bytes())
    assert "has weights alone" in refusal(recbole_lpo.resume, run_dir, {"epochs": 3})


def test_an_unfinished_run_is_not_overwritten(data, run_dir):
    (run_dir / "metrics.json").unlink()
    said = refusal(recbole_lpo.run, "SASRec", None, None, {**data, "run_dir": "run"})
    assert "holds a run that was interrupted. Go on with it (--resume=run)" in said


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_folder_that_another_run_is_writing_to_is_refused_and_left_alone(command, data):
    Path("run").mkdir()
    with FileLock("run/.lock"):
        arguments = ["run"] if command == "resume" else ["SASRec", None, None, {**data, "run_dir": "run"}]
        assert "run: another run is writing there" in refusal(getattr(recbole_lpo, command), *arguments)
    assert os.listdir("run") == [".lock"]


def test_what_a_killed_writer_has_left_aside_is_removed(run_dir):
    (run_dir / "checkpoint" / ".last.safetensors.123.part").write_text("half")
    recbole_lpo.resume(run_dir, {"epochs": 3}, quiet=True)
    assert sorted(os.listdir(run_dir / "checkpoint")) == ["best.safetensors", "last.safetensors"]


def test_a_checkpoint_says_what_it_belongs_to(run_dir):
    about = read_checkpoint(run_dir / "checkpoint" / "best.safetensors")["about"]
    assert (about["model"], about["dataset"], about["epoch"]) == ("SASRec", "toy", 1)
    assert about["split"]["rule"] == "item_share"
    assert {"torch", "recbole", "recbole_lpo", "threads"} <= about["made_with"].keys()
    assert len(about["items"]) == len(about["interactions"]) == 64


def test_going_on_with_another_number_of_threads_is_warned_of(run_dir, capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        recbole_lpo.resume(run_dir, {"epochs": 3}, quiet=True)
    finally:
        torch.set_num_threads(threads)
    assert f"threads {threads} -> {threads + 1}: its last digits may differ" in capsys.readouterr().err


def signalled(number, epoch, step, monkeypatch):
    """Have the process send itself a signal in the middle of a step."""
    steps = []
    loss = LoopPolicy._packed_loss

    def loss_and_signal(self, batch):
        steps.append(self.epoch)
        if steps.count(epoch) == step and self.epoch == epoch:
            os.kill(os.getpid(), number)
        return loss(self, batch)

    monkeypatch.setattr(LoopPolicy, "_packed_loss", loss_and_signal)
    return steps


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_and_the_run_and_tells_how_to_go_on(number, code, data, monkeypatch, capsys):
    flags = [f"--{key}={value}" for key, value in data.items()]
    assert main(["--model=SASRec", "--run_dir=whole", "--quiet", *flags]) == 0
    with monkeypatch.context() as patch:
        steps = signalled(number, 2, 3, patch)
        assert main(["--model=SASRec", "--run_dir=my run", "--quiet", *flags]) == code
    assert steps.count(2) == 3
    said = capsys.readouterr().err
    assert f"interrupted by {signal.Signals(number).name}: The state after epoch 1 is kept" in said
    assert said.strip().endswith("To go on: recbole-lpo run --resume='my run'")
    assert main(["run", "--resume=my run", "--quiet"]) == 0
    assert differences(Path("whole"), Path("my run")) == []


def test_a_signal_before_the_first_epoch_has_ended_says_that_nothing_is_kept(data, monkeypatch):
    signalled(signal.SIGTERM, 0, 1, monkeypatch)
    with pytest.raises(Interrupted, match="No checkpoint is kept; start the run again"):
        recbole_lpo.run("SASRec", None, None, {**data, "run_dir": "run"}, quiet=True)


def test_the_handlers_of_the_caller_are_back_after_a_run(run_dir):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    refusal(recbole_lpo.resume, run_dir)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("what", ["last.safetensors", "best.safetensors", "history.jsonl"])
def test_a_full_disk_ends_the_run_with_one_line_and_keeps_what_was_there(what, data, run_dir, monkeypatch, capsys):
    """Writes fail halfway from the third epoch on, as on a disk that is full."""
    kept = {path: path.read_bytes() for path in run_dir.rglob("*") if path.suffix in (".safetensors", ".jsonl")}
    kept[run_dir / "metrics.json"] = (run_dir / "metrics.json").read_bytes()
    opened = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, content):
            self.file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    def open_full(self, mode="r", *rest, **options):
        file = opened(self, mode, *rest, **options)
        return Full(file) if "w" in mode and self.name.startswith(f".{what}") else file

    monkeypatch.setattr(Path, "open", open_full)
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: self.open("wb").write(content))
    assert main(["--resume=run", "--epochs=4", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert len(said.strip().splitlines()) == 1
    assert "To go on: recbole-lpo run --resume=run" in said
    after = {path: path.read_bytes() for path in kept}
    whole = [path for path in kept if path.name in (what, "metrics.json")]
    assert all(after[path] == kept[path] for path in whole)
    monkeypatch.undo()
    assert not list(run_dir.rglob(".*.part"))


def test_a_checkpoint_that_cannot_be_written_says_that_the_earlier_one_is_there(run_dir, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint, "write_safetensors", fail)
    with pytest.raises(RunError, match=r"cannot be written .*Input/output error.*from before is as it was"):
        recbole_lpo.resume(run_dir, {"epochs": 3}, quiet=True)


@pytest.mark.once
@pytest.mark.parametrize(
    "other",
    [{"show_progress": True}, {"eval_step": 3}, {"eval_batch_size": 7}, {"state": "ERROR"}, {"checkpoint_every": 0}],
    ids=lambda other: next(iter(other)),
)
@pytest.mark.parametrize("model", ["LPOSASRec", "BPR"])
def test_what_is_shown_and_how_often_it_is_measured_does_not_move_the_training(other, model, data):
    settings = {**data, "epochs": 3, "model": model, "stopping_step": 50, "eval_args": {"mode": "uni5"}}
    settings |= {"metrics": ["NDCG"], "checkpoint_every": 1}
    losses = []
    for changes in ({}, other):
        metrics = recbole_lpo.run(config_dict={**settings, **changes})
        lines = (Path(metrics["run_dir"]) / "history.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train_loss"] for line in lines])
    assert losses[0] == losses[1]


def batches_of(model, data, monkeypatch, **changes):
    seen = []
    loss = LoopPolicy._packed_loss

    def loss_of(self, batch):
        seen.append(batch.target.tolist())
        return loss(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(LoopPolicy, "_packed_loss", loss_of)
        recbole_lpo.run(model, None, None, {**data, "epochs": 2, **changes}, quiet=True)
    return seen


def test_the_objective_and_its_rivals_do_not_move_the_order_of_the_data(data, monkeypatch):
    plain = batches_of("SASRec", data, monkeypatch)
    assert batches_of("LPOSASRec", data, monkeypatch) == plain
    assert batches_of("LPOSASRec", data, monkeypatch, pref_num_rejected=2) == plain
    assert batches_of("SASRec", data, monkeypatch, seed=7) != plain
