"""`recbole-lpo tune`: search for the settings of a model on a dataset, by the validation items alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from recbole_lpo.compare.study import seeds_of
from recbole_lpo.config import Config
from recbole_lpo.data.fingerprint import data_fingerprint
from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.registry import is_model, unknown_model
from recbole_lpo.settings import ContentSettings
from recbole_lpo.tune.execute import Search
from recbole_lpo.tune.outcome import winners
from recbole_lpo.tune.plan import PLACES, PRUNERS, Plan, check_plan, read_told, watched
from recbole_lpo.tune.ray_engine import search_on_ray
from recbole_lpo.tune.recbole_space import space_of_file
from recbole_lpo.tune.report import PLAN, write_report
from recbole_lpo.tune.storage import default_storage, import_optuna, kept_in, open_study
from recbole_lpo.whole_files import write_whole

HELP = """usage: recbole-lpo tune --model=LPOSASRec --dataset=ml-100k --space=space.yaml --trials=50 [--key=value ...]

Searches for settings by Optuna (TPE). A trial trains on the training items and is judged on the validation items; the
test items are looked at once, at the end, for the winner only. Killed or interrupted, the search goes on when the same
command is given again. The same command may run several times at once, here or, with a --storage that all can reach,
on other machines: they share the trials. Writes trials.csv, best.yaml (for --config_files and `compare --tuned`) and
tune.md.

options
  --model, --dataset    one of each
  --space=FILE          what is searched. yaml, a line for each setting:
                            learning_rate: {loguniform: [1.e-4, 1.e-2]}
                            hidden_size: {choice: [64, 128]}
                        kinds: choice [values], uniform and loguniform [low, high], quniform [low, high, step],
                        int [low, high] or [low, high, step], logint [low, high].
                        A file of another ending is read as RecBole's (`name kind values`, loguniform in natural logs)
  --trials=N            of the whole search, over all processes and machines. Default: 20
  --timeout=SECONDS     start no further trial after that
  --valid_metric=M      the objective: NDCG@10, TailNDCG@10, 0.5*NDCG@10 + 0.5*TailNDCG@10, ...
  --objectives=M,N      several at once: the answer is their Pareto front, a file for each trial of it in front/
  --pruner=NAME         median | hyperband | none: end trials that lag behind at their validations. Default: median;
                        on Ray hyperband (its asynchronous form)
  --seeds=N             train every trial with N seeds and take the mean; the first one decides on pruning. Default: 1
  --sampler_seed=N      seed of the search itself. Default: 2020
  --jobs=N              processes on this machine, the threads divided among them. Default: 1
  --storage=URL         sqlite:///FILE, postgresql://..., mysql://..., journal:FILE (for NFS), journal-redis://...
                        Default: sqlite in the folder of the search
  --output=DIR          default: tune/<dataset>-<model>
  --engine=ray          run on Ray instead: --address=HOST:PORT (default: start it here), --cpus_per_trial=1,
                        --gpus_per_trial=0; --jobs is then how many trials run at once at most
                        (1: as many as there is room for)
  --config_files="A B"  yaml files of settings for all trials
  --key=value           any setting of `recbole-lpo run`, for all trials
