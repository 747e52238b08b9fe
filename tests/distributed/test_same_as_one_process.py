"""What two processes train and measure together is what one process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import recbole_lpo
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.run_folder import without_nan
from recbole_lpo.trainer.checkpoint import BEST, read_checkpoint
from tests.conftest import ROOT, SMALL, toy_rows, write_toy
from tests.distributed import trained_by_several
from tests.distributed.trained_by_several import run_all

pytestmark = pytest.mark.once

N_TARGETS = len(toy_rows()) - 3 * 60
# Gradients as they are: under Adam a loss of the wrong scale would train the same.
PLAIN = {
    **SMALL, "learner": "sgd", "learning_rate": 0.5, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0,
    "dropout_prob": 0.0, "eval_batch_size": 16, "eval_logit_adjust_curve": [0.5], "nproc": 1,
}  # fmt: skip
CASES = {
    "ce packed": {"model": "CESASRec"},
    "ce prefix": {"model": "CESASRec", "batching": "prefix"},
    "recbole packed": {"model": "SASRec", "item_softmax": "chunked"},
    "recbole prefix": {"model": "GRU4Rec", "batching": "prefix"},
    "weights packed": {"model": "WeightedCESASRec"},
    "weights prefix": {"model": "LPOGRU4Rec", "batching": "prefix", "pref_weight": 0},
    "weights as published": {"model": "LPOSASRec", "preset": "published_code", "pref_negatives": "head_top_k"},
    # The rivals that need no draw are the same however the batch is divided.
    "preference packed": {"model": "LPOSASRec", "pref_negatives": "head_top_k"},
    "preference prefix": {"model": "LPOCaser", "pref_negatives": "head_top_k", "nv": 4, "nh": 4},
    "one row left over": {
        "model": "LPOSASRec", "pref_weight": 0, "batching": "prefix", "train_batch_size": N_TARGETS - 1,
    },
    "unused weights": {"model": "CESpare", "weight_decay": 0.1},
    "clipped": {"model": "CESASRec", "clip_grad_norm": {"max_norm": 0.05}, "eval_mask_history": True},
}  # fmt: skip
# Each process draws for itself here, so that only what is measured can be compared.
DRAWN = {
    "rivals": {"model": "LPOSASRec", "eval_batch_size": 64},
    "negatives": {"model": "BPR"},
    "masks": {"model": "LPOBERT4Rec", "mask_ratio": 0.2, "ft_ratio": 0.5, "pref_weight": 0},
    "vectors anew": {"model": "R2RecSASRec", "likelihood_reembed_epoch": 1, "learner": "adam", "learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The run folders of all cases: by one process, and by two that torchrun has started."""
    place = tmp_path_factory.mktemp("several")
    data = write_toy(place / "data")
    cases = {name: {**PLAIN, **data, **settings} for name, settings in {**CASES, **DRAWN}.items()}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [trained_by_several.__file__, json.dumps(cases), str(place / "two")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_all({name: cases[name] for name in CASES}, place / "one")
    yield place
    torch.set_num_threads(threads)
    del BACKBONES["Spare"]


def read(folder: Path) -> tuple[dict, list[dict], dict[str, torch.Tensor]]:
    """Metrics, history and weights of a run folder."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    weights = read_checkpoint(folder / "checkpoint" / BEST)["weights"]
    return json.loads((folder / "metrics.json").read_text()), history, weights


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one(case, folders):
    (_, one, weights), (metrics, two, others) = read(folders / "one" / case), read(folders / "two" / case)
    assert metrics["processes"] == 2
    parts = [key for key in one[0] if key.startswith(("train_loss", "head/", "tail/"))]
    for first, second in zip(one, two, strict=True):
        assert [second[key] for key in parts] == pytest.approx([first[key] for key in parts], rel=1e-4, abs=1e-6)
    assert one[0]["train_loss"] != one[1]["train_loss"]
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("case", [*CASES, *DRAWN])
def test_two_processes_measure_what_one_measures_to_the_digit(case, folders):
    folder = folders / "two" / case
    metrics, _, _ = read(folder)
    for adjusted in ({"strength": 0.0, "test": metrics["test"]}, *metrics["adjusted"]):
        again = recbole_lpo.evaluate(folder, logit_adjust=[adjusted["strength"]])[0]
        assert without_nan(again["test"]) == adjusted["test"]
        assert again["n"] == metrics["n"]
    assert metrics["n"]["users"] == 60


@pytest.mark.parametrize("case", DRAWN)
def test_the_validation_that_stops_is_that_of_the_weights_that_are_kept(case, folders):
    metrics, _, _ = read(folders / "two" / case)
    found = recbole_lpo.evaluate(folders / "two" / case, on="valid")[0]["valid"]
    assert without_nan(found) == metrics["valid"]


def test_the_users_stand_in_the_order_of_one_process(folders):
    one, two = (folders / run / "ce packed" / "per_user.csv.gz" for run in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
