"""What a search has found: the best trial, or the front; and its one look at the test items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from recbole_lpo.errors import InputError
from recbole_lpo.quick_start import evaluate
from recbole_lpo.run_folder import SETTINGS
from recbole_lpo.tune.claims import counted
from recbole_lpo.tune.plan import Plan
from recbole_lpo.tune.trial_run import settings_of

# Attribute of a study: trial number -> test metrics, means over the seeds.
_TESTED = "tested"


@dataclass(frozen=True)
class Winner:
    """The best trial, or one of the front.

    number    of the trial
    values    of the objectives, on validation items
    settings  that it drew
    test      metrics on test items, means over the seeds; None where its weights are on another machine
    folders   its run folders, one for each seed
    """

    number: int
    values: tuple[float, ...]
    settings: dict[str, Any]
    test: dict[str, float] | None
    folders: tuple[str, ...]


def ended(trials: Sequence[Any]) -> list[Any]:
    """The trials that count and have ended: finished, pruned or failed."""
    return [trial for trial in counted(trials) if trial.state.is_finished()]


def tally(trials: Sequence[Any]) -> dict[str, int]:
    """How many trials were finished, pruned, failed."""
    states = [trial.state.name for trial in ended(trials)]
    names = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    return {name: states.count(state) for name, state in names.items()}


def values_text(values: Sequence[float], plan: Plan) -> str:
    """`NDCG@10 0.0421, TailNDCG@10 0.0210`."""
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(plan.objectives, values, strict=True))


def best_trials(study) -> list[Any]:
    """The best finished trial, or the front of several objectives in order of the first; none where none finished.

    On the front is a trial that no other one equals or beats in every objective while beating it in one.
    """
    if not any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
        return []
    if len(study.directions) == 1:
        return [study.best_trial]
    return sorted(study.best_trials, key=lambda trial: (trial.values, trial.number), reverse=True)


def winners(study, plan: Plan) -> list[Winner]:
    """The best trials, each measured on the test items once: the study keeps the figures.

    Where a later search of more trials has another winner, that one is measured too. A winner whose run folders are not
    on this machine has no figures until the command ends where they are.
    """
    found = []
    for trial in best_trials(study):
        tested = study.user_attrs.get(_TESTED, {})
        folders = tuple(trial.user_attrs["folders"])
        test = tested.get(str(trial.number))
        if test is None and all((Path(folder) / SETTINGS).is_file() for folder in folders):
            test = _measured(folders)
            study.set_user_attr(_TESTED, {**study.user_attrs.get(_TESTED, {}), str(trial.number): test})
        found.append(Winner(trial.number, tuple(trial.values), settings_of(trial.params, plan.space), test, folders))
    return found


def _measured(folders: Sequence[str]) -> dict[str, float]:
    runs = []
    for folder in folders:
        try:
            runs.append(evaluate(folder)[0]["test"])
        except InputError as error:
            raise InputError(f"{folder}: the winner cannot be measured on the test items: {error}") from None
    return {name: fmean(one[name] for one in runs) for name in runs[0]}
