"""What the runs of one method say of each test user, seeds side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lpo.run_folder import CURVE_RANK, PER_USER

MEASURES = {"hit": np.ones_like, "ndcg": lambda rank: 1.0 / np.log2(1.0 + rank)}


@dataclass(frozen=True)
class PerUser:
    """One row per test user, in the order of their tokens, and a column for each of S seeds.

    who        target and group (head, tail, unseen) of each user, by user token
    rank       (U, S) rank of the target, from 1
    decile     (U,) tenth of the catalogue that the target is in, 1 the most popular; None where a run has none
    tail_prob  (U, S) probability that the softmax gives the tail; None where a run has none
    curve      strength of the post-hoc logit adjustment -> (U, S) ranks, for the strengths that all seeds have
    """

    who: pd.DataFrame
    rank: np.ndarray
    decile: np.ndarray | None
    tail_prob: np.ndarray | None
    curve: dict[float, np.ndarray]

    @property
    def in_tail(self) -> np.ndarray:
        """(U,) bool"""
        return self.who["group"].to_numpy() != "head"

    def value(self, measure: str, cut: int, *, strength: float | None = None) -> np.ndarray:
        """(U,) hit or ndcg at a list length, averaged over the seeds; strength: one of `curve`, None as it was run."""
        return self.of_seeds(measure, cut, strength=strength).mean(axis=1)

    def of_seeds(self, measure: str, cut: int, *, strength: float | None = None) -> np.ndarray:
        """(U, S) as `value`, for each seed."""
        rank = (self.rank if strength is None else self.curve[strength]).astype(np.float64)
        return np.where(rank <= cut, MEASURES[measure](rank), 0.0)


def read_per_user(folders: Sequence[Path]) -> PerUser | None:
    """The users of run folders that differ in their seed; None where one has no ranks, or has other users."""
    if not all((folder / PER_USER).is_file() for folder in folders):
        return None
    frames = [
        pd.read_csv(
            folder / PER_USER,
            dtype={"user": str, "target": str},
            keep_default_na=False,
            na_values={"tail_prob": ["nan"]},
        )
        .set_index("user")
        .sort_index()
        for folder in folders
    ]
    who = frames[0][["target", "group"]]
    if not all(frame[["target", "group"]].equals(who) for frame in frames):
        return None

    def in_all(column: str) -> np.ndarray | None:
        if not all(column in frame for frame in frames):
            return None
        return np.stack([frame[column].to_numpy() for frame in frames], axis=1)

    ranks = {name: in_all(name) for name in frames[0].columns if name.startswith(CURVE_RANK)}
    deciles = in_all("decile")
    return PerUser(
        who=who,
        rank=in_all("rank"),
        decile=None if deciles is None else deciles[:, 0],
        tail_prob=in_all("tail_prob"),
        curve={float(name.removeprefix(CURVE_RANK)): rank for name, rank in ranks.items() if rank is not None},
    )
