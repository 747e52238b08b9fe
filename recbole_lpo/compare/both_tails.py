"""The tail as the text of LPO4Rec cuts it (80 % of the items) and as its code does (20 %), from the same ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_lpo.compare.paired import Comparison, Test, paired_tests
from recbole_lpo.compare.per_user import PerUser

# The least popular share of the items -> the first tenth of the catalogue that is in it.
DEFINITIONS = {"80 %": 3, "20 %": 9}


@dataclass(frozen=True)
class Tail:
    """A method on the users whose target is in the tail by one definition.

    n          those users
    hit, ndcg  (S,) mean over them for each seed
    gained     difference from the baseline in the measure of the study; None for the baseline
    """

    n: int
    hit: np.ndarray
    ndcg: np.ndarray
    gained: Test | None


def both_tails(
    users: Mapping[str, PerUser],
    seeds: Mapping[str, Sequence[int]],
    baseline: str,
    measure: str,
    cut: int,
    *,
    seed: int = 0,
) -> dict[str, dict[str, Tail]]:
    """Method -> definition -> Tail, whatever split the runs had; one Holm correction over all differences.

    users: of the methods that can be compared, the baseline among them; seeds: of each method, in the order of its
    ranks. Whether a target is in the tail is what the baseline's deciles say. Nothing where it has none; a definition
    that no user's target meets is left out.
    """
    if baseline not in users or users[baseline].decile is None:
        return {}
    members = {name: users[baseline].decile >= first for name, first in DEFINITIONS.items()}
    members = {name: member for name, member in members.items() if member.any()}
    value = {method: one.of_seeds(measure, cut) for method, one in users.items()}
    hit, ndcg = ({method: one.of_seeds(name, cut) for method, one in users.items()} for name in ("hit", "ndcg"))
    others = [(method, name) for method in users if method != baseline for name in members]

    def by_seed(method: str, name: str) -> dict[int, float]:
        return dict(zip(seeds[method], value[method][members[name]].mean(axis=0), strict=True))

    tests = paired_tests(
        [
            Comparison(
                value[method].mean(axis=1) - value[baseline].mean(axis=1),
                members[name],
                by_seed(method, name),
                by_seed(baseline, name),
            )
            for method, name in others
        ],
        seed=seed,
    )
    gained = dict(zip(others, tests, strict=True))
    return {
        method: {
            name: Tail(
                int(member.sum()),
                hit[method][member].mean(axis=0),
                ndcg[method][member].mean(axis=0),
                gained.get((method, name)),
            )
            for name, member in members.items()
        }
        for method in users
    }
