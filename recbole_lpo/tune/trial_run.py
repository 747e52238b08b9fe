"""One trial: draw settings, train with every seed, report to the pruner, see no test item."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from recbole_lpo.errors import InputError
from recbole_lpo.quick_start import run
from recbole_lpo.run_folder import CHECKPOINTS
from recbole_lpo.tune.plan import Plan
from recbole_lpo.tune.space import Choice, Space
from recbole_lpo.tune.storage import import_optuna
from recbole_lpo.valid_metric import parse_valid_metric

TRIALS = "trials"


def distributions(space: Space) -> dict[str, Any]:
    """A space as Optuna has it. Of a choice it holds labels: `settings_of` gives the values back."""
    kinds = import_optuna().distributions
    found: dict[str, Any] = {}
    for name, one in space.items():
        if isinstance(one, Choice):
            found[name] = kinds.CategoricalDistribution([_label(value) for value in one.values])
        elif one.whole:
            # The upper end is on a step: Optuna warns of one that is not.
            found[name] = kinds.IntDistribution(one.low, one.highest, log=one.log, step=one.step or 1)
        else:
            found[name] = kinds.FloatDistribution(one.low, one.highest, log=one.log, step=one.step)
    return found


def drawn(trial, space: Space) -> dict[str, Any]:
    """The settings that an Optuna trial draws from a space, in the order of the space."""
    kinds = import_optuna().distributions
    for name, one in distributions(space).items():
        if isinstance(one, kinds.CategoricalDistribution):
            trial.suggest_categorical(name, one.choices)
        elif isinstance(one, kinds.IntDistribution):
            trial.suggest_int(name, one.low, one.high, step=one.step, log=one.log)
        else:
            trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
    return settings_of(trial.params, space)


def settings_of(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The settings that the stored parameters of a trial stand for."""
    found = {}
    for name, value in params.items():
        dimension = space[name]
        labels = {_label(one): one for one in dimension.values} if isinstance(dimension, Choice) else {}
        found[name] = labels.get(value, value)
    return found


def _label(value: Any) -> str:
    """What Optuna stores of a choice: text, since it takes 1 for True and no storage holds a list."""
    return value if isinstance(value, str) else json.dumps(value)


def run_seeds(
    plan: Plan, settings: Mapping[str, Any], folder: Path, on_validation: Callable[[int, float], None] | None
) -> dict[str, Any]:
    """Train with every seed of a plan, the test items unseen.

    settings: those of the trial. folder: of the trial; each seed has its run folder there. on_validation(epoch, score)
    is called in the run of the first seed. Returns `values`, one for each objective, and `valid`, the means over the
    seeds of all validation metrics; `folders`; and `epochs`, those trained, summed over the seeds. The weights of a run
    that ends by an exception are deleted.
    """
    runs = []
    for number, seed in enumerate(plan.seeds):
        target = folder / str(seed)
        named = {"model": plan.model, "dataset": plan.dataset, "seed": seed, "run_dir": str(target)}
        try:
            runs.append(
                run(
                    config_dict={**plan.settings, **settings, **named},
                    quiet=True,
                    test=False,
                    on_validation=on_validation if number == 0 else None,
                )
            )
        except BaseException:
            shutil.rmtree(target / CHECKPOINTS, ignore_errors=True)
            raise
    valid = {name: fmean(one["valid"][name] for one in runs) for name in runs[0]["valid"]}
    values = [parse_valid_metric(objective).value(valid) for objective in plan.objectives]
    for objective, value in zip(plan.objectives, values, strict=True):
        if math.isnan(value):
            raise InputError(f"objective {objective}: no validation user is in that group, so it has no value.")
    return {
        "values": values,
        "valid": valid,
        "folders": [one["run_dir"] for one in runs],
        "epochs": sum(one["epochs"]["trained"] for one in runs),
    }
