"""What a search is: everything that must be equal for two commands to work on one study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_lpo.config import Config
from recbole_lpo.config_checks import check_values, known_keys, larger_is_better
from recbole_lpo.data.loading import check_files
from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.settings import KEYS, check_own_value
from recbole_lpo.tune.space import Choice, Dimension, Range, Space
from recbole_lpo.valid_metric import parse_valid_metric

PRUNERS = ("median", "hyperband", "none")
# They say what is measured, on which data or where: trials that differ in one cannot be compared.
_NOT_SEARCHED = {
    "model", "dataset", "data_path", "seed", "run_dir", "preset", "valid_metric", "metrics", "topk", "eval_args",
    "eval_mask_history", "dataset_counts", "epochs",
}  # fmt: skip
_NOT_SEARCHED_PREFIXES = ("tail_split_", "user_inter_", "item_inter_")
# Where a machine has things, which may differ from one to the next.
PLACES = {"data_path", "gpu_id", "use_gpu", "device", "worker", "checkpoint_dir", "show_progress", "state"}


@dataclass(frozen=True)
class Plan:
    """A search.

    model, dataset  what is trained, and on what
    settings        settings of every trial, `valid_metric` among them
    space           settings that trials differ in; they go before `settings`
    objectives      one or several validation metrics or weighted sums of them; of several there is a front, no best
    seeds           every trial is run with each; its value is the mean
    pruner          median, hyperband or none; none where there are several objectives
    sampler_seed    of the draws of the sampler
    data            name and hash of the files of the data: trials on other data cannot be compared
    """

    model: str
    dataset: str
    settings: dict[str, Any]
    space: Space
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    pruner: str
    sampler_seed: int
    data: tuple[tuple[str, str], ...] = ()

    @property
    def directions(self) -> tuple[str, ...]:
        """`maximize` or `minimize` for each objective, as Optuna calls them."""
        return tuple("maximize" if larger_is_better(one) else "minimize" for one in self.objectives)

    @property
    def name(self) -> str:
        """The name of the study: the same for the same search on any machine, another for another search."""
        told = self.told()
        told["settings"] = {key: value for key, value in self.settings.items() if key not in PLACES}
        if not self.data:
            # As searches were called that were begun before they knew their data.
            del told["data"]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:10]
        return f"{self.dataset}-{self.model}-{digest}"

    def told(self) -> dict[str, Any]:
        """The plan in plain values, for a file or another process; `plan_of` reads it."""
        plain = {**vars(self), "objectives": list(self.objectives), "seeds": list(self.seeds)}
        plain["data"] = [list(one) for one in self.data]
        return {**plain, "space": {name: asdict(one) for name, one in self.space.items()}}


def plan_of(told: Mapping[str, Any]) -> Plan:
    """The plan that `Plan.told` has put into plain values."""
    space = {name: _dimension(one) for name, one in told["space"].items()}
    lists = {"objectives": tuple(told["objectives"]), "seeds": tuple(told["seeds"])}
    lists["data"] = tuple(map(tuple, told["data"]))
    return Plan(**{**told, **lists, "space": space})


def read_told(path: Path) -> dict[str, Any] | None:
    """What `Plan.told` gave and a file holds; None where there is no such file. Raises InputError for a damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}). Take another folder, or put the file back.") from None


def _dimension(told: Mapping[str, Any]) -> Dimension:
    return Choice(tuple(told["values"])) if "values" in told else Range(**told)


def watched(objectives: Sequence[str], given: str | None) -> str:
    """The `valid_metric` of the trials: the one objective, what is given, or the mean of several objectives.

    It decides the epoch whose weights a trial keeps. Raises InputError where the objectives are of both kinds, larger
    and smaller better, and none is given.
    """
    if len(objectives) == 1:
        return objectives[0]
    if given is not None:
        return given
    if len({larger_is_better(one) for one in objectives}) > 1:
        raise InputError(
            f"objectives = {','.join(objectives)}: larger is better for some, smaller for others, so they have no mean "
            "for early stopping to watch. Set --valid_metric too."
        )
    weights: dict[str, float] = {}
    names: dict[str, str] = {}
    for one in objectives:
        for weight, name in parse_valid_metric(one).terms:
            names.setdefault(name.lower(), name)
            weights[name.lower()] = weights.get(name.lower(), 0.0) + weight / len(objectives)
    return " + ".join(f"{weight:g}*{names[name]}" for name, weight in weights.items())


def check_plan(plan: Plan) -> None:
    """Raise InputError for what is wrong with a search before anything is trained."""
    known = known_keys()
    for name in plan.space:
        if name in _NOT_SEARCHED or name.startswith(_NOT_SEARCHED_PREFIXES):
            raise InputError(
                f"{name}: cannot be searched, trials that differ in it are not alike. Give it as --{name}."
            )
        if name not in known and name not in plan.settings:
            raise InputError(
                f"{name}: there is no such setting.{did_you_mean(name, known)} Where a model of your own reads it, "
                f"give it a value outside the space too (--{name}=...)."
            )
    corner = {name: dimension.ends()[0] for name, dimension in plan.space.items()}
    for objective in dict.fromkeys((plan.settings["valid_metric"], *plan.objectives)):
        fixed = {**plan.settings, **corner, "valid_metric": objective, "model": plan.model, "dataset": plan.dataset}
        config = Config(config_dict=fixed)
    for name, dimension in plan.space.items():
        for value in dimension.ends():
            if name in KEYS:
                check_own_value(name, value)
            check_values({name: value}, config.internal_config_dict)
    check_files(config)
