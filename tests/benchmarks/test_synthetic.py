"""The made-up histories are as large as was asked for, the same every time, and readable by RecBole."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import synthetic
from benchmarks.synthetic import Synthetic


def frame(made: Synthetic) -> pd.DataFrame:
    return pd.concat(made.blocks(), ignore_index=True)


@settings(max_examples=30, deadline=None)
@given(users=st.integers(1, 60), items=st.integers(1, 50), length=st.floats(5, 30), seed=st.integers(0, 9))
def test_every_user_has_five_interactions_or_more_in_the_order_of_their_times(users, items, length, seed):
    rows = frame(Synthetic(users, items, length, seed=seed))
    assert rows["user_id:token"].unique().tolist() == list(range(1, users + 1))
    assert rows["item_id:token"].between(1, items).all()
    for _, own in rows.groupby("user_id:token"):
        assert own["timestamp:float"].tolist() == list(range(1, len(own) + 1))
        assert len(own) >= 5


def test_lengths_and_popularity_are_those_asked_for():
    rows = frame(Synthetic(4000, 100, 12.0, zipf=1.0))
    assert abs(len(rows) / 4000 - 12.0) < 0.5
    counts = rows["item_id:token"].value_counts()
    harmonic = (1 / np.arange(1, 101)).sum()
    assert abs(counts[1] / len(rows) - 1 / harmonic) < 0.01
    assert abs(counts[1] / counts[10] - 10) < 1


def test_the_seed_decides_and_blocks_do_not_cut_a_user(monkeypatch):
    whole = list(Synthetic(50, 20).blocks())
    monkeypatch.setattr(synthetic, "_BLOCK", 60)
    parts = list(Synthetic(50, 20).blocks())
    assert len(whole) == 1 and len(parts) > 3
    users = [set(part["user_id:token"]) for part in parts]
    assert sum(map(len, users)) == 50 == len(set.union(*users))
    again = list(Synthetic(50, 20).blocks())
    assert all(one.equals(other) for one, other in zip(parts, again, strict=True))


def test_the_files_hold_all_interactions_and_the_whole_catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_BLOCK", 60)
    made = Synthetic(30, 500)
    made.write(tmp_path)
    read = pd.read_csv(tmp_path / made.name / f"{made.name}.inter", sep="\t")
    assert np.array_equal(read.to_numpy(float), frame(made).to_numpy(float))
    items = pd.read_csv(tmp_path / made.name / f"{made.name}.item", sep="\t")
    assert items["item_id:token"].tolist() == list(range(1, 501))
