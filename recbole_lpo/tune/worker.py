"""A process that runs trials until none is left: `python -m recbole_lpo.tune.worker`, told by stdin.

It ends with the command that started it, however that one ends: its standard input is then closed.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from recbole_lpo.errors import InputError, RunError
from recbole_lpo.tune.claims import FAILURE, beating, claim
from recbole_lpo.tune.plan import Plan, plan_of
from recbole_lpo.tune.storage import import_optuna, open_study, seeded_sampler
from recbole_lpo.tune.trial_run import TRIALS, drawn, run_seeds
from recbole_lpo.user_backbones import import_plugins
from recbole_lpo.worker_processes import end_with_the_parent

# Exit codes beside 0.
BROKEN = 3
# Failures in a row, other than a loss that is not finite, that speak of the machine or the input, not of the settings.
_TOO_MANY_FAILURES = 3


def main() -> int:
    """Read a JSON object from the first line of stdin, run trials; 0, or BROKEN after too many failures in a row."""
    told = json.loads(sys.stdin.readline())
    end_with_the_parent()
    import_plugins(told["plugins"])
    plan = plan_of(told["plan"])
    return work(plan, told["storage"], Path(told["output"]), total=told["total"], until=told["until"])


def work(plan: Plan, storage: str, output: Path, *, total: int, until: float | None) -> int:
    """Run trials of a study until `total` of them count, or until the time `until` (seconds since 1970) is past."""
    study = open_study(storage, plan)
    failures = 0
    while until is None or time.time() < until:
        claimed = claim(study, total)
        if claimed is None:
            break
        trial, place = claimed
        study.sampler = seeded_sampler(plan, place)
        try:
            with beating(trial):
                broken = _run(study, trial, plan, output)
        except import_optuna().exceptions.UpdateFinishedTrialError:
            # Another machine took this process for gone; the trial is run again, or was.
            continue
        failures = failures + 1 if broken else 0
        if failures == _TOO_MANY_FAILURES:
            return BROKEN
    return 0


def _run(study, trial, plan: Plan, output: Path) -> bool:
    """Run a trial and tell the study; whether it failed for another reason than its training."""
    optuna = import_optuna()
    states, started = optuna.trial.TrialState, time.monotonic()
    broken = False
    told: dict[str, Any] = {}
    try:
        settings = drawn(trial, plan.space)
        done = run_seeds(plan, settings, output / TRIALS / f"{trial.number:04d}", _reporter(trial, plan))
        for key in ("valid", "folders", "epochs"):
            trial.set_user_attr(key, done[key])
        told["values"] = done["values"]
    except optuna.TrialPruned:
        told["state"] = states.PRUNED
    except RunError as error:
        told["state"] = _failed(trial, str(error), states)
    except Exception as error:
        # Memory, disk, a combination of settings that a model of RecBole cannot take: the search goes on.
        traceback.print_exc()
        why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
        told["state"], broken = _failed(trial, why[:500], states), True
    trial.set_user_attr("seconds", time.monotonic() - started)
    study.tell(trial, **told)
    return broken


def _failed(trial, why: str, states):
    trial.set_user_attr(FAILURE, why)
    return states.FAIL


def _reporter(trial, plan: Plan):
    """Hands validation scores to the pruner; None where there are several objectives, which Optuna does not prune."""
    if len(plan.objectives) > 1 or plan.pruner == "none":
        return None

    epochs = int(plan.settings["epochs"])

    def report(epoch: int, score: float) -> None:
        # A pruner counts what a trial has had from 1. After the last epoch there is nothing left to save.
        trial.report(float(score), epoch + 1)
        if epoch + 1 < epochs and trial.should_prune():
            raise import_optuna().TrialPruned

    return report


if __name__ == "__main__":
    sys.exit(main())
