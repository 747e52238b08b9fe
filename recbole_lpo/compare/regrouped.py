"""A method that was trained with another split, measured on the head and the tail of the baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recbole_lpo.compare.per_user import MEASURES, PerUser

_GROUPED = re.compile(r"(head|tail|unseen)(\D+)@(\d+)")
_OF_GROUPS = tuple(f"valid/{group}" for group in ("head", "tail", "unseen"))
_GAIN = MEASURES | {"mrr": lambda rank: 1.0 / rank}


def split_differs(users: PerUser | None, baseline: PerUser | None) -> bool:
    """Whether both rank the same targets for the same users, and only their groups differ."""
    if users is None or baseline is None or not users.who["target"].equals(baseline.who["target"]):
        return False
    return not users.who["group"].equals(baseline.who["group"])


def regrouped(
    users: PerUser, runs: Sequence[Mapping[str, Any]], baseline: PerUser, like: Mapping[str, Any]
) -> tuple[PerUser, list[dict[str, Any]]]:
    """The ranks and the figures of a method by the groups of the baseline's users.

    runs: contents of `metrics.json`, a seed each, in the order of the ranks; like: one of the baseline. What lists hold
    of the tail, the probability of the tail, and the groups on validation items cannot be had from the ranks of test
    users: left out.
    """
    group = baseline.who["group"].to_numpy()
    members = {"head": group == "head", "tail": group != "head", "unseen": group == "unseen"}
    found = []
    for number, run in enumerate(runs):
        adjusted = [
            {**one, "valid": _overall(one["valid"]), "test": _test(one["test"], ranks[:, number], members)}
            for one in run.get("adjusted") or ()
            if (ranks := users.curve.get(one["strength"])) is not None
        ]
        test = _test(run["test"], users.rank[:, number], members)
        valid = run["valid"] and _overall(run["valid"])
        of_baseline = {"split": like["split"], "n": like["n"]}
        found.append({**run, **of_baseline, "valid": valid, "test": test, "adjusted": adjusted})
    return replace(users, who=baseline.who, decile=baseline.decile, tail_prob=None), found


def without_groups(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records of the epochs of such a method, without what they say of its own groups on validation items."""
    return [{key: value for key, value in one.items() if not key.startswith(_OF_GROUPS)} for one in history]


def _overall(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in figures.items() if not key.startswith(("head", "tail", "unseen"))}


def _test(figures: Mapping[str, float], ranks: np.ndarray, members: Mapping[str, np.ndarray]) -> dict[str, float]:
    found, ranks = _overall(figures), ranks.astype(np.float64)
    for key in figures:
        name = _GROUPED.fullmatch(key)
        if name and name[2] in _GAIN and members[name[1]].any():
            at = ranks[members[name[1]]]
            found[key] = float(np.where(at <= int(name[3]), _GAIN[name[2]](at), 0.0).mean())
    return found
