"""Several processes through the commands that a user types."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_lpo.cli import main
from recbole_lpo.config import Config
from recbole_lpo.distributed.checks import check_processes
from recbole_lpo.errors import InputError
from tests.conftest import ROOT, SMALL, write_toy
from tests.run_folders import differences

pytestmark = pytest.mark.once

QUICK = [
    "--dataset=toy", "--data_path=data", "--hidden_size=16", "--inner_size=32", "--MAX_ITEM_LIST_LENGTH=8",
    "--topk=[5]", "--valid_metric=NDCG@5", "--pref_num_rejected=4", "--eval_batch_size=16",
]  # fmt: skip
SCRIPT = str(ROOT / "run_recbole_lpo.py")
SHORT = [*QUICK, "--epochs=2", "--train_batch_size=64"]
ENDLESS = [
    "--model=LPOSASRec",
    *QUICK,
    "--train_batch_size=64",
    "--epochs=100000",
    "--stopping_step=100000",
    "--nproc=2",
    "--run_dir=run",
]


@pytest.fixture
def workplace(tmp_path):
    write_toy(tmp_path / "data")
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def runs(workplace: Path) -> dict[str, list[Path]]:
    """Run folders of each model."""
    folders = sorted((workplace / "runs" / "toy").glob("*/*"))
    return {
        model: [one for one in folders if one.parent.name == model] for model in {one.parent.name for one in folders}
    }


def test_a_model_with_a_reference_trains_both_with_two_processes_into_one_folder_each(workplace, capsys):
    assert main(["run", "--model=DPOSASRec", *SHORT, "--nproc=2", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out.count("test users") == 1
    found = runs(workplace)
    assert {model: len(folders) for model, folders in found.items()} == {"DPOSASRec": 1, "SASRec": 1}
    for folder in (found["DPOSASRec"][0], found["SASRec"][0]):
        metrics = json.loads((folder / "metrics.json").read_text())
        assert (metrics["processes"], metrics["n"]["users"], metrics["epochs"]["trained"]) == (2, 60, 2)
        assert len(list((folder / "tensorboard").glob("events*"))) == 1
    # What one process finds there, it does not train again.
    assert main(["run", "--model=DPOSASRec", *SHORT, "--quiet"]) == 0
    assert {model: len(folders) for model, folders in runs(workplace).items()} == {"DPOSASRec": 2, "SASRec": 1}


def torchrun(workplace: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", SCRIPT, *arguments]
    return subprocess.run(
        command, cwd=workplace, env=environment(), capture_output=True, text=True, timeout=200, check=False
    )


def test_torchrun_of_two_models_prints_one_table_and_leaves_a_folder_for_each(workplace):
    done = torchrun(workplace, "--model=SASRec,SDPOSASRec", *SHORT, "--quiet")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("test users") == 1
    assert {model: len(folders) for model, folders in runs(workplace).items()} == {"SASRec": 2, "SDPOSASRec": 1}


def test_wrong_input_that_shows_in_the_processes_is_said_once_with_exit_code_2(workplace, capfd):
    (workplace / "run").mkdir()
    (workplace / "run" / "metrics.json").write_text("{}")
    assert main(["run", "--model=SASRec", *SHORT, "--nproc=2", "--run_dir=run"]) == 2
    assert capfd.readouterr().err.count("run_dir = run: holds a finished run already") == 1


def children(pid: int) -> list[int]:
    """The processes of a run, not the helpers that multiprocessing starts."""
    pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in pids if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.fixture
def training(workplace):
    """A run of two processes in the middle of its training, and the two."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("finds the processes of a run in /proc")
    with open(workplace / "said", "wb") as said:
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *ENDLESS],
            cwd=workplace, env=environment(), stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    log, until = workplace / "run" / "train.log", time.monotonic() + 200
    while not (log.is_file() and "epoch   1 " in log.read_text()):
        assert process.poll() is None, (workplace / "said").read_text()
        assert time.monotonic() < until
        time.sleep(0.1)
    both = children(process.pid)
    yield process, both
    assert process.poll() is not None
    assert not any(Path(f"/proc/{one}").exists() for one in both)


