"""Ways of computing that must not matter, through the command that a user types."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from torch.nn import functional

from recbole_lpo.cli import main
from tests.conftest import toy_rows, write_atomic

QUICK = [
    "--hidden_size=16", "--inner_size=32", "--epochs=2", "--train_batch_size=64", "--MAX_ITEM_LIST_LENGTH=8",
    "--topk=[3,5]", "--valid_metric=NDCG@5", "--pref_num_rejected=4", "--eval_logit_adjust_curve=[]", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs the command with further settings: (loss of each epoch, metrics, {user: rank})."""
    folder = tmp_path_factory.mktemp("equivalence")
    write_atomic(folder / "dataset", "toy", toy_rows())

    def of(*arguments: str):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            target = Path("runs") / ("_".join(arguments).replace("/", "") or "plain")
            command = ["run", "--model=LPOSASRec", "--dataset=toy", f"--run_dir={target}", *QUICK, *arguments]
            assert main(command) == 0
            losses = [json.loads(line)["train_loss"] for line in (target / "history.jsonl").read_text().splitlines()]
            with gzip.open(target / "per_user.csv.gz", "rt") as file:
                ranks = {row["user"]: int(row["rank"]) for row in csv.DictReader(file)}
            return losses, json.loads((target / "metrics.json").read_text())["test"], ranks

    return of


@pytest.fixture(scope="module")
def plain(run):
    return run()


@pytest.mark.parametrize("method", ["dense", "chunked", "fused"])
def test_however_the_softmax_is_computed_losses_and_metrics_are_the_same(method, run, plain):
    if method == "fused" and not hasattr(functional, "linear_cross_entropy"):
        pytest.skip("this torch has no fused cross-entropy")
    losses, metrics, _ = run(f"--item_softmax={method}")
    assert losses == pytest.approx(plain[0], abs=1e-5)
    assert metrics == pytest.approx(plain[1], abs=1e-9)


def test_a_gradient_in_bfloat16_leaves_a_training_what_it_was_but_for_its_rounding(run, plain):
    losses, metrics, _ = run("--item_softmax=chunked_bfloat16")
    assert losses != plain[0]
    assert losses == pytest.approx(plain[0], abs=1e-3)
    assert metrics.keys() == plain[1].keys()


@pytest.mark.parametrize("setting", ["--eval_chunk_items=1", "--eval_chunk_items=7", "--eval_batch_size=1"])
def test_however_many_items_or_users_are_scored_at_once_metrics_and_ranks_are_the_same(setting, run, plain):
    losses, metrics, ranks = run(setting)
    assert losses == plain[0]
    assert metrics == pytest.approx(plain[1], abs=1e-9)
    assert ranks == plain[2]
