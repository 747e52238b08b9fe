"""Settings that searches have found, for the rows of a comparison."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lpo.errors import InputError
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.tune.plan import read_told
from recbole_lpo.tune.report import BEST, PLAN

# A comparison sets them for each run.
_OF_THE_COMPARISON = ("model", "dataset", "seed")


@dataclass(frozen=True)
class Tuned:
    """What the folder of a search says.

    fixed     settings that all its trials had
    found     settings that were searched, as the best trial has them
    n_trials  trials that the search has ended: finished, pruned and failed ones
    """

    fixed: dict[str, Any]
    found: dict[str, Any]
    n_trials: int

    def over(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a row: what was held fixed gives way to the comparison's, what was searched to the row's."""
        return {**self.fixed, **shared, **self.found, **own}


def read_tuned(folders: Sequence[str]) -> dict[tuple[str, str], Tuned]:
    """(model, dataset) -> the settings of the search in a folder. Raises InputError where there are none."""
    tuned: dict[tuple[str, str], Tuned] = {}
    for folder in map(Path, folders):
        plan = read_told(folder / PLAN)
        if plan is None:
            raise InputError(f"tuned = {folder}: is no folder of a search (no {PLAN}).")
        if not (folder / BEST).is_file():
            raise InputError(
                f"tuned = {folder}: has no {BEST}. Finish the search first; of one for several objectives choose a "
                "trial of its front, and give its settings to the row in a --study file."
            )
        key = (str(plan["model"]), str(plan["dataset"]))
        if key in tuned:
            raise InputError(f"tuned = {folder}: is a second search for {key[0]} on {key[1]}. Name one.")
        best = {name: value for name, value in read_yaml(folder / BEST).items() if name not in _OF_THE_COMPARISON}
        found = {name: value for name, value in best.items() if name in plan["space"]}
        with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
            n_trials = sum(1 for _ in csv.DictReader(file))
        tuned[key] = Tuned({name: value for name, value in best.items() if name not in found}, found, n_trials)
    return tuned