def test_a_process_that_is_killed_ends_the_run_with_a_message_and_exit_code_1(training, workplace):
    process, both = training
    os.kill(both[0], signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    said = (workplace / "said").read_text()
    assert "failed: process 0 of 2 was ended by SIGKILL; the others were ended too." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("number", "to_all", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143)])
def test_a_signal_ends_all_processes_and_tells_how_to_go_on(number, to_all, code, training, workplace):
    # A terminal sends Ctrl-C to all of them, a scheduler SIGTERM to the one that it has started.
    process, _ = training
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.wait(timeout=60) == code
    said = (workplace / "said").read_text()
    assert "is kept" in said and "--resume=" in said
    assert "Traceback" not in said


def test_a_run_of_two_processes_goes_on_to_the_bit(workplace, capsys):
    given = ["run", "--model=LPOSASRec", *QUICK, "--train_batch_size=64", "--nproc=2", "--quiet"]
    assert main([*given, "--epochs=2", "--run_dir=whole"]) == 0
    assert main([*given, "--epochs=1", "--run_dir=stopped"]) == 0
    assert main(["run", "--resume=stopped", "--epochs=2", "--quiet"]) == 0
    assert differences(Path("whole"), Path("stopped")) == []
    # Nothing of the settings lets one process go on with what two have begun.
    assert main(["run", "--resume=stopped", "--epochs=3", "--nproc=1"]) == 2
    assert "nproc = 1: the run was started with 2" in capsys.readouterr().err


def test_the_processes_end_with_the_one_that_started_them(training):
    process, both = training
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{one}").exists() for one in both) and time.monotonic() < until:
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=SASRec", "--nproc=0"], "nproc = 0: out of range"),
        (["--model=SASRec", "--nproc=two"], "nproc = 'two': must be a whole number"),
        (
            ["--model=S3Rec", "--nproc=2"],
            "nproc: 2 processes cannot train S3Rec: RecBole's S3RecTrainer has a way of its",
        ),
        (["--model=Pop", "--nproc=2"], "nproc: 2 processes cannot train Pop: RecBole's TraditionalTrainer has a way"),
        (
            ["--model=SASRec", "--nproc=3", "--train_batch_size=2"],
            "train_batch_size = 2: 3 processes divide each batch",
        ),
        (["--model=SASRec", "--nproc=2", "--world_size=4"], "machines meet at ip and port. Set port"),
        (["--model=SASRec", "--nproc=3", "--world_size=2"], "world_size = 2: there are offset = 0 processes"),
        (["--model=SASRec", "--world_size=4", "--port=5678", "--offset=4"], "It must be at least 5."),
        (
            ["--model=SASRec", "--nproc=2", "--ip=nowhere.invalid"],
            "ip = nowhere.invalid, port = None: processes cannot",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2_before_data_are_loaded(arguments, message, capsys):
    # There are no data here.
    assert main(["run", *QUICK, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused_with_their_number(toy, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = Config("SASRec", None, None, {**SMALL, **toy, "nproc": 3})
    check_processes(config)
    config["device"] = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"^nproc = 3: each process needs a GPU, and 2 can be used \(gpu_id = 0,1,2\)"):
        check_processes(config)


def test_each_process_gets_a_gpu_by_default_whatever_ran_before(toy, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    chosen = [Config("SASRec", None, None, {**SMALL, **toy, "nproc": n})["gpu_id"] for n in (1, 3, 2)]
    assert chosen == ["0", "0,1,2", "0,1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert Config("SASRec", None, None, {**SMALL, **toy, "nproc": 2})["gpu_id"] == "5,7"


@pytest.fixture
def as_one_of_two(monkeypatch):
    """Makes this process one that torchrun has started."""

    def pose(rank):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return pose


@pytest.mark.parametrize(("rank", "times"), [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--model=SASRec", *QUICK, "--learning_rate=fast"], "error: learning_rate = 'fast'"),
        (["run", "--model=SASRec", *QUICK, "--nproc=3"], "error: nproc = 3: 2 processes were started on this machine"),
        (["doctor"], "error: doctor: torchrun starts the command `run` alone"),
    ],
)
def test_under_torchrun_wrong_input_is_said_by_one_process(arguments, message, rank, times, as_one_of_two, capsys):
    as_one_of_two(rank)
    assert main(arguments) == 2
    assert capsys.readouterr().err.count(message) == times