"""
_ENGINES = ("optuna", "ray")
_DEFAULTS = {
    "model": None, "dataset": None, "space": None, "trials": 20, "timeout": None, "objectives": None, "pruner": None,
    "seeds": 1, "sampler_seed": 2020, "jobs": 1, "storage": None, "output": None, "engine": "optuna",
}  # fmt: skip
_OF_RAY = {"address": None, "cpus_per_trial": 1, "gpus_per_trial": 0}
OPTIONS = (*_DEFAULTS, *_OF_RAY, "config_files")


def main(given: dict[str, Any], plugins: Sequence[str] = ()) -> int:
    """Run a search from the parsed command line; returns the exit code: 1 where no trial was finished.

    plugins: modules of the user's that every process imports first.
    """
    import_optuna()
    settings = {**_from_files(given.pop("config_files", "")), **given}
    options = {name: settings.pop(name, default) for name, default in _DEFAULTS.items()}
    if options["engine"] not in _ENGINES:
        raise InputError(f"--engine={options['engine']}: unknown. Allowed: {', '.join(_ENGINES)}.")
    of_ray = {name: settings.pop(name, default) for name, default in _OF_RAY.items()} if _is_ray(options) else {}
    trials, jobs = (_number(f"--{name}", options[name], whole=True, low=1) for name in ("trials", "jobs"))
    timeout = None if options["timeout"] is None else _number("--timeout", options["timeout"], low=0)
    plan = _plan(options, settings)
    check_plan(plan)
    output = Path(options["output"] or Path("tune") / f"{plan.dataset}-{plan.model}")
    plan = _take(output, plan)
    if _is_ray(options):
        sys.stdout.write(
            search_on_ray(plan, output, total=trials, jobs=jobs, timeout=timeout, plugins=plugins, **of_ray)
        )
        return 0
    storage = options["storage"] or default_storage(output)
    with FileLock(output / ".lock"):
        # Two processes that make the tables of a new database at once get in each other's way.
        study = open_study(storage, plan)
    search = Search(
        study, plan, storage, output, total=trials, jobs=jobs, timeout=timeout, plugins=plugins, report=_say
    )  # fmt: skip
    with kept_in(storage):
        search.run()
        with FileLock(output / ".lock"):
            found = winners(study, plan)
            text = write_report(study, plan, found, output)
    sys.stdout.write(
        f"{text}\n{output}: tune.md, trials.csv, {'best.yaml' if len(plan.objectives) == 1 else 'front/'}\n"
    )
    return 0 if found else 1


def _is_ray(options: dict[str, Any]) -> bool:
    return options["engine"] == "ray"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _plan(options: dict[str, Any], settings: dict[str, Any]) -> Plan:
    for name, example in (("model", "LPOSASRec"), ("dataset", "ml-100k"), ("space", "space.yaml")):
        if options[name] is None:
            raise InputError(f"--{name} is missing; write --{name}={example}.")
    if not is_model(options["model"]):
        raise unknown_model(options["model"])
    for key in ("seed", "run_dir"):
        if key in settings:
            raise InputError(f"{key}: a search sets it for each trial. Leave it out; seeds are given by --seeds.")
    config = Config(model=options["model"], dataset=options["dataset"], config_dict=dict(settings))
    objectives = tuple(one.strip() for one in str(options["objectives"] or config["valid_metric"]).split(","))
    usual = "hyperband" if _is_ray(options) else "median"
    pruner = options["pruner"] or (usual if len(objectives) == 1 else "none")
    if pruner not in PRUNERS:
        raise InputError(f"--pruner={pruner}: unknown.{did_you_mean(pruner, PRUNERS)} Allowed: {', '.join(PRUNERS)}.")
    if pruner != "none" and len(objectives) > 1:
        raise InputError(f"--pruner={pruner}: a search for several objectives prunes nothing. Set it to none.")
    if pruner != "none" and not config["eval_step"]:
        raise InputError(f"--pruner={pruner}: needs validations while a trial trains. Set eval_step to 1 or more.")
    if pruner == "median" and _is_ray(options):
        raise InputError("--pruner=median: Ray's rule pauses trials, which would start anew. Take hyperband or none.")
    if len(objectives) > 1 and len(set(map(str.lower, objectives))) < len(objectives):
        raise InputError(f"--objectives={','.join(objectives)}: one is named twice.")
    vectors = ContentSettings.from_config(config).content_file
    settings = {
        **settings,
        "valid_metric": watched(objectives, settings.get("valid_metric")),
        "epochs": config["epochs"],
    }
    return Plan(
        model=options["model"],
        dataset=options["dataset"],
        settings=settings,
        space=space_of_file(options["space"]),
        objectives=objectives,
        seeds=seeds_of(options["seeds"]),
        pruner=pruner,
        sampler_seed=int(_number("--sampler_seed", options["sampler_seed"], whole=True, low=0)),
        data=tuple(data_fingerprint(Path(config["data_path"]), config["dataset"], vectors)),
    )


def _take(output: Path, plan: Plan) -> Plan:
    """Make the folder ours, or see that it is: it may hold nothing, or this very search.

    Returns the search as the folder knows it.
    """
    try:
        earlier = read_told(output / PLAN)
        if earlier is not None and not earlier.get("data"):
            # Begun before searches knew their data.
            plan = replace(plan, data=())
        told = json.loads(json.dumps(plan.told()))
        if earlier is not None:
            if told["data"] != earlier.get("data", []):
                raise InputError(
                    f"output = {output}: the files of {plan.dataset} have changed since this search was begun, and "
                    "trials on other data cannot be compared. Put the old files back, or name another folder with "
                    "--output."
                )
            changed = [key for key in told if key not in ("settings", "data") and told[key] != earlier.get(key)]
            here, there = told["settings"], earlier.get("settings", {})
            changed += [key for key in {**here, **there} if key not in PLACES and here.get(key) != there.get(key)]
            if changed:
                raise InputError(
                    f"output = {output}: belongs to another search, which differs in {', '.join(changed)}. Name "
                    "another folder with --output, or give the command as it was."
                )
        elif output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"output = {output}: holds something that is no search. Name another folder.")
        output.mkdir(parents=True, exist_ok=True)
        write_whole(output / PLAN, (json.dumps(told, indent=2) + "\n").encode())
        return plan
    except OSError as error:
        raise InputError(f"output = {output}: cannot be written to: {error.strerror}.") from None


def _number(name: str, value: Any, *, low: float, whole: bool = False) -> float:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value < float("inf"):
        raise InputError(f"{name}={value}: must be a {'whole ' if whole else ''}number >= {low:g}.")
    return value


def _from_files(names: str) -> dict[str, Any]:
    return {key: value for name in names.split() for key, value in read_yaml(name).items()}
