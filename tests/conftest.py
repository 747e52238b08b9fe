"""Data that the tests share: small, made on the spot, with answers known beforehand."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Models are torch's alone. What takes longest goes first, so that no process is left with it at the end."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "model"):
            item.add_marker(pytest.mark.once)
    items.sort(key=lambda item: item.get_closest_marker("once") is None)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """RecBole reads sys.argv in every Config and writes to ./log, ./saved and ./log_tensorboard."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["test"])


def write_atomic(folder: Path, name: str, rows, header="user_id:token\titem_id:token\ttimestamp:float") -> Path:
    """An atomic `.inter` file; returns the data path to hand to RecBole."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [header, *("\t".join(map(str, row)) for row in rows)]
    (folder / name / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def toy_rows(n_users=60, n_items=40, longest=18, seed=0):
    """Users with 5 to `longest` items of skewed popularity, in time order; rows shuffled, times out of file order."""
    draw = random.Random(seed)
    weights = [1 / (1 + rank) for rank in range(n_items)]
    rows = []
    for user in range(n_users):
        items = draw.choices(range(n_items), weights, k=draw.randint(5, longest))
        rows.extend((f"u{user}", f"i{item}", step + 1) for step, item in enumerate(items))
    draw.shuffle(rows)
    return rows


def write_toy(folder: Path) -> dict:
    """The settings of a small dataset, written under a folder; its items have a class."""
    classes = [f"i{item}\tc{item % 3}" for item in range(40)]
    data_path = write_atomic(folder, "toy", toy_rows())
    (folder / "toy" / "toy.item").write_text("\n".join(["item_id:token\tclass:token_seq", *classes]) + "\n")
    return {"dataset": "toy", "data_path": str(data_path)}


@pytest.fixture
def toy(tmp_path) -> dict:
    """Settings of a small dataset."""
    return write_toy(tmp_path / "data")


SMALL = {
    "hidden_size": 16, "inner_size": 32, "embedding_size": 16, "n_layers": 2, "n_heads": 2, "train_batch_size": 64,
    "eval_batch_size": 64, "epochs": 2, "MAX_ITEM_LIST_LENGTH": 8, "topk": [3, 5], "valid_metric": "NDCG@5",
    "metrics": ["Hit", "NDCG", "MRR", "TailHit", "TailNDCG", "HeadHit", "HeadNDCG", "Coverage", "TailShare"],
    "show_progress": False, "pref_num_rejected": 4, "likelihood_num_sampled": 8,
}  # fmt: skip
