"""The same search on a Ray cluster: Ray starts the trials where there is room, Optuna draws them.

Ray's results are put into an Optuna study in the folder of the search, from which everything else is made as usual.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recbole_lpo.errors import InputError, RunError
from recbole_lpo.tune.claims import FAILURE
from recbole_lpo.tune.outcome import winners
from recbole_lpo.tune.plan import Plan, plan_of
from recbole_lpo.tune.report import write_report
from recbole_lpo.tune.storage import default_storage, import_optuna, open_study, seeded_sampler
from recbole_lpo.tune.trial_run import TRIALS, distributions, run_seeds, settings_of
from recbole_lpo.user_backbones import import_plugins

# In what a trial reports: the n-th objective, the epoch from 1, and, in the last report, all that a trial has found.
_OBJECTIVE, _EPOCH, _FOUND = "objective_{}", "epoch", "found"
_RAY_ID = "ray_trial"


def search_on_ray(
    plan: Plan,
    output: Path,
    *,
    total: int,
    jobs: int,
    timeout: float | None,
    plugins: Sequence[str],
    address: str | None,
    cpus_per_trial: float,
    gpus_per_trial: float,
) -> str:
    """Run `total` trials, or go on with those of an earlier command, of which there are as many as that one asked for;
    returns the text of tune.md.

    address: of a running cluster, or None to start one of this machine alone. output must be a folder that every node
    sees. jobs: trials at once, 1 for as many as the cluster has room for. Raises InputError where Ray is missing or
    cannot be reached, RunError where no trial was finished.
    """
    ray, tune = _import_ray()
    output, metrics = output.resolve(), [_OBJECTIVE.format(n) for n in range(len(plan.objectives))]
    modes = ["max" if direction == "maximize" else "min" for direction in plan.directions]
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"--address={address}: no Ray cluster can be reached there: {error}") from None
    trial = partial(_trial, plan.told(), str(output), list(plugins))
    resources = {"cpu": cpus_per_trial, "gpu": gpus_per_trial}
    trainable = tune.with_resources(trial, resources)
    folder = output / "ray"
    if tune.Tuner.can_restore(str(folder / plan.name)):
        tuner = tune.Tuner.restore(str(folder / plan.name), trainable=trainable, resume_unfinished=True)
    else:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_searcher(plan, metrics, modes),
                scheduler=_scheduler(plan, metrics[0], modes[0]),
                num_samples=total,
                max_concurrent_trials=jobs if jobs > 1 else None,
                time_budget_s=timeout,
            ),
            run_config=tune.RunConfig(name=plan.name, storage_path=str(folder), verbose=1),
        )
    results = tuner.fit()
    study = open_study(default_storage(output), plan)
    _keep(study, plan, results)
    found = winners(study, plan)
    text = write_report(study, plan, found, output)
    if not found:
        raise RunError(f"no trial was finished; see {output / 'trials.csv'}.")
    return text


def _import_ray() -> tuple[Any, Any]:
    # Paths are absolute here; a trial that runs elsewhere must not look for them there.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    try:
        import ray
        from ray import tune

        tune.RunConfig  # noqa: B018  ray before 2.43 has none
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"--engine=ray needs Ray Tune 2.43 or newer ({error}): pip install 'recbole-lpo[ray]'. RecBole's own pin, "
            "ray<=2.6.3, is too old."
        ) from None
    return ray, tune


def _searcher(plan: Plan, metrics: Sequence[str], modes: Sequence[str]) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    several = len(metrics) > 1
    return OptunaSearch(
        space=distributions(plan.space),
        metric=list(metrics) if several else metrics[0],
        mode=list(modes) if several else modes[0],
        sampler=seeded_sampler(plan, 0),
    )


def _scheduler(plan: Plan, metric: str, mode: str) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if plan.pruner == "none":
        return FIFOScheduler()
    # The last report of a trial comes after its last epoch.
    last = int(plan.settings["epochs"]) + 1
    return ASHAScheduler(time_attr=_EPOCH, metric=metric, mode=mode, max_t=last, grace_period=1, reduction_factor=3)


def _trial(told: dict[str, Any], output: str, plugins: Sequence[str], config: dict[str, Any]) -> None:
    """What runs on a node. config: the parameters that the searcher has drawn."""
    from ray import tune

    import_plugins(plugins)
    plan = plan_of(told)
    name = tune.get_context().get_trial_id()
    folder = Path(output) / TRIALS / name
    done = run_seeds(plan, settings_of(config, plan.space), folder, _reporter(tune, plan))
    last = {_OBJECTIVE.format(n): value for n, value in enumerate(done["values"])}
    tune.report({**last, _EPOCH: int(plan.settings["epochs"]) + 1, _FOUND: json.dumps(done)})


def _reporter(tune, plan: Plan) -> Callable[[int, float], None] | None:
    if len(plan.objectives) > 1 or plan.pruner == "none":
        return None
    return lambda epoch, score: tune.report({_OBJECTIVE.format(0): float(score), _EPOCH: epoch + 1})


def _keep(study, plan: Plan, results) -> None:
    """Put what is not in the study yet there, in Ray's order."""
    optuna = import_optuna()
    states = optuna.trial.TrialState
    kept = {trial.user_attrs.get(_RAY_ID) for trial in study.get_trials(deepcopy=False)}
    drawn_from = distributions(plan.space)
    for result in results:
        metrics = result.metrics or {}
        name = metrics.get("trial_id") or Path(result.path).name
        if name in kept:
            continue
        told = {"params": result.config, "distributions": drawn_from}
        attributes = {_RAY_ID: name, "seconds": metrics.get("time_total_s")}
        if result.error is not None:
            failure = " ".join(str(result.error).split())[-500:]
            told |= {"state": states.FAIL, "user_attrs": {**attributes, FAILURE: failure}}
        elif _FOUND in metrics:
            done = json.loads(metrics[_FOUND])
            told |= {"state": states.COMPLETE, "values": done.pop("values"), "user_attrs": {**attributes, **done}}
        elif _EPOCH in metrics:
            reported = {int(metrics[_EPOCH]): metrics[_OBJECTIVE.format(0)]}
            told |= {"state": states.PRUNED, "intermediate_values": reported, "user_attrs": attributes}
        else:
            continue
        study.add_trial(optuna.trial.create_trial(**told))
